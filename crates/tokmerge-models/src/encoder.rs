//! The seam: a block has two halves, and the encoder stands between them.

use burn::tensor::{Tensor, TensorData};
use std::sync::Arc;
use tokmerge_merge::{Evidence, MergePlan, Random, Readout, Reduction, Site, Step, Tokens, Trace, Wants};

/// A block that can be stopped between attention and MLP.
pub trait EncoderBlock {
    /// Attention with its residual. `log_size: [T]` is added to the logits of each key. Reports what the
    /// method wants to know, and nothing else.
    fn attend(&self, tokens: Tokens, log_size: Option<Arc<[f32]>>, wants: Wants) -> (Tokens, Evidence);

    /// Attention with its residual for the prefix of every item alone, which attends to all tokens: bit for bit what
    /// [`attend`](Self::attend) gives those rows.
    fn attend_prefix(&self, tokens: Tokens, log_size: Option<Arc<[f32]>>) -> Tokens;

    /// The MLP with its residual.
    fn feed_forward(&self, tokens: Tokens) -> Tokens;

    /// As [`feed_forward`](Self::feed_forward), for training, with whatever that draws at random. Says too what is to
    /// be added to the loss, `[1]`, if anything.
    fn feed_forward_train(&self, tokens: Tokens, random: &mut Random) -> (Tokens, Option<Tensor<1>>) {
        let _ = random;
        (self.feed_forward(tokens), None)
    }
}

/// In training, branches of blocks are left out at random, image by image, and the others count for more (stochastic
/// depth, or drop path). The rate rises linearly from 0 in the first block, as in DeiT and timm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StochasticDepth {
    /// Probability with which a branch of the last block is left out; below 1.
    pub rate: f64,
    /// Decides which; to be another in every step.
    pub seed: u64,
}

