//! What sits in the seam of an encoder: a method, bound to a model.

mod relaxed;

use crate::mergers::{HeldBack, Mergers};
use crate::methods::{At, Rule};
use crate::spec::shown;
use crate::words::to_front;
use crate::{
    Amount, BindError, Combine, Evidence, How, Joining, KeyBias, LastBlockSkip, LastLayer, Layout, Leading,
    MapQueries, MergePlan, MergerShape, Merging, Method, Mixture, ModelFacts, PositionUse, Positions, Prefix,
    Protect, Readout, Received, Record, SequencePositions, Site, Softmax, Standing, Step, TokenKind, Tokens,
    Trace, TrainedBy, Wants,
};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::Arc;

/// A method bound to a model: which, how many, and where.
#[derive(Clone, Debug)]
pub struct Reduction {
    pub(crate) method: Method,
    /// The same with the numbers that its weights have learned written out, where they are no more than that.
    given: Option<Method>,
    /// The model, where it is bound to one.
    facts: Option<ModelFacts>,
    pub(crate) amounts: Vec<Amount>,
    key_bias: KeyBias,
    pub(crate) last_layer: LastLayer,
    pub(crate) prefix: usize,
    positions: PositionUse,
    pub(crate) joining: Option<Joining>,
    mergers: Option<Arc<Mergers>>,
    /// The seed of a step of training, for what is drawn anew in each.
    step: Option<u64>,
    /// What an earlier pass did, to be repeated instead of making new plans.
    recorded: Option<Arc<[Record]>>,
}

/// Tokens that are held back while a block works on fewer.
#[derive(Debug, Default)]
pub struct Held(Option<Box<dyn HeldBack>>);

/// All tokens, the rows that a block got in their place, and which became which.
#[derive(Debug)]
struct Merged {
    all: Tokens,
    merged: Tensor<2>,
    plan: MergePlan,
}

impl Reduction {
    /// Binds a method to a model.
    ///
    /// # Errors
    /// When the schedule does not fit the model's depth, a layer is to remove more tokens than an image has, or
    /// merging cannot be right in the model. Asking for more than half of what is left in a later layer is allowed: a
    /// layer removes what it can.
    pub fn bind(method: Method, facts: &ModelFacts) -> Result<Self, BindError> {
        let merge = || shown(&method.to_string());
        match facts.positions {
            PositionUse::Fixed(reason) if method != Method::None => {
                return Err(BindError::Unmergeable { merge: merge(), reason });
            }
            PositionUse::Followed
                if loses_positions(&method, facts) && method.positions() == SequencePositions::Rescaled =>
            {
                let or = match facts.tokens_are {
                    TokenKind::Words => ", or count places anew with positions=shrunk",
                    TokenKind::Patches | TokenKind::PatchesAfterWords => "",
                };
                return Err(BindError::LosesPositions { merge: merge(), or });
            }
            PositionUse::Fixed(_) | PositionUse::Followed | PositionUse::Free => {}
        }
        if let Some((option, rule)) = not_of_texts(&method, facts) {
            return Err(BindError::NotOfTexts { merge: merge(), option, rule });
        }
        let wants = method.rule().wants();
        if wants.received == Received::FromWords && facts.tokens_are != TokenKind::PatchesAfterWords {
            return Err(BindError::NoWords { merge: merge() });
        }
        let needs_logits = method.rule().needs_logits();
        if (needs_logits || wants.maps == Some(MapQueries::First)) && facts.leading != Leading::ClassToken {
            return Err(BindError::NoClassToken { merge: merge() });
        }
        if method.rule().needs_grid() && facts.grid.is_none() {
            return Err(BindError::NoGrid { merge: merge() });
        }
        let masks = method.trained_by() != TrainedBy::Merging;
        if masks && facts.tokens_are == TokenKind::Words {
            return Err(BindError::NoPatches { merge: merge() });
        }
        let reads_patches = facts.readout == Readout::All || facts.joining.is_some();
        if method.rule().reads() == Some(Readout::Prefix) && reads_patches {
            return Err(BindError::ReadsPatches { merge: merge() });
        }
        let inside = masks || method.site() == Site::InsideAttention;
        if inside && facts.softmax == Softmax::Closed {
            return Err(BindError::ClosedSoftmax { merge: merge() });
        }
        if needs_logits && facts.softmax == Softmax::Closed {
            return Err(BindError::ClosedKeys { merge: merge() });
        }
        let amounts =
            method.rule().amounts(facts).map_err(|source| BindError::Schedule { merge: merge(), source })?;
        let before = matches!(method.site(), Site::BeforeBlock | Site::AroundBlock);
        let asks_before = before && (wants.attention() || wants.metric.is_some());
        if asks_before && amounts.first().is_some_and(|amount| *amount != Amount::NOTHING) {
            return Err(BindError::NoLayerBefore { merge: merge() });
        }
        let (tokens, prefix) = (facts.tokens, facts.prefix);
        for (layer, amount) in amounts.iter().enumerate() {
            // Texts have any length: a layer removes what it can.
            if let Amount::Count(remove) = *amount
                && facts.tokens_are != TokenKind::Words
                && remove >= tokens.max(1)
            {
                let most = tokens.saturating_sub(prefix) / 2;
                return Err(BindError::TooMany {
                    merge: merge(),
                    layer: layer + 1,
                    remove,
                    tokens,
                    prefix,
                    most,
                });
            }
        }
        let places = method.mergers_before(facts.depth);
        for (index, &place) in places.iter().enumerate() {
            let layer = method.rule().layer_of(place);
            if place >= facts.depth {
                return Err(BindError::NoSuchLayer { merge: merge(), layer, depth: facts.depth });
            }
            if places[..index].contains(&place) {
                return Err(BindError::LayerTwice { merge: merge(), layer });
            }
        }
        if let Some(joining) = facts.joining
            && method.site() == Site::AroundBlock
            && (amounts.get(joining.layer).is_some_and(|amount| *amount != Amount::NOTHING)
                || places.contains(&joining.layer))
        {
            let reason =
                "words join before one of its blocks, behind which the tokens before it cannot come back";
            return Err(BindError::Unmergeable { merge: merge(), reason });
        }
        let key_bias = method.rule().common().proportional_attention.key_bias(facts.auto_key_bias());
        let last_layer = match facts.readout {
            Readout::Prefix => method.last_layer(),
            Readout::All => LastLayer::All,
        };
        let ModelFacts { positions, joining, .. } = *facts;
        let facts = Some(*facts);
        let bound =
            Self { method, facts, amounts, key_bias, last_layer, prefix, positions, joining, ..Self::none() };
        Ok(bound)
    }

