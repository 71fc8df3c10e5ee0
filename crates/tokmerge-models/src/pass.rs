//! One pass through a network: the seam between the halves of its blocks, and what stands in it.

use crate::blocks::{Begun, Context};
use crate::family::{Family, Heads};
use burn::tensor::{Tensor, TensorData};
use tokmerge_merge::{Evidence, Held, MergePlan, Readout, Reduction, Site, Step, Tokens, Trace, Wants};
use tokmerge_nn::Random;
use tokmerge_ops::recycle;

/// How a network is to run.
pub struct Pass<'a> {
    /// What merges.
    pub reduction: &'a Reduction,
    /// What will be read of the result.
    pub read: Read,
    /// Random parts of training: branches left out, noise on routers, tokens that are masked.
    pub training: Option<DropRates>,
    /// Sees the tokens of every block.
    pub probe: Option<&'a mut dyn Probe>,
}

/// What will be read of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The tokens after the last block too.
    Tokens,
    /// Nothing but what the head says. It is the same bit for bit, sooner: where the head looks at class tokens, the last
    /// block computes keys and values of all tokens, but nothing else of the patches, and merges nothing.
    Head,
}

impl<'a> Pass<'a> {
    /// A pass of which everything can be read.
    #[must_use]
    pub fn new(reduction: &'a Reduction) -> Self {
        Self { reduction, read: Read::Tokens, training: None, probe: None }
    }

    /// A pass of which only the embedding and the logits are read.
    #[must_use]
    pub fn head(reduction: &'a Reduction) -> Self {
        Self { read: Read::Head, ..Self::new(reduction) }
    }

    /// The same with random parts of training.
    #[must_use]
    pub fn training(self, training: DropRates) -> Self {
        Self { training: Some(training), ..self }
    }

    /// The same with a probe. Nothing that it does changes the result.
    #[must_use]
    pub fn probed(self, probe: &'a mut dyn Probe) -> Self {
        Self { probe: Some(probe), ..self }
    }
}

/// What comes out of a pass.
#[derive(Clone, Debug)]
pub struct Output {
    /// The embedding, `[B, E]`.
    pub pooled: Tensor<2>,
    /// `[B, classes]`; the embedding again where there is no classifier.
    pub logits: Tensor<2>,
    /// Tokens after the last block, not normalised; the prefix alone where only that was computed.
    pub tokens: Tokens,
    /// Where tokens went.
    pub trace: Trace,
    /// In training by masks, which of the tokens of the last block those are: a plan that drops the others. `None` where all are
    /// left.
    pub kept: Option<MergePlan>,
    /// What training is to add to the loss, `[1]`: of models with experts, that they be used equally; of methods that learn what
    /// to drop, that they keep as many as they are to.
    pub auxiliary: Option<Tensor<1>>,
}

impl Output {
    /// The logits and the trace; the memory of the tokens is used by the next pass.
    #[must_use]
    pub fn into_logits(self) -> (Tensor<2>, Trace) {
        recycle(self.tokens.x);
        (self.logits, self.trace)
    }
}

/// Sees the tokens of every block: for recording and measuring.
pub trait Probe {
    /// What a block should report where the method asks for nothing.
    fn wants(&self, layer: usize) -> Wants {
        let _ = layer;
        Wants::default()
    }

    /// Block `layer` begins with these tokens, before anything merges.
    fn entering(&mut self, layer: usize, tokens: &Tokens) {
        let _ = (layer, tokens);
    }

    /// Block `layer` has attended, and reported `evidence`.
    fn attended(&mut self, layer: usize, tokens: &Tokens, evidence: &Evidence) {
        let _ = (layer, tokens, evidence);
    }

    /// `before` are about to become fewer by `plan`.
    fn reduced(&mut self, step: Step, before: &Tokens, plan: &MergePlan) {
        let _ = (step, before, plan);
    }

    /// Block `layer` is done, and left these tokens.
    fn left(&mut self, layer: usize, tokens: &Tokens) {
        let _ = (layer, tokens);
    }
}

/// Place of the embedded tokens among those of which values are left out: no block's.
const EMBEDDED: usize = usize::MAX - 1;

