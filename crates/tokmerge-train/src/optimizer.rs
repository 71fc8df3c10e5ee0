//! The optimiser of a recipe, and its learning rates.

use crate::groups::{Depths, Learns, Member, Pace};
use crate::recipe::{AdafactorRecipe, AdamRecipe, OptimizerRecipe, SgdRecipe};
use burn::module::ParamGroup;
use burn::tensor::{Device, Tensor};
use burn_optim::decay::WeightDecayConfig;
use burn_optim::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn_optim::momentum::MomentumConfig;
use burn_optim::{
    AdafactorConfig, AdamConfig, DynOptimizer, LearningRate, ModuleOptimizer, Optimizer, RecordState,
    SgdConfig, StateSink, StateSource,
};
use std::collections::BTreeMap;
use tokmerge_merge::ModelFacts;
use tokmerge_models::Network;
use tokmerge_nn::parameters::shapes;
use tokmerge_ops::{AdamwStep, adamw};

/// The parameters of a model, as the optimiser treats them.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    members: Vec<Member>,
}

impl Groups {
    pub(crate) fn new(network: &Network, pace: Pace) -> Self {
        let ModelFacts { depth, joining, .. } = network.config().facts();
        let depths = Depths { encoder: depth, tower: joining.map_or(0, |joining| joining.layer) };
        let member = |(path, shape): (String, Vec<usize>)| Member::new(path, shape.len(), depths, pace);
        Self { members: shapes(network).into_iter().map(member).collect() }
    }

    fn without_decay(&self) -> ParamGroup {
        let paths = self.members.iter().filter(|member| !member.decays);
        ParamGroup::from_paths(paths.map(|member| member.path.clone()).collect())
    }

    /// The learning rates of a step. At a rate of 0 weights stay as they are, bit for bit.
    pub(crate) fn rates(&self, lr: f64, learns: Learns) -> ModuleLearningRate {
        let mut by_scale: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let scales = self.members.iter().map(|member| (member.scale(learns), &member.path));
        for (scale, path) in scales.filter(|(scale, _)| *scale != 1.0) {
            by_scale.entry(scale.to_bits()).or_default().push(path.clone());
        }
        let mut rates = ModuleLrScheduler::new(lr);
        for (scale, paths) in by_scale {
            rates = rates.with_group(ParamGroup::from_paths(paths), lr * f64::from_bits(scale));
        }
        rates.step()
    }
}

/// The optimiser of a recipe for the parameters of a model.
pub(crate) fn optimizer(recipe: &OptimizerRecipe, groups: &Groups) -> ModuleOptimizer {
    let without = groups.without_decay();
    match recipe {
        OptimizerRecipe::AdamW(recipe) => {
            two(AdamW(*recipe), AdamW(AdamRecipe { weight_decay: 0.0, ..*recipe }), without)
        }
        OptimizerRecipe::Adam(recipe) => {
            two(adam(recipe), adam(&AdamRecipe { weight_decay: 0.0, ..*recipe }), without)
        }
        OptimizerRecipe::Adafactor(recipe) => {
            two(adafactor(recipe), adafactor(&AdafactorRecipe { weight_decay: 0.0, ..*recipe }), without)
        }
        OptimizerRecipe::Sgd(recipe) => {
            two(sgd(recipe), sgd(&SgdRecipe { weight_decay: 0.0, ..*recipe }), without)
        }
    }
}

fn two<O: Optimizer + DynOptimizer>(decaying: O, others: O, without_decay: ParamGroup) -> ModuleOptimizer {
    ModuleOptimizer::from(decaying).with_group(without_decay, others, None)
}

/// AdamW in one pass over memory.
#[derive(Clone, Copy, Debug)]
struct AdamW(AdamRecipe);

/// What AdamW remembers of a parameter.
#[derive(Clone, Debug)]
struct AdamWState<const D: usize> {
    time: usize,
    moments: [Tensor<D>; 2],
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let AdamRecipe { betas, eps, weight_decay } = self.0;
        let (time, moments) = state.map_or((1, None), |state| (state.time + 1, Some(state.moments)));
        let step = AdamwStep { lr, betas, eps, weight_decay, time };
        let (tensor, moments) = adamw(&step, tensor, grad, moments);
        (tensor, Some(AdamWState { time, moments }))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        AdamWState { moments: state.moments.map(|moment| moment.to_device(device)), ..state }
    }
}

const MOMENTS: [&str; 2] = ["moment_1", "moment_2"];

impl<const D: usize> RecordState for AdamWState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, "time", self.time.into());
        for (name, moment) in MOMENTS.iter().zip(&self.moments) {
            out.push_tensor(prefix, name, moment.clone().into_data());
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let time = usize::try_from(src.take_scalar(prefix, "time")?).ok()?;
        let [first, second] = MOMENTS.map(|name| src.take_tensor(prefix, name));
        let moments = [first?, second?].map(|moment| Tensor::from_data(moment, device));
        Some(Self { time, moments })
    }
}

/// Added to the gradient; none for 0, which would cost a pass over memory.
fn decay(penalty: f64) -> Option<WeightDecayConfig> {
    (penalty > 0.0).then_some(WeightDecayConfig { penalty: penalty as f32 })
}

fn adam(recipe: &AdamRecipe) -> burn_optim::Adam {
    AdamConfig::new()
        .with_beta_1(recipe.betas[0] as f32)
        .with_beta_2(recipe.betas[1] as f32)
        .with_epsilon(recipe.eps as f32)
        .with_weight_decay(decay(recipe.weight_decay))
        .build()
}

fn adafactor(recipe: &AdafactorRecipe) -> burn_optim::Adafactor {
    AdafactorConfig::new()
        .with_epsilon_1(recipe.eps as f32)
        .with_clip_threshold(recipe.clip_threshold as f32)
        .with_decay_rate(recipe.decay_rate)
        .with_relative_step(false)
        .with_scale_parameter(recipe.scale_parameter)
        .with_weight_decay(recipe.weight_decay as f32)
        .build()
}

fn sgd(recipe: &SgdRecipe) -> burn_optim::Sgd {
    let momentum = MomentumConfig { momentum: recipe.momentum, dampening: 0.0, nesterov: recipe.nesterov };
    SgdConfig::new()
        .with_weight_decay(decay(recipe.weight_decay))
        .with_momentum((recipe.momentum > 0.0).then_some(momentum))
        .build()
}
