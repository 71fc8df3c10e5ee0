//! Batches of preprocessed images or sounds, decoded ahead by threads, in the order of the samples.
//!
//! Worker `w` of `W` takes samples `w`, `w + W`, … and puts each picture into its own bounded channel; the
//! consumer reads the channels in turn. So the order never depends on timing, no lock is shared, and at
//! most two batches wait. Pictures wait as bytes; normalising them, four times as large, happens as the
//! batch is filled. Memory while decoding is at most workers times [`Limits::max_bytes`](crate::Limits::max_bytes) and its result.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::text::TokenIds;
use crate::{DecodeOptions, MediaError, Normalised, Prepared, PreprocessError, Processor, Sample};

type Load = dyn Fn(&Sample) -> Result<Prepared, MediaError> + Send + Sync;

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Items per forward pass.
    pub batch_size: usize,
    /// Threads that read and prepare files; with 0 they are read between forward passes.
    pub workers: usize,
    /// How they are decoded.
    pub decoding: DecodeOptions,
}

/// Preprocessed images or sounds.
#[derive(Debug)]
pub struct Batch {
    /// `[B, C, H, W]` of pictures and `[B, frames, values]` of sounds with `B = samples.len()`; where pictures have sizes of their own, their patches below each other.
    pub values: Vec<f32>,
    /// Rows and columns of patches of every picture, where pictures have sizes of their own.
    pub grids: Option<Vec<(usize, usize)>>,
    /// The tokens of every text, where the model takes texts.
    pub texts: Vec<TokenIds>,
    /// Inputs of the model that each sample makes: the views of a clip; 1 of anything else.
    pub views: usize,
    /// The samples that the values belong to, in order.
    pub samples: Vec<Sample>,
    /// Files that could not be read, met while the batch was filled. They have no values.
    pub failed: Vec<(PathBuf, MediaError)>,
}

impl Batch {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is nothing to compute. Only a last batch can be empty, and only when it has
    /// failures to report.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

/// Why a loader was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoaderError {
    /// A batch of nothing.
    #[error("batch_size is 0, and a batch needs at least one image; use 1 or more")]
    BatchSize,
    /// More threads than any machine has use for.
    #[error(
        "workers is {workers}, and at most {MAX_WORKERS} are started; use the number of cores, or 0 for none"
    )]
    Workers {
        /// The number asked for.
        workers: usize,
    },
    /// The preprocessing has a field that makes no sense.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The system refused a thread.
    #[error("cannot start a worker thread ({0}); use fewer workers, or 0 for none")]
    Thread(#[from] std::io::Error),
}

const MAX_WORKERS: usize = 1024;
/// Images that a batch has memory for from the start; larger ones grow.
const RESERVED: usize = 256;

/// An iterator over [`Batch`]es.
///
/// Every batch but the last holds `batch_size` images: those that cannot be read are skipped, named in
/// [`Batch::failed`] and replaced by the next. Dropping the loader early stops the workers, after the
/// picture that each is busy with.
pub struct BatchLoader {
    samples: Arc<Vec<Sample>>,
    processor: Processor,
    batch_size: usize,
    next: usize,
    load: Arc<Load>,
    channels: Vec<Receiver<Result<Prepared, MediaError>>>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for BatchLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (next, len, workers) = (self.next, self.samples.len(), self.threads.len());
        write!(
            f,
            "BatchLoader {{ sample {next} of {len}, batch_size {}, {workers} workers }}",
            self.batch_size
        )
    }
}

impl BatchLoader {
    /// Starts the threads that decode ahead.
    pub fn new(
        samples: Vec<Sample>,
        processor: impl Into<Processor>,
        reading: Reading,
    ) -> Result<Self, LoaderError> {
        let processor = processor.into();
        let opener = processor.clone();
        let Reading { batch_size, workers, decoding } = reading;
        let load = move |sample: &Sample| opener.open(&sample.path, &decoding);
        Self::with_load(samples, processor, batch_size, workers, Arc::new(load))
    }

