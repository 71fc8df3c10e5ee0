//! A folder of images or sounds as training sees it: two disjoint parts, an order per epoch, and no broken files.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::augment::{Purpose, Random, Visit};
use crate::loader::guarded;
use crate::{ClassFolder, DatasetError, DecodeOptions, Limits, MediaError, Processor, Sample};

/// The positions `0..len` in the order of an epoch: a function of seed and epoch alone.
///
/// A run that goes on in the middle of an epoch skips what it has seen.
#[must_use]
pub fn epoch_order(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    Random::new(Visit { seed, epoch, index: 0 }, Purpose::Order).shuffle(&mut order);
    order
}

/// What becomes of files that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// They are left out, and named.
    Skip,
    /// The first ends it.
    Refuse,
}

impl ClassFolder {
    /// Splits into training and validation, the latter with about `validation` of each class.
    ///
    /// A class gives `validation` times its images, rounded, but keeps at least one for training. Which ones is
    /// decided by the seed and the names below the folder alone, so that the folder may move. Both parts know all
    /// classes and keep the order of the samples. Without labels the folder counts as one class.
    ///
    /// # Errors
    /// When `validation` does not lie between 0 and 1, or leaves a part without images.
    pub fn split(&self, validation: f64, seed: u64) -> Result<(Self, Self), DatasetError> {
        let refused = || DatasetError::Split { validation, media: self.media(), samples: self.len() };
        if !(validation > 0.0 && validation < 1.0) {
            return Err(refused());
        }
        let classes = self.class_names().len().max(1);
        let mut members = vec![Vec::new(); classes];
        for (position, sample) in self.samples().iter().enumerate() {
            members[sample.label.unwrap_or(0)].push((self.draw(sample, seed), position));
        }
        let mut validates = vec![false; self.len()];
        for class in &mut members {
            class.sort_unstable();
            let count = (validation * class.len() as f64).round() as usize;
            let count = count.min(class.len().saturating_sub(1));
            class[..count].iter().for_each(|&(_, position)| validates[position] = true);
        }
        let part = |validating: bool| {
            let samples = self.samples().iter().zip(&validates).filter(|&(_, &v)| v == validating);
            self.with_samples(samples.map(|(sample, _)| sample.clone()).collect())
        };
        let (training, validation) = (part(false), part(true));
        if training.is_empty() || validation.is_empty() { Err(refused()) } else { Ok((training, validation)) }
    }

