//! How adaptive token merging is written down.

use super::{Atm, BatchRule, Threshold};
use crate::methods::MethodInfo;
use crate::methods::option::{
    CLASS, Choice, FromOptions, KEEP, Opt, Refusal, choice, entries, infos, list_text, number, number_in,
    positions, prop_attn, protect, recheck,
};
use crate::{HeadAggregation, LastLayer, Metric, ModelFacts};

const METRICS: &[Choice<Metric>] =
    &[("k", Metric::Key), ("q", Metric::Query), ("v", Metric::Value), ("x", Metric::Attended)];
const HEADS: &[Choice<HeadAggregation>] =
    &[("mean", HeadAggregation::Mean), ("concat", HeadAggregation::Concat)];
const BATCHES: &[Choice<BatchRule>] = &[("image", BatchRule::Image), ("average", BatchRule::Average)];
const LAST_LAYERS: &[Choice<LastLayer>] = &[CLASS, KEEP];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "atm",
    summary: "merge all pairs of tokens that are similar enough, as many as the image has",
    source: "ATM (arXiv:2505.15160), §3",
    example: "atm:alpha=0.985,beta=0.025,min=0.885",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

/// A row for one of the numbers of eq. 1.
macro_rules! exponential {
    ($name:literal, $field:ident, $texts:expr, $range:expr, $help:literal) => {
        Opt::new(
            $name,
            $texts,
            $help,
            |atm: &mut Atm, text| {
                let given = number_in(text, |number: &f64| $range.contains(number))?;
                if let Threshold::Exponential { $field, .. } = &mut atm.threshold {
                    *$field = given;
                }
                Ok(())
            },
            |atm| match &atm.threshold {
                Threshold::Exponential { $field, .. } => Some($field.to_string()),
                Threshold::Constant(_) | Threshold::PerLayer(_) => None,
            },
        )
    };
}

const OPTIONS: &[Opt<Atm>] = &[
    exponential!(
        "alpha",
        alpha,
        ("-1 to 1", "a number from -1 to 1"),
        (-1.0..=1.0),
        "threshold on the cosine in layer 1 (eq. 1)"
    ),
    exponential!(
        "beta",
        beta,
        ("0 to 10", "a number from 0 to 10"),
        (0.0..=10.0),
        "how fast the threshold falls (eq. 1)"
    ),
    exponential!(
        "min",
        min,
        ("-1 to 1", "a number from -1 to 1"),
        (-1.0..=1.0),
        "where it stops falling (eq. 1)"
    ),
    Opt::new(
        "theta",
        (
            "a number from -1 to 1, or a list such as [0.98,0.95,0.9] with one per layer",
            "a number from -1 to 1, or a list such as [0.98,0.95,0.9]",
        ),
        "thresholds themselves, instead of alpha, beta and min; 1 merges nothing",
        read_theta,
        |atm| match &atm.threshold {
            Threshold::Exponential { .. } => None,
            Threshold::Constant(theta) => Some(theta.to_string()),
            Threshold::PerLayer(list) => Some(list_text(list)),
        },
    ),
    number!(
        "split",
        0..=1000,
        split,
        ("three quarters of the layers, or 0 to their number", "a whole number from 0 to 1000"),
        "last layer of alternating matching; after it small tokens propose to large ones (§3.3)"
    ),
    choice!("batch", BATCHES, batch, "every image by itself, or all images of a batch equally many (§3.4)"),
    choice!(
        "last",
        LAST_LAYERS,
        common.last_layer,
        "what goes through the last MLP: class token (models that need patches keep them), or all"
    ),
    choice!("feature", METRICS, metric.of, "what is compared"),
    choice!("heads", HEADS, metric.heads, "what becomes of heads"),
    prop_attn(),
    recheck(),
    protect(),
    positions(),
];

/// What stands for a number of eq. 1 that was not given. Options never are: they are refused unless in range.
const NOT_GIVEN: f64 = f64::NAN;

fn read_theta(atm: &mut Atm, text: &str) -> Result<(), Refusal> {
    if matches!(atm.threshold, Threshold::Exponential { alpha, beta, min }
        if [alpha, beta, min].iter().any(|number| !number.is_nan()))
    {
        let reason = "theta gives the thresholds; leave out alpha, beta and min, which would compute them";
        return Err(Refusal::Conflict(reason.to_owned()));
    }
    let cosine = |text: &str| number_in(text, |theta: &f64| (-1.0..=1.0).contains(theta));
    atm.threshold = match entries(text, cosine) {
        Some(list) => Threshold::PerLayer(list?),
        None => Threshold::Constant(cosine(text)?),
    };
    Ok(())
}

impl FromOptions for Atm {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(Threshold::Exponential { alpha: NOT_GIVEN, beta: NOT_GIVEN, min: NOT_GIVEN })
    }

    fn check(&self) -> Result<(), Refusal> {
        let Threshold::Exponential { alpha, beta, min } = &self.threshold else { return Ok(()) };
        match [alpha, beta, min].map(|number| number.is_nan()) {
            [true, true, true] => Err(Refusal::Missing("alpha, beta and min (or theta)")),
            [true, ..] => Err(Refusal::Missing("alpha")),
            [_, true, _] => Err(Refusal::Missing("beta")),
            [_, _, true] => Err(Refusal::Missing("min")),
            [false, false, false] => Ok(()),
        }
    }

    fn at_dial(&self, dial: f64, facts: &ModelFacts) -> Option<Self> {
        Some(Self { threshold: self.threshold.turned(dial, facts.depth), ..self.clone() })
    }
}
