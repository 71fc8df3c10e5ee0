//! Numbers of tokens that are trained.

use super::super::matching::by_falling_score;
use super::{CompressionRates, PATCHES};
use crate::mergers::{Merger, Mergers, Soft, Start, Weighted};
use crate::{Choice, Evidence, Judged, Merging, ModelFacts, Pair, Tokens};
use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, activation::softmax};
use tokmerge_ops::gather_rows;

/// What the squared distance of the cost from its target weighs in the loss: 5 per squared GMAC, from memory, of DeiT-S's 4.6.
pub(super) const COST_WEIGHT: f64 = 5.0 * 4.6 * 4.6;

/// Logit of keeping all patches to begin with, those of all other numbers being 0. Ours.
const START: f32 = 9.0;

/// How much of a patch more than a whole number is none, but rounding.
const ROUNDING: f64 = 1e-3;

/// How many patches a block keeps, and how many of these it leaves: logits of all of the model's patches, of one part in 196
/// less, and so on.
#[derive(Module, Debug)]
pub struct LearnedRates {
    /// Of patches that are not dropped, `[196]`.
    pub prune: Param<Tensor<1>>,
    /// Of patches that are left when some of these have merged, `[196]`.
    pub merge: Param<Tensor<1>>,
    #[module(skip)]
    target: f64,
}

impl LearnedRates {
    pub(crate) fn new(target: f64, start: &Start<'_>) -> Self {
        let mut logits = vec![0.0; PATCHES];
        logits[0] = START;
        let [prune, merge] = [(); 2].map(|()| start.numbers(logits.clone()));
        Self { prune, merge, target }
    }
}

/// The part of the patches that is kept by the choice of this number.
fn part(choice: usize) -> f64 {
    (PATCHES - choice) as f64 / PATCHES as f64
}

/// Patches that are kept of so many: as many as are to be expected, rounded up.
fn expected(logits: &Param<Tensor<1>>, patches: usize) -> usize {
    let chosen = softmax(logits.val().without_autodiff(), 0).into_data();
    let part: f64 = chosen.iter::<f32>().enumerate().map(|(choice, p)| f64::from(p) * part(choice)).sum();
    ((part * patches as f64 - ROUNDING).ceil().max(1.0) as usize).min(patches)
}

/// How probable it is that more patches than the rank of each are kept, `[K, 1]`; `None` of no ranks.
fn more_than(logits: &Param<Tensor<1>>, ranks: &[f32], patches: usize) -> Option<Tensor<2>> {
    if ranks.is_empty() {
        return None;
    }
    let chosen = softmax(logits.val(), 0).reshape([PATCHES, 1]);
    // All choices up to each.
    let so_far = |row: usize| (0..PATCHES).map(move |column| if column <= row { 1.0 } else { 0.0_f32 });
    let so_far: Vec<f32> = (0..PATCHES).flat_map(so_far).collect();
    let so_far = Tensor::<2>::from_data(TensorData::new(so_far, [PATCHES; 2]), &chosen.device());
    let probabilities = so_far.matmul(chosen);
    let last =
        |rank: &f32| (0..PATCHES).rev().find(|choice| part(*choice) * patches as f64 > f64::from(*rank));
    // None keeps more than all.
    Some(gather_rows(probabilities, &ranks.iter().map(|rank| last(rank).unwrap_or(0) as u32).collect()))
}

impl Weighted for LearnedRates {
    fn soften(&self, choice: &Choice, patches: usize) -> Soft {
        let merging: Vec<f32> = choice.pairs.iter().map(|pair| pair.score).collect();
        let staying: Vec<f32> = choice.judged.iter().map(|judged| judged.score).collect();
        let unmerged = more_than(&self.merge, &merging, patches);
        Soft {
            merges: unmerged.map(|unmerged| -unmerged + 1.0),
            stays: more_than(&self.prune, &staying, patches),
        }
    }

    fn target(&self) -> Option<f64> {
        Some(self.target)
    }
}

/// The numbers of all blocks, the class token included.
pub(super) fn given(mergers: &Mergers, facts: &ModelFacts) -> CompressionRates {
    let patches = facts.tokens.saturating_sub(facts.prefix);
    // A list has no number below two.
    let all = (1 + patches).max(2);
    let (mut prune, mut merge) = (vec![all; facts.depth], vec![all; facts.depth]);
    for (layer, merger) in &mergers.at {
        if let (Merger::Rates(rates), true) = (merger, *layer < facts.depth) {
            let [kept, left] = [&rates.prune, &rates.merge].map(|logits| expected(logits, patches));
            (prune[*layer], merge[*layer]) = ((1 + kept).max(2), (1 + left.min(kept)).max(2));
        }
    }
    CompressionRates::Listed { prune, merge }
}

/// The rows of the patches of every item by falling attention of the class token.
pub(super) fn ranks(tokens: &Tokens, evidence: &Evidence) -> Vec<Vec<u32>> {
    let of_item = |item: usize| {
        let range = tokens.layout.range(item);
        if range.is_empty() {
            return Vec::new();
        }
        let order = by_falling_score(&evidence.map(item).mean_row(0), tokens.front_of(item));
        order.into_iter().map(|place| range.start as u32 + place).collect()
    };
    (0..tokens.layout.items()).map(of_item).collect()
}

/// Every patch is judged by its rank, and of those that are not dropped whether it merges. Where it does is known of those that
/// do.
pub(super) fn choice(ranks: Vec<Vec<u32>>, merging: Merging, [keep, left]: [usize; 2]) -> Choice {
    let (mut pairs, mut judged) = (Vec::new(), Vec::new());
    let plan = &merging.plan;
    for (rank, source) in ranks.into_iter().flat_map(|rows| rows.into_iter().enumerate()) {
        let (score, stays, merges) = (rank as f32, rank < keep, rank >= left.min(keep));
        judged.push(Judged { row: source, score, stays });
        if stays {
            let into = || plan.representative()[plan.dst()[source as usize] as usize];
            pairs.push(Pair { source, destination: merges.then(into), score, merges });
        }
    }
    Choice { merging, pairs: pairs.into(), judged: judged.into() }
}
