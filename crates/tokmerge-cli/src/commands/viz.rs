//! `tokmerge viz`.

use crate::args::{ModelArgs, PreprocessArgs, Wanted, at_least_one, method, picture, prepared};
use crate::output;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use tokmerge::{ClipFormat, ClipStyle, Format, Media, Style};

#[derive(Args, Debug)]
pub(crate) struct VizArgs {
    /// What the model takes: an image, a sound, or a clip (a video file or a folder of frames); - reads it from standard
    /// input
    #[arg(value_name = "FILE")]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Merging method, e.g. tome:r=13, or a merge.toml
    #[arg(long, value_name = "SPEC", env = "TOKMERGE_MERGE")]
    pub(crate) merge: String,
    /// Where to write the picture, a .png or .svg file; of a clip also an animation, .gif or .apng
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Draw the tokens after this layer, counted from 1 [default: the last]
    #[arg(long, value_name = "N")]
    pub(crate) layer: Option<usize>,
    /// Pixels of the picture per pixel of the model's input [default: 2, of clips 1]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) upscale: Option<usize>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
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
    output::refuse_inputs("--output", &args.output, [args.input.as_path()])?;
    let method = method(&args.merge)?;
    let model = args.preprocess.apply(args.model.open_or_demo()?)?;
    let reduction = model.bind(&method)?;
    output::note_kept_patches(&model.name(), &reduction);
    let drawn = match model.media() {
        Media::Image => {
            let image = picture(&args.input, &model, &args.preprocess)?;
            let style = Style { upscale: args.upscale.unwrap_or(2), ..Style::default() };
            tokmerge::picture(&model, &reduction, &image, args.layer, &style, &args.output)?
        }
        Media::Sound => {
            if args.upscale.is_some() {
                bail!("--upscale is for images and clips; spectrograms are drawn large enough to be read");
            }
            let sound = prepared(&args.input, &model, &args.preprocess)?;
            tokmerge::sound_picture(&model, &reduction, &sound, args.layer, &args.output)?
        }
        Media::Text => {
            bail!("{} takes texts, which are not drawn; use a model of images, sounds or clips", model.name())
        }
        _ => {
            let clip = prepared(&args.input, &model, &args.preprocess)?;
            let frame = Style { upscale: args.upscale.unwrap_or(1), ..Style::default() };
            let style = ClipStyle { frame, ..ClipStyle::default() };
            tokmerge::clip_picture(&model, &reduction, &clip, args.layer, &style, &args.output)?
        }
    };
    output::note_fresh_weights(&model, &method);
    output::note(format!("{}: {drawn}", args.output.display()));
    Ok(ExitCode::SUCCESS)
}
