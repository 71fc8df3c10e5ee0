//! `tokmerge viz`.

use crate::args::{ModelArgs, PreprocessArgs, Wanted, at_least_one, method, picture, prepared};
use crate::output;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::{ClipFormat, ClipStyle, Column, Format, Media, Model, Reduction, Style};

#[derive(Args, Debug)]
pub(crate) struct VizArgs {
    /// What the model takes: an image, a sound, or a clip (a video file or a folder of frames); - reads it from standard
    /// input. Several images are drawn on one sheet, a row each
    #[arg(value_name = "FILE", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Merging method, e.g. tome:r=13, or a merge.toml; of images several, a column of a sheet each
    #[arg(long, value_name = "SPEC", env = "TOKMERGE_MERGE", required = true)]
    pub(crate) merge: Vec<String>,
    /// Where to write the picture, a .png or .svg file; of a clip also an animation, .gif or .apng
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Draw the tokens after this layer, counted from 1; of images after several, separated by commas, a column of a sheet each
    /// [default: the last]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub(crate) layer: Vec<usize>,
    /// What is drawn inside the borders of tokens: the tokens, or of one image and a method that mixes by weights, how much each
    /// patch weighs in its token
    #[arg(long, value_enum, default_value_t = Inside::Tokens)]
    pub(crate) show: Inside,
    /// Pixels of the picture per pixel of the model's input [default: 2, of clips and sheets 1]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) upscale: Option<usize>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Inside {
    Tokens,
    Weights,
}

pub(crate) fn run(args: &VizArgs) -> Result<ExitCode> {
    // Cheap mistakes first: the ending, the spec, then the model.
    args.model.refuse_without(Wanted::Vectors)?;
    match args.model.media().unwrap_or(Media::Image) {
        Media::Text => {
            bail!("the model takes texts, which are not drawn; use one of images, sounds or clips")
        }
        Media::Clip => ClipFormat::from_path(&args.output).map(|_| ())?,
        _ => Format::from_path(&args.output).map(|_| ())?,
    }
    output::refuse_inputs("--output", &args.output, args.inputs.iter().map(PathBuf::as_path))?;
    let methods = args.merge.iter().map(|spec| method(spec)).collect::<Result<Vec<_>>>()?;
    let model = args.preprocess.apply(args.model.open_or_demo()?)?;
    let reductions = methods.iter().map(|method| model.bind(method)).collect::<Result<Vec<_>, _>>()?;
    reductions.iter().for_each(|reduction| output::note_kept_patches(&model.name(), reduction));
    match (args.inputs.as_slice(), reductions.as_slice(), args.layer.as_slice()) {
        ([input], [reduction], [] | [_]) if args.show == Inside::Weights => {
            args.draw_weights(&model, input, reduction)?;
        }
        _ if args.show == Inside::Weights => {
            bail!("--show weights is for one image, one --merge and one --layer; leave out the others")
        }
        ([input], [reduction], [] | [_]) => args.draw_one(&model, input, reduction)?,
        _ => args.draw_sheet(&model, &reductions)?,
    }
    methods.iter().for_each(|method| output::note_fresh_weights(&model, method));
    Ok(ExitCode::SUCCESS)
}

impl VizArgs {
    fn draw_one(&self, model: &Model, input: &Path, reduction: &Reduction) -> Result<()> {
        let layer = self.layer.first().copied();
        let drawn = match model.media() {
            Media::Image => {
                let image = picture(input, model, &self.preprocess)?;
                tokmerge::picture(model, reduction, &image, layer, &self.style(2), &self.output)?
            }
            Media::Sound => {
                if self.upscale.is_some() {
                    bail!(
                        "--upscale is for images and clips; spectrograms are drawn large enough to be read"
                    );
                }
                let sound = prepared(input, model, &self.preprocess)?;
                tokmerge::sound_picture(model, reduction, &sound, layer, &self.output)?
            }
            Media::Text => {
                bail!(
                    "{} takes texts, which are not drawn; use a model of images, sounds or clips",
                    model.name()
                )
            }
            _ => {
                let clip = prepared(input, model, &self.preprocess)?;
                let style = ClipStyle { frame: self.style(1), ..ClipStyle::default() };
                tokmerge::clip_picture(model, reduction, &clip, layer, &style, &self.output)?
            }
        };
        output::note(format!("{}: {drawn}", self.output.display()));
        Ok(())
    }

    fn draw_weights(&self, model: &Model, input: &Path, reduction: &Reduction) -> Result<()> {
        if model.media() != Media::Image {
            bail!(
                "--show weights is for images, and {} takes {}; leave it out",
                model.name(),
                model.media().words()
            );
        }
        let image = picture(input, model, &self.preprocess)?;
        let layer = self.layer.first().copied();
        let drawn = tokmerge::weights_picture(model, reduction, &image, layer, &self.style(2), &self.output)?;
        output::note(format!("{}: {drawn}", self.output.display()));
        Ok(())
    }

    /// Images as rows, ways of merging and layers as columns.
    fn draw_sheet(&self, model: &Model, reductions: &[Reduction]) -> Result<()> {
        if model.media() != Media::Image {
            bail!(
                "several files, --merge or --layer are for images, and {} takes {}; give one of each",
                model.name(),
                model.media().words()
            );
        }
        let read = |input: &PathBuf| picture(input, model, &self.preprocess);
        let images = self.inputs.iter().map(read).collect::<Result<Vec<_>>>()?;
        let layers: Vec<Option<usize>> = match self.layer.as_slice() {
            [] => vec![None],
            layers => layers.iter().copied().map(Some).collect(),
        };
        let columns: Vec<Column<'_>> = reductions
            .iter()
            .flat_map(|reduction| layers.iter().map(move |layer| Column { reduction, layer: *layer }))
            .collect();
        let drawn = tokmerge::picture_grid(model, &columns, &images, &self.style(1), &self.output)?;
        for (input, row) in self.inputs.iter().zip(&drawn) {
            for (Column { reduction, layer }, drawn) in columns.iter().zip(row) {
                let after = layer.map_or_else(String::new, |layer| format!(" after layer {layer}"));
                output::note(format!("{}, {}{after}: {drawn}", input.display(), reduction.method()));
            }
        }
        Ok(())
    }

    fn style(&self, upscale: usize) -> Style {
        Style { upscale: self.upscale.unwrap_or(upscale), ..Style::default() }
    }
}