/// What training leaves out at random; what stays counts for more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DropRates {
    /// Probability with which a branch of the last block is left out, item by item (stochastic depth, or drop path); below 1.
    /// The rate rises linearly from 0 in the first block, as in DeiT and timm.
    pub path: f64,
    /// Probability with which a value is left out (dropout; Srivastava et al., 2014): of the embedded tokens, of what the
    /// branches of pre-norm blocks add, and of what a decoder attends to; below 1. Weights of attention and the inside of
    /// MLPs lose none, unlike in T5X.
    pub values: f64,
    /// Decides which; to be another in every step.
    pub seed: u64,
}

impl DropRates {
    /// Whether anything is left out.
    #[must_use]
    pub fn any(&self) -> bool {
        self.path > 0.0 || self.values > 0.0
    }

    /// `[T, C]`: the same with values left out; `place` says which.
    pub(crate) fn drop_values(self, place: usize, x: Tensor<2>) -> Tensor<2> {
        if self.values <= 0.0 {
            return x;
        }
        const PARTS: f64 = 65536.0;
        let ([rows, channels], device) = (x.dims(), x.device());
        // Other numbers than those that leave branches out.
        let mut random = Random::for_layer(self.seed.rotate_left(32), place, 1);
        let (below, kept) = ((self.values * PARTS) as u64, (1.0 / (1.0 - self.values)) as f32);
        let mut mask = Vec::with_capacity(rows * channels + 3);
        while mask.len() < rows * channels {
            let bits = random.bits();
            mask.extend([0, 16, 32, 48].map(|at| if (bits >> at) & 0xFFFF < below { 0.0 } else { kept }));
        }
        mask.truncate(rows * channels);
        x * Tensor::from_data(TensorData::new(mask, [rows, channels]), &device)
    }

    /// Tokens that enter the first block, with values left out.
    pub(crate) fn drop_embedded(self, tokens: Tokens) -> Tokens {
        let x = self.drop_values(EMBEDDED, tokens.x.clone());
        tokens.with(x)
    }

    /// `before` with some of what was added to it, `[T, C]`; `place` says what is left out.
    pub(crate) fn drop_added(self, place: usize, before: Tensor<2>, after: Tensor<2>) -> Tensor<2> {
        match self.values > 0.0 {
            true => before.clone() + self.drop_values(place, after - before),
            false => after,
        }
    }

    /// What half `half` of block `layer` made of `before`, or `before` itself, for each item.
    fn drop(self, layer: usize, half: usize, depth: usize, before: Tensor<2>, after: Tokens) -> Tokens {
        let place = 2 * layer + half;
        let x = self.drop_added(place, before.clone(), after.x.clone());
        let after = after.with(x);
        let rate = self.path * layer as f64 / depth.saturating_sub(1).max(1) as f64;
        if rate <= 0.0 {
            return after;
        }
        let mut random = Random::for_layer(self.seed, place, 0);
        let mut factors = Vec::with_capacity(after.layout.rows());
        for len in after.layout.lens() {
            let factor = if random.unit() < rate { 0.0 } else { 1.0 / (1.0 - rate) };
            factors.extend(std::iter::repeat_n(factor as f32, len));
        }
        let factors = TensorData::new(factors, [after.layout.rows(), 1]);
        let factors = Tensor::from_data(factors, &after.device());
        let x = before.clone() + (after.x.clone() - before) * factors;
        after.with(x)
    }
}

/// Tokens after the last block, and where they went.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) tokens: Tokens,
    pub(crate) trace: Trace,
    pub(crate) kept: Option<MergePlan>,
    pub(crate) auxiliary: Option<Tensor<1>>,
}

impl Encoded {
    /// With what the head says.
    pub(crate) fn read<F: Family>(self, family: &F) -> Output {
        let Self { tokens, trace, kept, auxiliary } = self;
        let Heads { pooled, logits } = family.head(&tokens);
        Output { pooled, logits, tokens, trace, kept, auxiliary }
    }
}

