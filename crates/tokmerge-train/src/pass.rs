//! The one place where training runs the model.

use crate::loss::Loss;
use crate::recipe::Recompute;
use burn::tensor::{Device, Tensor};
use burn_optim::{GradientsAccumulator, GradientsParams};
use std::ops::Range;
use tokmerge_merge::Reduction;
use tokmerge_models::{Batch, Input, InputShape, Network, Pass as NetworkPass, StochasticDepth};

/// How a batch becomes gradients.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// Its weights, if it has any, are the model's own.
    pub(crate) reduction: Reduction,
    pub(crate) drop: StochasticDepth,
    pub(crate) recompute: Recompute,
    pub(crate) loss: Loss,
}

impl Pass {
    /// The mean loss of an input against targets `[B, classes]`, and `share` times its gradients.
    pub(crate) fn gradients(
        &self,
        network: &Network,
        input: Input,
        targets: Tensor<2>,
        share: f64,
    ) -> (f64, GradientsParams) {
        let reduction = self.reduction.clone().with_mergers(network.mergers().clone());
        // Experts are chosen in another way in training, whatever else is left out.
        let drop = (self.drop.rate > 0.0 || network.config().experts().is_some()).then_some(self.drop);
        let loss = |logits| self.loss.of(logits, targets);
        match self.recompute {
            Recompute::Nothing => {
                let pass = match drop {
                    Some(drop) => NetworkPass::new(&reduction).training(drop),
                    None => NetworkPass::head(&reduction),
                };
                let output = network.run(input, pass);
                let loss = match output.auxiliary {
                    Some(auxiliary) => loss(output.logits) + auxiliary,
                    None => loss(output.logits),
                };
                let value = f64::from(loss.clone().into_scalar::<f32>());
                let loss = if share == 1.0 { loss } else { loss * share };
                (value, GradientsParams::from_grads(loss.backward(), network))
            }
            Recompute::Blocks => {
                let mut sum = GradientsAccumulator::new();
                let value =
                    network.gradients_by_block(input, &reduction, drop, share, loss, &mut |gradients| {
                        sum.accumulate(network, GradientsParams::from_grads(gradients, network));
                    });
                (f64::from(value.into_scalar::<f32>()), sum.grads())
            }
        }
    }

    /// As [`gradients`](Self::gradients), with the batch dealt out to copies of the model, one on each device, which
    /// work at the same time (burn's data parallelism: `fork`, and gradients that come together on one device).
    pub(crate) fn gradients_apart(
        &self,
        network: &Network,
        devices: &[Device],
        batch: &Batch,
        shape: &InputShape,
        targets: &Tensor<2>,
        share: f64,
    ) -> (f64, GradientsParams) {
        let items = batch.items(shape);
        let parts = portions(items, devices.len());
        let home = targets.device();
        let part_of = |part: &Range<usize>| part.len() as f64 / items as f64;
        let mut results = Vec::with_capacity(parts.len());
        std::thread::scope(|scope| {
            let mut threads = Vec::with_capacity(parts.len());
            for (replica, (part, device)) in parts.iter().zip(devices).enumerate() {
                let network = burn::module::Module::fork(network.clone(), device);
                let input = batch.select(&part.clone().collect::<Vec<_>>(), shape).into_input(shape, device);
                let targets = targets.clone().slice([part.clone()]).to_device(device);
                // Otherwise the first item of every part would lose the same branches.
                let drop = StochasticDepth { seed: self.drop.seed.wrapping_add(replica as u64), ..self.drop };
                let (pass, share) = (Self { drop, ..self.clone() }, share * part_of(part));
                threads.push(scope.spawn(move || pass.gradients(&network, input, targets, share)));
            }
            for thread in threads {
                results.push(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
        // In order, so that sums do not depend on who was first.
        let (mut loss, mut sum) = (0.0, GradientsAccumulator::new());
        for ((value, gradients), part) in results.into_iter().zip(&parts) {
            loss += value * part_of(part);
            sum.accumulate(network, gradients.to_device(&home, network));
        }
        (loss, sum.grads())
    }
}

/// `items` in at most `parts` parts that differ by one at most; none is empty.
fn portions(items: usize, parts: usize) -> Vec<Range<usize>> {
    let parts = parts.clamp(1, items.max(1));
    (0..parts).map(|part| part * items / parts..(part + 1) * items / parts).collect()
}

#[cfg(test)]
mod tests {
    use super::portions;

    #[test]
    fn every_item_is_in_one_portion() {
        assert_eq!(portions(7, 3), [0..2, 2..4, 4..7]);
        assert_eq!(portions(2, 4), [0..1, 1..2]);
        assert_eq!(portions(3, 3), [0..1, 1..2, 2..3]);
    }
}
