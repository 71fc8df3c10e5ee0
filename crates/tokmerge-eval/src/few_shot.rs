//! Few-shot accuracy of frozen features: a linear head from a few examples per class, in closed form.
//!
//! The protocol of ViT (Dosovitskiy et al., 2020, arXiv:2010.11929, §4.1) that PatchMerger (Renggli et al., 2022,
//! arXiv:2202.12015, §4) uses as well: regularised least squares from features to targets of each class. It needs no
//! training, so it says quickly what merging leaves of a representation. Targets are 1 for the class and 0 for the
//! others; ViT's -1 and 1 give the same classes. The bias comes from centring features and targets, and is not
//! regularised.

use crate::least_squares::Matrix;
use serde::Serialize;

use crate::wilson;

/// How many examples, and which.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FewShot {
    /// Examples of each class that the head is fitted to; 5.
    pub shots: usize,
    /// Added to the diagonal of the examples' scatter matrix, in units of that diagonal's mean, so that features of any
    /// scale are alike; 1.
    pub ridge: f64,
    /// Decides which examples.
    pub seed: u64,
}

impl Default for FewShot {
    fn default() -> Self {
        Self { shots: 5, ridge: 1.0, seed: 0 }
    }
}

/// Features of images, and their labels.
#[derive(Clone, Copy, Debug)]
pub struct Features<'a> {
    /// `[N, D]`, row by row.
    pub values: &'a [f32],
    /// `D`.
    pub dim: usize,
    /// `[N]`, each below `num_classes`.
    pub labels: &'a [usize],
    /// Number of classes.
    pub num_classes: usize,
}

/// Accuracy of a head on the images that it was not fitted to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FewShotAccuracy {
    /// Images classified correctly.
    pub hits: usize,
    /// Images classified.
    pub trials: usize,
    /// `hits` of `trials`, in percent.
    pub percent: f64,
    /// The 95 % Wilson interval of it, in percent. It is about the images tried, not the choice of examples: several
    /// seeds show what that does.
    pub interval: (f64, f64),
    /// The head.
    #[serde(skip)]
    pub head: LinearHead,
}

/// A linear classifier: scores are `features * weights + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearHead {
    /// `[D, num_classes]`, row by row.
    pub weights: Vec<f64>,
    /// `[num_classes]`.
    pub bias: Vec<f64>,
}

/// Why there is no head.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FewShotError {
    /// Features and labels do not fit each other.
    #[error(
        "{values} feature values are not {labels} labels times {dim} values; pass one row of features per label"
    )]
    Shape {
        /// Number of values.
        values: usize,
        /// Number of labels.
        labels: usize,
        /// Values in a row.
        dim: usize,
    },
    /// A label names no class.
    #[error(
        "label {label} is none of {num_classes} classes, which count from 0; check the number of classes"
    )]
    Label {
        /// The label.
        label: usize,
        /// The number of classes.
        num_classes: usize,
    },
    /// A feature is NaN or infinite.
    #[error("the features of image {row} are not all finite; check the model and its weights")]
    NotFinite {
        /// The image.
        row: usize,
    },
    /// No example was asked for.
    #[error("shots is 0, and a head needs examples; use e.g. 5")]
    NoShots,
    /// A class has too few images.
    #[error(
        "class {class} has {images} images, and {shots} shots need {shots}; use fewer shots or more images"
    )]
    TooFew {
        /// The class.
        class: usize,
        /// Its images.
        images: usize,
        /// [`FewShot::shots`].
        shots: usize,
    },
    /// No image would be left to try the head on.
    #[error("{shots} shots take all {images} images, and none is left to try the head on; use fewer shots")]
    NothingLeft {
        /// All images.
        images: usize,
        /// [`FewShot::shots`].
        shots: usize,
    },
    /// The ridge is no usable number.
    #[error("ridge is {ridge}, and it must be a finite number of at least 0; use e.g. 1")]
    Ridge {
        /// The value.
        ridge: f64,
    },
    /// The equations have no single solution.
    #[error("ridge {ridge} leaves several heads that fit equally well; use a larger one, e.g. 1")]
    Singular {
        /// The ridge.
        ridge: f64,
    },
}

