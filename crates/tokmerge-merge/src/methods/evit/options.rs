//! How EViT is written down.

use super::Evit;
use crate::methods::MethodInfo;
use crate::methods::dial::kept;
use crate::methods::layers::{self, layers};
use crate::methods::option::{
    Choice, FromOptions, Opt, PROPORTIONAL_OFF, Refusal, choice, infos, keep, last, recheck,
};
use crate::{ModelFacts, Rest};

const RESTS: &[Choice<Rest>] = &[("fuse", Rest::Fused), ("drop", Rest::Dropped)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "evit",
    summary: "keep the patches that the class token attends to most, and fuse the others into one",
    source: "EViT (arXiv:2202.07800), §3",
    example: "evit:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Evit>] = &[
    keep!("patches to keep in each of its layers, rounded up"),
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
    last(),
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
        Some(Self { keep: kept(dial), ..self.clone() })
    }

    fn in_part(&self, part: f64) -> Option<Self> {
        Some(Self { keep: 1.0 - part * (1.0 - self.keep), ..self.clone() })
    }
}