/// Runs the blocks, reducing tokens between their halves, and adds what happens to `trace`. Nothing is stored between calls.
///
/// # Panics
/// When the reduction was bound to a model of another depth.
pub(crate) fn encode<F: Family>(
    family: &F,
    mut tokens: Tokens,
    trace: Trace,
    pass: Pass<'_>,
    readout: Readout,
) -> Encoded {
    if let Some(training) = pass.training {
        tokens = training.drop_embedded(tokens);
    }
    let mut walk = Walk { trace, ..Walk::new(family, pass, readout) };
    for layer in 0..family.depth() {
        tokens = walk.block(layer, tokens);
    }
    walk.encoded(tokens)
}

/// The rest of [`encode`] from the moment in which block `layer` has attended, as [`Probe::attended`] saw it: what a
/// reduction does from there on, without the blocks before. The trace begins there too.
///
/// # Panics
/// When the reduction was bound to a model of another depth, or merges in `layer` by other evidence than is given.
pub(crate) fn resume<F: Family>(
    family: &F,
    layer: usize,
    attended: Tokens,
    evidence: Evidence,
    pass: Pass<'_>,
) -> Encoded {
    let mut walk = Walk::new(family, pass, Readout::All);
    let mut tokens = walk.reduce(layer, attended, evidence);
    tokens = walk.feed_forward(layer, tokens);
    for layer in layer + 1..family.depth() {
        tokens = walk.block(layer, tokens);
    }
    walk.encoded(tokens)
}

/// The state of a pass.
pub(crate) struct Walk<'f, 'a, F> {
    family: &'f F,
    pass: Pass<'a>,
    /// What the output is made of, where only the output is read.
    readout: Readout,
    trace: Trace,
    /// Which tokens are left after the last block, where some were masked.
    kept: Option<MergePlan>,
    auxiliary: Option<Tensor<1>>,
    /// What the last block has reported, for what merges before the next one.
    before: Evidence,
    /// What the next block has computed of its tokens already.
    begun: Option<Begun>,
}

impl<'f, 'a, F: Family> Walk<'f, 'a, F> {
    pub(crate) fn new(family: &'f F, pass: Pass<'a>, readout: Readout) -> Self {
        pass.reduction.assert_fits(family.depth());
        let readout = match pass.read {
            Read::Head => readout,
            Read::Tokens => Readout::All,
        };
        let (trace, before) = (Trace::default(), Evidence::default());
        Self { family, pass, readout, trace, kept: None, auxiliary: None, before, begun: None }
    }

    /// With these tokens, after the last block; what was added to the loss may be that of this block alone.
    pub(crate) fn encoded(self, tokens: Tokens) -> Encoded {
        Encoded { tokens, trace: self.trace, kept: self.kept, auxiliary: self.auxiliary }
    }

    /// The same behind a block that has reported this.
    pub(crate) fn told(self, before: Evidence) -> Self {
        Self { before, ..self }
    }

    /// The plans so far, and what the last block has reported.
    pub(crate) fn finish(self) -> (Trace, Evidence) {
        (self.trace, self.before)
    }

    /// One block: what may merge before it, attention, what may merge inside, the MLP, what may come back after it. The
    /// last block for the prefix alone, if only that is read.
    pub(crate) fn block(&mut self, layer: usize, tokens: Tokens) -> Tokens {
        let last = layer + 1 == self.family.depth();
        let whole = self.pass.reduction.needs_whole_block(layer) || self.relaxes();
        if self.readout == Readout::Prefix && last && !whole {
            return self.last_block(layer, tokens);
        }
        let (tokens, held) = self.enter(layer, tokens);
        let context = self.context(layer, &tokens);
        if self.pass.reduction.opens_softmax(layer) {
            return self.merge_inside_attention(layer, tokens, &context);
        }
        let mut wants = match self.relaxes_inside() {
            true => self.pass.reduction.wants_relaxed(layer),
            false => self.pass.reduction.wants(layer),
        };
        if let Some(probe) = &self.pass.probe
            && wants == Wants::default()
        {
            wants = probe.wants(layer);
        }
        let before = self.pass.training.map(|_| tokens.x.clone());
        let (attended, evidence) = self.attend(layer, tokens, &context, wants);
        let attended = self.drop(layer, 0, before, attended);
        if let Some(probe) = &mut self.pass.probe {
            probe.attended(layer, &attended, &evidence);
        }
        let evidence = match self.pass.reduction.method().site() {
            Site::BeforeBlock => {
                self.before = evidence;
                Evidence::default()
            }
            Site::InsideBlock | Site::AroundBlock | Site::InsideAttention => evidence,
        };
        let tokens = self.reduce(layer, attended, evidence);
        let tokens = self.feed_forward(layer, tokens);
        let tokens = self.pass.reduction.leave(tokens, held);
        if let Some(probe) = &mut self.pass.probe {
            probe.left(layer, &tokens);
        }
        if last { self.settle(tokens) } else { tokens }
    }