impl FewShot {
    /// Fits a head to `shots` random images of each class and tries it on all others.
    ///
    /// Classes without any image are left out; they get no score above the others'.
    ///
    /// # Errors
    /// When features and labels do not fit each other or the numbers, or nothing would be left to try.
    pub fn accuracy(&self, features: &Features<'_>) -> Result<FewShotAccuracy, FewShotError> {
        features.check()?;
        let examples = self.examples(features)?;
        let mut is_example = vec![false; features.labels.len()];
        examples.iter().for_each(|&row| is_example[row] = true);
        let tried: Vec<usize> = (0..features.labels.len()).filter(|&row| !is_example[row]).collect();
        if tried.is_empty() {
            return Err(FewShotError::NothingLeft { images: is_example.len(), shots: self.shots });
        }
        let ridge = check_ridge(self.ridge)? * features.mean_scatter(&examples);
        let head = LinearHead::fit_rows(features, &examples, ridge)?;
        let right = |&&row: &&usize| head.classify(features.row(row)) == features.labels[row];
        let (hits, trials) = (tried.iter().filter(right).count(), tried.len());
        let percent = 100.0 * hits as f64 / trials as f64;
        Ok(FewShotAccuracy { hits, trials, percent, interval: wilson(hits, trials), head })
    }

    /// Rows of the examples, in order.
    fn examples(&self, features: &Features<'_>) -> Result<Vec<usize>, FewShotError> {
        if self.shots == 0 {
            return Err(FewShotError::NoShots);
        }
        let mut members = vec![Vec::new(); features.num_classes];
        for (row, &label) in features.labels.iter().enumerate() {
            members[label].push(row);
        }
        let mut random = tokmerge_nn::Random::new(self.seed);
        let mut examples = Vec::new();
        for (class, mut rows) in members.into_iter().enumerate() {
            let (images, shots) = (rows.len(), self.shots);
            if images > 0 && images < shots {
                return Err(FewShotError::TooFew { class, images, shots });
            }
            random.shuffle(&mut rows);
            examples.extend(rows.into_iter().take(shots));
        }
        examples.sort_unstable();
        Ok(examples)
    }
}

impl Features<'_> {
    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }

    /// The mean over features of their summed squared distances from their means; 1 where nothing differs.
    fn mean_scatter(&self, rows: &[usize]) -> f64 {
        let (mut sums, mut squares) = (vec![0.0; self.dim], vec![0.0; self.dim]);
        for &row in rows {
            for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(self.row(row)) {
                let value = f64::from(*value);
                *sum += value;
                *square += value * value;
            }
        }
        let of = |(sum, square): (&f64, &f64)| square - sum * sum / rows.len().max(1) as f64;
        let mean = sums.iter().zip(&squares).map(of).sum::<f64>() / self.dim as f64;
        if mean > 0.0 { mean } else { 1.0 }
    }

    fn check(&self) -> Result<(), FewShotError> {
        let (values, labels, dim) = (self.values.len(), self.labels.len(), self.dim);
        if dim == 0 || labels.checked_mul(dim) != Some(values) {
            return Err(FewShotError::Shape { values, labels, dim });
        }
        let num_classes = self.num_classes;
        if let Some(&label) = self.labels.iter().find(|&&label| label >= num_classes) {
            return Err(FewShotError::Label { label, num_classes });
        }
        match self.values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(FewShotError::NotFinite { row: at / dim }),
            None => Ok(()),
        }
    }
}

fn check_ridge(ridge: f64) -> Result<f64, FewShotError> {
    if ridge >= 0.0 && ridge.is_finite() { Ok(ridge) } else { Err(FewShotError::Ridge { ridge }) }
}

impl LinearHead {
    /// The head of least squared error on all rows, plus `ridge` times its squared weights, in units of squared features.
    ///
    /// # Errors
    /// When features and labels do not fit each other, or with ridge 0 several heads are equally good.
    pub fn fit(features: &Features<'_>, ridge: f64) -> Result<Self, FewShotError> {
        features.check()?;
        let rows: Vec<usize> = (0..features.labels.len()).collect();
        Self::fit_rows(features, &rows, ridge)
    }

