//! What sits in the seam of an encoder: a method, bound to a model.

use crate::learned::Inflated;
use crate::{
    Amount, Evidence, Layout, MergePlan, MergerShape, Mergers, Method, Mixture, ScheduleError, Tokens, Wants,
};
use burn::tensor::Device;
use std::sync::Arc;

/// Where in an encoder a method works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Before a block: attention already sees the fewer tokens.
    BeforeBlock,
    /// Between the attention and the MLP of a block.
    InsideBlock,
}

/// Whether merged tokens weigh more as keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBias {
    /// No: every token attends alike.
    None,
    /// `log(size)` on the logits of each key: proportional attention (ToMe, eq. 1).
    LogSize,
}

/// Whether attention weighs tokens by their size (ToMe, eq. 1 and Table 1f).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProportionalAttention {
    /// As the weights want it: off for off-the-shelf MAE models, on for all others.
    Auto,
    /// On.
    On,
    /// Off.
    Off,
}

impl ProportionalAttention {
    /// `auto` being what the weights want.
    #[must_use]
    pub fn key_bias(self, auto: KeyBias) -> KeyBias {
        match self {
            Self::Auto => auto,
            Self::On => KeyBias::LogSize,
            Self::Off => KeyBias::None,
        }
    }
}

/// Which tokens go through the MLP of the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLayer {
    /// All.
    All,
    /// The prefix alone: what a head reads that looks at class tokens only. The result is the same.
    Prefix,
}

/// Which tokens the output of a model is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// Prefix tokens: class and distillation token.
    Prefix,
    /// Patches too: average pooling, dense outputs.
    All,
}

/// What a method needs to know of the model that it will sit in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Blocks (`L`).
    pub depth: usize,
    /// Tokens per item entering the first block, prefix included.
    pub tokens: usize,
    /// Tokens that never merge.
    pub prefix: usize,
    /// What `auto` means for these weights: [`KeyBias::None`] for off-the-shelf MAE models (ToMe, Table 1f),
    /// [`KeyBias::LogSize`] for all others.
    pub key_bias: KeyBias,
    /// What the output is made of.
    pub readout: Readout,
}

/// A method that does not fit a model.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum BindError {
    /// The schedule does not fit.
    #[error("{merge}: {source}")]
    Schedule {
        /// The method.
        merge: String,
        /// Why its schedule does not fit.
        source: ScheduleError,
    },
    /// A layer is asked to remove more tokens than there are.
    #[error(
        "{merge}: layer {layer} is to remove {remove} tokens, but the image has {tokens} of which {prefix} never merge; r must be below {tokens}, and a layer never removes more than half of the others, {most} here"
    )]
    TooMany {
        /// The method.
        merge: String,
        /// The layer, counted from 1.
        layer: usize,
        /// Tokens to remove.
        remove: usize,
        /// Tokens of an item.
        tokens: usize,
        /// Tokens that never merge.
        prefix: usize,
        /// Half of the others.
        most: usize,
    },
    /// A merger is to stand where there is no layer.
    #[error(
        "{merge}: there is no place at layer {layer}; the model has layers 1 to {depth}, and tokens that merge behind the last one would be read by none"
    )]
    NoSuchLayer {
        /// The method.
        merge: String,
        /// The layer asked for, as the method counts it.
        layer: usize,
        /// Blocks of the model.
        depth: usize,
    },
    /// Two mergers in one place.
    #[error("{merge}: layer {layer} is listed twice; list every layer once")]
    LayerTwice {
        /// The method.
        merge: String,
        /// The layer.
        layer: usize,
    },
}

/// Where in the model a reduction is asked to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index of the block, from 0.
    pub layer: usize,
    /// Where in it.
    pub site: Site,
}

/// The plans of one forward pass, in order. Everything about where tokens went is in here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    steps: Vec<(Step, MergePlan)>,
    learned: Vec<LearnedStep>,
    narrowed: Option<Narrowed>,
    rechecked: Vec<usize>,
}

