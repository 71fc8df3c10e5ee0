//! Pictures that are named on the command line.

use anyhow::{Context, Result};
use std::io;
use std::path::Path;
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