    fn with_load(
        samples: Vec<Sample>,
        processor: Processor,
        batch_size: usize,
        workers: usize,
        load: Arc<Load>,
    ) -> Result<Self, LoaderError> {
        if batch_size == 0 {
            return Err(LoaderError::BatchSize);
        }
        if workers > MAX_WORKERS {
            return Err(LoaderError::Workers { workers });
        }
        processor.validate()?;
        let workers = workers.min(samples.len());
        let samples = Arc::new(samples);
        let (channels, threads) = (Vec::new(), Vec::new());
        let mut loader = Self { samples, processor, batch_size, next: 0, load, channels, threads };
        // Two batches ahead, over all workers; more than there are samples would only cost memory.
        let ahead = batch_size.min(loader.samples.len()).saturating_mul(2);
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(ahead.div_ceil(workers));
            let (samples, load) = (Arc::clone(&loader.samples), Arc::clone(&loader.load));
            let run = move || {
                for sample in samples.iter().skip(worker).step_by(workers) {
                    // The consumer is gone: nobody wants the rest.
                    if sender.send(guarded(&*load, sample)).is_err() {
                        return;
                    }
                }
            };
            let name = format!("tokmerge-load-{worker}");
            loader.threads.push(std::thread::Builder::new().name(name).spawn(run)?);
            loader.channels.push(receiver);
        }
        Ok(loader)
    }

    /// Number of samples, good and bad.
    pub fn num_samples(&self) -> usize {
        self.samples.len()
    }

    fn prepared(&self, index: usize) -> Result<Prepared, MediaError> {
        if self.channels.is_empty() {
            return guarded(&*self.load, &self.samples[index]);
        }
        let received = self.channels[index % self.channels.len()].recv();
        received.unwrap_or_else(|_| {
            let path = self.samples[index].path.clone();
            Err(MediaError::Panicked { path, reason: "its worker thread ended".into() })
        })
    }
}

/// Loads a sample; a panic on the way is that sample's error.
pub(crate) fn guarded<T>(
    load: &dyn Fn(&Sample) -> Result<T, MediaError>,
    sample: &Sample,
) -> Result<T, MediaError> {
    let loaded = catch_unwind(AssertUnwindSafe(|| load(sample)));
    let panicked = |reason| Err(MediaError::Panicked { path: sample.path.clone(), reason });
    loaded.unwrap_or_else(|panic| panicked(message(&*panic)))
}

pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Iterator for BatchLoader {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch {
            values: Vec::new(),
            grids: None,
            texts: Vec::new(),
            views: self.processor.views(),
            samples: Vec::new(),
            failed: Vec::new(),
        };
        let remaining = self.samples.len() - self.next;
        let most = self.processor.most_values();
        batch.values.reserve_exact(most.saturating_mul(self.batch_size.min(remaining).min(RESERVED)));
        while batch.samples.len() < self.batch_size && self.next < self.samples.len() {
            let prepared = self.prepared(self.next);
            let sample = &self.samples[self.next];
            self.next += 1;
            let filled = prepared.and_then(|prepared| self.processor.normalise(&prepared, &mut batch.values));
            match filled {
                Ok(Normalised { grid, tokens }) => {
                    batch.samples.push(sample.clone());
                    if let Some(grid) = grid {
                        batch.grids.get_or_insert_default().push(grid);
                    }
                    batch.texts.extend(tokens);
                }
                Err(error) => batch.failed.push((sample.path.clone(), error)),
            }
        }
        (!batch.samples.is_empty() || !batch.failed.is_empty()).then_some(batch)
    }
}