    /// A random number for the name of a sample below the folder, the same with any separator.
    fn draw(&self, sample: &Sample, seed: u64) -> u64 {
        let name = sample.path.strip_prefix(self.root()).unwrap_or(&sample.path);
        // FNV-1a.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        let hash = name.iter().fold(0xCBF2_9CE4_8422_2325, |hash, part| {
            step(part.as_encoded_bytes().iter().fold(hash, |hash, &byte| step(hash, byte)), b'/')
        });
        Random::new(Visit { seed, epoch: 0, index: hash }, Purpose::Split).bits()
    }

    /// Decodes every file once, with `threads` threads, and deals with those that fail.
    ///
    /// Returns the folder without them, and what was wrong with each (with its path, in order). Training can then rely
    /// on every sample, which keeps its steps the same whatever is read when.
    ///
    /// # Errors
    /// With [`Broken::Refuse`], at the first broken file in order; with [`Broken::Skip`], when none is left.
    pub fn verify(
        &self,
        limits: &Limits,
        broken: Broken,
        threads: usize,
    ) -> Result<(Self, Vec<MediaError>), DatasetError> {
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let options = DecodeOptions { limits: *limits, ..DecodeOptions::default() };
        let load = |sample: &Sample| Processor::verify(self.media(), &sample.path, &options);
        let work = || {
            while let Some((position, sample)) = {
                let position = next.fetch_add(1, Ordering::Relaxed);
                self.samples().get(position).map(|sample| (position, sample))
            } {
                if let Err(error) = guarded(&load, sample) {
                    // Errors are pushed whole, so that a panic elsewhere cannot have left half of one.
                    found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((position, error));
                    if broken == Broken::Refuse {
                        // Everything before was taken by some thread, and is finished.
                        next.fetch_max(self.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let helpers = threads.clamp(1, self.len().max(1)) - 1;
            for _ in 0..helpers {
                // Without a helper the others do the work.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        let mut found = found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        found.sort_by_key(|&(position, _)| position);
        if broken == Broken::Refuse && !found.is_empty() {
            return Err(DatasetError::Broken { source: Box::new(found.swap_remove(0).1) });
        }
        if found.len() == self.len() && !found.is_empty() {
            let (count, source) = (found.len(), Box::new(found.swap_remove(0).1));
            return Err(DatasetError::AllBroken { media: self.media(), count, source });
        }
        let mut bad = found.iter().map(|&(position, _)| position).peekable();
        let good =
            self.samples().iter().enumerate().filter(|(position, _)| bad.next_if_eq(position).is_none());
        let folder = self.with_samples(good.map(|(_, sample)| sample.clone()).collect());
        Ok((folder, found.into_iter().map(|(_, error)| error).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A folder of PNG files; those in `bad` hold text.
    fn folder(dir: &Path, names: &[&str], bad: &[&str]) -> ClassFolder {
        for name in names {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if bad.contains(name) {
                std::fs::write(&path, "no image").unwrap();
            } else {
                image::RgbImage::new(3, 2).save(&path).unwrap();
            }
        }
        ClassFolder::open(dir).unwrap()
    }

    fn labels(folder: &ClassFolder) -> Vec<usize> {
        folder.samples().iter().filter_map(|sample| sample.label).collect()
    }

    #[test]
    fn orders_are_permutations_of_their_own() {
        let order = epoch_order(100, 1, 0);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(epoch_order(100, 1, 0), order);
        assert_ne!(epoch_order(100, 1, 1), order);
        assert_ne!(epoch_order(100, 2, 0), order);
        assert!(epoch_order(0, 1, 1).is_empty());
    }

    #[test]
    fn every_class_gives_its_share() {
        let names: Vec<String> = (0..33)
            .map(|i| format!("{}/{i:02}.png", ["a", "b", "c"][usize::from(i >= 20) + usize::from(i >= 32)]))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [here, there] = dirs.each_ref().map(|dir| folder(dir.path(), &names, &[]));
        let (training, validation) = here.split(0.25, 7).unwrap();
        // 20, 12 and 1 image; the single one trains.
        assert_eq!((training.len(), labels(&validation)), (25, [vec![0; 5], vec![1; 3]].concat()));
        assert_eq!(validation.class_names(), ["a", "b", "c"]);
        let mut all: Vec<_> = training.samples().iter().chain(validation.samples()).cloned().collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(all, here.samples(), "disjoint, and complete");
        let name = |folder: &ClassFolder| -> Vec<_> {
            folder.samples().iter().map(|s| s.path.strip_prefix(folder.root()).unwrap().to_owned()).collect()
        };
        assert_eq!(name(&there.split(0.25, 7).unwrap().1), name(&validation), "the same in another place");
        assert_ne!(name(&here.split(0.25, 8).unwrap().1), name(&validation), "another seed");
    }

    #[test]
    fn splits_that_leave_nothing_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let images = folder(dir.path(), &["a/1.png", "a/2.png"], &[]);
        let error = |validation| images.split(validation, 1).unwrap_err().to_string();
        assert!(error(0.0).contains("0 of 2 images"), "{}", error(0.0));
        assert!(
            error(1.0).contains("between 0 and 1")
                && error(f64::NAN).contains("NaN")
                && !error(0.1).is_empty()
        );
        assert_eq!(images.split(0.9, 1).unwrap().0.len(), 1);
    }

    #[test]
    fn broken_files_are_skipped_or_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["a/1.png", "a/2.png", "b/3.png", "b/4.png", "c/5.png"];
        let images = folder(dir.path(), &names, &["a/2.png", "c/5.png"]);
        for threads in [0, 1, 3, 100] {
            let (good, errors) = images.verify(&Limits::default(), Broken::Skip, threads).unwrap();
            assert_eq!((labels(&good), good.class_names().len()), (vec![0, 1, 1], 3));
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(
                errors.len() == 2 && errors[0].contains("2.png") && errors[1].contains("5.png"),
                "{errors:?}"
            );
            let refused = images.verify(&Limits::default(), Broken::Refuse, threads).unwrap_err().to_string();
            assert!(refused.contains("2.png") && refused.contains("skip"), "{refused}");
        }
        let tight = Limits { max_pixels: 1, ..Limits::default() };
        let none = images.verify(&tight, Broken::Skip, 2).unwrap_err().to_string();
        assert!(none.contains("none of 5 images") && none.contains("1.png"), "{none}");
        let (good, errors) = images.limit(1).verify(&Limits::default(), Broken::Refuse, 2).unwrap();
        assert!(good.len() == 1 && errors.is_empty());
    }

    #[test]
    fn damaged_pictures_are_found_behind_a_good_header() {
        let dir = tempfile::tempdir().unwrap();
        let images = folder(dir.path(), &["a/1.png", "a/2.png"], &[]);
        let path = &images.samples()[0].path;
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 20]).unwrap();
        let (good, errors) = images.verify(&Limits::default(), Broken::Skip, 2).unwrap();
        assert!(good.len() == 1 && errors[0].to_string().contains("1.png"));
    }
}
