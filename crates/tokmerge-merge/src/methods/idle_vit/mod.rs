//! IdleViT (Xu et al., 2023, arXiv:2310.05654): every block works on the patches that its own class token is about to attend to
//! most; the others are idle, unchanged, and are there again after the block, so that the next may choose them.
//!
//! A block begins with the keys of all tokens and the query of its class token. The score of a patch is their product, as the
//! mean of all heads, before the softmax, neither scaled nor biased: heads with large logits count for more than in the mean
//! of their softmaxes. The `int(n k^i)` best of all `n` patches attend among themselves and go through the MLP, in stage `i` (from
//! 1; `k` is `keep`). Only those that work get queries and values.
//!
//! Stages begin after each quarter of the model but the last, with layers 4, 7 and 10 of 12, as the published code does at
//! inference. In training it begins one layer later with the same ratios, which is `layer=[5,8,11]`. That it takes scores of the
//! block itself, by keys that it computes for all, is what its costs say: DeiT-S at 70 % counts 3.015 and 3.251 GMACs that way,
//! 2.884 and 3.139 with scores of the block before, 3.141 and 3.358 where all get queries too.
//!
//! - Training does the same as inference. The published code masks idle tokens in attention by -1e5 instead, which leaves
//!   them a weight of exactly 0 and moves no other: values and gradients are the same (a test says so).
//! - `cut=20` adds the token cut loss to that of the task in training, by which its authors teach attention to part the chosen
//!   from the idle: `Σ (inter² + (intra - chosen)²)` over the blocks that choose, divided by their number. That is what was
//!   read of their code. Ours is the reading: `intra` and `inter` are how much a chosen token attends to the chosen and to the idle
//!   by the softmax over all tokens, none masked, the mean of all heads (idle tokens are not asked), and squares are averaged over
//!   all tokens of an item. It takes the softmaxes of all tokens in training, and nothing afterwards.
//! - What works stays in its place. Ties go to the patch that stands first. Of pictures of their own sizes the part that is kept is
//!   rounded up.

mod cut;

use super::dial::kept;
use super::layers::{self, Layers, layers};
use super::matching::{Kept, best};
use super::option::{FromOptions, Opt, Refusal, infos, keep, number_in, recheck};
use super::{At, Common, MethodInfo, ProportionalAttention, Rule};
use crate::{
    Amount, Combine, Evidence, LastLayer, MatchShape, MergePlan, ModelFacts, ScheduleError, Site, Tokens,
};
use burn::tensor::Tensor;

/// Operations for every element of a norm, as fvcore counts.
const NORM: f64 = 5.0;

/// Blocks that work on some patches.
#[derive(Clone, Debug, PartialEq)]
pub struct IdleVit {
    /// The part of the patches on which blocks of the first stage work, and those of each other stage of what the one before
    /// works on, above 0.
    pub keep: f64,
    /// The layers with which stages begin, from 1.
    pub layers: Layers,
    /// In training, what the loss of cut tokens weighs; 0 for none.
    pub cut: f64,
    /// Options that methods share.
    pub common: Common,
}

impl IdleVit {
    /// The published method with a given share.
    #[must_use]
    pub fn new(keep: f64) -> Self {
        let common =
            Common { proportional_attention: ProportionalAttention::Off, ..Common::new(LastLayer::All) };
        Self { keep, layers: None, cut: 0.0, common }
    }
}

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "idle_vit",
    summary: "work on the patches that the class token looks at most, chosen anew in each layer; the others are idle",
    source: "IdleViT (arXiv:2310.05654)",
    example: "idle_vit:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<IdleVit>] = &[
    keep!(
        "patches that layers of the first stage work on, and those of each later stage, of what the one before has"
    ),
    layers!(
        layers,
        "[4,7,10] of 12 layers, or a layer, or a list",
        "the layers with which stages begin, counted from 1; by default after each quarter (in its training: [5,8,11])"
    ),
    Opt::new(
        "cut",
        ("0, or a number", "a number from 0 to 10000"),
        "in training, what it weighs that patches that are worked on attend to the others too (published code: 20)",
        |method, text| {
            method.cut = number_in(text, |cut| (0.0..=1e4).contains(cut))?;
            Ok(())
        },
        |method| (method.cut != 0.0).then(|| method.cut.to_string()),
    ),
    recheck(),
];

impl FromOptions for IdleVit {
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

impl Rule for IdleVit {
    super::rule::common!();

    fn site(&self) -> Site {
        Site::AroundBlock
    }

    fn combine(&self) -> Combine {
        Combine::KeepOne
    }

    fn needs_logits(&self) -> bool {
        true
    }

    fn teaches_softmax(&self) -> bool {
        self.cut > 0.0
    }

    fn softmax_loss(&self, maps: &[Tensor<3>], plan: &MergePlan) -> Tensor<1> {
        cut::cut(maps, plan) * self.cut
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let starts = layers::of_depth(&self.layers, facts.depth)?;
        let amount = |stage| layers::kept_of_all(facts, self.keep, stage);
        Ok(layers::amounts_of_stages(&starts, facts.depth, amount))
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        at.removes_any(tokens).then(|| best(at, tokens, evidence.logits(), Kept::InPlace))
    }

    /// Norms and keys of what will be idle, the class token's query, and its product with all keys. What works has its norm and
    /// its keys from there.
    fn matching_macs(&self, shape: MatchShape) -> f64 {
        let idle = shape.amount.of(shape.tokens, shape.prefix).unwrap_or(0) as f64;
        let channels = shape.channels as f64;
        let keys_and_query = (idle + 1.0) * channels * channels;
        keys_and_query + NORM * idle * channels + shape.tokens as f64 * channels
    }
}

#[cfg(test)]
mod tests;