impl StochasticDepth {
    /// What half `half` of block `layer` made of `before`, or `before` itself, for each item.
    fn drop(self, layer: usize, half: usize, depth: usize, before: Tensor<2>, after: Tokens) -> Tokens {
        let rate = self.rate * layer as f64 / depth.saturating_sub(1).max(1) as f64;
        if rate <= 0.0 {
            return after;
        }
        let mut random = Random::for_layer(self.seed, 2 * layer + half, 0);
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
pub struct Encoded {
    /// The tokens.
    pub tokens: Tokens,
    /// Every plan that was applied.
    pub trace: Trace,
    /// What training is to add to the loss, `[1]`: what the blocks want of their own weights.
    pub auxiliary: Option<Tensor<1>>,
}

/// Looks on while the blocks run: for recording and measuring. Nothing that it does changes the result.
pub trait Watch {
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
}

/// Runs the blocks, reducing tokens on the way. Nothing is stored between calls.
///
/// # Panics
/// When the reduction was bound to a model of another depth.
pub fn encode<B: EncoderBlock>(
    blocks: &[B],
    mut tokens: Tokens,
    reduction: &Reduction,
    watch: Option<&mut dyn Watch>,
) -> Encoded {
    reduction.assert_fits(blocks.len());
    let mut pass = Pass { watch, ..Pass::new(reduction, blocks.len()) };
    for (layer, block) in blocks.iter().enumerate() {
        tokens = pass.block(layer, block, tokens);
    }
    pass.encoded(tokens)
}

/// As [`encode`], for training: with branches left out at random.
///
/// # Panics
/// When the reduction was bound to a model of another depth.
pub fn encode_stochastic<B: EncoderBlock>(
    blocks: &[B],
    mut tokens: Tokens,
    reduction: &Reduction,
    drop: StochasticDepth,
) -> Encoded {
    reduction.assert_fits(blocks.len());
    let mut pass = Pass { drop: Some(drop), ..Pass::new(reduction, blocks.len()) };
    for (layer, block) in blocks.iter().enumerate() {
        tokens = pass.block(layer, block, tokens);
    }
    pass.encoded(tokens)
}

/// The tokens that enter every block, and the plans of all blocks but the last, which is not run.
///
/// # Panics
/// When the reduction was bound to a model of another depth.
pub(crate) fn entering<B: EncoderBlock>(
    blocks: &[B],
    mut tokens: Tokens,
    reduction: &Reduction,
    drop: Option<StochasticDepth>,
) -> (Vec<Tokens>, Trace) {
    reduction.assert_fits(blocks.len());
    let mut pass = Pass { drop, ..Pass::new(reduction, blocks.len()) };
    let mut entered = Vec::with_capacity(blocks.len());
    for (layer, block) in blocks.iter().enumerate() {
        entered.push(tokens.clone());
        if layer + 1 < blocks.len() {
            tokens = pass.block(layer, block, tokens);
        }
    }
    (entered, pass.trace)
}

/// Block `layer` alone, of the pass whose other blocks are run elsewhere, and what it adds to the loss. The last one for
/// the prefix alone where only that is read.
pub(crate) fn encode_one<B: EncoderBlock>(
    blocks: &[B],
    layer: usize,
    tokens: Tokens,
    reduction: &Reduction,
    drop: Option<StochasticDepth>,
    readout: Readout,
) -> (Tokens, Option<Tensor<1>>) {
    let mut pass = Pass { drop, ..Pass::new(reduction, blocks.len()) };
    let tokens = if readout == Readout::Prefix && layer + 1 == blocks.len() {
        pass.last_block(layer, &blocks[layer], tokens)
    } else {
        pass.block(layer, &blocks[layer], tokens)
    };
    (tokens, pass.auxiliary)
}

/// As [`encode`], when only `readout` will be read of the tokens: what nothing of it depends on is not computed. Of
/// [`Readout::Prefix`] the prefix of every item comes back, bit for bit as from [`encode`], and the last block
/// computes keys and values of all tokens, but the rest of the prefix alone ([`Trace::narrowed`]).
///
/// # Panics
/// When the reduction was bound to a model of another depth.
pub fn encode_for<B: EncoderBlock>(
    blocks: &[B],
    mut tokens: Tokens,
    reduction: &Reduction,
    readout: Readout,
) -> Encoded {
    let (Readout::Prefix, Some((last, front))) = (readout, blocks.split_last()) else {
        return encode(blocks, tokens, reduction, None);
    };
    reduction.assert_fits(blocks.len());
    let mut pass = Pass::new(reduction, blocks.len());
    for (layer, block) in front.iter().enumerate() {
        tokens = pass.block(layer, block, tokens);
    }
    let tokens = pass.last_block(front.len(), last, tokens);
    pass.encoded(tokens)
}

/// The rest of [`encode`] from the moment in which block `layer` has attended, as [`Watch::attended`] saw it:
/// what a reduction does from there on, without the blocks before. The trace begins there too.
///
/// # Panics
/// When the reduction was bound to a model of another depth, or merges in `layer` by other evidence than is
/// given.
pub(crate) fn resume<B: EncoderBlock>(
    blocks: &[B],
    layer: usize,
    attended: Tokens,
    evidence: Evidence,
    reduction: &Reduction,
) -> Encoded {
    reduction.assert_fits(blocks.len());
    let mut pass = Pass::new(reduction, blocks.len());
    let mut tokens = pass.reduce(layer, attended, evidence);
    tokens = blocks[layer].feed_forward(tokens);
    for (layer, block) in blocks.iter().enumerate().skip(layer + 1) {
        tokens = pass.block(layer, block, tokens);
    }
    pass.encoded(tokens)
}

/// What one pass has beside its tokens.
struct Pass<'r, 'w> {
    reduction: &'r Reduction,
    watch: Option<&'w mut dyn Watch>,
    drop: Option<StochasticDepth>,
    depth: usize,
    trace: Trace,
    auxiliary: Option<Tensor<1>>,
}

impl<'r> Pass<'r, '_> {
    fn new(reduction: &'r Reduction, depth: usize) -> Self {
        Self { reduction, watch: None, drop: None, depth, trace: Trace::default(), auxiliary: None }
    }

    fn encoded(self, tokens: Tokens) -> Encoded {
        Encoded { tokens, trace: self.trace, auxiliary: self.auxiliary }
    }

    fn block<B: EncoderBlock>(&mut self, layer: usize, block: &B, tokens: Tokens) -> Tokens {
        let entering = self.watch.is_some().then(|| tokens.clone());
        if let Some(watch) = &mut self.watch {
            watch.entering(layer, &tokens);
        }
        let (tokens, aside) = self.reduction.enter(layer, tokens, &mut self.trace);
        self.report(entering, Step { layer, site: Site::BeforeBlock });
        let log_size = self.reduction.key_bias(&tokens);
        let mut wants = self.reduction.wants(layer);
        if let Some(watch) = &self.watch
            && wants == Wants::default()
        {
            wants = watch.wants(layer);
        }
        let kept = self.drop.map(|_| tokens.x.clone());
        let (attended, evidence) = block.attend(tokens, log_size, wants);
        let attended = self.drop(layer, 0, kept, attended);
        if let Some(watch) = &mut self.watch {
            watch.attended(layer, &attended, &evidence);
        }
        let tokens = self.reduce(layer, attended, evidence);
        let kept = self.drop.map(|_| tokens.x.clone());
        let tokens = self.feed_forward(layer, block, tokens);
        let tokens = self.drop(layer, 1, kept, tokens);
        self.reduction.leave(tokens, aside)
    }

    fn feed_forward<B: EncoderBlock>(&mut self, layer: usize, block: &B, tokens: Tokens) -> Tokens {
        let Some(StochasticDepth { seed, .. }) = self.drop else { return block.feed_forward(tokens) };
        // Other numbers than those that leave branches out.
        let mut random = Random::for_layer(!seed, layer, 0);
        let (tokens, auxiliary) = block.feed_forward_train(tokens, &mut random);
        self.auxiliary = match (self.auxiliary.take(), auxiliary) {
            (Some(sum), Some(more)) => Some(sum + more),
            (one, other) => one.or(other),
        };
        tokens
    }

    /// Leaves out the branch of some items, if `before` was kept for that.
    fn drop(&self, layer: usize, half: usize, before: Option<Tensor<2>>, after: Tokens) -> Tokens {
        match (self.drop, before) {
            (Some(drop), Some(before)) => drop.drop(layer, half, self.depth, before, after),
            _ => after,
        }
    }

    /// The last block for the prefix alone.
    fn last_block<B: EncoderBlock>(&mut self, layer: usize, block: &B, tokens: Tokens) -> Tokens {
        // What stands aside are patches, of which nothing is read.
        let (tokens, _) = self.reduction.enter(layer, tokens, &mut self.trace);
        let log_size = self.reduction.key_bias(&tokens);
        let attended = block.attend_prefix(tokens, log_size);
        self.reduction.leave_out(layer, attended.prefix, &mut self.trace);
        block.feed_forward(attended)
    }

    /// Between attention and MLP.
    fn reduce(&mut self, layer: usize, attended: Tokens, evidence: Evidence) -> Tokens {
        let before = self.watch.is_some().then(|| attended.clone());
        let reduced = self.reduction.apply(layer, attended, evidence, &mut self.trace);
        self.report(before, Step { layer, site: Site::InsideBlock });
        reduced
    }

    /// Tells of a reduction, if there was one at this step.
    fn report(&mut self, before: Option<Tokens>, at: Step) {
        if let (Some(watch), Some(before), Some((step, plan))) =
            (&mut self.watch, before, self.trace.steps().last())
            && *step == at
        {
            watch.reduced(at, &before, plan);
        }
    }
}
