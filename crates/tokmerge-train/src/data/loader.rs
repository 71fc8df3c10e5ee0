//! Batches, prepared ahead in the background.

use super::{Source, View, order};
use rayon::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use tokmerge_data::augment::{Mix, Pairing, Visit};

/// Images that are tried in place of one that cannot be read.
const TRIES: usize = 16;

/// Batches that wait.
const AHEAD: usize = 2;

/// A batch to learn from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrainBatch {
    /// `[B, 3, H, W]`.
    pub(crate) pixels: Vec<f32>,
    /// `[B, classes]`.
    pub(crate) targets: Vec<f32>,
    /// Images.
    pub(crate) items: usize,
    /// Images that could not be read, each replaced by the next of the epoch that could: index and reason.
    pub(crate) failed: Vec<(usize, String)>,
}

/// How batches are made.
#[derive(Clone, Debug)]
pub(crate) struct BatchOptions {
    pub(crate) batch_size: usize,
    pub(crate) classes: usize,
    pub(crate) label_smoothing: f64,
    pub(crate) mix: Option<Mix>,
    pub(crate) seed: u64,
    pub(crate) workers: usize,
}

/// One image could not be replaced: the last reason.
pub(crate) type Failure = String;

/// The batches of one epoch, from a given one on, in order. The same whatever the number of workers.
pub(crate) struct Batches {
    receiver: Option<Receiver<Result<TrainBatch, Failure>>>,
    thread: Option<JoinHandle<()>>,
}

impl Batches {
    /// Starts with batch `first` of `epoch` and ends before batch `end`.
    pub(crate) fn new(
        source: Source,
        view: View,
        options: BatchOptions,
        epoch: usize,
        first: usize,
        end: usize,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(AHEAD);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.workers)
            .thread_name(|index| format!("tokmerge-train-load-{index}"))
            .build()
            .map_err(std::io::Error::other)?;
        let run = move || {
            let order = order(options.seed, epoch, source.len());
            for batch in first..end {
                let made = pool.install(|| make(&source, &view, &options, &order, epoch, batch));
                // The consumer is gone: nobody wants the rest.
                if sender.send(made).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("tokmerge-train-load".to_owned()).spawn(run)?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }
}

impl Iterator for Batches {
    type Item = Result<TrainBatch, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Without a receiver the thread fails to send, and ends.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn make(
    source: &Source,
    view: &View,
    options: &BatchOptions,
    order: &[usize],
    epoch: usize,
    batch: usize,
) -> Result<TrainBatch, Failure> {
    let items = options.batch_size;
    let mut pixels = vec![0.0; items * view.len()];
    let places = batch * items..(batch + 1) * items;
    let loaded: Vec<Result<Loaded, Failure>> = pixels
        .par_chunks_exact_mut(view.len())
        .zip(places)
        .map(|(out, place)| load(source, view, options.seed, order, epoch, place, out))
        .collect();
    let (mut labels, mut failed) = (Vec::with_capacity(items), Vec::new());
    for loaded in loaded {
        let loaded = loaded?;
        labels.push(source.label(loaded.index));
        failed.extend(loaded.failed);
    }
    let pairing = match &options.mix {
        Some(mix) => {
            let [channels, height, width] = view.shape();
            // Which batch of all: every one is mixed differently.
            let step = (epoch as u64) << 32 | batch as u64;
            mix.apply(&mut pixels, [items, channels, height, width], options.seed, step)
        }
        None => Ok(Pairing::unmixed(items)),
    };
    let targets =
        pairing.and_then(|pairing| pairing.targets(&labels, options.classes, options.label_smoothing));
    let targets = targets.map_err(|error| error.to_string())?;
    Ok(TrainBatch { pixels, targets, items, failed })
}

struct Loaded {
    index: usize,
    failed: Vec<(usize, String)>,
}

/// The image at a place of the epoch, or the next one that can be read.
fn load(
    source: &Source,
    view: &View,
    seed: u64,
    order: &[usize],
    epoch: usize,
    place: usize,
    out: &mut [f32],
) -> Result<Loaded, Failure> {
    let mut failed: Vec<(usize, String)> = Vec::new();
    for step in 0..TRIES.min(order.len()) {
        let index = order[(place + step) % order.len()];
        let visit = Visit { seed, epoch: epoch as u64, index: index as u64 };
        let prepare = || {
            let picture = source.picture(index)?;
            view.apply(&picture, visit, out).map_err(|error| error.to_string())
        };
        // A decoder that panics is that image's trouble alone.
        let done = catch_unwind(AssertUnwindSafe(prepare));
        match done.unwrap_or_else(|_| Err(format!("image {index} cannot be decoded"))) {
            Ok(()) => return Ok(Loaded { index, failed }),
            Err(reason) => failed.push((index, reason)),
        }
    }
    Err(failed.pop().map_or_else(String::new, |(_, reason)| reason))
}

#[cfg(test)]
mod tests {
    use super::{BatchOptions, Batches, TrainBatch};
    use crate::data::{Source, View};
    use crate::recipe::RegularisationRecipe;
    use std::path::Path;
    use tokmerge_data::{Preprocess, Sample};

