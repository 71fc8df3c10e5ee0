//! Merging with weights: modules that stand before a block and make its tokens fewer by weighted sums.
//!
//! Where methods without weights have a [`MergePlan`](crate::MergePlan), these have a matrix of weights, which carries
//! a gradient. The rest is the same: the prefix stays in front, and an item never looks at its neighbours. Those that choose,
//! as DynamicViT's, are the exception: they only say which tokens a plan is to keep; and so are those that are a few numbers, as
//! LTMP's thresholds, which stand in a block and are read before anything runs ([`Method::given`]).

use crate::methods::{
    diffrate, dynamic_vit, foresight, ia_red2, ltmp, patch_merger, sp_vit, stm, token_learner,
    trainable_pooling,
};
use crate::{Choice, Joining, Method, Mixture, Site, Tokens};
use burn::module::Param;
use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor, TensorData, s};
use std::fmt;
use tokmerge_nn::{Bias, Linear, Norm, Random, parameters, transparent_module};
use tokmerge_ops::{Layout, NormKind, Precision};

/// What the module of a method with weights does. A module that mixes tokens answers [`forward`](Self::forward) and
/// [`mixtures`](Self::mixtures); one that chooses among them [`scores`](Self::scores) and [`relax`](Self::relax); one of a few
/// numbers [`soften`](Self::soften) and [`target`](Self::target).
pub(crate) trait Weighted {
    /// Fewer tokens, which enter block `layer`, and what gives all of them back after it, if the method wants that.
    fn forward(&self, layer: usize, tokens: Tokens) -> (Tokens, Option<Box<dyn HeldBack>>) {
        let _ = layer;
        (tokens, None)
    }

    /// What [`forward`](Self::forward) mixes, for every item.
    fn mixtures(&self, layer: usize, tokens: &Tokens) -> Vec<Mixture> {
        let _ = (layer, tokens);
        Vec::new()
    }

    /// What the module says of every token, `[T]`, where it chooses.
    fn scores(&self, tokens: &Tokens) -> Option<Vec<f32>> {
        let _ = tokens;
        None
    }

    /// In training, in place of choosing: the same tokens with a [policy](Tokens::policy), and what is to be added to the
    /// loss, `[1]`.
    fn relax(&self, tokens: Tokens, stage: Stage, seed: u64) -> (Tokens, Option<Tensor<1>>) {
        let _ = (stage, seed);
        (tokens, None)
    }

    /// Smooth answers to what its numbers have decided, in a model whose images have so many patches.
    fn soften(&self, choice: &Choice, patches: usize) -> Soft {
        let _ = (choice, patches);
        Soft::default()
    }

    /// The cost that its numbers were trained for, where they are good for no other.
    fn target(&self) -> Option<f64> {
        None
    }
}

/// How nearly pairs merge and tokens stay, from 0 to 1, with a gradient; `None` where there are none.
#[derive(Debug, Default)]
pub(crate) struct Soft {
    /// Of every pair, `[E, 1]`.
    pub(crate) merges: Option<Tensor<2>>,
    /// Of every token that may be dropped, `[J, 1]`.
    pub(crate) stays: Option<Tensor<2>>,
}

/// Tokens that a module holds back while a block works on fewer.
pub(crate) trait HeldBack: fmt::Debug {
    /// All tokens again, of those that left the block.
    fn all(self: Box<Self>, after: Tokens) -> Tokens;
}

/// One of the places of a model where a module stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    /// Which block follows, from 0.
    pub(crate) layer: usize,
    /// How many places there are.
    pub(crate) count: usize,
}

