//! Pictures that are named on the command line.

use crate::output;
use anyhow::{Context, Result};
use std::io;
use std::path::{Path, PathBuf};
use tokmerge::{Model, Rgb};

use super::PreprocessArgs;

/// Stands for standard input.
const STDIN: &str = "-";

/// Reads a picture for a model; `-` is standard input.
pub(crate) fn picture(path: &Path, model: &Model, args: &PreprocessArgs) -> Result<Rgb> {
    let (processor, decoding) = (model.processor(), args.decoding());
    if path == Path::new(STDIN) {
        return processor.read(io::stdin().lock(), &decoding).context("standard input (-)");
    }
    Ok(processor.open(path, &decoding)?)
}

/// Reads pictures for a model, each with its name; those that cannot be read are told, and left out.
pub(crate) fn pictures(paths: &[PathBuf], model: &Model, args: &PreprocessArgs) -> (Vec<String>, Vec<Rgb>) {
    let read = |path: &PathBuf| match picture(path, model, args) {
        Ok(image) => Some((path.display().to_string(), image)),
        Err(error) => {
            output::error(&error);
            None
        }
    };
    paths.iter().filter_map(read).unzip()
}