    fn folder(dir: &Path, count: usize, broken: &[usize]) -> Source {
        let samples: Vec<Sample> = (0..count)
            .map(|i| {
                let path = dir.join(format!("{i:02}.png"));
                if broken.contains(&i) {
                    std::fs::write(&path, b"no picture").unwrap();
                } else {
                    let pixel = |x, y| image::Rgb([(x * 20) as u8, (y * 20) as u8, (i * 9) as u8]);
                    image::RgbImage::from_fn(9, 7, pixel).save(&path).unwrap();
                }
                Sample { path, label: Some(i % 3) }
            })
            .collect();
        Source::Folder { root: dir.to_owned(), samples: samples.into() }
    }

    fn batches(source: &Source, workers: usize, epoch: usize, first: usize) -> Vec<TrainBatch> {
        let preprocess = Preprocess { input_size: (4, 4), ..Preprocess::default() };
        let view = View::new(
            Some(&preprocess),
            &RegularisationRecipe { flip: 0.5, ..RegularisationRecipe::default() },
        )
        .unwrap();
        let options =
            BatchOptions { batch_size: 4, classes: 3, label_smoothing: 0.1, mix: None, seed: 3, workers };
        let end = source.len() / 4;
        let batches = Batches::new(source.clone(), view, options, epoch, first, end).unwrap();
        batches.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn batches_depend_on_seed_and_epoch_and_not_on_threads() {
        let dir = tempfile::tempdir().unwrap();
        let source = folder(dir.path(), 22, &[]);
        let alone = batches(&source, 1, 0, 0);
        assert_eq!(alone.len(), 5);
        assert_eq!(batches(&source, 3, 0, 0), alone);
        assert_eq!(batches(&source, 2, 0, 2), alone[2..], "an epoch can be entered in its middle");
        assert_ne!(batches(&source, 1, 1, 0), alone);
    }

    #[test]
    fn broken_images_are_replaced_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let source = folder(dir.path(), 12, &[2, 7]);
        let batches = batches(&source, 2, 0, 0);
        let mut failed: Vec<usize> =
            batches.iter().flat_map(|batch| &batch.failed).map(|(index, _)| *index).collect();
        failed.sort_unstable();
        failed.dedup();
        assert_eq!(failed, [2, 7]);
        assert!(batches.iter().all(|batch| batch.items == 4 && batch.pixels.len() == 4 * 48));
        let reasons = batches.iter().flat_map(|batch| &batch.failed).map(|(_, reason)| reason);
        assert!(reasons.clone().all(|reason| reason.contains(".png")));
        let all = folder(dir.path(), 4, &[0, 1, 2, 3]);
        let view = View::new(Some(&Preprocess::default()), &RegularisationRecipe::default()).unwrap();
        let options =
            BatchOptions { batch_size: 4, classes: 3, label_smoothing: 0.0, mix: None, seed: 3, workers: 1 };
        let error = Batches::new(all, view, options, 0, 0, 1).unwrap().next().unwrap().unwrap_err();
        assert!(error.contains(".png"), "{error}");
    }
}