/// Makes the variants of [`Merger`], their names in saved files and the dispatch from one list.
macro_rules! mergers {
    ($($(#[$doc:meta])* $variant:ident($module:ty) = $name:literal,)+) => {
        /// The module of one method with weights.
        #[derive(Clone, Debug)]
        #[expect(clippy::large_enum_variant, reason = "there are a few of a model")]
        pub enum Merger {
            $($(#[$doc])* $variant($module),)+
        }

        transparent_module!(Merger { $($variant),+ });

        impl Merger {
            /// The name under which saved files have it: `mergers.patch.0.queries`.
            fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            fn weighted(&self) -> &dyn Weighted {
                match self { $(Self::$variant(module) => module,)+ }
            }
        }
    };
}

mergers! {
    /// Of [`Method::PatchMerger`].
    Patch(patch_merger::Merger) = "patch",
    /// Of [`Method::Stm`].
    Soft(stm::Merger) = "soft",
    /// Of [`Method::DynamicVit`]. It merges nothing itself: it says which tokens stay.
    Predictor(dynamic_vit::Predictor) = "predictor",
    /// Of [`Method::TokenLearner`].
    Learner(token_learner::Learner) = "learner",
    /// Of [`Method::TrainablePooling`].
    Pooling(trainable_pooling::Pooling) = "pooling",
    /// Of [`Method::Ltmp`].
    Thresholds(ltmp::LearnedThresholds) = "thresholds",
    /// Of [`Method::Diffrate`].
    Rates(diffrate::LearnedRates) = "rates",
    /// Of [`Method::Foresight`]. It says which tokens matter, and stands inside the block.
    Importance(foresight::Importance) = "foresight",
    /// Of [`Method::SpVit`]. It says which tokens stay, too.
    Selector(sp_vit::Selector) = "selector",
    /// Of [`Method::IaRed2`]. And it does.
    Interpreter(ia_red2::Interpreter) = "interpreter",
}

/// The weights of a method that has some, for every block before which it stands. Empty for all other methods.
#[derive(Clone, Debug, Default)]
pub struct Mergers {
    /// The block, from 0, before or in which each stands.
    pub at: Vec<(usize, Merger)>,
}

/// The shape of the model in which mergers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergerShape {
    /// Blocks (`L`).
    pub depth: usize,
    /// Channels of a token that enters the first block (`C`).
    pub channels: usize,
    /// Where others join, and what all are from there on.
    pub joining: Option<Joining>,
}

impl MergerShape {
    /// Channels of the tokens that a module before block `before`, from 0, sees. Others join behind it.
    #[must_use]
    pub fn channels_before(&self, before: usize) -> usize {
        match self.joining {
            Some(joining) if before > joining.layer => joining.channels,
            _ => self.channels,
        }
    }

    /// Channels of the tokens that a method's module of block `before`, from 0, sees: one that merges inside the block sees
    /// those that have joined before it too.
    pub(crate) fn channels_seen(&self, method: &Method, before: usize) -> usize {
        match method.site() {
            Site::InsideBlock => self.channels_before(before + 1),
            Site::BeforeBlock | Site::AroundBlock | Site::InsideAttention => self.channels_before(before),
        }
    }
}

impl Mergers {
    /// Fresh weights, the same in every run; none for a method without weights.
    #[must_use]
    pub fn new(method: &Method, shape: MergerShape, device: &Device) -> Self {
        let mut start = Start::new(device);
        let places = method.mergers_before(shape.depth);
        let merger = |(index, before): (usize, &usize)| {
            Some((*before, method.rule().merger(index, shape.channels_seen(method, *before), &mut start)?))
        };
        Self { at: places.iter().enumerate().filter_map(merger).collect() }
    }

    /// No weights.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Weights for a method: these where they fit it, fresh ones for all others. Weights fit if they stand before the
    /// same block, have the same shapes and were not trained for another cost.
    #[must_use]
    pub fn fitted(self, method: &Method, shape: MergerShape, device: &Device) -> Self {
        let mut fresh = Self::new(method, shape, device);
        for (before, merger) in &mut fresh.at {
            if let Some(trained) = self.trained(*before, merger) {
                let mut values = parameters::read(trained);
                *merger =
                    parameters::load(merger.clone(), |path, _| values.remove(path).map(|found| found.values));
            }
        }
        fresh
    }

    /// Whether none of the weights that a method needs would be fresh ones.
    #[must_use]
    pub fn fit(&self, method: &Method, shape: MergerShape, device: &Device) -> bool {
        let needed = Self::new(method, shape, device);
        needed.at.iter().all(|(before, merger)| self.trained(*before, merger).is_some())
    }

    /// The module before the same block with weights of the same shapes.
    fn trained(&self, before: usize, merger: &Merger) -> Option<&Merger> {
        let fits = |had: &Merger| {
            had.name() == merger.name()
                && parameters::shapes(had) == parameters::shapes(merger)
                && had.weighted().target() == merger.weighted().target()
        };
        self.at.iter().find(|(at, had)| *at == before && fits(had)).map(|(_, had)| had)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Number of parameters of them all.
    #[must_use]
    pub fn parameters(&self) -> usize {
        parameters::count(self)
    }

    fn before(&self, layer: usize) -> Option<&Merger> {
        self.at.iter().find(|(before, _)| *before == layer).map(|(_, merger)| merger)
    }

    /// Whether weights stand before block `layer`.
    pub(crate) fn stand_before(&self, layer: usize) -> bool {
        self.before(layer).is_some()
    }

    /// Merges before block `layer`. Returns too how to come back to all tokens, if the method wants that.
    pub(crate) fn enter(&self, layer: usize, tokens: Tokens) -> (Tokens, Option<Box<dyn HeldBack>>) {
        match self.before(layer) {
            Some(merger) => merger.weighted().forward(layer, tokens),
            None => (tokens, None),
        }
    }

    /// What [`enter`](Self::enter) mixes, for every item, if weights stand there.
    pub(crate) fn mixtures(&self, layer: usize, tokens: &Tokens) -> Option<Vec<Mixture>> {
        self.before(layer).map(|merger| merger.weighted().mixtures(layer, tokens))
    }

    /// What the weights before block `layer` say of every token, `[T]`, if they are of that kind.
    pub(crate) fn scores(&self, layer: usize, tokens: &Tokens) -> Option<Vec<f32>> {
        self.before(layer)?.weighted().scores(tokens)
    }

    /// In training, in place of dropping before block `layer`: the same tokens with a policy, and what is to be added to the
    /// loss.
    pub(crate) fn relax(&self, layer: usize, tokens: Tokens, seed: u64) -> (Tokens, Option<Tensor<1>>) {
        let stage = Stage { layer, count: self.at.len() };
        match self.before(layer) {
            Some(merger) => merger.weighted().relax(tokens, stage, seed),
            None => (tokens, None),
        }
    }

    /// The same for images of this grid, and what is drawn at random drawn for a step of training, if it is one.
    pub(crate) fn placed(self, grid: Option<(usize, usize)>, step: Option<u64>) -> Self {
        self.each(|merger| match merger {
            Merger::Learner(learner) => Merger::Learner(learner.on(grid)),
            Merger::Soft(soft) => Merger::Soft(soft.in_step(step)),
            other => other,
        })
    }

    /// Smooth answers to what was decided in block `layer`.
    pub(crate) fn soften(&self, layer: usize, choice: &Choice, patches: usize) -> Soft {
        let merger = self.before(layer);
        merger.map_or_else(Soft::default, |merger| merger.weighted().soften(choice, patches))
    }

    fn each(self, change: impl Fn(Merger) -> Merger) -> Self {
        Self { at: self.at.into_iter().map(|(before, merger)| (before, change(merger))).collect() }
    }
}

/// By hand, so that a parameter's path says which kind of merger it is in and its place in the list, as in all saved
/// files: `patch.0.queries`, `soft.1.key`.
impl Module for Mergers {
    fn num_params(&self) -> usize {
        self.at.iter().map(|(_, merger)| Module::num_params(merger)).sum()
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (index, (_, merger)) in self.at.iter().enumerate() {
            let (name, index) = (merger.name(), index.to_string());
            visitor.enter_module(name, "Vec");
            visitor.enter_module(&index, "Merger");
            merger.visit(visitor);
            visitor.exit_module(&index, "Merger");
            visitor.exit_module(name, "Vec");
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let mut at = Vec::with_capacity(self.at.len());
        for (index, (before, merger)) in self.at.into_iter().enumerate() {
            let (name, index) = (merger.name(), index.to_string());
            mapper.enter_module(name, "Vec");
            mapper.enter_module(&index, "Merger");
            at.push((before, merger.map(mapper)));
            mapper.exit_module(&index, "Merger");
            mapper.exit_module(name, "Vec");
        }
        Self { at }
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.at.iter().fold(devices, |devices, (_, merger)| merger.collect_devices(devices))
    }

    fn to_device(self, device: &Device) -> Self {
        self.each(|merger| merger.to_device(device))
    }

    fn fork(self, device: &Device) -> Self {
        self.each(|merger| merger.fork(device))
    }

    fn valid(&self) -> Self {
        self.clone().each(|merger| merger.valid())
    }

    fn train(self) -> Self {
        self.each(Module::train)
    }

    fn materialize(self) -> Self {
        self.each(Module::materialize)
    }
}

impl fmt::Display for Mergers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.iter().try_for_each(|(_, merger)| merger.fmt(f))
    }
}

impl ModuleDisplayDefault for Mergers {
    fn content(&self, content: Content) -> Option<Content> {
        self.at.iter().try_fold(content, |content, (before, merger)| {
            Some(content.add(&format!("{}.{before}", merger.name()), merger))
        })
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for Mergers {}

/// Epsilon of the norm before a merger, as in the models that the papers used.
const EPS: f64 = 1e-6;

/// Makes parameters, the same in every run.
pub(crate) struct Start<'d> {
    random: Random,
    device: &'d Device,
}

impl<'d> Start<'d> {
    fn new(device: &'d Device) -> Self {
        Self { random: Random::new(0x746f_6b6d), device }
    }

    /// Normally distributed around 0.
    pub(crate) fn normal<const D: usize>(&mut self, shape: [usize; D], deviation: f64) -> Param<Tensor<D>> {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| (self.random.normal() * deviation) as f32).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    /// Zeros.
    pub(crate) fn zeros<const D: usize>(&self, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::zeros(shape, self.device))
    }

    /// These numbers.
    pub(crate) fn numbers(&self, values: Vec<f32>) -> Param<Tensor<1>> {
        let count = values.len();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, [count]), self.device))
    }

    /// A linear layer with a bias of zeros.
    pub(crate) fn linear(&mut self, inputs: usize, outputs: usize, deviation: f64) -> Linear {
        let mut layer = Linear::new(inputs, outputs, Bias::Yes, Precision::F32, self.device);
        layer.weight = self.normal([outputs, inputs], deviation);
        layer
    }

    /// A LayerNorm of an epsilon of its own.
    pub(crate) fn layer_norm(&self, channels: usize, eps: f64) -> Norm {
        Norm::layer(channels, eps, self.device)
    }

    /// The norm before a merger.
    pub(crate) fn norm(&self, kind: NormKind, channels: usize) -> Norm {
        Norm::new(channels, kind, EPS, Bias::when(kind == NormKind::Layer), self.device)
    }
}