/// What weights in front of a block made of the tokens.
#[derive(Clone, Debug, PartialEq)]
struct LearnedStep {
    layer: usize,
    /// Tokens that the block sees.
    seen: Layout,
    /// Tokens behind it.
    left: Layout,
}

/// From some point of the last block on only the prefix of every item was computed: not a merge, and the end of
/// nothing but a computation that what is read does not depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrowed {
    /// From where on: from the queries of a block ([`Site::BeforeBlock`]; keys and values are those of all tokens),
    /// or from its MLP ([`Site::InsideBlock`]).
    pub step: Step,
    /// Tokens of every item that went on, where it had as many.
    pub prefix: usize,
    /// Tokens that the method would have merged in the part that was left out; fewer where there are not enough.
    pub spared: usize,
    /// What the method itself lets through the last MLP, which is what it is counted by.
    pub last_layer: LastLayer,
}

impl Trace {
    /// The recorded plans.
    #[must_use]
    pub fn steps(&self) -> &[(Step, MergePlan)] {
        &self.steps
    }

    pub(crate) fn record(&mut self, step: Step, plan: MergePlan) {
        self.steps.push((step, plan));
    }

    /// Notes that these items, ascending, ran once more without merging.
    pub fn set_rechecked(&mut self, items: Vec<usize>) {
        self.rechecked = items;
    }

    /// Items that ran once more without merging, because the merged answer was too close; ascending.
    #[must_use]
    pub fn rechecked(&self) -> &[usize] {
        &self.rechecked
    }

    /// What was left out of the last block, because nothing that was to be read depends on it.
    #[must_use]
    pub fn narrowed(&self) -> Option<Narrowed> {
        self.narrowed
    }

    /// Tokens of one item that the method leaves, of `tokens` that entered the first block. Tokens that only skip
    /// the last MLP ([`LastLayer::Prefix`]) are left; a last merge that was left out ([`Trace::narrowed`]) counts.
    #[must_use]
    pub fn tokens_left(&self, item: usize, tokens: usize) -> usize {
        let learned = self.learned.last().map_or(tokens, |step| step.left.range(item).len());
        let left = self.steps.last().map_or(learned, |(_, plan)| plan.output().range(item).len());
        self.narrowed.map_or(left, |narrowed| narrowed.left_of(left))
    }

    /// Where every original token is after block `layer` (all blocks if `None`); `None` if nothing has merged
    /// until there.
    #[must_use]
    pub fn plan_until(&self, layer: Option<usize>) -> Option<MergePlan> {
        self.steps
            .iter()
            .filter(|(step, _)| layer.is_none_or(|layer| step.layer <= layer))
            .map(|(_, plan)| plan.clone())
            .reduce(|first, next| first.then(&next))
    }

    /// Tokens of one item that attention and MLP of every block see, of `tokens` that entered the first: what the
    /// method is counted by. What was left out because nobody read it ([`Trace::narrowed`]) counts as done.
    #[must_use]
    pub fn layer_tokens(&self, item: usize, tokens: usize, depth: usize) -> Vec<LayerTokens> {
        let mut now = tokens;
        (0..depth)
            .map(|layer| {
                let mut seen = LayerTokens::unmerged(now);
                if let Some(step) = self.learned.iter().find(|step| step.layer == layer) {
                    (seen.attended, seen.fed) = (step.seen.range(item).len(), step.seen.range(item).len());
                    now = step.left.range(item).len();
                }
                for (step, plan) in self.steps.iter().filter(|(step, _)| step.layer == layer) {
                    now = plan.output().range(item).len();
                    seen.fed = now;
                    if step.site == Site::BeforeBlock {
                        seen.attended = now;
                    }
                }
                if let Some(narrowed) = self.narrowed.filter(|narrowed| narrowed.step.layer == layer) {
                    now = narrowed.left_of(now);
                    seen.fed = match narrowed.last_layer {
                        LastLayer::All => now,
                        LastLayer::Prefix => now.min(narrowed.prefix),
                    };
                }
                seen
            })
            .collect()
    }
}

impl Narrowed {
    /// Tokens that are left of those of an item when what was left out has merged.
    fn left_of(&self, tokens: usize) -> usize {
        tokens - crate::mergeable(self.spared, tokens, self.prefix)
    }
}

