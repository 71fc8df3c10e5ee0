//! How foresight is written down.

use super::Foresight;
use crate::methods::MethodInfo;
use crate::methods::ltmp::Limits;
use crate::methods::option::{
    CLASS, Choice, FromOptions, KEEP, Opt, choice, entries, infos, list_text, number_in, positions,
    prop_attn, protect, recheck,
};
use crate::{LastLayer, ModelFacts};

const LAST_LAYERS: &[Choice<LastLayer>] = &[CLASS, KEEP];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "foresight",
    summary: "merge what is alike and will hardly be attended to (has weights: fit them with calibrate)",
    source: "ours; the matching is that of ToMe (arXiv:2210.09461)",
    example: "foresight:limit=0.05",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Foresight>] = &[
    Opt::required(
        "limit",
        (
            "a number from 0 to 1000, or a list such as [0,0,0.04,0.05] with one per layer",
            "a number from 0 to 1000, or a list such as [0,0,0.04,0.05]",
        ),
        "pairs merge that cost less: foretold attention of both in multiples of an even share, times 1 - cosine; 0 merges nothing",
        |method, text| {
            let limit = |text: &str| number_in(text, |limit| (0.0..=1000.0).contains(limit));
            method.limit = match entries(text, limit) {
                Some(list) => Limits::PerLayer(list?),
                None => Limits::Constant(limit(text)?),
            };
            Ok(())
        },
        |method| {
            Some(match &method.limit {
                Limits::Constant(limit) => limit.to_string(),
                Limits::PerLayer(list) => list_text(list),
            })
        },
    ),
    prop_attn(),
    choice!(
        "last",
        LAST_LAYERS,
        common.last_layer,
        "what goes through the last MLP: class token (models that need patches keep them), or all"
    ),
    recheck(),
    protect(),
    positions(),
];

/// A limit below which nearly everything merges.
const ALL: f64 = 100.0;

impl FromOptions for Foresight {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(Limits::Constant(0.0))
    }

    /// All limits in their proportion, the largest from 0 to what merges nearly everything; by the fourth power, since most
    /// pairs cost little.
    fn at_dial(&self, dial: f64, _: &ModelFacts) -> Option<Self> {
        let times = ALL * dial.powi(4) / self.limit.largest();
        let turned = |limit: f64| (limit * times * 1e6).round() / 1e6;
        Some(Self { limit: self.limit.map(turned), ..self.clone() })
    }
}
