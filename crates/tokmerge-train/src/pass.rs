//! The one place where training runs the model.

use crate::consistency::Consistency;
use crate::distill::Lesson;
use crate::loss::{Loss, token_cross_entropy};
use crate::recipe::Recompute;
use burn::tensor::{Device, Tensor};
use burn_optim::{GradientsAccumulator, GradientsParams};
use std::ops::Range;
use tokmerge_merge::Reduction;
use tokmerge_models::{Answers, Batch, DropRates, Input, InputShape, Network, Output, Pass as NetworkPass};

/// How a batch becomes gradients.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// Its weights, if it has any, are the model's own.
    pub(crate) reduction: Reduction,
    pub(crate) drop: DropRates,
    pub(crate) recompute: Recompute,
    /// A second pass, where there is to be one. Of classes alone, and where nothing is recomputed.
    pub(crate) consistency: Option<Consistency>,
    /// What the loss of the head on the class token weighs, where there is one; that of the model's own has the rest.
    pub(crate) class_head: Option<f64>,
}

/// What a batch is to give, and so what is minimised.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of a batch")]
pub(crate) enum Target {
    /// `[B, classes]`, a loss of logits of classes, and what else a teacher teaches.
    Classes { targets: Tensor<2>, loss: Loss, lesson: Option<Lesson> },
    /// A text for every item: the cross-entropy of its tokens, `smoothing` of each target spread over the vocabulary.
    Texts { answers: Answers, smoothing: f64 },
}

impl Target {
    /// That of some items in a row.
    fn part(&self, items: Range<usize>, device: &Device) -> Self {
        match self {
            Self::Classes { targets, loss, lesson } => {
                let lesson = lesson.as_ref().map(|lesson| lesson.part(items.clone(), device));
                let targets = targets.clone().slice([items]).to_device(device);
                Self::Classes { targets, loss: *loss, lesson }
            }
            Self::Texts { answers, smoothing } => {
                Self::Texts { answers: answers.select(&items.collect::<Vec<_>>()), smoothing: *smoothing }
            }
        }
    }

    /// What the mean is taken over: items, or tokens.
    fn count(&self) -> usize {
        match self {
            Self::Classes { targets, .. } => targets.dims()[0],
            Self::Texts { answers, .. } => answers.ids.len(),
        }
    }
}

