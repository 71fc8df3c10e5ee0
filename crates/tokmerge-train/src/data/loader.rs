//! Batches, prepared ahead in the background.

use super::source::Item;
use super::view::{SoundView, TextView};
use super::{Source, View, order};
use rayon::prelude::*;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use tokmerge_data::augment::{Mix, Pairing, Visit, mix_sounds};
use tokmerge_data::text::TokenIds;
use tokmerge_models::{Batch, InputShape};

/// Items that are tried in place of one that cannot be read.
const TRIES: usize = 16;

/// Batches that wait.
const AHEAD: usize = 2;

/// A batch to learn from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrainBatch {
    pub(crate) input: Batch,
    pub(crate) targets: Targets,
    /// Items.
    pub(crate) items: usize,
    /// Items that could not be read, each replaced by the next of the epoch that could: index and reason.
    pub(crate) failed: Vec<(usize, String)>,
}

/// What the items of a batch are to give.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Targets {
    /// `[B, classes]`.
    Classes(Vec<f32>),
    /// The tokens of a text for every item.
    Texts(Vec<TokenIds>),
}

/// How batches are made.
#[derive(Clone, Debug)]
pub(crate) struct BatchOptions {
    pub(crate) batch_size: usize,
    /// Of an item.
    pub(crate) shape: InputShape,
    pub(crate) classes: usize,
    pub(crate) label_smoothing: f64,
    pub(crate) mix: Option<Mix>,
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    pub(crate) targets: TargetKind,
}

/// What batches are to give.
#[derive(Clone, Debug)]
pub(crate) enum TargetKind {
    /// The classes of items.
    Classes,
    /// Texts, cut into tokens as those that go in.
    Texts(TextView),
}