    /// Whether what is to go is masked in place of being dropped, because this is training.
    fn relaxes(&self) -> bool {
        self.pass.training.is_some() && self.pass.reduction.relaxes()
    }

    /// The same between attention and MLP.
    fn relaxes_inside(&self) -> bool {
        self.relaxes() && self.pass.reduction.relaxes_inside()
    }

    /// The attention of a block, of which some tokens may be masked.
    fn attend(&self, layer: usize, tokens: Tokens, context: &Context, wants: Wants) -> (Tokens, Evidence) {
        let block = self.family.block(layer);
        if tokens.policy.is_none() {
            return block.attend(tokens, context, wants);
        }
        block.attend_masked(tokens, context, wants)
    }

    /// A block whose tokens merge between the products of its attention.
    fn merge_inside_attention(&mut self, layer: usize, tokens: Tokens, context: &Context) -> Tokens {
        let entered = self.pass.probe.is_some().then(|| tokens.clone());
        let before = self.pass.training.map(|_| tokens.x.clone());
        let (reduction, family) = (self.pass.reduction, self.family);
        let (trace, mut merged) = (&mut self.trace, None);
        let wants = reduction.wants_inside();
        let attended = family.block(layer).attend_merging(tokens, context, wants, &mut |tokens, evidence| {
            let (tokens, merging) = reduction.merge_inside(layer, tokens, evidence, trace);
            merged = before.as_ref().map(|_| tokens.x.clone());
            (tokens, merging)
        });
        let attended = self.drop(layer, 0, merged, attended);
        self.report(entered, Step { layer, site: Site::InsideAttention });
        if let Some(probe) = &mut self.pass.probe {
            probe.attended(layer, &attended, &Evidence::default());
        }
        // Nothing merges any more; the prefix alone goes on where that is asked for.
        let attended = self.reduce(layer, attended, Evidence::default());
        let tokens = self.feed_forward(layer, attended);
        if let Some(probe) = &mut self.pass.probe {
            probe.left(layer, &tokens);
        }
        tokens
    }

    /// What may merge before a block, and what joins behind that.
    fn enter(&mut self, layer: usize, tokens: Tokens) -> (Tokens, Held) {
        let tokens = self.family.entering(layer, tokens);
        let before = self.pass.probe.is_some().then(|| tokens.clone());
        if let Some(probe) = &mut self.pass.probe {
            probe.entering(layer, &tokens);
        }
        if let (Some(DropRates { seed, .. }), true) = (self.pass.training, self.relaxes()) {
            let (tokens, auxiliary) = self.pass.reduction.relax(layer, tokens, seed);
            self.add(auxiliary);
            return (self.join(layer, tokens), Held::default());
        }
        let (tokens, held) = self.merge_before(layer, tokens);
        self.report(before, Step { layer, site: self.pass.reduction.method().site() });
        (self.join(layer, tokens), held)
    }

    /// What may merge before a block, by what the block before has reported, or the block itself begins with.
    fn merge_before(&mut self, layer: usize, tokens: Tokens) -> (Tokens, Held) {
        let reduction = self.pass.reduction;
        let mut told = std::mem::take(&mut self.before);
        if reduction.wants_logits(layer) {
            let context = self.context(layer, &tokens);
            let (begun, logits) = self.family.block(layer).begin(&tokens, &context);
            (self.begun, told.logits) = (Some(begun), Some(logits));
        }
        let teaches = self.pass.training.is_some() && reduction.teaches_softmax();
        let all = teaches.then(|| (tokens.clone(), self.family.context(layer, &tokens)));
        let (tokens, held) = reduction.enter(layer, tokens, told, &mut self.trace);
        if let Some(plan) = self.trace.plan_at(Step { layer, site: reduction.method().site() }) {
            self.begun = self.begun.take().map(|begun| begun.after(plan));
            let taught = all.map(|(all, context)| {
                reduction.softmax_loss(&self.family.block(layer).softmaxes(&all, &context), plan)
            });
            self.add(taught);
        }
        (tokens, held)
    }