impl Pass {
    /// The mean loss of an input against its target, and `share` times its gradients.
    pub(crate) fn gradients(
        &self,
        network: &Network,
        input: Input,
        target: Target,
        share: f64,
    ) -> (f64, GradientsParams) {
        let reduction =
            self.reduction.clone().with_mergers(network.mergers().clone()).in_step(self.drop.seed);
        // Experts are chosen in another way in training, and so may tokens be, whatever else is left out.
        let chooses =
            network.config().experts().is_some() || reduction.relaxes() || reduction.teaches_softmax();
        let drop = (self.drop.any() || chooses).then_some(self.drop);
        let (targets, of_classes, lesson) = match target {
            Target::Classes { targets, loss, lesson } => (targets, loss, lesson),
            Target::Texts { answers, smoothing } => {
                return texts(network, input, &reduction, drop, &answers, smoothing, share);
            }
        };
        let of_answers = |output: &Output| {
            let logits = &output.logits;
            let rewards =
                output.tokens.decisions().and_then(|decisions| decisions.loss(&right(logits, &targets)));
            let taught = lesson.as_ref().and_then(|lesson| lesson.of_answers(logits));
            let own = of_classes.of(logits.clone(), targets.clone());
            let labelled = match self.class_head.zip(network.class_logits(&output.tokens)) {
                Some((weight, logits)) => {
                    own * (1.0 - weight) + of_classes.of(logits, targets.clone()) * weight
                }
                None => own,
            };
            plus(plus(labelled, rewards), taught)
        };
        let of_features = |output: &Output| {
            lesson.as_ref().and_then(|lesson| lesson.of_features(output, &|rows| network.normed(rows)))
        };
        match self.recompute {
            Recompute::Nothing => {
                let run = |input, reduction| {
                    network.run(
                        input,
                        match drop {
                            Some(drop) => NetworkPass::new(reduction).training(drop),
                            None => NetworkPass::head(reduction),
                        },
                    )
                };
                let of = |output: &Output| plus(of_answers(output), output.auxiliary.clone());
                let second =
                    self.consistency.as_ref().map(|with| (with, run(input.clone(), &with.reduction)));
                let first = run(input, &reduction);
                let loss = match second {
                    Some((with, second)) => of(&first) + of(&second) + with.loss(&first, &second, &targets),
                    None => of(&first),
                };
                backward(network, plus(loss, of_features(&first)), share)
            }
            Recompute::Blocks => {
                let mut sum = GradientsAccumulator::new();
                let loss = |output: &Output| plus(of_answers(output), of_features(output));
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
    #[expect(clippy::too_many_arguments, reason = "what a step knows of its batch and of the devices")]
    pub(crate) fn gradients_apart(
        &self,
        network: &Network,
        devices: &[Device],
        home: &Device,
        batch: &Batch,
        shape: &InputShape,
        target: &Target,
        share: f64,
    ) -> (f64, GradientsParams) {
        let parts = portions(batch.items(shape), devices.len());
        let all = target.count() as f64;
        let mut results = Vec::with_capacity(parts.len());
        std::thread::scope(|scope| {
            let mut threads = Vec::with_capacity(parts.len());
            for (replica, (part, device)) in parts.iter().zip(devices).enumerate() {
                let network = burn::module::Module::fork(network.clone(), device);
                let input = batch.select(&part.clone().collect::<Vec<_>>(), shape).into_input(shape, device);
                let target = target.part(part.clone(), device);
                let part = target.count() as f64 / all;
                // Otherwise the first item of every part would lose the same branches.
                let drop = DropRates { seed: self.drop.seed.wrapping_add(replica as u64), ..self.drop };
                let (pass, share) = (Self { drop, ..self.clone() }, share * part);
                threads.push((part, scope.spawn(move || pass.gradients(&network, input, target, share))));
            }
            for (part, thread) in threads {
                results.push((part, thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
            }
        });
        // In order, so that sums do not depend on who was first.
        let (mut loss, mut sum) = (0.0, GradientsAccumulator::new());
        for (part, (value, gradients)) in results {
            loss += value * part;
            sum.accumulate(network, gradients.to_device(home, network));
        }
        (loss, sum.grads())
    }
}

/// The mean loss of all tokens of texts that are to be written, and `share` times its gradients.
fn texts(
    network: &Network,
    input: Input,
    reduction: &Reduction,
    drop: Option<DropRates>,
    answers: &Answers,
    smoothing: f64,
    share: f64,
) -> (f64, GradientsParams) {
    let pass = NetworkPass::new(reduction);
    let pass = match drop {
        Some(drop) => pass.training(drop),
        None => pass,
    };
    let output = network.run(input, pass);
    let logits = network.teach(&output, reduction, answers, drop);
    let logits = logits.unwrap_or_else(|| unreachable!("texts are written by models that have a decoder"));
    let loss = token_cross_entropy(logits, &answers.ids, smoothing);
    backward(network, plus(loss, output.auxiliary), share)
}

/// Which items are answered right: those whose largest logit is that of their largest target, both `[B, classes]`.
fn right(logits: &Tensor<2>, targets: &Tensor<2>) -> Vec<bool> {
    let best = |of: &Tensor<2>| of.clone().without_autodiff().argmax(1).into_data().iter::<i64>().collect();
    let (said, wanted): (Vec<i64>, Vec<i64>) = (best(logits), best(targets));
    said.iter().zip(wanted).map(|(said, wanted)| *said == wanted).collect()
}

fn plus(loss: Tensor<1>, more: Option<Tensor<1>>) -> Tensor<1> {
    match more {
        Some(more) => loss + more,
        None => loss,
    }
}

/// A loss, and `share` times its gradients.
fn backward(network: &Network, loss: Tensor<1>, share: f64) -> (f64, GradientsParams) {
    let value = f64::from(loss.clone().into_scalar::<f32>());
    let loss = if share == 1.0 { loss } else { loss * share };
    (value, GradientsParams::from_grads(loss.backward(), network))
}

/// `items` in at most `parts` parts that differ by one at most; none is empty.
fn portions(items: usize, parts: usize) -> Vec<Range<usize>> {
    let parts = parts.clamp(1, items.max(1));
    (0..parts).map(|part| part * items / parts..(part + 1) * items / parts).collect()
}

#[cfg(test)]
mod tests {
    use super::{NetworkPass, Pass, Target, portions, right};
    use crate::loss::Loss;
    use crate::recipe::Recompute;
    use crate::weights::{class_head, random};
    use burn::module::ParamId;
    use burn::tensor::{Device, Tensor, TensorData};
    use std::collections::BTreeMap;
    use tokmerge_merge::Reduction;
    use tokmerge_models::{Config, DropRates, Input, PoolOverride, Precision, ShapeOverrides, VitConfig};
    use tokmerge_nn::parameters::{assign, read, stable_hash};

    #[test]
    fn an_answer_is_right_whose_largest_logit_is_that_of_the_target() {
        let tensor = |rows: [[f32; 3]; 3]| Tensor::<2>::from_data(rows, &Device::flex());
        let logits = tensor([[0.1, 2.0, -1.0], [5.0, 4.0, 0.0], [-3.0, -2.0, -1.0]]);
        let targets = tensor([[0.3, 0.4, 0.3], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]]);
        assert_eq!(right(&logits, &targets), [true, false, true]);
    }

    /// The cross-entropy of logits against targets, and the softmax, of one item.
    fn cross_entropy(logits: [f64; 2], targets: [f64; 2]) -> (f64, [f64; 2]) {
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let softmax = logits.map(|logit| logit.exp() / sum);
        (-targets.iter().zip(softmax).map(|(target, part)| target * part.ln()).sum::<f64>(), softmax)
    }

    /// By hand: three quarters of the loss of the mean's head, a quarter of that of the class token's, whose gradient by its bias is
    /// a quarter of the mean of softmax - target.
    #[test]
    fn a_head_on_the_class_token_has_its_part_of_the_loss() {
        let device = Device::flex().autodiff();
        let config = VitConfig { num_classes: 2, img_size: (8, 8), ..VitConfig::new(4, 6, 1, 2) };
        let averaging = ShapeOverrides { pool: Some(PoolOverride::Average), ..ShapeOverrides::default() };
        let config = Config::from(config).with_overrides(&averaging).expect("a model");
        let head = class_head(6, 2, Precision::F32, 3, &device);
        let network = random(&config, Precision::F32, 3, &device).with_class_head(Some(head));
        let network = assign(network, &BTreeMap::new(), &device);
        let pixels: Vec<f32> = (0..384).map(|index| (index * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let pixels = TensorData::new(pixels, [2, 3, 8, 8]);
        let input = || Input::Images(Tensor::from_data(pixels.clone(), &device));
        let targets = [[0.9, 0.1], [0.0, 1.0]];

        let output = network.run(input(), NetworkPass::new(&Reduction::none()));
        let own: Vec<f64> = output.logits.into_data().iter::<f32>().map(f64::from).collect();
        let tokens: Vec<f64> = output.tokens.x.into_data().iter::<f32>().map(f64::from).collect();
        let weights = &read(&network)["class_head.weight"].values;
        let (mut wanted, mut bias) = (0.0, [0.0; 2]);
        for (item, target) in targets.into_iter().enumerate() {
            let class = &tokens[item * 5 * 6..][..6];
            let mean = class.iter().sum::<f64>() / 6.0;
            let variance = class.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 6.0;
            let normed = class.iter().map(|value| (value - mean) / (variance + 1e-6).sqrt());
            let normed: Vec<f64> = normed.collect();
            let logit = |class: usize| {
                let row = &weights[class * 6..][..6];
                row.iter().zip(&normed).map(|(weight, value)| f64::from(*weight) * value).sum::<f64>()
            };
            let (of_class, softmax) = cross_entropy([logit(0), logit(1)], target);
            let (of_mean, _) = cross_entropy([own[2 * item], own[2 * item + 1]], target);
            wanted += (0.75 * of_mean + 0.25 * of_class) / 2.0;
            (0..2).for_each(|class| bias[class] += 0.25 * (softmax[class] - target[class]) / 2.0);
        }

        let targets = TensorData::from(targets.map(|row| row.map(|part| part as f32)));
        let target = Target::Classes {
            targets: Tensor::from_data(targets, &device),
            loss: Loss::CrossEntropy,
            lesson: None,
        };
        for recompute in Recompute::ALL {
            let (reduction, drop) = (Reduction::none(), DropRates::default());
            let pass = Pass { reduction, drop, recompute, consistency: None, class_head: Some(0.25) };
            let (value, gradients) = pass.gradients(&network, input(), target.clone(), 1.0);
            assert!((value - wanted).abs() < 1e-5, "{value} {wanted}");
            let found =
                gradients.get::<1>(ParamId::from(stable_hash("class_head.bias"))).expect("a gradient");
            for (found, wanted) in found.into_data().iter::<f32>().zip(bias) {
                assert!((f64::from(found) - wanted).abs() < 1e-5, "{found} {wanted}");
            }
        }
    }

    #[test]
    fn every_item_is_in_one_portion() {
        assert_eq!(portions(7, 3), [0..2, 2..4, 4..7]);
        assert_eq!(portions(2, 4), [0..1, 1..2]);
        assert_eq!(portions(3, 3), [0..1, 1..2, 2..3]);
    }
}