    fn fit_rows(features: &Features<'_>, rows: &[usize], ridge: f64) -> Result<Self, FewShotError> {
        let ridge = check_ridge(ridge)?;
        let (n, dim, classes) = (rows.len(), features.dim, features.num_classes);
        let x = Matrix::new(n, dim, |i, j| f64::from(features.row(rows[i])[j]));
        let y = Matrix::new(n, classes, |i, j| f64::from(u8::from(features.labels[rows[i]] == j)));
        let (x_mean, y_mean) = (x.mean_row(), y.mean_row());
        let (x, y) = (x.minus_row(&x_mean), y.minus_row(&y_mean));
        let (x_columns, singular) = (x.transposed(), FewShotError::Singular { ridge });
        // Two forms of one solution; the smaller system is solved. Without a ridge only the first can have one,
        // since centred rows add up to nothing.
        let weights = if dim <= n || ridge == 0.0 {
            x_columns.gram(ridge).solve(x_columns.times(&y)).ok_or(singular)?
        } else {
            x_columns.times(&x.gram(ridge).solve(y).ok_or(singular)?)
        };
        let shift = Matrix { rows: 1, columns: dim, values: x_mean }.times(&weights);
        let bias = y_mean.iter().zip(&shift.values).map(|(mean, shift)| mean - shift).collect();
        Ok(Self { weights: weights.values, bias })
    }

    /// The score of each class for one row of features.
    ///
    /// # Panics
    /// When `features` has another length than the rows fitted to.
    #[must_use]
    pub fn scores(&self, features: &[f32]) -> Vec<f64> {
        let classes = self.bias.len();
        assert_eq!(features.len() * classes, self.weights.len(), "a head for rows of another length");
        let mut scores = self.bias.clone();
        for (&value, weights) in features.iter().zip(self.weights.chunks_exact(classes.max(1))) {
            for (score, weight) in scores.iter_mut().zip(weights) {
                *score += f64::from(value) * weight;
            }
        }
        scores
    }

