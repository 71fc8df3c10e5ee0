//! How EViT is written down.

use super::Evit;
use crate::methods::MethodInfo;
use crate::methods::dial::rounded_share;
use crate::methods::layers::{self, layers};
use crate::methods::option::{
    CLASS, Choice, FromOptions, KEEP, Opt, PROPORTIONAL_OFF, Refusal, choice, infos, percent, percent_text,
    recheck,
};
use crate::{LastLayer, ModelFacts, Rest};

const RESTS: &[Choice<Rest>] = &[("fuse", Rest::Fused), ("drop", Rest::Dropped)];
const LAST_LAYERS: &[Choice<LastLayer>] = &[KEEP, CLASS];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "evit",
    summary: "keep the patches that the class token attends to most, and fuse the others into one",
    source: "EViT (arXiv:2202.07800), §3",
    example: "evit:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Evit>] = &[
    Opt::required(
        "keep",
        ("a share such as 70%, above 0%", "a share above 0% and up to 100% such as 70%"),
        "patches to keep in each of its layers, rounded up",
        |method, text| {
            method.keep = percent(text, 100.0)?;
            if method.keep > 0.0 { Ok(()) } else { Err(Refusal::Value) }
        },
        |method| Some(percent_text(method.keep)),
    ),
    choice!("rest", RESTS, rest, "what becomes of the others: one token, weighted by attention, or nothing"),
    layers!(
        layers,
        "[4,7,10] of 12 layers, or a layer, or a list",
        "the layers in which that happens, counted from 1; by default after each quarter of the model"
    ),
    choice!(
        "prop_attn",
        PROPORTIONAL_OFF,
        common.proportional_attention,
        "attention weighs tokens by size; the paper does not"
    ),
    choice!(
        "last",
        LAST_LAYERS,
        common.last_layer,
        "what goes through the last MLP: all, or the class token"
    ),
    recheck(),
];

impl FromOptions for Evit {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(1.0)
    }

    fn check(&self) -> Result<(), Refusal> {
        layers::check(&self.layers)
    }

    fn at_dial(&self, dial: f64, _: &ModelFacts) -> Option<Self> {
        // A share above 0, of which one patch at least is kept.
        Some(Self { keep: rounded_share(1.0 - dial).max(1e-4), ..self.clone() })
    }
}
