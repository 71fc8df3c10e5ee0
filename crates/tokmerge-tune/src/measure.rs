//! What a method is worth on the images of a search.

use crate::quality::margin;
use crate::{Family, Images, Journal, JournalError, Shifts};
use serde::{Deserialize, Serialize};
use std::time::Instant;
use tokmerge_eval::cosine;
use tokmerge_merge::{BindError, Method, Reduction};
use tokmerge_models::{Convention, Model, NotFinite, Pass, top2_margin};

/// One method on the images of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The method, as a spec.
    pub merge: String,
    /// What kind of method it is.
    pub family: Family,
    /// Images measured on.
    pub images: usize,
    /// Mean over the images, in billions; second looks included.
    pub gmacs: f64,
    /// Mean tokens after the last merge.
    pub tokens: f64,
    /// Percent of the images on which it names the unmerged model's class, counted.
    pub agreement: f64,
    /// The same, estimated from margins ([`Shifts`]): surer on few images.
    pub expected_agreement: f64,
    /// Standard error of that estimate, in points.
    pub agreement_error: f64,
    /// Percent of labelled images named right, counted; `None` without labels.
    pub top1: Option<f64>,
    /// Points of top-1 accuracy lost, estimated from margins; `None` without labels.
    pub expected_drop: Option<f64>,
    /// Standard error of that estimate, in points.
    pub drop_error: Option<f64>,
    /// Seconds of computing per image: measured in turn with the unmerged model for points of the front and random
    /// schedules, taken from the search for others, where other work disturbs it.
    pub seconds: f64,
    /// Seconds of the unmerged model per image, at the same time.
    pub unmerged_seconds: f64,
    /// Margins of the unmerged model's classes over the images: what other rechecks would give can be worked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Raw>,
}

/// What one pass over the images showed, image by image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Raw {
    /// Margins of the unmerged model's class.
    pub own: Shifts,
    /// Margins of the label, for labelled images.
    pub label: Shifts,
    /// How clear the merged answers were (`tokmerge_models::top2_margin`).
    pub gaps: Vec<f32>,
    /// Billions of multiply-adds without second looks.
    pub gmacs: f64,
    /// Cosines of the embeddings to the unmerged ones, of a model without classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cosines: Vec<f32>,
}

/// Measures methods on images, and remembers.
#[derive(Debug)]
pub struct Tuner<'a> {
    model: &'a Model,
    images: Images,
    journal: Journal,
    convention: Convention,
    /// The unmerged model's classes and their margins.
    classes: Vec<usize>,
    margins: Vec<f32>,
    /// Margins of the labels, where all images have one.
    label_margins: Option<Vec<f32>>,
    /// The unmerged embeddings, where there are no classes.
    embeddings: Option<Vec<Vec<f32>>>,
    unmerged: Point,
}