/// Items of equal length whose prefixes are equally long too.
pub(crate) struct Run {
    /// `[B, N, C]`.
    pub(crate) x: Tensor<3>,
    /// Prefix tokens of each item, at most `N`.
    pub(crate) prefix: usize,
}

/// The tokens as runs: all items at once if their lengths and prefixes are equal, otherwise one by one.
pub(crate) fn runs(tokens: &Tokens) -> impl Iterator<Item = Run> {
    let [_, channels] = tokens.x.dims();
    let whole = matches!(tokens.layout, Layout::Uniform { .. }) && tokens.prefix.common().is_some();
    let all = tokens.layout.items();
    let (runs, items) = if whole { (1, all) } else { (all, 1) };
    (0..runs).map(move |run| {
        let rows = if whole { 0..tokens.layout.rows() } else { tokens.layout.range(run) };
        let len = rows.len() / items.max(1);
        // In a shape of burn a zero stands for what was there.
        let x = match rows.len() {
            0 => Tensor::zeros([items, len, channels], &tokens.x.device()),
            _ => tokens.x.clone().slice(s![rows.start..rows.end, ..]).reshape([items, len, channels]),
        };
        let prefix = if items == 0 { 0 } else { tokens.prefix.of(run).min(len) };
        Run { x, prefix }
    })
}

mod pooled;
pub(crate) use pooled::{mixtures_of_pooled, pooled};

#[cfg(test)]
mod tests;
