//! `tokmerge viz`.

use crate::args::{VizArgs, method};
use crate::output;
use anyhow::Result;
use std::process::ExitCode;
use tokmerge::{Format, Style, open_image};

pub(crate) fn run(args: &VizArgs) -> Result<ExitCode> {
    // Cheap mistakes first: the ending, the spec, the photograph, then the model.
    Format::from_path(&args.output)?;
    let method = method(&args.merge)?;
    let image = open_image(&args.image, &args.preprocess.limits())?;
    let model = args.preprocess.apply(args.model.open_or_demo()?)?;
    let reduction = model.bind(&method)?;
    output::note_kept_patches(&model.name(), &reduction);
    let style = Style { upscale: args.upscale, ..Style::default() };
    let drawn = tokmerge::picture(&model, &reduction, &image, args.layer, &style, &args.output)?;
    output::note_fresh_weights(&model, &method);
    output::note(format!("{}: {drawn}", args.output.display()));
    Ok(ExitCode::SUCCESS)
}
