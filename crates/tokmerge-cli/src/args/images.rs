//! Pictures that are named on the command line.

use crate::output;
use anyhow::{Context, Result};
use std::io;
use std::path::{Path, PathBuf};
use tokmerge::{Limits, Rgb, open_image, read_image};

/// Stands for standard input.
const STDIN: &str = "-";

/// Reads a picture; `-` is standard input.
pub(crate) fn picture(path: &Path, limits: &Limits) -> Result<Rgb> {
    if path == Path::new(STDIN) {
        return read_image(io::stdin().lock(), limits).context("standard input (-)");
    }
    Ok(open_image(path, limits)?)
}

/// Reads pictures, each with its name; those that cannot be read are told, and left out.
pub(crate) fn pictures(paths: &[PathBuf], limits: &Limits) -> (Vec<String>, Vec<Rgb>) {
    let read = |path: &PathBuf| match picture(path, limits) {
        Ok(image) => Some((path.display().to_string(), image)),
        Err(error) => {
            output::error(&error);
            None
        }
    };
    paths.iter().filter_map(read).unzip()
}
