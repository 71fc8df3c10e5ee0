//! What measurements depend on, as short text.

use crate::{Fingerprint, Images};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use std::path::Path;
use tokmerge_checkpoint::Fnv;
use tokmerge_data::{Decode, ExifOrientation};
use tokmerge_models::{Convention, Model};

impl Fingerprint {
    /// Of a model and the images below `root` that it is searched on. The weights count by their values, not by
    /// where they were read from.
    #[must_use]
    pub fn of(model: &Model, dtype: &str, convention: Convention, images: &Images, root: &Path) -> Self {
        let mut weights = WeightSum::default();
        model.network().visit(&mut weights);
        Self {
            model: model.name(),
            weights: weights.0.to_string(),
            img_size: model.config().shape().img_size(),
            preprocess: model.processor().to_string(),
            dtype: dtype.to_owned(),
            convention: convention.to_string(),
            images: describe(images, root),
        }
    }
}

/// How many, with labels or without, and a checksum of their names, sizes in bytes and labels.
fn describe(images: &Images, root: &Path) -> String {
    let mut sum = Fnv::default();
    for sample in images.samples() {
        let name = sample.path.strip_prefix(root).unwrap_or(&sample.path);
        let name = name.to_string_lossy();
        sum.bytes(name.as_bytes());
        sum.number(name.len() as u64);
        sum.number(std::fs::metadata(&sample.path).map_or(0, |found| found.len()));
        sum.number(sample.label.map_or(u64::MAX, |label| label as u64));
    }
    let labelled = images.samples().iter().all(|sample| sample.label.is_some());
    let kind = if labelled { "labelled images" } else { "images" };
    let decoding = images.decoding();
    let decoded = if decoding.decode == Decode::Fast { ", decoded fast" } else { "" };
    let turned = if decoding.orientation == ExifOrientation::Ignored { ", not turned upright" } else { "" };
    format!("{} {kind}{decoded}{turned} ({sum})", images.len())
}

/// The values of all weights.
#[derive(Default)]
struct WeightSum(Fnv);

impl ModuleVisitor for WeightSum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        for value in param.val().into_data().iter::<f32>() {
            self.0.number(value.to_bits().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::describe;
    use crate::Images;
    use tokmerge_data::Sample;

    #[test]
    fn names_sizes_and_labels_count_and_where_the_folder_lies_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let of = |folder: &str, content: &str, label: Option<usize>| {
            let root = dir.path().join(folder);
            std::fs::create_dir_all(&root).unwrap();
            std::fs::write(root.join("a.png"), content).unwrap();
            let sample = Sample { path: root.join("a.png"), label };
            describe(&Images::from_pixels(Vec::new(), vec![sample]), &root)
        };
        let first = of("x", "1", Some(2));
        assert_eq!(first, of("y", "1", Some(2)));
        assert!(first.starts_with("1 labelled images ("), "{first}");
        assert_ne!(first, of("x", "12", Some(2)));
        assert_ne!(first, of("x", "1", Some(3)));
        assert!(of("x", "1", None).starts_with("1 images ("));
    }
}
