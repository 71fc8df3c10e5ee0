//! `tokmerge scenes`.

use crate::args::one_of;
use crate::output;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use tokmerge::scenes::{CLASSES, Scenes, Split, write};

#[derive(Args, Debug)]
pub(crate) struct ScenesArgs {
    /// Folder to write to
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Pictures to draw
    #[arg(long, value_name = "N", default_value_t = 2400)]
    pub(crate) images: u64,
    /// Index of the first picture, from 0
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub(crate) first: u64,
    /// Width and height in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = tokmerge::scenes::DEFAULT_SIDE)]
    pub(crate) side: usize,
    /// Which pictures: for validation, for training (those that data.train = "scenes:N" in a recipe draws), or samples
    #[arg(
        long,
        value_parser = one_of::<Split>(Split::ALL.map(Split::name)),
        default_value_t = Split::Validation
    )]
    pub(crate) split: Split,
}

pub(crate) fn run(args: &ScenesArgs) -> Result<ExitCode> {
    let scenes = Scenes::of(args.split).with_side(args.side)?;
    let Some(end) = args.first.checked_add(args.images) else {
        bail!(
            "--first {} and --images {} go beyond the last picture, {}",
            args.first,
            args.images,
            u64::MAX - 1
        );
    };
    write(&scenes, &args.dir, args.first..end)?;
    let (images, classes, dir) = (args.images, CLASSES.len(), args.dir.display());
    output::note(format!("{images} pictures of {classes} classes are in {dir}"));
    Ok(ExitCode::SUCCESS)
}
