//! What a teacher says (Hinton et al., 2015, arXiv:1503.02531): the model as it was before training, merging otherwise or not
//! at all.

use crate::error::TrainError;
use crate::recipe::DistillRecipe;
use burn::module::Module;
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Tensor, s};
use std::ops::Range;
use std::sync::Arc;
use tokmerge_merge::{Layout, Method, ModelFacts, Reduction};
use tokmerge_models::{Input, Network, Output, Pass};
use tokmerge_ops::gather_rows;

/// A model that is not trained.
#[derive(Clone, Debug)]
pub(crate) struct Teacher {
    network: Network,
    reduction: Reduction,
    /// Part of the target that is the teacher's.
    part: f64,
    weights: Weights,
}

/// What each distance from the teacher weighs in the loss; 0 where it is no part of it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Weights {
    answers: f64,
    tokens: f64,
    embedding: f64,
}

/// What the model is to come near to, of a batch. Nothing of it is tracked.
#[derive(Clone, Debug)]
pub(crate) struct Lesson {
    weights: Weights,
    /// Logarithms of the probabilities of classes, `[B, classes]`.
    answers: Tensor<2>,
    /// `[B, E]`, each of length 1.
    embedding: Tensor<2>,
    /// All tokens after the last block, normalised, where they are asked for.
    tokens: Option<Rows>,
}

/// Rows of the items of a batch.
#[derive(Clone, Debug)]
struct Rows {
    /// `[T, C]`.
    x: Tensor<2>,
    layout: Layout,
}

impl Teacher {
    pub(crate) fn new(
        recipe: &DistillRecipe,
        network: &Network,
        facts: &ModelFacts,
    ) -> Result<Self, TrainError> {
        let method: Method =
            recipe.merge.parse().map_err(|error| TrainError::Data(format!("distill.merge: {error}")))?;
        if method.has_weights() {
            return Err(TrainError::Data(format!(
                "distill.merge is {method}, which has weights of its own that nobody has trained; use none"
            )));
        }
        let DistillRecipe { answers, tokens, embedding, .. } = *recipe;
        Ok(Self {
            network: network.valid(),
            reduction: Reduction::bind(method, facts)?,
            part: recipe.weight(),
            weights: Weights { answers, tokens, embedding },
        })
    }

    /// The targets of a batch, `[B, classes]`, with the teacher's part in them, and what else is to be learned of it. Neither input
    /// nor targets are tracked; what comes back is on the device with autodiff.
    pub(crate) fn teach(&self, input: Input, targets: Tensor<2>) -> (Tensor<2>, Lesson) {
        let pass = match self.weights.tokens > 0.0 {
            true => Pass::new(&self.reduction),
            false => Pass::head(&self.reduction),
        };
        let Output { pooled, logits, tokens, .. } = self.network.run(input, pass);
        let targets = match self.part {
            0.0 => targets,
            1.0 => softmax(logits.clone(), 1),
            part => targets * (1.0 - part) + softmax(logits.clone(), 1) * part,
        };
        let tokens = (self.weights.tokens > 0.0)
            .then(|| Rows { x: self.network.normed(tokens.x).autodiff(), layout: tokens.layout });
        let (answers, embedding) = (log_softmax(logits, 1).autodiff(), unit(pooled).autodiff());
        (targets.autodiff(), Lesson { weights: self.weights, answers, embedding, tokens })
    }
}

impl Lesson {
    /// That of some items in a row.
    pub(crate) fn part(&self, items: Range<usize>, device: &Device) -> Self {
        let part = |of: &Tensor<2>| of.clone().slice(s![items.clone(), ..]).to_device(device);
        let (answers, embedding) = (part(&self.answers), part(&self.embedding));
        let tokens = self.tokens.as_ref().map(|rows| rows.part(items, device));
        Self { weights: self.weights, answers, embedding, tokens }
    }

    /// By what the model's answers, `logits: [B, classes]`, differ: the mean over items of `Σ p ln(p / q)`, `p` being the teacher's
    /// probabilities. `[1]`, with its weight.
    pub(crate) fn of_answers(&self, logits: &Tensor<2>) -> Option<Tensor<1>> {
        let divergence = || {
            let [items, _] = logits.dims();
            let apart = self.answers.clone() - log_softmax(logits.clone(), 1);
            (self.answers.clone().exp() * apart).sum() / items as f64
        };
        (self.weights.answers > 0.0).then(|| divergence() * self.weights.answers)
    }

    /// By what the model's embedding and the tokens that it has left differ, each with its weight: `[1]`. `normed` is what the
    /// model's head does with rows.
    pub(crate) fn of_features(
        &self,
        output: &Output,
        normed: &dyn Fn(Tensor<2>) -> Tensor<2>,
    ) -> Option<Tensor<1>> {
        let apart = || mean_square(unit(output.pooled.clone()) - self.embedding.clone());
        let of_embedding = (self.weights.embedding > 0.0).then(|| apart() * self.weights.embedding);
        let of_tokens = self.tokens.as_ref().and_then(|rows| rows.of_tokens(output, normed));
        let of_tokens = of_tokens.map(|apart| apart * self.weights.tokens);
        of_embedding.into_iter().chain(of_tokens).reduce(|sum, more| sum + more)
    }
}