/// One item could not be replaced: the last reason.
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
            let maker = Maker { source, view, options, order, epoch };
            for batch in first..end {
                let made = pool.install(|| maker.make(batch));
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

/// Targets `[B, classes]` of items with any number of labels, weighted as mixed and by how right each is: a label has
/// `1 - smoothing + smoothing / classes`, every other class `smoothing / classes`.
fn several_targets(
    labels: &[Vec<(usize, f32)>],
    pairing: &Pairing,
    classes: usize,
    smoothing: f64,
) -> Result<Vec<f32>, Failure> {
    let off = (smoothing / classes as f64) as f32;
    let on = (1.0 - smoothing) as f32;
    let mut targets = vec![off; labels.len() * classes];
    for (item, row) in targets.chunks_exact_mut(classes).enumerate() {
        let own = pairing.own[item];
        for (labels, weight) in [(&labels[item], own), (&labels[pairing.partner[item]], 1.0 - own)] {
            for (label, score) in labels {
                let value = row.get_mut(*label);
                *value.ok_or_else(|| format!("label {label} is none of {classes} classes"))? +=
                    on * weight * score;
            }
        }
    }
    Ok(targets)
}

/// What makes the batches of an epoch.
struct Maker {
    source: Source,
    view: View,
    options: BatchOptions,
    order: Vec<usize>,
    epoch: usize,
}

/// An item that could be read, with what could not in its place.
struct Loaded<T> {
    index: usize,
    failed: Vec<(usize, String)>,
    value: T,
}

impl Maker {
    fn make(&self, batch: usize) -> Result<TrainBatch, Failure> {
        match &self.view {
            View::Text(view) => self.make_ragged(batch, |item| view.text(item)),
            View::Question(view) => self.make_ragged(batch, |item| view.question(item)),
            View::Sound(view) => self.make_sounds(batch, view),
            View::Picture(view) => self.make_pixels(batch, |item, visit, out| view.prepare(item, visit, out)),
            View::Clip(view) => self.make_pixels(batch, |item, visit, out| view.prepare(item, visit, out)),
        }
    }

    /// Sounds, mixed before their features are computed.
    fn make_sounds(&self, batch: usize, view: &SoundView) -> Result<TrainBatch, Failure> {
        let wave = |index, visit| view.wave(self.source.item(index), visit);
        let waves = self.places(batch).into_par_iter().map(|place| self.load(place, wave));
        let mut waves: Vec<Loaded<Vec<f32>>> = waves.collect::<Result<_, _>>()?;
        let pairing = self.mix_waves(&mut waves)?;
        let (mut values, len) = self.room();
        let filled = values.par_chunks_exact_mut(len).zip(waves).map(|(out, loaded)| {
            let Loaded { index, failed, value } = loaded;
            view.features(value, self.visit(index), out)?;
            Ok(Loaded { index, failed, value: () })
        });
        let loaded = filled.collect::<Result<Vec<_>, Failure>>()?;
        self.of_classes(values, loaded, &pairing)
    }

    /// Pictures or clips, mixed as they are.
    fn make_pixels(
        &self,
        batch: usize,
        prepare: impl Fn(Item<'_>, Visit, &mut [f32]) -> Result<(), String> + Sync + Send,
    ) -> Result<TrainBatch, Failure> {
        let (mut values, len) = self.room();
        let filled = values.par_chunks_exact_mut(len).zip(self.places(batch)).map(|(out, place)| {
            self.load(place, |index, visit| prepare(self.source.item(index), visit, out))
        });
        let loaded = filled.collect::<Result<Vec<_>, Failure>>()?;
        let pairing = self.mix_pixels(&mut values, batch)?;
        self.of_classes(values, loaded, &pairing)
    }

    /// Items of one size, and the classes that they have.
    fn of_classes(
        &self,
        values: Vec<f32>,
        loaded: Vec<Loaded<()>>,
        pairing: &Pairing,
    ) -> Result<TrainBatch, Failure> {
        let targets = self.classes(loaded.iter().map(|loaded| loaded.index), pairing)?;
        let failed = loaded.into_iter().flat_map(|loaded| loaded.failed).collect();
        Ok(TrainBatch { input: values.into(), targets, items: self.options.batch_size, failed })
    }

    /// Places of a batch in the epoch.
    fn places(&self, batch: usize) -> Range<usize> {
        let items = self.options.batch_size;
        batch * items..(batch + 1) * items
    }

    /// Zeros for the values of a batch, and the length of an item.
    fn room(&self) -> (Vec<f32>, usize) {
        let len = self.options.shape.len();
        (vec![0.0; self.options.batch_size * len], len)
    }

    /// Items of their own sizes, and what is to be written of them, or else the classes that they have.
    fn make_ragged(
        &self,
        batch: usize,
        prepare: impl Fn(Item<'_>) -> Result<Batch, String> + Sync + Send,
    ) -> Result<TrainBatch, Failure> {
        let items = self.options.batch_size;
        let texts = match &self.options.targets {
            TargetKind::Texts(view) => Some(view),
            TargetKind::Classes => None,
        };
        let target = |index: usize| match texts {
            Some(view) => view.target(self.source.target(index)).map(Some),
            None => Ok(None),
        };
        let load =
            |place| self.load(place, |index, _| Ok((prepare(self.source.item(index))?, target(index)?)));
        let loaded = self.places(batch).into_par_iter().map(load);
        let loaded: Vec<Loaded<(Batch, Option<TokenIds>)>> = loaded.collect::<Result<_, _>>()?;
        let (mut input, mut answers, mut failed) = (Batch::default(), Vec::new(), Vec::new());
        let indices: Vec<usize> = loaded.iter().map(|loaded| loaded.index).collect();
        for Loaded { failed: reasons, value: (item, answer), .. } in loaded {
            input.append(item);
            answers.extend(answer);
            failed.extend(reasons);
        }
        let targets = match texts {
            Some(_) => Targets::Texts(answers),
            None => self.classes(indices.into_iter(), &Pairing::unmixed(items))?,
        };
        Ok(TrainBatch { input, targets, items, failed })
    }

    fn classes(&self, indices: impl Iterator<Item = usize>, pairing: &Pairing) -> Result<Targets, Failure> {
        let labels: Vec<Vec<(usize, f32)>> = indices.map(|index| self.source.scores(index)).collect();
        let (classes, smoothing) = (self.options.classes, self.options.label_smoothing);
        Ok(Targets::Classes(several_targets(&labels, pairing, classes, smoothing)?))
    }

    fn visit(&self, index: usize) -> Visit {
        Visit { seed: self.options.seed, epoch: self.epoch as u64, index: index as u64 }
    }

    /// Mixes pictures, or the frames of clips, with those of the other end of the batch.
    fn mix_pixels(&self, values: &mut [f32], batch: usize) -> Result<Pairing, Failure> {
        let items = self.options.batch_size;
        let Some(mix) = &self.options.mix else { return Ok(Pairing::unmixed(items)) };
        let shape = match self.options.shape {
            InputShape::Image { channels, size: (height, width) } => [items, channels, height, width],
            InputShape::Clip { channels, frames, size: (height, width) } => {
                [items, channels * frames, height, width]
            }
            _ => return Err("images of their own sizes cannot be mixed".to_owned()),
        };
        // Which batch of all: every one is mixed differently.
        let step = (self.epoch as u64) << 32 | batch as u64;
        mix.apply(values, shape, self.options.seed, step).map_err(|error| error.to_string())
    }

    /// Mixes the waveforms with those of the other end of the batch, each with a weight of its own.
    fn mix_waves(&self, waves: &mut [Loaded<Vec<f32>>]) -> Result<Pairing, Failure> {
        let mut pairing = Pairing::unmixed(waves.len());
        let Some(mix) = &self.options.mix else { return Ok(pairing) };
        let before: Vec<Vec<f32>> = waves.iter().map(|wave| wave.value.clone()).collect();
        for (place, wave) in waves.iter_mut().enumerate() {
            let (other, visit) = (&before[pairing.partner[place]], self.visit(wave.index));
            let own = mix_sounds(&mut wave.value, other, mix.mixup_alpha, visit);
            pairing.own[place] = own.map_err(|error| error.to_string())?;
        }
        Ok(pairing)
    }

    /// The item at a place of the epoch, or the next one that can be read.
    fn load<T>(
        &self,
        place: usize,
        mut prepare: impl FnMut(usize, Visit) -> Result<T, String>,
    ) -> Result<Loaded<T>, Failure> {
        let order = &self.order;
        let mut failed: Vec<(usize, String)> = Vec::new();
        for step in 0..TRIES.min(order.len()) {
            let index = order[(place + step) % order.len()];
            // A decoder that panics is that item's trouble alone.
            let done = catch_unwind(AssertUnwindSafe(|| prepare(index, self.visit(index))));
            match done.unwrap_or_else(|_| Err(format!("item {index} cannot be decoded"))) {
                Ok(value) => return Ok(Loaded { index, failed, value }),
                Err(reason) => failed.push((index, reason)),
            }
        }
        Err(failed.pop().map_or_else(String::new, |(_, reason)| reason))
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchOptions, Batches, TargetKind, TrainBatch};
    use crate::data::{Source, View};
    use crate::recipe::RegularisationRecipe;
    use std::path::Path;
    use tokmerge_data::{Preprocess, Sample};
    use tokmerge_models::InputShape;

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
        Source::Files { root: dir.to_owned(), samples: samples.into() }
    }

    fn batches(source: &Source, workers: usize, epoch: usize, first: usize) -> Vec<TrainBatch> {
        let preprocess = Preprocess { input_size: (4, 4), ..Preprocess::default() };
        let view = View::new(
            &preprocess.into(),
            &RegularisationRecipe { flip: 0.5, ..RegularisationRecipe::default() },
        )
        .unwrap();
        let shape = InputShape::Image { channels: 3, size: (4, 4) };
        let options = BatchOptions {
            batch_size: 4,
            shape,
            classes: 3,
            label_smoothing: 0.1,
            mix: None,
            seed: 3,
            workers,
            targets: TargetKind::Classes,
        };
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
        assert!(batches.iter().all(|batch| batch.items == 4 && batch.input.values.len() == 4 * 48));
        let reasons = batches.iter().flat_map(|batch| &batch.failed).map(|(_, reason)| reason);
        assert!(reasons.clone().all(|reason| reason.contains(".png")));
        let all = folder(dir.path(), 4, &[0, 1, 2, 3]);
        let view = View::new(&Preprocess::default().into(), &RegularisationRecipe::default()).unwrap();
        let options = BatchOptions {
            batch_size: 4,
            shape: InputShape::Image { channels: 3, size: (224, 224) },
            classes: 3,
            label_smoothing: 0.0,
            mix: None,
            seed: 3,
            workers: 1,
            targets: TargetKind::Classes,
        };
        let error = Batches::new(all, view, options, 0, 0, 1).unwrap().next().unwrap().unwrap_err();
        assert!(error.contains(".png"), "{error}");
    }
}
