//! The seam: a block has two halves, and the encoder stands between them.

use std::sync::Arc;
use tokmerge_merge::{Evidence, MergePlan, Reduction, Site, Step, Tokens, Trace, Wants};

/// A block that can be stopped between attention and MLP.
pub trait EncoderBlock {
    /// Attention with its residual. `log_size: [T]` is added to the logits of each key. Reports what the
    /// method wants to know, and nothing else.
    fn attend(&self, tokens: Tokens, log_size: Option<Arc<[f32]>>, wants: Wants) -> (Tokens, Evidence);

    /// The MLP with its residual.
    fn feed_forward(&self, tokens: Tokens) -> Tokens;
}

/// Tokens after the last block, and where they went.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The tokens.
    pub tokens: Tokens,
    /// Every plan that was applied.
    pub trace: Trace,
}

/// Looks on while the blocks run: for recording and measuring. Nothing that it does changes the result.
pub trait Watch {
    /// What a block should report where the method asks for nothing.
    fn wants(&self, layer: usize) -> Wants {
        let _ = layer;
        Wants::default()
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
    mut watch: Option<&mut dyn Watch>,
) -> Encoded {
    reduction.assert_fits(blocks.len());
    let mut trace = Trace::default();
    for (layer, block) in blocks.iter().enumerate() {
        let entering = watch.is_some().then(|| tokens.clone());
        tokens = reduction.enter(layer, tokens, &mut trace);
        report(&mut watch, entering, Step { layer, site: Site::BeforeBlock }, &trace);
        let log_size = reduction.key_bias(&tokens);
        let mut wants = reduction.wants(layer);
        if let Some(watch) = &watch
            && wants == Wants::default()
        {
            wants = watch.wants(layer);
        }
        let (attended, evidence) = block.attend(tokens, log_size, wants);
        if let Some(watch) = &mut watch {
            watch.attended(layer, &attended, &evidence);
        }
        let before = watch.is_some().then(|| attended.clone());
        let reduced = reduction.apply(layer, attended, evidence, &mut trace);
        report(&mut watch, before, Step { layer, site: Site::InsideBlock }, &trace);
        tokens = block.feed_forward(reduced);
    }
    Encoded { tokens, trace }
}

/// Tells of a reduction, if there was one at this step.
fn report(watch: &mut Option<&mut dyn Watch>, before: Option<Tokens>, at: Step, trace: &Trace) {
    if let (Some(watch), Some(before), Some((step, plan))) = (watch, before, trace.steps().last())
        && *step == at
    {
        watch.reduced(at, &before, plan);
    }
}
