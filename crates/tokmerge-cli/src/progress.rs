//! What a user sees while images are worked through, and which could not be read.

use crate::output;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use tokmerge::{ImageError, ImageFolder, Observer};

/// Unreadable images named at most; the count is always given.
const NAMED_FAILURES: usize = 10;

/// A bar on a terminal, nothing elsewhere; remembers failures.
pub(crate) struct Progress {
    bar: ProgressBar,
    images: usize,
    failures: Vec<String>,
}

impl Progress {
    pub(crate) fn of(images: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} images, {per_sec}, {eta} left");
        let bar = ProgressBar::new(images as u64);
        let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
        Self { bar, images, failures: Vec::new() }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Names the images that could not be read.
    pub(crate) fn report_failures(&self) {
        let (failures, images) = (&self.failures, self.images);
        if failures.is_empty() {
            return;
        }
        output::note(format!(
            "warning: {} of {images} images could not be read and are left out:",
            failures.len()
        ));
        for failure in failures.iter().take(NAMED_FAILURES) {
            output::note(format!("  {failure}"));
        }
        if failures.len() > NAMED_FAILURES {
            output::note(format!("  and {} more", failures.len() - NAMED_FAILURES));
        }
    }
}

impl Observer for Progress {
    fn done(&mut self, images: usize) {
        self.bar.inc(images as u64);
    }

    fn failed(&mut self, _: &Path, error: &ImageError) {
        self.failures.push(error.to_string());
    }
}

/// Says that images beside the class folders of `dir` are not looked at.
pub(crate) fn note_stray(folder: &ImageFolder, dir: &Path) {
    if folder.stray() > 0 {
        output::note(format!(
            "note: images beside the class folders of {} are left out: {}",
            dir.display(),
            folder.stray()
        ));
    }
}
