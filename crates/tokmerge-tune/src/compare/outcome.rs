//! What a comparison found.

use super::entrant::Role;
use super::target::Target;
use crate::Point;
use serde::Serialize;
use tokmerge_data::Media;
use tokmerge_eval::{Spread, wilson};

/// Methods side by side, at one cost or at several.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What the model takes.
    #[serde(skip)]
    pub media: Media,
    /// What they are judged by.
    pub judged_by: Judge,
    /// Images on which they were brought to the cost.
    pub search_images: usize,
    /// Other images, on which they were measured.
    pub held_out_images: usize,
    /// Images per batch when time was taken.
    pub batch_size: usize,
    /// Batches of each method that time was taken of.
    pub rounds: usize,
    /// The model as it is.
    pub unmerged: Row,
    /// A table for each cost.
    pub tables: Vec<Table>,
}

/// What methods are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judge {
    /// Accuracy on labelled images.
    Top1,
    /// How often they name the unmerged model's class.
    Agreement,
    /// How alike embeddings are to the unmerged ones, of a model without classes.
    Cosine,
}

/// Every method at one cost.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The cost.
    pub at: Target,
    /// The same in words.
    pub cost: String,
    /// Methods that were brought to it, the best first.
    pub rows: Vec<Row>,
    /// Methods that were not.
    pub left_out: Vec<LeftOut>,
}

/// A method at a cost, measured on images that it was not brought there on.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How it is called.
    pub label: String,
    /// What it is there for.
    pub role: Role,
    /// The method, as a spec.
    pub merge: String,
    /// Top-1 accuracy in percent, where labels say what is right.
    pub top1: Option<Estimate>,
    /// Percent of images on which it names the unmerged model's class.
    pub agreement: Option<Estimate>,
    /// Mean cosine of the embedding to the unmerged one.
    pub cosine: Option<Estimate>,
    /// Billions of multiply-adds per item.
    pub gmacs: f64,
    /// The same as a part of the unmerged model's.
    pub gmacs_ratio: f64,
    /// Mean tokens after the last block.
    pub tokens: f64,
    /// Milliseconds per image.
    pub ms_per_image: Spread,
    /// Speed over that of the unmerged model, round by round.
    pub speedup: Spread,
    /// By what part it misses the cost on the images that it was measured on: above 0 where it costs more.
    pub off_by: f64,
    /// How it compares with the best of its table.
    pub standing: Standing,
}

/// A measured value and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// What was measured.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How a method compares with the best of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is the best.
    Best,
    /// It lies within the interval of the best: these images do not tell them apart.
    WithinNoise,
    /// It lies below.
    Below,
}

/// A method that could not be brought to a cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    /// How it is called.
    pub label: String,
    /// Why, in a line.
    pub reason: String,
}

impl Estimate {
    /// A percentage that was counted.
    pub(crate) fn counted(percent: f64, images: usize) -> Self {
        let (low, high) = wilson((percent * images as f64 / 100.0).round() as usize, images);
        Self { value: percent, low, high }
    }

    /// The mean of cosines, by the normal approximation.
    pub(crate) fn mean(cosines: &[f32]) -> Self {
        const Z: f64 = 1.959_964;
        let count = cosines.len().max(1) as f64;
        let value = cosines.iter().map(|cosine| f64::from(*cosine)).sum::<f64>() / count;
        let squares = cosines.iter().map(|cosine| (f64::from(*cosine) - value).powi(2)).sum::<f64>();
        let half = Z * (squares / (count - 1.0).max(1.0) / count).sqrt();
        Self { value, low: (value - half).max(-1.0), high: (value + half).min(1.0) }
    }
}

impl Judge {
    /// What can be judged by, of images that are labelled or not and a model with classes or without.
    pub(crate) fn of(classes: usize, labelled: bool) -> Self {
        match (classes, labelled) {
            (0, _) => Self::Cosine,
            (_, true) => Self::Top1,
            (_, false) => Self::Agreement,
        }
    }
}