/// Tokens of one item that the two halves of a block see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTokens {
    /// Before anything merges in the block.
    pub entered: usize,
    /// By attention.
    pub attended: usize,
    /// By the MLP.
    pub fed: usize,
}

impl LayerTokens {
    /// A block in which nothing merges.
    #[must_use]
    pub fn unmerged(tokens: usize) -> Self {
        Self { entered: tokens, attended: tokens, fed: tokens }
    }
}

/// A method bound to a model: which × how many × where.
#[derive(Clone, Debug)]
pub struct Reduction {
    method: Method,
    amounts: Vec<Amount>,
    key_bias: KeyBias,
    last_layer: LastLayer,
    prefix: usize,
    mergers: Option<Arc<Mergers>>,
    /// The plans of an earlier pass, to be followed in place of making new ones.
    recorded: Option<Arc<[(Step, MergePlan)]>>,
}

/// Tokens that stand aside while a block works on fewer.
#[derive(Debug, Default)]
pub struct Aside(Option<Inflated>);

impl Reduction {
    /// Binds a method to a model.
    ///
    /// # Errors
    /// When the schedule does not fit the model's depth, or a layer is to remove more tokens than an image has.
    /// Asking for more than half of what is left in a later layer is allowed: a layer removes what it can.
    pub fn bind(method: Method, seat: &Seat) -> Result<Self, BindError> {
        let amounts = method
            .amounts(seat.depth)
            .map_err(|source| BindError::Schedule { merge: method.to_string(), source })?;
        let most = seat.tokens.saturating_sub(seat.prefix) / 2;
        for (layer, amount) in amounts.iter().enumerate() {
            if let Amount::Count(remove) = *amount
                && remove >= seat.tokens.max(1)
            {
                let (tokens, prefix) = (seat.tokens, seat.prefix);
                let (merge, layer) = (method.to_string(), layer + 1);
                return Err(BindError::TooMany { merge, layer, remove, tokens, prefix, most });
            }
        }
        let places = method.mergers_before(seat.depth);
        for (index, &place) in places.iter().enumerate() {
            let merge = method.to_string();
            // PatchMerger counts the block in front, soft merging the one behind.
            let layer = if matches!(method, Method::Stm(_)) { place + 1 } else { place };
            if place >= seat.depth {
                return Err(BindError::NoSuchLayer { merge, layer, depth: seat.depth });
            }
            if places[..index].contains(&place) {
                return Err(BindError::LayerTwice { merge, layer });
            }
        }
        let key_bias = method.proportional_attention().key_bias(seat.key_bias);
        let last_layer = match seat.readout {
            Readout::Prefix => method.last_layer(),
            Readout::All => LastLayer::All,
        };
        Ok(Self { method, amounts, key_bias, last_layer, prefix: seat.prefix, mergers: None, recorded: None })
    }

