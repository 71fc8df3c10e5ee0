//! What training does in place of merging: it masks.

use super::Reduction;
use crate::budget::spend;
use crate::choice::{Choice, Counting};
use crate::mergers::Mergers;
use crate::{
    Amount, Evidence, How, LastLayer, MergePlan, Record, Site, Step, Tokens, Trace, TrainedBy, Wants,
};
use burn::tensor::Tensor;

impl Reduction {
    /// Whether [`relax`](Self::relax) is what training does.
    #[must_use]
    pub fn relaxes(&self) -> bool {
        self.method.trained_by() != TrainedBy::Merging
    }

    /// In training, in place of [`enter`](Self::enter) where the reduction [relaxes](Self::relaxes): all tokens stay, and from
    /// here on have a [policy](Tokens::policy), drawn from a seed that is another in every step. Returns too what is to be added
    /// to the loss, `[1]`. Draws the same when a pass is repeated.
    ///
    /// # Panics
    /// When the method's weights were never given.
    #[must_use]
    pub fn relax(&self, layer: usize, tokens: Tokens, seed: u64) -> (Tokens, Option<Tensor<1>>) {
        match self.method.site() {
            Site::BeforeBlock if !self.method.has_weights() => {
                self.method.rule().relax(&self.at(layer), tokens)
            }
            Site::BeforeBlock => self.weights().relax(layer, tokens, seed),
            Site::InsideBlock | Site::AroundBlock | Site::InsideAttention => (tokens, None),
        }
    }

    /// Whether training adds to the loss by what all tokens attend to in some blocks.
    #[must_use]
    pub fn teaches_softmax(&self) -> bool {
        self.method.rule().teaches_softmax()
    }

    /// What training adds to the loss in a block before which tokens have merged by `plan`, by the softmaxes of all of them, `[H, N, N]`
    /// for every item: the mean over such blocks, `[1]`. Of methods that [teach](Self::teaches_softmax) it.
    ///
    /// # Panics
    /// When there are not as many maps as items, or the method teaches no softmax.
    #[must_use]
    pub fn softmax_loss(&self, maps: &[Tensor<3>], plan: &MergePlan) -> Tensor<1> {
        let blocks = self.amounts.iter().filter(|amount| **amount != Amount::NOTHING).count();
        self.method.rule().softmax_loss(maps, plan) / blocks.max(1) as f64
    }

    fn weights(&self) -> &Mergers {
        let mergers = self.mergers.as_deref();
        mergers.unwrap_or_else(|| panic!("{} has weights, and none were given", self.method))
    }

    /// Whether [`relax_inside`](Self::relax_inside) is what training does between attention and MLP.
    #[must_use]
    pub fn relaxes_inside(&self) -> bool {
        self.relaxes() && self.method.site() == Site::InsideBlock
    }

    /// What block `layer` should report where the reduction [relaxes inside](Self::relaxes_inside).
    #[must_use]
    pub fn wants_relaxed(&self, layer: usize) -> Wants {
        match self.recorded.is_none() && self.weights().stand_before(layer) {
            true => self.rule().wants(),
            false => Wants::default(),
        }
    }

    /// In training, in place of [`apply`](Self::apply) where the reduction [relaxes inside](Self::relaxes_inside): all rows stay,
    /// those that count in front of every item, where they are what `apply` would leave, and have a [policy](Tokens::policy) from
    /// here on. What was decided goes to the trace ([`How::Masked`]), and a [replay](Self::replaying) decides the same. Returns
    /// after the last block what is to be added to the loss, `[1]`.
    ///
    /// # Panics
    /// When the method's weights were never given, or the block has not reported what was asked for.
    #[must_use]
    pub fn relax_inside(
        &self,
        layer: usize,
        tokens: Tokens,
        evidence: Evidence,
        trace: &mut Trace,
    ) -> (Tokens, Option<Tensor<1>>) {
        let step = Step { layer, site: Site::InsideBlock };
        let choice = self.choice(step, &tokens, evidence);
        let patches = self.facts.map_or(0, |facts| facts.tokens.saturating_sub(facts.prefix));
        let soft = self.weights().soften(layer, &choice, patches);
        let before = tokens.clone();
        let relaxed = choice.relax(tokens, soft, self.key_bias);
        let relaxed = spend(&before, relaxed, self.amounts.len());
        let [entered, seen, left] = [(); 3].map(|()| relaxed.layout.clone());
        trace.record(Record { step, entered, seen, left, how: How::Masked(choice), by: None });
        if layer + 1 < self.amounts.len() {
            return (relaxed, None);
        }
        let excess = self.method.rule().budget().map(|budget| budget.excess(&relaxed));
        let relaxed = match self.last_layer {
            LastLayer::Prefix => relaxed.prefix_only(),
            LastLayer::All => relaxed,
        };
        (relaxed, excess)
    }

    /// What is decided of the tokens that count, or was in an earlier pass.
    fn choice(&self, step: Step, tokens: &Tokens, evidence: Evidence) -> Choice {
        if let Some(recorded) = &self.recorded {
            let found = recorded.iter().find_map(|record| match &record.how {
                How::Masked(choice) if record.step == step => Some(choice.clone()),
                _ => None,
            });
            return found.expect("the earlier pass has decided in every block");
        }
        let counting = Counting::of(tokens);
        counting.lift(match self.weights().stand_before(step.layer) {
            true => {
                let evidence = counting.evidence(evidence);
                self.rule().choice(&self.at(step.layer), &counting.tokens, evidence)
            }
            false => Choice::nothing(&counting.tokens.layout),
        })
    }
}
