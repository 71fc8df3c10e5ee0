//! How BAT is written down.

use super::{Bat, PAIRS};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial;
use crate::methods::layers::{self, layers};
use crate::methods::option::{
    FromOptions, Opt, Refusal, infos, keep, last, percent, percent_text, prop_attn, recheck,
};

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "bat",
    summary: "merge pairs of what the class token attends to, and clusters of the other patches",
    source: "after BAT (arXiv:2211.11315); numbers and formulas are ours",
    example: "bat:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Bat>] = &[
    keep!("patches that are left in each of its layers, rounded up"),
    Opt::new(
        "pairs",
        ("10%, or a share of up to 50%", "a share of up to 50% such as 10%"),
        "share of the attentive patches that merge in pairs; as many clusters of the others take their places",
        |method, text| {
            method.pairs = percent(text, 50.0)?;
            Ok(())
        },
        |method| (method.pairs != PAIRS).then(|| percent_text(method.pairs)),
    ),
    layers!(
        layers,
        "[4,7,10] of 12 layers, or a layer, or a list",
        "the layers in which that happens, counted from 1; by default after each quarter of the model"
    ),
    prop_attn(),
    last(),
    recheck(),
];

impl FromOptions for Bat {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(1.0)
    }

    fn check(&self) -> Result<(), Refusal> {
        layers::check(&self.layers)
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        let _ = facts;
        Some(Self { keep: dial::kept(at), ..self.clone() })
    }
}
