//! Forward passes of several methods over the same batches, and what is counted of them.

use crate::{Accuracy, top};
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::{Measured, NotFinite};

/// The class with the largest logit.
fn best(logits: &[f32]) -> Option<usize> {
    top(logits, 1).first().map(|(class, _)| *class)
}

/// What several methods make of one batch.
pub(crate) struct Passes {
    /// One for each method.
    pub(crate) of_methods: Vec<Measured>,
    /// The first answer of the unmerged model to every item.
    pub(crate) unmerged: Vec<Option<usize>>,
}

impl Passes {
    /// Runs every method, and the unmerged model where it is none of them.
    pub(crate) fn run(
        reductions: &[Reduction],
        run: &dyn Fn(&Reduction) -> Result<Measured, NotFinite>,
    ) -> Result<Self, NotFinite> {
        let of_methods: Vec<Measured> = reductions.iter().map(run).collect::<Result<_, _>>()?;
        let answers = |pass: &Measured| pass.logits.iter().map(|logits| best(logits)).collect();
        let unmerged = match reductions.iter().position(|reduction| *reduction.method() == Method::None) {
            Some(index) => answers(&of_methods[index]),
            None => answers(&run(&Reduction::none())?),
        };
        Ok(Self { of_methods, unmerged })
    }
}

/// What is counted of one method.
#[derive(Default)]
pub(crate) struct Tally {
    images: usize,
    pub(crate) labelled: usize,
    pub(crate) top1: usize,
    pub(crate) top5: usize,
    agree: usize,
    seconds: f64,
    gmacs: f64,
    tokens: usize,
}

impl Tally {
    /// Adds a pass, and how often it agrees with the unmerged model.
    pub(crate) fn add(&mut self, pass: &Measured, unmerged: &[Option<usize>]) {
        self.seconds += pass.seconds;
        self.gmacs += pass.gmacs.iter().sum::<f64>();
        self.tokens += pass.tokens_left.iter().sum::<usize>();
        self.images += pass.logits.len();
        let agree = pass.logits.iter().zip(unmerged).filter(|(logits, unmerged)| best(logits) == **unmerged);
        self.agree += agree.count();
    }

    pub(crate) fn result(self, method: &Method, run_seconds: f64) -> Accuracy {
        let percent = |hits: usize, of: usize| 100.0 * hits as f64 / of.max(1) as f64;
        let images = self.images.max(1) as f64;
        let labelled = |hits| (self.labelled > 0).then(|| percent(hits, self.labelled));
        Accuracy {
            merge: method.to_string(),
            images: self.images,
            top1: labelled(self.top1),
            top5: labelled(self.top5),
            mean_average_precision: None,
            bleu: None,
            agreement: percent(self.agree, self.images),
            model_images_per_second: self.images as f64 / self.seconds.max(f64::MIN_POSITIVE),
            run_images_per_second: self.images as f64 / run_seconds.max(f64::MIN_POSITIVE),
            gmacs: self.gmacs / images,
            mean_tokens: self.tokens as f64 / images,
        }
    }
}