impl Row {
    /// A measured point, before its time is known.
    pub(crate) fn of(point: &Point, label: &str, role: Role, judge: Judge, unmerged: &Point) -> Self {
        let counted = |percent: f64| Estimate::counted(percent, point.images);
        let cosines = point.raw.as_ref().map_or(&[][..], |raw| &raw.cosines);
        let nothing = Spread::of(&[]);
        Self {
            label: label.to_owned(),
            role,
            merge: point.merge.clone(),
            top1: point.top1.filter(|_| judge == Judge::Top1).map(counted),
            agreement: (judge != Judge::Cosine).then(|| counted(point.agreement)),
            cosine: (judge == Judge::Cosine).then(|| match role {
                // It is like itself.
                Role::Unmerged => Estimate { value: 1.0, low: 1.0, high: 1.0 },
                Role::Method | Role::Control => Estimate::mean(cosines),
            }),
            gmacs: point.gmacs,
            gmacs_ratio: point.gmacs / unmerged.gmacs,
            tokens: point.tokens,
            ms_per_image: nothing,
            speedup: nothing,
            off_by: 0.0,
            standing: Standing::Below,
        }
    }

    /// What the row is judged by.
    #[must_use]
    pub fn quality(&self, judge: Judge) -> Estimate {
        let found = match judge {
            Judge::Top1 => self.top1,
            Judge::Agreement => self.agreement,
            Judge::Cosine => self.cosine,
        };
        found.unwrap_or(Estimate { value: f64::NAN, low: f64::NAN, high: f64::NAN })
    }
}

/// Sorts rows by quality, and says how each compares with the first.
pub(crate) fn rank(rows: &mut [Row], judge: Judge) {
    rows.sort_by(|a, b| {
        let (x, y) = (a.quality(judge).value, b.quality(judge).value);
        y.total_cmp(&x).then(a.gmacs.total_cmp(&b.gmacs))
    });
    let Some(best) = rows.first().map(|best| best.quality(judge)) else { return };
    for (place, row) in rows.iter_mut().enumerate() {
        row.standing = match place {
            0 => Standing::Best,
            _ if row.quality(judge).value >= best.low => Standing::WithinNoise,
            _ => Standing::Below,
        };
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Estimate, Judge, Role, Row, Standing, rank};
    use tokmerge_eval::Spread;

    /// A row of a table of 200 labelled images.
    pub(crate) fn row(label: &str, merge: &str, top1: f64, gmacs: f64, speed: f64) -> Row {
        let spread = |median: f64| Spread { min: 0.9 * median, median, max: 1.1 * median };
        Row {
            label: label.to_owned(),
            role: if label.starts_with("random") { Role::Control } else { Role::Method },
            merge: merge.to_owned(),
            top1: Some(Estimate::counted(top1, 200)),
            agreement: Some(Estimate::counted(top1 + 10.0, 200)),
            cosine: None,
            gmacs,
            gmacs_ratio: gmacs / 1.25,
            tokens: 100.0 * gmacs,
            ms_per_image: spread(12.0 / speed),
            speedup: spread(speed),
            off_by: 0.0,
            standing: Standing::Below,
        }
    }

    #[test]
    fn the_best_comes_first_and_what_lies_in_its_interval_is_said_to() {
        let mut rows = vec![
            row("a", "tome:r=1", 40.0, 0.8, 1.0),
            row("b", "tome:r=2", 80.0, 0.9, 1.0),
            row("c", "tome:r=3", 77.0, 0.8, 1.0),
            row("d", "tome:r=4", 80.0, 0.8, 1.0),
        ];
        rank(&mut rows, Judge::Top1);
        let found: Vec<_> = rows.iter().map(|row| (row.label.as_str(), row.standing)).collect();
        let noise = Standing::WithinNoise;
        assert_eq!(found, [("d", Standing::Best), ("b", noise), ("c", noise), ("a", Standing::Below)]);
        rank(&mut [], Judge::Top1);
    }

    #[test]
    fn intervals_of_means() {
        let same = Estimate::mean(&[0.5; 9]);
        assert_eq!((same.low, same.value, same.high), (0.5, 0.5, 0.5));
        let estimate = Estimate::mean(&[0.9, 0.9, 0.8, 1.0]);
        assert!((estimate.value - 0.9).abs() < 1e-6, "{estimate:?}");
        // A deviation of 0.0816 over the root of 4, times 1.96.
        assert!((estimate.value - estimate.low - 0.08).abs() < 1e-3, "{estimate:?}");
        assert!(Estimate::mean(&[]).value == 0.0 && Estimate::mean(&[1.0, 0.0]).high == 1.0);
    }
}