impl Drop for BatchLoader {
    fn drop(&mut self) {
        // Without receivers, workers that wait to send fail to, and end.
        self.channels.clear();
        for thread in self.threads.drain(..) {
            // Panics of the work itself were caught; another one must not become a panic while dropping.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageError, Preprocess, Rgb};
    use std::time::{Duration, Instant};

    fn tiny() -> Preprocess {
        Preprocess { input_size: (2, 3), crop_pct: 1.0, ..Preprocess::default() }
    }

    fn samples(count: usize) -> Vec<Sample> {
        (0..count).map(|i| Sample { path: format!("{i:03}.jpg").into(), label: Some(i) }).collect()
    }

    /// Even workers are slow; every seventh image is bad, every eleventh panics.
    fn erratic(sample: &Sample) -> Result<Prepared, MediaError> {
        let index = sample.label.unwrap();
        if index.is_multiple_of(2) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(index % 11 != 10, "image {index} is cursed");
        if index % 7 == 3 {
            return Err(ImageError::Empty.in_file(&sample.path).into());
        }
        Ok(Prepared::Picture(Rgb { width: 3, height: 2, data: vec![index as u8; 18] }))
    }

    fn loader(count: usize, batch_size: usize, workers: usize) -> BatchLoader {
        BatchLoader::with_load(samples(count), tiny().into(), batch_size, workers, Arc::new(erratic)).unwrap()
    }

    #[test]
    fn the_order_does_not_depend_on_the_workers() {
        let run = |workers| -> Vec<(Vec<usize>, Vec<String>, Vec<u32>)> {
            let batches = loader(50, 8, workers);
            let batches = batches.map(|b| {
                let labels = b.samples.iter().filter_map(|s| s.label).collect();
                let failed = b.failed.iter().map(|(_, e)| e.to_string()).collect();
                (labels, failed, b.values.iter().map(|v| v.to_bits()).collect())
            });
            batches.collect()
        };
        let alone = run(0);
        let good: Vec<usize> = (0..50).filter(|i| i % 11 != 10 && i % 7 != 3).collect();
        assert_eq!(alone.iter().flat_map(|b| b.0.clone()).collect::<Vec<_>>(), good);
        assert!(alone[..alone.len() - 1].iter().all(|b| b.0.len() == 8 && b.2.len() == 8 * 18));
        let failed: Vec<&String> = alone.iter().flat_map(|b| &b.1).collect();
        assert_eq!(failed.len(), 50 - good.len());
        assert!(failed[0].contains("003.jpg: is empty"), "{}", failed[0]);
        // Samples 3 and 10 both failed; 10 by panicking, which must not take its worker along.
        assert!(failed[1].contains("image 10 is cursed"), "{}", failed[1]);
        for workers in [1, 2, 5, 64] {
            assert_eq!(run(workers), alone, "{workers} workers");
        }
    }

    #[test]
    fn dropping_early_does_not_hang() {
        let started = Instant::now();
        for workers in [0, 1, 4] {
            let mut some = loader(1000, 2, workers);
            assert_eq!(some.next().unwrap().len(), 2);
            drop(some);
            drop(loader(1000, 2, workers));
        }
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn failures_at_the_end_are_still_reported() {
        let bad = |sample: &Sample| match sample.label {
            Some(0 | 1) => Ok(Prepared::Picture(Rgb { width: 3, height: 2, data: vec![0; 18] })),
            _ => Err(ImageError::Empty.into()),
        };
        let loader = BatchLoader::with_load(samples(4), tiny().into(), 2, 2, Arc::new(bad)).unwrap();
        let sizes: Vec<_> = loader.map(|b| (b.len(), b.failed.len())).collect();
        assert_eq!(sizes, [(2, 0), (0, 2)]);
    }

    fn reading(batch_size: usize, workers: usize) -> Reading {
        Reading { batch_size, workers, decoding: DecodeOptions::default() }
    }

    #[test]
    fn files_are_read_and_bad_ones_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut samples = Vec::new();
        for (name, good) in [("a.png", true), ("b.png", false), ("c.png", true)] {
            let path = dir.path().join(name);
            if good {
                image::RgbImage::new(5, 4).save(&path).unwrap();
            } else {
                std::fs::write(&path, b"text").unwrap();
            }
            samples.push(Sample { path, label: None });
        }
        let mut loader = BatchLoader::new(samples, tiny(), reading(2, 2)).unwrap();
        let batch = loader.next().unwrap();
        assert_eq!((batch.len(), batch.values.len()), (2, 36));
        assert!(batch.failed[0].0.ends_with("b.png") && batch.failed[0].1.to_string().contains("b.png"));
        assert!(loader.next().is_none());
    }

    #[test]
    fn nonsense_is_refused_and_nothing_is_fine() {
        let new = |batch_size, workers, preprocess| {
            BatchLoader::new(Vec::new(), preprocess, reading(batch_size, workers))
        };
        assert!(new(0, 1, tiny()).unwrap_err().to_string().contains("batch_size"));
        assert!(new(1, usize::MAX, tiny()).unwrap_err().to_string().contains("workers"));
        assert!(new(1, 1, Preprocess { crop_pct: 0.0, ..tiny() }).is_err());
        assert!(new(usize::MAX, 4, tiny()).unwrap().next().is_none());
    }
}
