//! What `tune` and `compare` have in common: images that are kept in memory, journals, and where figures come from.

use crate::args::{ModelArgs, PreprocessArgs};
use crate::output;
use crate::progress::Progress;
use anyhow::{Result, bail};
use std::path::Path;
use tokmerge::tune::report::Setting;
use tokmerge::tune::{FEWEST_IMAGES, Fingerprint, Images, Journal};
use tokmerge::{Convention, EvalError, Labels, Media, Model, Sample};

/// Refuses more images than fit into memory; the way out is the flags that take fewer.
pub(super) fn check_memory(model: &Model, wanted: usize, way_out: &str) -> Result<()> {
    const MOST_GIB: f64 = 8.0;
    let (height, width) = model.config().shape().img_size();
    let gib = (model.input().bytes() * wanted) as f64 / (1u64 << 30) as f64;
    if gib > MOST_GIB {
        bail!(
            "{wanted} {} of {height}x{width} would take {gib:.0} GiB of memory, and at most {MOST_GIB} are used; give {way_out}",
            model.media().words()
        );
    }
    Ok(())
}

/// Images in memory. What they are for completes "the images to"; which of them are meant is bounded by `--search-images` or
/// `--limit`.
pub(super) fn read(
    model: &Model,
    samples: Vec<Sample>,
    what_for: &str,
    (args, preprocess): (&ModelArgs, &PreprocessArgs),
) -> Result<Images> {
    let wanted = samples.len();
    check_memory(model, wanted, "--search-images or --limit")?;
    let mut progress = Progress::of(model.media(), wanted);
    let mut first = None;
    let (workers, decoding) = (args.threads.workers(None), preprocess.decoding());
    let images = Images::load(model, samples, workers, decoding, |path, error| {
        first.get_or_insert_with(|| error.to_string());
        tokmerge::Observer::failed(&mut progress, path, error);
    })?;
    progress.clear();
    if let (true, Some(first)) = (images.is_empty(), first) {
        return Err(EvalError::NothingRead { media: model.media(), failed: wanted, first }.into());
    }
    progress.report_failures();
    if images.len() < FEWEST_IMAGES {
        bail!(
            "only {} of the {wanted} {} to {what_for} could be read, and at least {FEWEST_IMAGES} are needed; give more",
            images.len(),
            model.media().words()
        );
    }
    Ok(images)
}

/// Opens a journal, and says what is taken over from it.
pub(super) fn journal(path: &Path, fingerprint: &Fingerprint) -> Result<Journal> {
    let journal = Journal::open(path, fingerprint)?;
    if journal.lost() > 0 {
        output::note(format!("note: {} lines of {} are no measurements", journal.lost(), path.display()));
    }
    if !journal.is_empty() {
        output::note(format!("{} measurements taken over from {}", journal.len(), path.display()));
    }
    Ok(journal)
}

/// Where figures come from.
pub(super) fn setting(args: &ModelArgs, convention: Convention, seed: u64, model: &Model) -> Setting {
    let weights = match (&args.weights, args.random_weights) {
        (Some(path), _) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        (None, true) => "random".to_owned(),
        (None, false) => args.model.clone().unwrap_or_default(),
    };
    Setting {
        model: model.name(),
        weights,
        img_size: (model.media() != Media::Text).then(|| model.config().shape().img_size()),
        dtype: args.dtype.name().to_owned(),
        convention,
        device: args.device.name().to_owned(),
        threads: args.threads.count(),
        isa: tokmerge::Isa::current().to_string(),
        seed,
    }
}

/// Refuses labels that are none of the model's classes.
pub(super) fn check_labels(samples: &[Sample], labels: Labels, model: &Model) -> Result<(), EvalError> {
    let classes = model.classes();
    for sample in samples {
        if let (Labels::Trusted, Some(label)) = (labels, sample.label.filter(|label| *label >= classes)) {
            let path = sample.path.display().to_string();
            return Err(EvalError::Label { path, label, classes });
        }
    }
    Ok(())
}