    /// The reduction that does nothing, in any model.
    #[must_use]
    pub fn none() -> Self {
        Self {
            method: Method::None,
            given: None,
            facts: None,
            amounts: Vec::new(),
            key_bias: KeyBias::None,
            last_layer: LastLayer::All,
            prefix: 0,
            positions: PositionUse::Free,
            joining: None,
            mergers: None,
            step: None,
            recorded: None,
        }
    }

    /// The same reduction with these weights. A method that [has some](Method::has_weights) needs them to run, but not
    /// to be counted.
    #[must_use]
    pub fn with_mergers(mut self, mergers: Mergers) -> Self {
        if mergers.is_empty() {
            return self;
        }
        if let Some(facts) = &self.facts
            && let Some(given) = self.method.given(&mergers, facts)
        {
            let amounts = given.rule().amounts(facts);
            self.amounts = amounts.unwrap_or_else(|error| panic!("weights of another model: {error}"));
            self.given = Some(given);
        }
        self.mergers = Some(Arc::new(mergers.placed(self.grid(), self.step)));
        self
    }

    /// The same reduction in a step of training, of a seed that is another in every step: what the method draws at random it
    /// draws anew for this step and every image of it, unless it is told not to. Draws the same when a pass is repeated.
    #[must_use]
    pub fn in_step(mut self, seed: u64) -> Self {
        self.step = Some(seed);
        let mergers = self.mergers.as_deref().cloned();
        self.mergers = mergers.map(|mergers| Arc::new(mergers.placed(self.grid(), self.step)));
        self
    }

    /// Rows and columns of the images, where they have one grid.
    fn grid(&self) -> Option<(usize, usize)> {
        self.facts.as_ref().and_then(|facts| facts.grid)
    }

    /// What merges: the method, with the numbers that it has learned.
    pub(crate) fn rule(&self) -> &dyn Rule {
        self.given.as_ref().unwrap_or(&self.method).rule()
    }

    /// The same reduction with fresh weights for tokens that enter the first block with so many channels, if the method has
    /// any and was not [given](Self::with_mergers) some.
    #[must_use]
    pub fn with_fresh_mergers(self, channels: usize, device: &Device) -> Self {
        if self.mergers.is_some() {
            return self;
        }
        let shape = MergerShape { depth: self.amounts.len(), channels, joining: self.joining };
        let mergers = Mergers::new(&self.method, shape, device);
        self.with_mergers(mergers)
    }

