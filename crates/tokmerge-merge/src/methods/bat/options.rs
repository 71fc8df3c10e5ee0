//! How BAT is written down.

use super::{Bat, PAIRS};
use crate::methods::MethodInfo;
use crate::methods::dial;
use crate::methods::layers::{self, layers};
use crate::methods::option::{
    CLASS, Choice, FromOptions, KEEP, Opt, PROPORTIONAL, Refusal, choice, infos, percent, percent_text,
    recheck,
};
use crate::{LastLayer, ModelFacts};

const LAST_LAYERS: &[Choice<LastLayer>] = &[KEEP, CLASS];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "bat",
    summary: "merge pairs of what the class token attends to, and clusters of the other patches",
    source: "after BAT (arXiv:2211.11315); numbers and formulas are ours",
    example: "bat:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Bat>] = &[
    Opt::required(
        "keep",
        ("a share such as 70%, above 0%", "a share above 0% and up to 100% such as 70%"),
        "patches that are left in each of its layers, rounded up",
        |method, text| {
            method.keep = percent(text, 100.0)?;
            if method.keep > 0.0 { Ok(()) } else { Err(Refusal::Value) }
        },
        |method| Some(percent_text(method.keep)),
    ),
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
    choice!(
        "prop_attn",
        PROPORTIONAL,
        common.proportional_attention,
        "attention weighs tokens by size; auto: on, but off for off-the-shelf MAE"
    ),
    choice!(
        "last",
        LAST_LAYERS,
        common.last_layer,
        "what goes through the last MLP: all, or the class token"
    ),
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
