//! How Evo-ViT is written down.

use super::{EvoVit, Selection};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial::kept;
use crate::methods::layers::{self, layers};
use crate::methods::option::{Choice, FromOptions, Opt, Refusal, choice, infos, keep, recheck};

const SELECTIONS: &[Choice<Selection>] = &[("stage", Selection::Stage), ("layer", Selection::Layer)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "evo_vit",
    summary: "work on the patches that the class token has attended to most, stage by stage; the others wait",
    source: "Evo-ViT (arXiv:2108.01390)",
    example: "evo_vit:keep=50%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<EvoVit>] = &[
    keep!("patches that each stage works on, of all; the others wait and are there again after it"),
    layers!(
        layers,
        "[5,9] of 12 layers, or a layer, or a list",
        "the layers with which stages begin, counted from 1; each lasts until the next, by default after each third"
    ),
    choice!(
        "select",
        SELECTIONS,
        select,
        "choose patches before each stage, or before each layer from the first stage on (as early training does)"
    ),
    recheck(),
];

impl FromOptions for EvoVit {
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
}
