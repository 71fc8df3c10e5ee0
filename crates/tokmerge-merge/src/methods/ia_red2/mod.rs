//! IA-RED² (Pan et al., 2021, arXiv:2106.12620), **the idea, unverified**: in front of every third of the blocks an interpreter
//! says how informative each patch is, and patches that are likelier redundant are dropped. What it says is not learned through
//! masks, but by rewards for few patches and right answers.
//!
//! Neither a text of the paper nor code was at hand: all of it is from memory, or ours.
//!
//! - From memory: the probability of keeping a patch is `σ(mean over heads of F(patch) · G(policy token))`, `F` and `G` being
//!   small MLPs and the dot product one of every head; what is above 0.5 is kept. Interpreters are learned by REINFORCE: what
//!   is kept is drawn by these probabilities, and the reward is `1 - kept²` for a right answer and `-tau` for a wrong one,
//!   `kept` being the part of the patches that is left. There are three groups of blocks.
//! - Ours: the MLPs (`C→C/2`, GELU, `C/2→C`) behind a norm; a policy token of every interpreter, that is learned and does not
//!   travel; heads of 64 channels; `tau` of 0.5; rewards less the mean of the other items' of the batch; logarithms of
//!   probabilities as means over the patches; that interpreters see the tokens without teaching the blocks in front of them,
//!   which the task's own loss does.
//! - Not here: groups that are trained one after the other, the rest frozen. All are trained at once.
//!
//! Inference (`keep` left out): all patches that are likelier kept than not, the likeliest where none is, as many as an image
//! has; or that part of the patches with the best scores (`keep=70%`). They stay in their order. In training
//! ([`Reduction::relax`](crate::Reduction::relax)) all tokens stay, and those that were not drawn are masked in attention for
//! good.

mod interpreter;
mod options;
#[cfg(test)]
mod tests;

use super::layers::{self, Layers};
use super::matching::{Kept, best, by_falling_score};
use super::{At, Rule};
use crate::mergers::{self, Start};
use crate::plan::PlanBuilder;
use crate::{Amount, Combine, Evidence, MergePlan, ModelFacts, ScheduleError, Site, Tokens, TrainedBy};

pub use interpreter::Interpreter;
pub(super) use options::INFO;

/// Groups of blocks.
const GROUPS: usize = 3;

/// Which patches are dropped, and what teaches that.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The part that is left in the first of the layers, and in each of the others of what is left in the one before; above 0
    /// and below 1. `None`: all that are likelier kept than not.
    pub keep: Option<f64>,
    /// The layers with which groups begin. `None`: each third of the model.
    pub layers: Layers,
    /// In training, what a wrong answer takes off the reward, not negative.
    pub tau: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { keep: None, layers: None, tau: 0.5 }
    }
}

impl Options {
    /// The layers with which groups begin in a model of this depth.
    fn layers_of(&self, depth: usize) -> Layers {
        let thirds =
            || (0..GROUPS).map(|group| depth * group / GROUPS + 1).filter(|layer| *layer <= depth).collect();
        Some(self.layers.clone().unwrap_or_else(thirds))
    }
}

impl Rule for Options {
    fn site(&self) -> Site {
        Site::BeforeBlock
    }

    fn combine(&self) -> Combine {
        Combine::KeepOne
    }

    fn has_weights(&self) -> bool {
        true
    }

    /// Its weights say which tokens stay, and change none of them.
    fn mixes(&self) -> bool {
        false
    }

    fn trained_by(&self) -> TrainedBy {
        TrainedBy::Rewards
    }

    fn mergers_before(&self, depth: usize) -> Vec<usize> {
        layers::before(&self.layers_of(depth), depth)
    }

    fn merger(&self, _: usize, channels: usize, start: &mut Start<'_>) -> Option<mergers::Merger> {
        Some(mergers::Merger::Interpreter(Interpreter::new(self.tau, channels, start)))
    }

    fn merger_parameters(&self, _: usize, channels: usize) -> usize {
        interpreter::parameters(channels)
    }

    /// Of all patches, dropped ones included, and of the policy token.
    fn merger_cost(&self, _: usize, tokens: usize, prefix: usize, channels: usize) -> (f64, f64) {
        let patches = tokens.saturating_sub(prefix) as f64;
        let (mlp, channels) = (interpreter::mlp_macs(channels) as f64, channels as f64);
        ((patches + 1.0) * mlp + patches * channels, (patches + 1.0) * channels)
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        layers::amounts(&self.layers_of(facts.depth), facts.depth, |index| match self.keep {
            None => Amount::ByTokens,
            Some(keep) => layers::kept_of_left(facts, keep, index),
        })
    }

    fn plan(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<MergePlan> {
        if !at.removes_any(tokens) {
            return None;
        }
        let scores = evidence.scores();
        if at.amount != Amount::ByTokens {
            return Some(best(at, tokens, scores, Kept::InPlace));
        }
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let mut changes = false;
        for item in 0..tokens.layout.items() {
            let scores = &scores[tokens.layout.range(item)];
            let order = by_falling_score(scores, tokens.front_of(item));
            let kept = order.iter().filter(|place| scores[**place as usize] >= 0.0).count().max(1);
            let dropped = order.get(kept..).unwrap_or_default();
            changes |= !dropped.is_empty();
            builder.item_dropping(dropped);
        }
        changes.then(|| builder.finish())
    }
}
