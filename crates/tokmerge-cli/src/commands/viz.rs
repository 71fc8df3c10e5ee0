//! `tokmerge viz`.

use crate::args::{ModelArgs, PreprocessArgs, at_least_one, method, picture};
use crate::output;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use tokmerge::{Format, Style};

#[derive(Args, Debug)]
pub(crate) struct VizArgs {
    /// Image: JPEG, PNG, WebP or BMP; - reads it from standard input
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Merging method, e.g. tome:r=13, or a merge.toml
    #[arg(long, value_name = "SPEC", env = "TOKMERGE_MERGE")]
    pub(crate) merge: String,
    /// Where to write the picture, a .png or .svg file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Draw the tokens after this layer, counted from 1 [default: the last]
    #[arg(long, value_name = "N")]
    pub(crate) layer: Option<usize>,
    /// Pixels of the picture per pixel of the model's input
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = at_least_one)]
    pub(crate) upscale: usize,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

pub(crate) fn run(args: &VizArgs) -> Result<ExitCode> {
    // Cheap mistakes first: the ending, the spec, then the model.
    Format::from_path(&args.output)?;
    output::refuse_inputs("--output", &args.output, [args.image.as_path()])?;
    let method = method(&args.merge)?;
    let model = args.preprocess.apply(args.model.open_or_demo()?)?;
    let image = picture(&args.image, &model, &args.preprocess)?;
    let reduction = model.bind(&method)?;
    output::note_kept_patches(&model.name(), &reduction);
    let style = Style { upscale: args.upscale, ..Style::default() };
    let drawn = tokmerge::picture(&model, &reduction, &image, args.layer, &style, &args.output)?;
    output::note_fresh_weights(&model, &method);
    output::note(format!("{}: {drawn}", args.output.display()));
    Ok(ExitCode::SUCCESS)
}
