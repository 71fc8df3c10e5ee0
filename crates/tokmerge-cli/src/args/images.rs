//! Images and sounds that are named on the command line.

use crate::output;
use anyhow::{Context, Result, bail};
use std::io;
use std::path::{Path, PathBuf};
use tokmerge::{Model, Prepared, Processor, Rgb};

use super::PreprocessArgs;

/// Stands for standard input.
const STDIN: &str = "-";

/// Reads a picture for a model of images; `-` is standard input.
pub(crate) fn picture(path: &Path, model: &Model, args: &PreprocessArgs) -> Result<Rgb> {
    let decoding = args.decoding();
    let Processor::Image(processor) = model.processor() else {
        bail!("{} takes {}, and no images", model.name(), model.media().words());
    };
    if path == Path::new(STDIN) {
        return processor.read(io::stdin().lock(), &decoding).context("standard input (-)");
    }
    Ok(processor.open(path, &decoding)?)
}

/// Reads what a model takes; `-` is standard input.
pub(crate) fn prepared(path: &Path, model: &Model, args: &PreprocessArgs) -> Result<Prepared> {
    let (processor, decoding) = (model.processor(), args.decoding());
    if path == Path::new(STDIN) {
        return processor.read(io::stdin().lock(), &decoding).context("standard input (-)");
    }
    Ok(processor.open(path, &decoding)?)
}

/// Reads what a model takes, each with its name; what cannot be read is told, and left out.
pub(crate) fn all_prepared(
    paths: &[PathBuf],
    model: &Model,
    args: &PreprocessArgs,
) -> (Vec<String>, Vec<Prepared>) {
    let read = |path: &PathBuf| match prepared(path, model, args) {
        Ok(prepared) => Some((path.display().to_string(), prepared)),
        Err(error) => {
            output::error(&error);
            None
        }
    };
    paths.iter().filter_map(read).unzip()
}
