//! A router and its experts.

use super::assignment::Assignment;
use super::{Balance, ExpertsConfig, RouterTraining, Routing};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation::softmax, s};
use tokmerge_merge::Layout;
use tokmerge_nn::{Bias, Linear, Mlp, Random};
use tokmerge_ops::{Activation, Precision, gather_rows};

/// `y = Σ gate_e(x) expert_e(x)` over the `K` experts of largest gate that had a place for the token.
#[derive(Module, Debug)]
pub struct MixtureOfExperts {
    /// `[E, C]`, always in f32: which expert a token gets should not hang on rounding.
    pub router: Linear,
    /// The MLPs (`E`).
    pub experts: Vec<Mlp>,
    #[module(skip)]
    chosen: usize,
    #[module(skip)]
    routing: Routing,
    #[module(skip)]
    training: RouterTraining,
}

/// Hidden channels of an expert, and what they go through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpertShape {
    pub(crate) channels: usize,
    pub(crate) hidden: usize,
    pub(crate) activation: Activation,
    pub(crate) precision: Precision,
}

impl MixtureOfExperts {
    pub(crate) fn new(config: ExpertsConfig, shape: ExpertShape, device: &Device) -> Self {
        let ExpertShape { channels, hidden, activation, precision } = shape;
        let expert = |_| Mlp::new(channels, hidden, activation, precision, device);
        Self {
            router: Linear::new(channels, config.experts, Bias::No, Precision::F32, device),
            experts: (0..config.experts).map(expert).collect(),
            chosen: config.chosen,
            routing: Routing::Free,
            training: RouterTraining::default(),
        }
    }

    /// How tokens are distributed when nothing is trained.
    #[must_use]
    pub fn routing(&self) -> Routing {
        self.routing
    }

    /// The same, distributing tokens in another way.
    #[must_use]
    pub fn with_routing(self, routing: Routing) -> Self {
        Self { routing, ..self }
    }

    /// How the router is trained.
    #[must_use]
    pub fn training(&self) -> &RouterTraining {
        &self.training
    }

    /// The same, its router trained in another way.
    #[must_use]
    pub fn with_training(self, training: RouterTraining) -> Self {
        Self { training, ..self }
    }

    /// Normalised tokens `x: [T, C]` → what the experts make of them, `[T, C]`; zeros for tokens without a place.
    #[must_use]
    pub fn forward(&self, x: Tensor<2>, layout: &Layout) -> Tensor<2> {
        if layout.rows() == 0 {
            return x;
        }
        let gates = softmax(self.router.forward(x.clone()), 1);
        let assignment = self.assign(&gates, layout, self.routing);
        self.run(x, &gates, &assignment)
    }

    /// As [`forward`](Self::forward), with noise on the router's logits, distributing tokens as in training. Says
    /// too how unequally the experts are used.
    pub(crate) fn forward_train(
        &self,
        x: Tensor<2>,
        layout: &Layout,
        random: &mut Random,
    ) -> (Tensor<2>, Balance) {
        let training = &self.training;
        let logits = self.router.forward(x.clone());
        let groups = training.group().rows(layout);
        let balance = Balance::importance(&softmax(logits.clone(), 1), &groups);
        if training.noise <= 0.0 {
            let gates = softmax(logits, 1);
            let assignment = self.assign(&gates, layout, training.routing);
            return (self.run(x, &gates, &assignment), balance);
        }
        let [tokens, experts] = logits.dims();
        let deviation = training.noise / experts as f64;
        let noise: Vec<f32> = (0..tokens * experts).map(|_| (random.normal() * deviation) as f32).collect();
        let noise = Tensor::from_data(TensorData::new(noise, [tokens, experts]), &logits.device());
        let noisy = logits.clone() + noise;
        let gates = softmax(noisy.clone(), 1);
        let assignment = self.assign(&gates, layout, training.routing);
        let least = of_choice(&noisy, &assignment.chosen[self.chosen - 1]);
        let balance = balance.with_load(&logits, &least, deviation, &groups);
        (self.run(x, &gates, &assignment), balance)
    }

    /// Where tokens with these gates, `[T, E]`, go.
    pub(super) fn assign(&self, gates: &Tensor<2>, layout: &Layout, routing: Routing) -> Assignment {
        let gates: Vec<f32> = gates.clone().detach().into_data().iter::<f32>().collect();
        Assignment::new(&gates, self.experts.len(), self.chosen, layout, routing)
    }

    /// Experts on the tokens that they got, weighed by the gates: `x: [T, C]`, `gates: [T, E]` → `[T, C]`.
    fn run(&self, x: Tensor<2>, gates: &Tensor<2>, assignment: &Assignment) -> Tensor<2> {
        if assignment.rows.is_empty() {
            return x.zeros_like();
        }
        let given = gather_rows(x, &assignment.rows);
        let busy = self.experts.iter().zip(&assignment.ranges).filter(|(_, range)| !range.is_empty());
        let made = busy.map(|(expert, range)| expert.forward(given.clone().slice(s![range.clone(), ..])));
        let made = Tensor::cat(made.collect(), 0);
        let choices = assignment.chosen.iter().zip(&assignment.places);
        let parts =
            choices.map(|(chosen, places)| gather_rows(made.clone(), places) * of_choice(gates, chosen));
        parts.reduce(|sum, part| sum + part).unwrap_or_else(|| unreachable!("a token uses an expert"))
    }
}

/// The value of every row of `x: [T, E]` at the chosen expert: `[T, 1]`.
fn of_choice(x: &Tensor<2>, chosen: &[u32]) -> Tensor<2> {
    let chosen: Vec<i32> = chosen.iter().map(|expert| *expert as i32).collect();
    let count = chosen.len();
    let chosen = Tensor::<2, Int>::from_data(TensorData::new(chosen, [count, 1]), &x.device());
    x.clone().gather(1, chosen)
}