    /// The same reduction, merging exactly as in an earlier pass over the same images, whatever the tokens are by now:
    /// nothing is compared, and no evidence is asked for. Mixing by weights is computed anew.
    #[must_use]
    pub fn replaying(&self, earlier: &Trace) -> Self {
        Self { recorded: Some(earlier.records().into()), ..self.clone() }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Which tokens go through the last MLP: what the method asks for, but always all of them if the model's output is
    /// made of patches.
    #[must_use]
    pub fn last_layer(&self) -> LastLayer {
        self.last_layer
    }

    /// Checks that this reduction was bound to a model of this depth.
    ///
    /// # Panics
    /// When the model has another number of blocks.
    pub fn assert_fits(&self, depth: usize) {
        let bound = self.amounts.len();
        let free = self.method == Method::None;
        assert!(free || bound == depth, "bound to a model of {bound} blocks, run in one of {depth}");
    }

    /// The bias on the keys of the next attention, `[T]`, if these tokens need one.
    #[must_use]
    pub fn key_bias(&self, tokens: &Tokens) -> Option<Arc<[f32]>> {
        match self.key_bias {
            KeyBias::None => None,
            KeyBias::LogSize => tokens.log_size(),
        }
    }

    /// What every block is to merge.
    #[must_use]
    pub fn amounts(&self) -> &[Amount] {
        &self.amounts
    }

    pub(crate) fn amount(&self, layer: usize) -> Amount {
        self.amounts.get(layer).copied().unwrap_or(Amount::NOTHING)
    }

    fn at(&self, layer: usize) -> At {
        At { layer, depth: self.amounts.len(), amount: self.amount(layer) }
    }

    fn merges_at(&self, step: Step) -> bool {
        self.method.site() == step.site && self.amount(step.layer) != Amount::NOTHING
    }

    /// What block `layer` should report.
    #[must_use]
    pub fn wants(&self, layer: usize) -> Wants {
        let rule = self.rule();
        let inside = self.method.site() == Site::InsideAttention;
        if self.recorded.is_none() && !inside && rule.asks(layer, &self.amounts) {
            rule.wants()
        } else {
            Wants::default()
        }
    }

    /// Whether [`enter`](Self::enter) is to be told the [logits](Evidence::logits) of block `layer` itself.
    #[must_use]
    pub fn wants_logits(&self, layer: usize) -> bool {
        self.method.rule().needs_logits() && self.amount(layer) != Amount::NOTHING && self.recorded.is_none()
    }

    /// Whether block `layer` is to stop after the softmax of its attention for [`merge_inside`](Self::merge_inside).
    #[must_use]
    pub fn opens_softmax(&self, layer: usize) -> bool {
        self.merges_at(Step { layer, site: Site::InsideAttention })
    }

    /// Whether the last block, `layer`, has to be computed for all tokens even where only prefix tokens are read: what
    /// they become hangs on what merges there, or how much merges is known by doing it alone.
    #[must_use]
    pub fn needs_whole_block(&self, layer: usize) -> bool {
        self.opens_softmax(layer)
            || (self.amount(layer) == Amount::ByTokens && self.method.site() == Site::InsideBlock)
    }

    /// Which tokens of a text never merge.
    #[must_use]
    pub fn protects(&self) -> Protect {
        self.method.protect()
    }

    /// Before the first block: the tokens of a text that never merge, `protected: [T]`, come to the front of their items
    /// and become their prefix. Where nothing merges nothing moves.
    ///
    /// # Panics
    /// When there are more or fewer marks than rows.
    #[must_use]
    pub fn protect(&self, tokens: Tokens, protected: &[bool], trace: &mut Trace) -> Tokens {
        let merges =
            self.method.has_weights() || self.amounts.iter().any(|amount| *amount != Amount::NOTHING);
        if !merges {
            return tokens;
        }
        let (plan, counts) = to_front(&tokens, protected);
        let mut moved = match plan {
            None => tokens,
            Some(plan) => {
                let step = Step { layer: 0, site: Site::BeforeBlock };
                let (entered, seen) = (plan.input().clone(), plan.output().clone());
                // Nothing has merged: there are no sizes yet.
                let moved = Tokens { size: None, ..tokens.merge(&plan, Combine::WeightedAverage) };
                let (left, how, by) = (seen.clone(), How::Moved(plan), None);
                trace.record(Record { step, entered, left, seen, how, by });
                moved
            }
        };
        moved.prefix = counts.into();
        moved
    }

    /// Merged tokens where the method wants them to stand.
    fn placed(&self, tokens: Tokens) -> Tokens {
        match (self.method.positions(), self.positions, &tokens.positions) {
            (SequencePositions::Shrunk, PositionUse::Followed, None | Some(Positions::Sequence(_))) => {
                tokens.renumbered()
            }
            _ => tokens,
        }
    }

    /// Before block `layer`, of which the one before it has reported `before`. What is held back meanwhile goes to
    /// [`leave`](Self::leave).
    ///
    /// # Panics
    /// When the method has weights and they were never given.
    #[must_use]
    pub fn enter(&self, layer: usize, tokens: Tokens, before: Evidence, trace: &mut Trace) -> (Tokens, Held) {
        assert!(
            self.mergers.is_some() || !self.method.has_weights(),
            "{} has weights, and none were given",
            self.method
        );
        let site = self.method.site();
        let step = Step { layer, site };
        let tokens = self.method.rule().noted(&self.at(layer), tokens);
        let mergers = self.mergers.as_deref().filter(|mergers| mergers.stand_before(layer));
        if let (true, Some(mergers)) = (self.method.mixes(), mergers) {
            return self.mix(mergers, step, tokens, trace);
        }
        if matches!(site, Site::InsideBlock | Site::InsideAttention) || !self.merges_at(step) {
            return (tokens, Held::default());
        }
        let evidence = match self.recorded {
            Some(_) => Evidence::default(),
            None => {
                let scores = mergers.and_then(|mergers| mergers.scores(layer, &tokens));
                let metric = match self.rule().wants().metric {
                    Some(_) => before.metric,
                    // Before a block the tokens are their own metric.
                    None => Some(tokens.x.clone().without_autodiff()),
                };
                Evidence { metric, scores, ..before }
            }
        };
        let all = (site == Site::AroundBlock).then(|| tokens.clone());
        let (tokens, plan) = self.reduce(step, tokens, evidence, trace);
        match (all, plan) {
            (Some(all), Some(plan)) => {
                let held = Merged { all, merged: tokens.x.clone(), plan };
                (tokens, Held(Some(Box::new(held))))
            }
            _ => (tokens, Held::default()),
        }
    }

    /// After the last block: what the head is to see, and what training is to add to the loss, `[1]`, if anything.
    #[must_use]
    pub fn settle(&self, tokens: Tokens) -> (Tokens, Option<Tensor<1>>) {
        self.method.rule().settle(&self.at(self.amounts.len()), tokens)
    }

    fn mix(&self, mergers: &Mergers, step: Step, tokens: Tokens, trace: &mut Trace) -> (Tokens, Held) {
        let entered = tokens.layout.clone();
        let waiting = tokens.waiting.clone();
        let (fewer, held) = mergers.enter(step.layer, tokens);
        let fewer = self.placed(Tokens { waiting, ..fewer });
        let seen = fewer.layout.clone();
        let left = if held.is_some() { entered.clone() } else { seen.clone() };
        trace.record(Record { step, entered, seen, left, how: How::Weights, by: None });
        (fewer, Held(held))
    }

    /// What weights before block `layer` make of the tokens that are about to enter it, for every item. They are
    /// computed again for this: it is meant for showing them. `None` where no weights stand, or where all tokens are
    /// there again after the block.
    #[must_use]
    pub fn mixtures(&self, layer: usize, tokens: &Tokens) -> Option<Vec<Mixture>> {
        let shown = self.method.mixes() && !self.method.inflates();
        if shown { self.mergers.as_deref()?.mixtures(layer, tokens) } else { None }
    }

    /// After a block: all tokens again, if some were held back.
    #[must_use]
    pub fn leave(&self, tokens: Tokens, held: Held) -> Tokens {
        match held.0 {
            None => tokens,
            Some(held) => held.all(tokens),
        }
    }

    /// Between the attention and the MLP of block `layer`.
    #[must_use]
    pub fn apply(&self, layer: usize, tokens: Tokens, evidence: Evidence, trace: &mut Trace) -> Tokens {
        let step = Step { layer, site: Site::InsideBlock };
        let tokens = self.remembering(layer, tokens, &evidence);
        let tokens = match self.merges_at(step) {
            true => {
                let evidence = self.scored(layer, &tokens, evidence);
                self.reduce(step, tokens, evidence, trace).0
            }
            false => tokens,
        };
        if self.last_layer == LastLayer::Prefix && layer + 1 == self.amounts.len() {
            self.skip(step, tokens.layout.clone(), tokens.prefix.clone(), Amount::NOTHING, trace);
            return tokens.prefix_only();
        }
        tokens
    }

    /// The same tokens with what the method remembers of them from here on.
    fn remembering(&self, layer: usize, tokens: Tokens, evidence: &Evidence) -> Tokens {
        if self.recorded.is_some() {
            return tokens;
        }
        match self.method.rule().scores(&self.at(layer), &tokens, evidence) {
            Some(scores) => Tokens { standing: Some(Standing::new(scores)), ..tokens },
            None => tokens,
        }
    }

    /// The evidence, with what the weights of block `layer` say of the tokens, where a method that merges inside blocks has some.
    fn scored(&self, layer: usize, tokens: &Tokens, evidence: Evidence) -> Evidence {
        match (&self.mergers, &self.recorded) {
            (Some(mergers), None) => Evidence { scores: mergers.scores(layer, tokens), ..evidence },
            _ => evidence,
        }
    }

    /// What a method that merges inside attention wants to know of it.
    #[must_use]
    pub fn wants_inside(&self) -> Wants {
        if self.recorded.is_none() { self.rule().wants() } else { Wants::default() }
    }

    /// Between the softmax and the values of the attention of block `layer`, of which `evidence` tells. Returns the fewer
    /// tokens and how they merged; nothing where none did.
    #[must_use]
    pub fn merge_inside(
        &self,
        layer: usize,
        tokens: Tokens,
        evidence: Evidence,
        trace: &mut Trace,
    ) -> (Tokens, Option<Merging>) {
        let step = Step { layer, site: Site::InsideAttention };
        let Some(merging) = self.merging(step, &tokens, evidence) else { return (tokens, None) };
        (self.follow(step, tokens, merging.clone(), trace), Some(merging))
    }

    /// Instead of [`apply`](Self::apply) in the last block, when only prefix tokens will be read and so only they have
    /// attended, `attended` of all `tokens` that entered: nothing merges, because what becomes of other tokens after
    /// attention does not change the prefix. Records what would have merged.
    ///
    /// # Panics
    /// When this is not the last block.
    pub fn skip_last(&self, layer: usize, tokens: Layout, prefix: Prefix, trace: &mut Trace) {
        assert!(
            self.amounts.is_empty() || layer + 1 == self.amounts.len(),
            "only the last block is run for the prefix alone"
        );
        let skipped = match (self.method.site(), self.amount(layer)) {
            (
                Site::InsideBlock,
                amount @ (Amount::Count(_)
                | Amount::Share(_)
                | Amount::DropAndMerge { .. }
                | Amount::Keep(_)
                | Amount::KeepShare { .. }
                | Amount::Ratio(_)
                | Amount::Leaving { .. }
                | Amount::KeepAndMerge { .. }
                | Amount::OfGrid { .. }),
            ) => amount,
            // What merged before the block is in the trace; thresholds merge nothing in the last layer of a model that
            // reads prefix tokens only.
            (Site::BeforeBlock | Site::AroundBlock | Site::InsideAttention, _)
            | (Site::InsideBlock, Amount::Above(_) | Amount::ByTokens) => Amount::NOTHING,
        };
        self.skip(Step { layer, site: Site::BeforeBlock }, tokens, prefix, skipped, trace);
    }

    fn skip(&self, step: Step, entered: Layout, prefix: Prefix, skipped: Amount, trace: &mut Trace) {
        let seen = prefix.front(&entered);
        let how = LastBlockSkip { prefix, merges_skipped: skipped, last_layer: self.last_layer };
        let how = How::Skipped(how);
        trace.record(Record { step, entered, left: seen.clone(), seen, how, by: None });
    }

    fn reduce(
        &self,
        step: Step,
        tokens: Tokens,
        evidence: Evidence,
        trace: &mut Trace,
    ) -> (Tokens, Option<MergePlan>) {
        if self.method.mixes() {
            return (self.mix_without_weights(step, tokens, evidence, trace), None);
        }
        let Some(merging) = self.merging(step, &tokens, evidence) else { return (tokens, None) };
        let plan = merging.plan.clone();
        (self.follow(step, tokens, merging, trace), Some(plan))
    }

    /// In the parts that the method says, or said in an earlier pass.
    fn mix_without_weights(
        &self,
        step: Step,
        tokens: Tokens,
        evidence: Evidence,
        trace: &mut Trace,
    ) -> Tokens {
        let mixing = match &self.recorded {
            Some(recorded) => recorded.iter().find_map(|record| match &record.how {
                How::Mixed(mixing) if record.step == step => Some(mixing.clone()),
                _ => None,
            }),
            None => self.method.rule().mixing(&self.at(step.layer), &tokens, evidence),
        };
        // Whether others of a batch are mixed says nothing about these.
        let Some(mixing) = mixing else { return Tokens { positions: None, ..tokens } };
        let (entered, seen) = (tokens.layout.clone(), mixing.output().clone());
        let mixed = mixing.apply(tokens);
        trace.record(Record { step, entered, left: seen.clone(), seen, how: How::Mixed(mixing), by: None });
        mixed
    }

    /// What becomes of these tokens: what the method says, or did in an earlier pass.
    fn merging(&self, step: Step, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        match &self.recorded {
            Some(recorded) => recorded.iter().find_map(|record| match (&record.how, &record.by) {
                (How::Plan(plan) | How::Unmerged(plan), Some(by)) if record.step == step => {
                    Some(Merging { plan: plan.clone(), by: by.clone() })
                }
                _ => None,
            }),
            None => {
                let evidence = Evidence { step: self.step, ..evidence };
                self.rule().merging(&self.at(step.layer), tokens, evidence)
            }
        }
    }

    /// Merges, and records it.
    fn follow(&self, step: Step, tokens: Tokens, merging: Merging, trace: &mut Trace) -> Tokens {
        let merged = self.placed(merging.apply(tokens));
        let Merging { plan, by } = merging;
        let (entered, seen) = (plan.input().clone(), plan.output().clone());
        let (left, how) = match step.site {
            Site::AroundBlock => (entered.clone(), How::Unmerged(plan)),
            Site::BeforeBlock | Site::InsideBlock | Site::InsideAttention => (seen.clone(), How::Plan(plan)),
        };
        trace.record(Record { step, entered, seen, left, how, by: Some(by) });
        merged
    }
}

/// Whether tokens would have no positions where the model's blocks ask for them: what joins numbers all tokens anew.
fn loses_positions(method: &Method, facts: &ModelFacts) -> bool {
    let asked_for = |before: &usize| facts.joining.is_none_or(|joining| *before > joining.layer);
    let places = method.mergers_before(facts.depth);
    !method.keeps_positions() && (places.is_empty() || places.iter().any(asked_for))
}

/// An option of texts that means nothing in a model, and why.
fn not_of_texts(method: &Method, facts: &ModelFacts) -> Option<(&'static str, &'static str)> {
    let words = facts.tokens_are == TokenKind::Words;
    match (method.protect(), method.positions()) {
        (Protect::Class, _) if !words => Some(("protect=class", "is for texts, and this model takes none")),
        (Protect::Nothing, _) if !words => Some(("protect=none", "is for texts, and this model takes none")),
        (_, SequencePositions::Shrunk) if !words || facts.positions != PositionUse::Followed => Some((
            "positions=shrunk",
            "is for texts in models whose blocks look at distances, and this is none",
        )),
        _ => None,
    }
}

impl HeldBack for Merged {
    /// Every token of a group changes as its merged token did, a token that was alone is what the block made of it, and one
    /// that was dropped stays as it was.
    fn all(self: Box<Self>, after: Tokens) -> Tokens {
        let Self { mut all, merged, plan } = *self;
        if after.layout != *plan.output() {
            // Only the prefix has gone through the last MLP: nothing is to come back.
            return after;
        }
        all.standing = Standing::back(all.standing, after.standing, &plan);
        let mut members = vec![0_u32; plan.output().rows()];
        for &dst in plan.dst() {
            if let Some(members) = members.get_mut(dst as usize) {
                *members += 1;
            }
        }
        let alone = |dst: &u32| members.get(*dst as usize) == Some(&1);
        let keep: Vec<f32> = plan.dst().iter().map(|dst| if alone(dst) { 0.0 } else { 1.0 }).collect();
        let keep = TensorData::new(keep, [plan.dst().len(), 1]);
        let keep = Tensor::from_data(keep, &all.device());
        let own = all.x.clone() - plan.unmerge(merged);
        let x = plan.unmerge(after.x) + own * keep;
        all.with(x)
    }
}