    /// What joins before a block.
    fn join(&mut self, layer: usize, tokens: Tokens) -> Tokens {
        let entered = tokens.layout.clone();
        let tokens = self.family.joining(layer, tokens);
        self.trace.join(layer, entered, &tokens.layout);
        tokens
    }

    /// The last block for the prefix alone.
    fn last_block(&mut self, layer: usize, tokens: Tokens) -> Tokens {
        let tokens = self.family.entering(layer, tokens);
        // What is held back are patches, which nobody reads.
        let (tokens, _) = self.merge_before(layer, tokens);
        let tokens = self.join(layer, tokens);
        let context = self.context(layer, &tokens);
        let block = self.family.block(layer);
        let entered = tokens.layout.clone();
        let attended = block.attend_prefix(tokens, &context);
        self.pass.reduction.skip_last(layer, entered, attended.prefix.clone(), &mut self.trace);
        let tokens = block.feed_forward(attended, None).0;
        self.settle(tokens)
    }

    /// After the last block: what the head is to see.
    fn settle(&mut self, tokens: Tokens) -> Tokens {
        self.kept = tokens.settling();
        let (tokens, auxiliary) = self.pass.reduction.settle(tokens);
        self.add(auxiliary);
        tokens
    }

    /// What attention takes besides the tokens.
    fn context(&mut self, layer: usize, tokens: &Tokens) -> Context {
        let context = self.family.context(layer, tokens);
        Context { key_bias: self.pass.reduction.key_bias(tokens), begun: self.begun.take(), ..context }
    }

    fn feed_forward(&mut self, layer: usize, tokens: Tokens) -> Tokens {
        let block = self.family.block(layer);
        let Some(DropRates { seed, .. }) = self.pass.training else {
            return block.feed_forward(tokens, None).0;
        };
        let before = tokens.x.clone();
        // Other numbers than those that leave branches out.
        let mut random = Random::for_layer(!seed, layer, 0);
        let (tokens, auxiliary) = block.feed_forward(tokens, Some(&mut random));
        self.add(auxiliary);
        self.drop(layer, 1, Some(before), tokens)
    }

    /// To the loss.
    fn add(&mut self, auxiliary: Option<Tensor<1>>) {
        self.auxiliary = match (self.auxiliary.take(), auxiliary) {
            (Some(sum), Some(more)) => Some(sum + more),
            (one, other) => one.or(other),
        };
    }

    /// Leaves out the branch of some items, if `before` was kept for that.
    fn drop(&self, layer: usize, half: usize, before: Option<Tensor<2>>, after: Tokens) -> Tokens {
        match (self.pass.training, before) {
            (Some(drop), Some(before)) => drop.drop(layer, half, self.family.depth(), before, after),
            _ => after,
        }
    }

    /// Between attention and MLP.
    fn reduce(&mut self, layer: usize, attended: Tokens, evidence: Evidence) -> Tokens {
        if self.relaxes_inside() {
            let reduction = self.pass.reduction;
            let (masked, auxiliary) = reduction.relax_inside(layer, attended, evidence, &mut self.trace);
            self.add(auxiliary);
            return masked;
        }
        let before = self.pass.probe.is_some().then(|| attended.clone());
        let reduced = self.pass.reduction.apply(layer, attended, evidence, &mut self.trace);
        self.report(before, Step { layer, site: Site::InsideBlock });
        reduced
    }

    /// Tells the probe of a reduction, if there was one at this step.
    fn report(&mut self, before: Option<Tokens>, at: Step) {
        if let (Some(probe), Some(before), Some(plan)) =
            (&mut self.pass.probe, before, self.trace.plan_at(at))
        {
            probe.reduced(at, &before, plan);
        }
    }
}