impl<'a> Tuner<'a> {
    /// Runs the unmerged model on the images, which must not be none. With `labelled` the images' labels are the
    /// model's classes. Of a model without classes only cosines of embeddings ([`Raw::cosines`]) and costs mean anything.
    ///
    /// # Errors
    /// When an output is not finite.
    ///
    /// # Panics
    /// When there are no images, or a label is none of the model's classes.
    pub fn new(
        model: &'a Model,
        images: Images,
        labelled: bool,
        convention: Convention,
        journal: Journal,
    ) -> Result<Self, NotFinite> {
        assert!(!images.is_empty(), "tuning needs images");
        model.warm_up();
        let pass = pass(model, &images, &Reduction::none(), convention)?;
        let classes: Vec<usize> = pass.logits.iter().map(|logits| best(logits)).collect();
        let margins: Vec<f32> =
            pass.logits.iter().zip(&classes).map(|(logits, &class)| margin(logits, class)).collect();
        let label_margins = labelled.then(|| {
            let of = |(logits, sample): (&Vec<f32>, &tokmerge_data::Sample)| {
                sample.label.map(|label| margin(logits, label))
            };
            pass.logits.iter().zip(images.samples()).map(of).collect::<Option<Vec<f32>>>()
        });
        let label_margins = label_margins.flatten();
        let right = label_margins.as_ref().map(|margins| {
            100.0 * margins.iter().filter(|margin| **margin > 0.0).count() as f64 / margins.len() as f64
        });
        let unmerged = Point {
            merge: Method::None.to_string(),
            family: Family::Unmerged,
            images: images.len(),
            gmacs: pass.gmacs,
            tokens: pass.tokens,
            agreement: 100.0,
            expected_agreement: 100.0,
            agreement_error: 0.0,
            top1: right,
            expected_drop: right.map(|_| 0.0),
            drop_error: right.map(|_| 0.0),
            seconds: pass.seconds,
            unmerged_seconds: pass.seconds,
            raw: None,
        };
        let embeddings = (model.classes() == 0).then_some(pass.logits);
        Ok(Self { model, images, journal, convention, classes, margins, label_margins, embeddings, unmerged })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// The images.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The model as it is.
    #[must_use]
    pub fn unmerged(&self) -> &Point {
        &self.unmerged
    }

    /// What counts as an operation.
    #[must_use]
    pub fn convention(&self) -> Convention {
        self.convention
    }

    /// Whether accuracy is measured too.
    #[must_use]
    pub fn is_labelled(&self) -> bool {
        self.label_margins.is_some()
    }

    /// Whether a method was measured before.
    #[must_use]
    pub fn knows(&self, method: &Method) -> bool {
        self.journal.get(&method.clone().with_recheck(None).to_string()).is_some()
    }

    /// Billions of multiply-adds and tokens left, without running anything: where all images have as many tokens and the method
    /// says how many go.
    pub(crate) fn counted(&self, reduction: &Reduction) -> Option<(f64, f64)> {
        let config = self.model.config();
        let views = self.model.processor().views() as f64;
        if reduction.method().recheck().is_some() {
            return None;
        }
        let full = views * config.unmerged_gmacs(self.convention);
        if (full / self.unmerged.gmacs - 1.0).abs() > 1e-6 {
            return None;
        }
        let (tokens, depth) = (config.tokens(), config.depth());
        let layers = reduction.expected_tokens(tokens, depth)?;
        let gmacs = views * config.cost().gmacs(&layers, reduction, self.convention);
        Some((gmacs, reduction.expected_left(tokens, depth)? as f64))
    }

    /// Measures a method on all images, or looks up what was measured before. A recheck needs no run of its own.
    ///
    /// # Errors
    /// When the method does not fit the model, or the journal cannot be written.
    pub fn measure(&mut self, method: &Method, family: Family) -> Result<Point, MeasureError> {
        let plain = method.clone().with_recheck(None);
        let spec = plain.to_string();
        let base = match self.journal.get(&spec) {
            Some(point) => point.clone(),
            None => {
                let point = self.run(&plain, spec, family)?;
                self.journal.add(point)?
            }
        };
        Ok(match method.recheck() {
            Some(gap) => self.rechecked(&base, gap, method.to_string()),
            None => base,
        })
    }

    fn run(&self, method: &Method, merge: String, family: Family) -> Result<Point, MeasureError> {
        let reduction = self.model.bind(method)?;
        let unmerged_seconds = self.unmerged_now();
        let pass = pass(self.model, &self.images, &reduction, self.convention)?;
        let change = |class_of: &dyn Fn(usize) -> usize, before: &[f32]| Shifts {
            margin: before.to_vec(),
            change: pass
                .logits
                .iter()
                .enumerate()
                .map(|(image, logits)| margin(logits, class_of(image)) - before[image])
                .collect(),
        };
        let own = change(&|image| self.classes[image], &self.margins);
        let label = match &self.label_margins {
            Some(before) => change(&|image| self.images.samples()[image].label.unwrap_or_default(), before),
            None => Shifts::default(),
        };
        let gaps = pass.logits.iter().map(|logits| top2_margin(logits)).collect();
        let cosines = self.embeddings.as_deref().map_or_else(Vec::new, |before| {
            let alike = |(x, y): (&Vec<f32>, &Vec<f32>)| cosine(x, y).unwrap_or(0.0) as f32;
            before.iter().zip(&pass.logits).map(alike).collect()
        });
        let raw = Raw { own, label, gaps, gmacs: pass.gmacs, cosines };
        let mut point = Point {
            merge,
            family,
            tokens: pass.tokens,
            seconds: pass.seconds,
            unmerged_seconds,
            ..self.unmerged.clone()
        };
        self.judge(&mut point, &raw, 0.0);
        point.raw = Some(raw);
        Ok(point)
    }

    /// What the same method would give with a recheck below `clear`.
    pub(crate) fn rechecked(&self, base: &Point, clear: f32, merge: String) -> Point {
        let mut point = Point { merge, raw: None, ..base.clone() };
        if let Some(raw) = &base.raw {
            self.judge(&mut point, raw, clear);
            let share = raw.gaps.iter().filter(|gap| **gap < clear).count() as f64 / raw.gaps.len() as f64;
            point.seconds += share * base.unmerged_seconds;
        }
        point
    }

    /// Fills in cost and quality, when answers less clear than `clear` are replaced by the unmerged ones.
    fn judge(&self, point: &mut Point, raw: &Raw, clear: f32) {
        let images = raw.gaps.len() as f64;
        let again = raw.gaps.iter().filter(|gap| **gap < clear).count() as f64 / images;
        point.gmacs = raw.gmacs + again * self.unmerged.gmacs;
        // A prediction that has flipped by less than `clear` is not clear: it flips back.
        let flipped = |shifts: &Shifts, image: usize| {
            shifts.margin[image] + shifts.change[image] < 0.0 && raw.gaps[image] >= clear
        };
        let images_flipped = (0..raw.gaps.len()).filter(|&image| flipped(&raw.own, image)).count();
        point.agreement = 100.0 * (1.0 - images_flipped as f64 / images);
        let share = raw.own.below(clear);
        point.expected_agreement = 100.0 * (1.0 - share.share);
        point.agreement_error = 100.0 * share.error;
        if self.label_margins.is_some() {
            let right = |image: &usize| {
                let (before, change) = (raw.label.margin[*image], raw.label.change[*image]);
                if raw.gaps[*image] < clear { before > 0.0 } else { before + change > 0.0 }
            };
            let count = (0..raw.gaps.len()).filter(right).count();
            point.top1 = Some(100.0 * count as f64 / images);
            let lost = raw.label.lost(clear);
            point.expected_drop = Some(100.0 * lost.share);
            point.drop_error = Some(100.0 * lost.error);
        }
    }

    /// Seconds per image of the unmerged model at this moment: one batch.
    fn unmerged_now(&self) -> f64 {
        let batch = &self.images.batches()[0];
        let images = self.images.len().min(batch.items(&self.model.input()));
        let start = Instant::now();
        let none = Reduction::none();
        let _ = self.model.run(batch.clone(), Pass::head(&none)).logits.into_data();
        start.elapsed().as_secs_f64() / images.max(1) as f64
    }
}

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The method does not fit the model.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// It could not be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An output is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

/// All images of a search, by one way of merging.
struct Searched {
    logits: Vec<Vec<f32>>,
    /// Means per image.
    gmacs: f64,
    tokens: f64,
    seconds: f64,
}

fn pass(
    model: &Model,
    images: &Images,
    reduction: &Reduction,
    convention: Convention,
) -> Result<Searched, NotFinite> {
    let mut found = Searched { logits: Vec::new(), gmacs: 0.0, tokens: 0.0, seconds: 0.0 };
    for batch in images.batches() {
        let measured = model.measure(batch.clone(), reduction, convention)?;
        found.seconds += measured.seconds;
        found.gmacs += measured.gmacs.iter().sum::<f64>();
        found.tokens += measured.tokens_left.iter().sum::<usize>() as f64;
        found.logits.extend(measured.logits);
    }
    let count = found.logits.len().max(1) as f64;
    found.gmacs /= count;
    found.tokens /= count;
    found.seconds /= count;
    Ok(found)
}

fn best(logits: &[f32]) -> usize {
    tokmerge_eval::top(logits, 1).first().map_or(0, |(class, _)| *class)
}
