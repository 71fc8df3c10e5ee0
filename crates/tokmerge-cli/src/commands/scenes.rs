//! `tokmerge scenes`.

use crate::args::{ScenesArgs, SplitName};
use crate::output;
use anyhow::Result;
use std::process::ExitCode;
use tokmerge::scenes::{CLASSES, Scenes, Split, write};

pub(crate) fn run(args: &ScenesArgs) -> Result<ExitCode> {
    let split = match args.split {
        SplitName::Validation => Split::Validation,
        SplitName::Train => Split::Train,
        SplitName::Samples => Split::Samples,
    };
    let scenes = Scenes::of(split).with_side(args.side)?;
    write(&scenes, &args.dir, args.first..args.first.saturating_add(args.images))?;
    let (images, classes, dir) = (args.images, CLASSES.len(), args.dir.display());
    output::note(format!("{images} pictures of {classes} classes are in {dir}"));
    Ok(ExitCode::SUCCESS)
}