impl Rows {
    fn part(&self, items: Range<usize>, device: &Device) -> Self {
        let lens: Vec<usize> = items.clone().map(|item| self.layout.range(item).len()).collect();
        let start = self.layout.range(items.start).start;
        let rows = start..start + lens.iter().sum::<usize>();
        let x = self.x.clone().slice(s![rows, ..]).to_device(device);
        Self { x, layout: Layout::from_lens(&lens) }
    }

    /// The mean squared distance of the patches that the model has left from the same of these, over patches and channels, `[1]`;
    /// `None` where none is left.
    fn of_tokens(&self, output: &Output, normed: &dyn Fn(Tensor<2>) -> Tensor<2>) -> Option<Tensor<1>> {
        let (own, same) = self.same_patches(output);
        if own.is_empty() {
            return None;
        }
        let own = normed(gather_rows(output.tokens.x.clone(), &Arc::from(own)));
        Some(mean_square(own - gather_rows(self.x.clone(), &Arc::from(same))))
    }

    /// Rows of the patches that the model has left, and those of the same patches here. What has joined behind all patches of an
    /// item, as SP-ViT's packages do, is none of them.
    fn same_patches(&self, output: &Output) -> (Vec<u32>, Vec<u32>) {
        let tokens = &output.tokens;
        let place = |item: usize, row: usize| match &output.kept {
            Some(plan) => plan.representative()[row] as usize - plan.input().range(item).start,
            None => row - tokens.layout.range(item).start,
        };
        let mut pairs = Vec::with_capacity(tokens.layout.rows());
        for item in 0..tokens.layout.items() {
            let (range, all) = (tokens.layout.range(item), self.layout.range(item));
            let patches = range.start + tokens.prefix.of(item)..range.end;
            let same = patches.map(|row| (row as u32, all.start + place(item, row)));
            pairs.extend(same.filter(|(_, same)| all.contains(same)).map(|(row, same)| (row, same as u32)));
        }
        pairs.into_iter().unzip()
    }
}

/// `x: [B, C]` with rows of length 1.
fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(1e-12);
    x / length
}

fn mean_square(x: Tensor<2>) -> Tensor<1> {
    x.powi_scalar(2).mean()
}

#[cfg(test)]
mod tests {
    use super::{Lesson, Rows, Weights};
    use burn::tensor::activation::log_softmax;
    use burn::tensor::{Device, Tensor, TensorData};
    use tokmerge_merge::{DROPPED, Layout, MergePlan, Tokens, Trace};
    use tokmerge_models::Output;