    /// The reduction that does nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            method: Method::None,
            amounts: Vec::new(),
            key_bias: KeyBias::None,
            last_layer: LastLayer::All,
            prefix: 0,
            mergers: None,
            recorded: None,
        }
    }

    /// The same with these weights, which a method that [has some](Method::has_weights) needs to run; for counting
    /// it needs none.
    #[must_use]
    pub fn with_mergers(mut self, mergers: Mergers) -> Self {
        self.mergers = (!mergers.is_empty()).then(|| Arc::new(mergers));
        self
    }

    /// The same with fresh weights, where the method has some.
    #[must_use]
    pub fn with_fresh_mergers(self, channels: usize, device: &Device) -> Self {
        let shape = MergerShape { depth: self.amounts.len(), channels };
        let mergers = Mergers::new(&self.method, shape, device);
        self.with_mergers(mergers)
    }

    /// The same, but merging again as in an earlier pass over the same images, whatever the tokens are by now: nothing
    /// is compared, and no evidence is asked for. What weights make of the tokens is computed anew.
    #[must_use]
    pub fn replaying(&self, earlier: &Trace) -> Self {
        Self { recorded: Some(earlier.steps.as_slice().into()), ..self.clone() }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Which tokens go through the last MLP: what the method asks for, but all where the model's output is made
    /// of patches.
    #[must_use]
    pub fn last_layer(&self) -> LastLayer {
        self.last_layer
    }

    /// Refuses a model that this reduction was not bound to.
    ///
    /// # Panics
    /// When the model has another number of blocks.
    pub fn assert_fits(&self, depth: usize) {
        let bound = self.amounts.len();
        let free = self.method == Method::None;
        assert!(free || bound == depth, "bound to a model of {bound} blocks, run in one of {depth}");
    }

    /// The bias on the keys of the next attention, if these tokens are to have one. `[T]`.
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

    fn amount(&self, layer: usize) -> Amount {
        self.amounts.get(layer).copied().unwrap_or(Amount::NOTHING)
    }

    fn merges_in(&self, layer: usize) -> bool {
        self.amount(layer) != Amount::NOTHING
    }

    /// What block `layer` should report.
    #[must_use]
    pub fn wants(&self, layer: usize) -> Wants {
        let matches = self.merges_in(layer) && self.recorded.is_none();
        if matches { self.method.wants() } else { Wants::default() }
    }

    /// Before block `layer`. What stands aside meanwhile goes to [`leave`](Self::leave).
    ///
    /// # Panics
    /// When the method has weights and they were never given.
    #[must_use]
    pub fn enter(&self, layer: usize, tokens: Tokens, trace: &mut Trace) -> (Tokens, Aside) {
        assert!(
            self.mergers.is_some() || !self.method.has_weights(),
            "{} has weights, and none were given",
            self.method
        );
        let before = tokens.layout.clone();
        let tokens = match self.mergers.as_deref() {
            Some(mergers) => match mergers.enter(layer, tokens.clone()) {
                Some((less, aside)) => {
                    let seen = less.layout.clone();
                    let left = if aside.is_some() { before } else { seen.clone() };
                    trace.learned.push(LearnedStep { layer, seen, left });
                    return (less, Aside(aside));
                }
                None => tokens,
            },
            None => tokens,
        };
        (self.merge_before(layer, tokens, trace), Aside::default())
    }

    /// What weights in front of block `layer` make of the tokens that are about to enter it, of every item: for showing
    /// it, since it is computed once more. `None` where nothing with weights stands, or where all tokens come back
    /// behind the block.
    #[must_use]
    pub fn mixtures(&self, layer: usize, tokens: &Tokens) -> Option<Vec<Mixture>> {
        if self.method.inflates() { None } else { self.mergers.as_deref()?.mixtures(layer, tokens) }
    }

    /// Behind block `layer`: all tokens again, where some stood aside.
    #[must_use]
    pub fn leave(&self, tokens: Tokens, aside: Aside) -> Tokens {
        match aside.0 {
            Some(inflated) => inflated.inflate(tokens),
            None => tokens,
        }
    }

    fn merge_before(&self, layer: usize, tokens: Tokens, trace: &mut Trace) -> Tokens {
        if self.method.site() != Site::BeforeBlock || !self.merges_in(layer) {
            return tokens;
        }
        let evidence = match self.recorded {
            Some(_) => Evidence::default(),
            None => Evidence { features: Some(tokens.x.clone().without_autodiff()), received: None },
        };
        self.reduce(Step { layer, site: Site::BeforeBlock }, tokens, evidence, trace)
    }

    /// Between the attention and the MLP of block `layer`.
    #[must_use]
    pub fn apply(&self, layer: usize, tokens: Tokens, evidence: Evidence, trace: &mut Trace) -> Tokens {
        let tokens = if self.method.site() == Site::InsideBlock && self.merges_in(layer) {
            self.reduce(Step { layer, site: Site::InsideBlock }, tokens, evidence, trace)
        } else {
            tokens
        };
        if self.last_layer == LastLayer::Prefix && layer + 1 == self.amounts.len() {
            let step = Step { layer, site: Site::InsideBlock };
            let last_layer = self.last_layer;
            trace.narrowed = Some(Narrowed { step, prefix: tokens.prefix, spared: 0, last_layer });
            return tokens.prefix_only();
        }
        tokens
    }

    /// In place of [`apply`](Self::apply) in the last block, when only prefix tokens are read of the result and so
    /// only they have attended: nothing merges, since a token's result does not depend on what becomes of others
    /// after it has attended to them. Notes what would have.
    ///
    /// # Panics
    /// When this is not the last block.
    pub fn leave_out(&self, layer: usize, prefix: usize, trace: &mut Trace) {
        assert!(
            self.amounts.is_empty() || layer + 1 == self.amounts.len(),
            "only the last block is narrowed"
        );
        let spared = match (self.method.site(), self.amount(layer)) {
            (Site::InsideBlock, Amount::Count(remove)) => remove,
            // What has merged before the block is in the trace; thresholds merge nothing in the last layer.
            (Site::BeforeBlock, _) | (Site::InsideBlock, Amount::Above(_)) => 0,
        };
        let step = Step { layer, site: Site::BeforeBlock };
        trace.narrowed = Some(Narrowed { step, prefix, spared, last_layer: self.last_layer });
    }

    fn reduce(&self, step: Step, tokens: Tokens, evidence: Evidence, trace: &mut Trace) -> Tokens {
        let (depth, amount) = (self.amounts.len(), self.amount(step.layer));
        let plan = match &self.recorded {
            Some(recorded) => recorded.iter().find(|(at, _)| *at == step).map(|(_, plan)| plan.clone()),
            None => self.method.plan(step, depth, amount, &tokens, evidence),
        };
        let Some(plan) = plan else { return tokens };
        // The rows are handed over, not shared, so that their memory can be reused.
        let sizes = tokens.sizes();
        let Tokens { x, layout, prefix, size } = tokens;
        let x = plan.merge(x, &sizes, self.method.combine());
        let merged = Tokens::after(&plan, x, &layout, prefix, size.as_deref());
        trace.record(step, plan);
        merged
    }

    /// Tokens that attention and MLP of every block will see for an item of `tokens`; `None` where that depends
    /// on the image.
    #[must_use]
    pub fn expected_tokens(&self, tokens: usize, depth: usize) -> Option<Vec<LayerTokens>> {
        let mut now = tokens;
        let of = |layer| {
            let before = now;
            match self.amount(layer) {
                Amount::Count(remove) => now -= crate::mergeable(remove, now, self.prefix),
                Amount::Above(_) => return None,
            }
            if let Some((seen, left)) = self.method.merged_before(layer, depth, before, self.prefix) {
                now = left;
                return Some(LayerTokens { entered: before, attended: seen, fed: seen });
            }
            let attended = if self.method.site() == Site::BeforeBlock { now } else { before };
            let narrow = self.last_layer == LastLayer::Prefix && layer + 1 == depth;
            let fed = if narrow { now.min(self.prefix) } else { now };
            Some(LayerTokens { entered: before, attended, fed })
        };
        (0..depth).map(of).collect()
    }

    /// Multiply-adds that matching costs in block `layer` on an item of `tokens`, heads of `head_dim` channels,
    /// tokens of `channels`. Counted as fvcore does: the products only.
    #[must_use]
    pub fn matching_macs(&self, layer: usize, tokens: usize, head_dim: usize, channels: usize) -> f64 {
        let amount = self.amount(layer);
        let possible = match amount {
            Amount::Count(remove) => crate::mergeable(remove, tokens, self.prefix),
            // It is looked whether anything can merge, also where nothing does.
            Amount::Above(_) => crate::mergeable(usize::MAX, tokens, self.prefix),
        };
        if possible == 0 { 0.0 } else { self.method.matching_macs(tokens, amount, head_dim, channels) }
    }

    /// Multiply-adds of the method's own weights in front of block `layer` on an item of `tokens` of `channels`, and
    /// elements that their norms see.
    #[must_use]
    pub fn merger_cost(&self, layer: usize, tokens: usize, channels: usize) -> (f64, f64) {
        self.method.merger_cost(layer, self.amounts.len(), tokens, self.prefix, channels)
    }
}