    /// The class of the highest score, the first of several.
    ///
    /// # Panics
    /// As [`scores`](Self::scores).
    #[must_use]
    pub fn classify(&self, features: &[f32]) -> usize {
        let scores = self.scores(features);
        (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    /// Points around a corner of their own for each class.
    fn clusters(per_class: usize, classes: usize, dim: usize, spread: f64) -> (Vec<f32>, Vec<usize>) {
        let mut random = tokmerge_nn::Random::new(3);
        let labels: Vec<usize> = (0..per_class * classes).map(|i| i % classes).collect();
        let value =
            |label: usize, j: usize, noise: f64| (f64::from(u8::from(label == j)) + spread * noise) as f32;
        let rows = labels.iter().flat_map(|&label| (0..dim).map(move |j| (label, j)));
        (rows.map(|(label, j)| value(label, j, random.normal())).collect(), labels)
    }

    #[test]
    fn one_feature_by_hand() {
        // Centred features -1, 0, 1; centred targets of class 1: -1/3, -1/3, 2/3. Slope 1 / (2 + ridge).
        let features = Features { values: &[1.0, 2.0, 3.0], dim: 1, labels: &[0, 0, 1], num_classes: 2 };
        let head = LinearHead::fit(&features, 0.0).unwrap();
        assert!(
            close(&head.weights, &[-0.5, 0.5]) && close(&head.bias, &[5.0 / 3.0, -2.0 / 3.0]),
            "{head:?}"
        );
        let ridged = LinearHead::fit(&features, 2.0).unwrap();
        assert!(close(&ridged.weights, &[-0.25, 0.25]), "{ridged:?}");
        assert!(close(&ridged.scores(&[2.0]), &[2.0 / 3.0, 1.0 / 3.0]));
        assert_eq!([1.0, 2.0, 3.0].map(|x| head.classify(&[x])), [0, 0, 1]);
    }

    #[test]
    fn the_gradient_of_the_loss_is_zero_in_both_forms() {
        for (n, dim) in [(40, 6), (9, 17)] {
            let (values, labels) = clusters(n / 3, 3, dim, 0.7);
            let features = Features { values: &values, dim, labels: &labels, num_classes: 3 };
            let head = LinearHead::fit(&features, 0.3).unwrap();
            let errors: Vec<Vec<f64>> = labels
                .iter()
                .enumerate()
                .map(|(row, &label)| {
                    let mut scores = head.scores(features.row(row));
                    scores[label] -= 1.0;
                    scores
                })
                .collect();
            for class in 0..3 {
                assert!(errors.iter().map(|error| error[class]).sum::<f64>().abs() < 1e-9, "bias");
                for j in 0..dim {
                    let slope: f64 = errors
                        .iter()
                        .enumerate()
                        .map(|(row, e)| e[class] * f64::from(features.row(row)[j]))
                        .sum();
                    assert!((slope + 0.3 * head.weights[j * 3 + class]).abs() < 1e-9, "weight {j} {class}");
                }
            }
        }
    }

    #[test]
    fn accuracy_counts_only_images_that_were_no_examples() {
        let (values, labels) = clusters(30, 4, 8, 0.1);
        // A class without images is no obstacle.
        let features = Features { values: &values, dim: 8, labels: &labels, num_classes: 5 };
        let easy = FewShot::default().accuracy(&features).unwrap();
        assert_eq!((easy.hits, easy.trials, easy.percent), (100, 100, 100.0));
        assert!(easy.interval.0 > 95.0 && easy.head.bias.len() == 5);
        let (values, labels) = clusters(200, 4, 8, 1.0);
        let features = Features { values: &values, dim: 8, labels: &labels, num_classes: 4 };
        let at = |shots| FewShot { shots, ..FewShot::default() }.accuracy(&features).unwrap();
        assert!(at(100).percent > at(1).percent + 5.0, "{} {}", at(1).percent, at(100).percent);
        let other = FewShot { seed: 1, ..FewShot::default() }.accuracy(&features).unwrap();
        assert_ne!(other.head, at(5).head);
        assert_eq!(at(5), at(5));
    }

    #[test]
    fn the_scale_of_features_does_not_matter() {
        let (values, labels) = clusters(40, 4, 8, 1.0);
        let accuracy = |factor: f32| {
            let values: Vec<f32> = values.iter().map(|value| value * factor).collect();
            let features = Features { values: &values, dim: 8, labels: &labels, num_classes: 4 };
            FewShot { shots: 2, ..FewShot::default() }.accuracy(&features).unwrap().hits
        };
        // By powers of two, so that nothing is rounded otherwise.
        assert_eq!(accuracy(1.0), accuracy(1024.0));
        assert_eq!(accuracy(1.0), accuracy(1.0 / 1024.0));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let accuracy = |values: &[f32], labels: &[usize], spec: FewShot| {
            spec.accuracy(&Features { values, dim: 2, labels, num_classes: 2 }).unwrap_err().to_string()
        };
        let one = FewShot { shots: 1, ..FewShot::default() };
        assert!(accuracy(&[0.0; 5], &[0, 1], one).contains("5 feature values"));
        assert!(accuracy(&[0.0; 4], &[0, 2], one).contains("label 2"));
        assert!(accuracy(&[0.0, 0.0, f32::NAN, 0.0], &[0, 1], one).contains("image 1"));
        assert!(
            accuracy(&[0.0; 6], &[0, 0, 1], FewShot { shots: 2, ..one }).contains("class 1 has 1 images")
        );
        assert!(accuracy(&[0.0; 4], &[0, 1], one).contains("none is left"));
        assert!(accuracy(&[0.0; 4], &[0, 1], FewShot { shots: 0, ..one }).contains("shots is 0"));
        assert!(accuracy(&[0.0; 6], &[0, 0, 1], FewShot { ridge: -1.0, ..one }).contains("ridge is -1"));
        assert!(accuracy(&[0.0; 6], &[0, 0, 1], FewShot { ridge: 0.0, ..one }).contains("larger"));
        // Two equal features: without a ridge nothing says which of them counts.
        let twins = [1.0, 1.0, 2.0, 2.0, 4.0, 4.0];
        assert!(accuracy(&twins, &[0, 1, 1], FewShot { ridge: 0.0, ..one }).contains("larger"));
    }
}
