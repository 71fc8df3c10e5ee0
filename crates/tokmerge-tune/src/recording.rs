//! What merging would do, without running the model: the keys of one unmerged pass, merged as a method would.
//!
//! Keys of merged tokens are taken as the average of the keys of their parts. The real ones differ, because later
//! layers see merged tokens, but the number of merges and their errors come close, at a hundredth of the cost.

use crate::Tuner;
use burn::tensor::Tensor;
use tokmerge_merge::{
    Combine, Evidence, HeadAggregation, Method, Metric, MetricRequest, Reduction, Site, Step, Tokens, Trace,
    Wants,
};
use tokmerge_models::{Pass, Probe};

/// The keys of every layer, averaged over heads, of some images.
#[derive(Debug)]
pub(crate) struct Recording {
    batches: Vec<Recorded>,
    images: usize,
}

#[derive(Debug, Default)]
struct Recorded {
    /// `[T, D]` per layer.
    keys: Vec<Tensor<2>>,
    tokens: Option<Tokens>,
}

/// What a method would do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Forecast {
    /// Billions of multiply-adds per image.
    pub(crate) gmacs: f64,
    /// Merging error in each layer per image (ATM, definition 2, over all parts of each merged token).
    pub(crate) errors: Vec<f64>,
}

const KEYS: MetricRequest = MetricRequest { of: Metric::Key, heads: HeadAggregation::Mean };

impl Probe for Recorded {
    fn wants(&self, _: usize) -> Wants {
        Wants { metric: Some(KEYS), ..Wants::default() }
    }

    fn attended(&mut self, _: usize, tokens: &Tokens, evidence: &Evidence) {
        if let Some(keys) = &evidence.metric {
            self.keys.push(keys.clone());
        }
        if self.tokens.is_none() {
            // The rows themselves are not needed.
            let keys = self.keys[0].clone();
            self.tokens = Some(Tokens { x: keys, ..tokens.clone() });
        }
    }
}

impl Recording {
    /// Records at most `images` of the tuner's images.
    pub(crate) fn new(tuner: &Tuner<'_>, images: usize) -> Self {
        let mut recording = Self { batches: Vec::new(), images: 0 };
        for batch in tuner.images().batches() {
            if recording.images >= images {
                break;
            }
            let mut recorded = Recorded::default();
            let none = Reduction::none();
            let output = tuner.model().run(batch.clone(), Pass::new(&none).probed(&mut recorded));
            recording.images += output.logits.dims()[0];
            recording.batches.push(recorded);
        }
        recording
    }

    /// What a method would do; `None` for one that does not go by these keys.
    pub(crate) fn forecast(&self, tuner: &Tuner<'_>, method: &Method) -> Option<Forecast> {
        let reduction = tuner.model().bind(method).ok()?;
        let depth = tuner.model().config().depth();
        let keys = Wants { metric: Some(KEYS), ..Wants::default() };
        let goes_by_keys = |wants: Wants| wants == Wants::default() || wants == keys;
        if method.site() != Site::InsideBlock || !(0..depth).all(|layer| goes_by_keys(reduction.wants(layer)))
        {
            return None;
        }
        let mut forecast = Forecast { gmacs: 0.0, errors: vec![0.0; depth] };
        for recorded in &self.batches {
            let mut tokens = recorded.tokens.clone()?;
            let items = tokens.layout.items();
            let mut trace = Trace::default();
            for (layer, keys) in recorded.keys.iter().enumerate() {
                if reduction.wants(layer) == Wants::default() {
                    tokens = reduction.apply(layer, tokens, Evidence::default(), &mut trace);
                    continue;
                }
                let merged = match trace.plan_until(None) {
                    Some(plan) => {
                        let ones = vec![1.0; plan.dst().len()].into();
                        plan.merge(keys.clone(), &ones, Combine::WeightedAverage)
                    }
                    None => keys.clone(),
                };
                tokens = tokens.with(merged.clone());
                let sizes = tokens.sizes();
                let evidence = Evidence { metric: Some(merged.clone()), ..Evidence::default() };
                tokens = reduction.apply(layer, tokens, evidence, &mut trace);
                if let Some(plan) = trace.plan_at(Step { layer, site: Site::InsideBlock }) {
                    forecast.errors[layer] += plan.merging_errors(&merged, &sizes).iter().sum::<f64>();
                }
            }
            for item in 0..items {
                forecast.gmacs += tuner.model().gmacs(&trace, item, &reduction, tuner.convention());
            }
        }
        let images = self.images.max(1) as f64;
        forecast.gmacs /= images;
        forecast.errors.iter_mut().for_each(|error| *error /= images);
        Some(forecast)
    }
}