    fn tensor<const R: usize, const C: usize>(rows: [[f32; C]; R], device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::from(rows), device)
    }

    fn values(x: Tensor<2>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    fn near(found: &[f32], wanted: &[f32]) {
        let all = found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(all, "{found:?} {wanted:?}");
    }

    const NOTHING: Weights = Weights { answers: 0.0, tokens: 0.0, embedding: 0.0 };

    fn lesson(weights: Weights, answers: Tensor<2>, embedding: Tensor<2>, tokens: Option<Rows>) -> Lesson {
        Lesson { weights, answers, embedding, tokens }
    }

    /// By hand: the teacher has 1/4 and 3/4, and 1/2 and 1/2, the model 1/2 and 1/2, and 1/5 and 4/5. The gradient of the mean by
    /// logits is (q - p) / B.
    #[test]
    fn the_divergence_of_answers_and_its_gradient() {
        let device = Device::flex().autodiff();
        let (p, q) = ([[0.25f32, 0.75], [0.5, 0.5]], [[0.5f32, 0.5], [0.2, 0.8]]);
        let logits = tensor(q.map(|row| row.map(f32::ln)), &device).require_grad();
        let answers = log_softmax(tensor(p.map(|row| row.map(f32::ln)), &device), 1);
        let weights = Weights { answers: 0.5, ..NOTHING };
        let lesson = lesson(weights, answers, tensor([[1.0], [1.0]], &device), None);
        let loss = lesson.of_answers(&logits).expect("a loss");
        let term = |p: f32, q: f32| p * (p / q).ln();
        let wanted = 0.5 * (term(0.25, 0.5) + term(0.75, 0.5) + term(0.5, 0.2) + term(0.5, 0.8)) / 2.0;
        near(&[loss.clone().into_scalar::<f32>()], &[wanted]);
        let gradient = logits.grad(&loss.backward()).expect("a gradient");
        near(&values(gradient), &[0.0625, -0.0625, -0.075, 0.075]);
        assert!(Lesson { weights: NOTHING, ..lesson }.of_answers(&logits).is_none());
    }

    fn output(pooled: Tensor<2>, x: Tensor<2>, layout: Layout, kept: Option<MergePlan>) -> Output {
        let tokens = Tokens::new(x, layout, 1);
        Output { logits: pooled.clone(), pooled, tokens, trace: Trace::default(), kept, auxiliary: None }
    }

    /// Two items of four tokens, a class token first. Of the first the patches 1 and 3 are left, of the second patch 2 and a token that
    /// has joined as the fifth.
    #[test]
    fn patches_that_are_left_are_compared_with_the_same() {
        let device = Device::flex().autodiff();
        let theirs =
            [[9.0, 9.0], [1.0, 2.0], [9.0, 9.0], [5.0, 6.0], [9.0, 9.0], [9.0, 9.0], [3.0, 4.0], [9.0, 9.0]];
        let rows = Rows { x: tensor(theirs, &device), layout: Layout::uniform(2, 4) };
        let own = [[0.0, 0.0], [1.0, 1.0], [2.5, 3.0], [0.0, 0.0], [0.5, 2.0], [7.0, 7.0]];
        let x = tensor(own, &device).require_grad();
        let dst = [0, 1, DROPPED, 2, 3, DROPPED, 4, DROPPED, 5];
        let (all, left) = (Layout::from_lens(&[4, 5]), Layout::uniform(2, 3));
        let plan = MergePlan::new(dst, [0, 1, 3, 4, 6, 8], all, left.clone()).expect("a plan");
        let output = output(tensor([[1.0], [1.0]], &device), x.clone(), left, Some(plan));
        let ones = tensor([[1.0], [1.0]], &device);
        let lesson = lesson(Weights { tokens: 0.5, ..NOTHING }, ones.clone(), ones, Some(rows));
        // The head doubles rows: 2 and 2 for 1 and 2, 5 and 6 for the same, 1 and 4 for 3 and 4, six numbers in all.
        let loss = lesson.of_features(&output, &|x| x * 2.0).expect("a loss");
        near(&[loss.clone().into_scalar::<f32>()], &[0.5 * (1.0 + 4.0) / 6.0]);
        // 0.5 · 2 · distance / 6, twice for the doubling.
        let gradient = values(x.grad(&loss.backward()).expect("a gradient"));
        near(&gradient, &[0.0, 0.0, 1.0 / 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0 / 3.0, 0.0, 0.0, 0.0]);

        // A part of the batch is that of its items.
        let second = lesson.part(1..2, &device);
        let x = tensor([own[3], own[4], own[5]], &device);
        let plan = MergePlan::new(
            [0, DROPPED, 1, DROPPED, 2],
            [0, 2, 4],
            Layout::uniform(1, 5),
            Layout::uniform(1, 3),
        );
        let output =
            self::output(tensor([[1.0]], &device), x, Layout::uniform(1, 3), Some(plan.expect("a plan")));
        let loss = second.of_features(&output, &|x| x * 2.0).expect("a loss");
        near(&[loss.into_scalar::<f32>()], &[0.5 * 4.0 / 2.0]);
    }

    #[test]
    fn where_all_are_left_all_patches_are_compared_and_none_is_no_loss() {
        let device = Device::flex();
        let rows = Rows { x: tensor([[9.0], [1.0], [2.0]], &device), layout: Layout::uniform(1, 3) };
        let one = tensor([[1.0]], &device);
        let lesson = lesson(Weights { tokens: 1.0, ..NOTHING }, one.clone(), one.clone(), Some(rows));
        let of = |x: Tensor<2>, layout: Layout, kept: Option<MergePlan>| {
            lesson.of_features(&output(one.clone(), x, layout, kept), &|x| x)
        };
        let all = of(tensor([[0.0], [3.0], [2.5]], &device), Layout::uniform(1, 3), None).expect("a loss");
        near(&[all.into_scalar::<f32>()], &[(4.0 + 0.25) / 2.0]);
        let (three, one_left) = (Layout::uniform(1, 3), Layout::uniform(1, 1));
        let plan = MergePlan::new([0, DROPPED, DROPPED], [0], three, one_left.clone()).expect("a plan");
        assert!(of(tensor([[0.0]], &device), one_left, Some(plan)).is_none());
    }

    /// By hand: 3 and 4 have the length 5 and are 0.6 and 0.8 at length 1. With the distance d from the teacher's the gradient is
    /// 2 / (B C) · (d - u (u · d)) / length.
    #[test]
    fn embeddings_are_compared_at_length_one() {
        let device = Device::flex().autodiff();
        let pooled = tensor([[3.0, 4.0], [0.0, 2.0]], &device).require_grad();
        let theirs = tensor([[1.0, 0.0], [0.0, 1.0]], &device);
        let lesson = lesson(Weights { embedding: 10.0, ..NOTHING }, theirs.clone(), theirs, None);
        let output = output(pooled.clone(), pooled.clone(), Layout::uniform(2, 1), None);
        let loss = lesson.of_features(&output, &|x| x).expect("a loss");
        near(&[loss.clone().into_scalar::<f32>()], &[10.0 * (0.16 + 0.64) / 4.0]);
        // d = (-0.4, 0.8) and u · d = 0.4.
        let scale = 10.0 * 2.0 / 4.0 / 5.0;
        let gradient = values(pooled.grad(&loss.backward()).expect("a gradient"));
        near(&gradient, &[scale * (-0.4 - 0.24), scale * (0.8 - 0.32), 0.0, 0.0]);
    }
}
