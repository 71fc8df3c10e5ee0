//! Blocks whose parts stand side by side.

use super::EncoderBlock;
use super::attention::{normalise_parts, spec};
use super::feed_forward::add;
use super::{Attention, BlockConfig, Context, FeedForward, QkNorm, QkvBias};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use tokmerge_merge::{Evidence, Metric, Tokens, Wants};
use tokmerge_nn::{Bias, LayerScale, Linear, Norm, Random, zeros_parameter};
use tokmerge_ops::{Activation, Heads, Precision, attention, linear_residual, norm_linear, rotate_heads};

/// Attention and MLP from one normalised input and one matrix (timm's `ParallelScalingBlock`, ViT-22B):
/// `x + ls(attn(y) + mlp(y))`, `y = in_proj(in_norm(x))`.
///
/// There is no place between the two where tokens could merge: [`EncoderBlock::attend`] is the whole block, reports no
/// evidence, and [`EncoderBlock::feed_forward`] changes nothing.
#[derive(Module, Debug)]
pub struct ParallelBlock {
    /// Before `in_proj`.
    pub in_norm: Norm,
    /// `[C_hidden + 3 * C, C]`: the MLP's first layer, queries, keys and values.
    pub in_proj: Linear,
    /// Bias of the MLP's first layer, where `in_proj` has none.
    pub mlp_bias: Option<Param<Tensor<1>>>,
    /// Of queries.
    pub q_norm: Option<Norm>,
    /// Of keys.
    pub k_norm: Option<Norm>,
    /// `[C, C]`.
    pub attn_out_proj: Linear,
    /// `[C, C_hidden]`.
    pub mlp_out_proj: Linear,
    /// On both branches.
    pub ls: Option<LayerScale>,
    #[module(skip)]
    config: BlockConfig,
}

impl ParallelBlock {
    /// Random until weights are loaded. Of the configuration count channels, heads, norms of input, queries and keys,
    /// hidden channels, activation, LayerScale, the bias of the outputs, and whether `in_proj` has one.
    #[must_use]
    pub fn new(config: &BlockConfig, precision: Precision, device: &Device) -> Self {
        let (channels, hidden) = (config.channels, config.mlp.hidden);
        let width = config.heads * config.head_dim;
        let (all, proj_bias) = (config.qkv_bias == QkvBias::All, Bias::when(config.proj_bias));
        let qk_norm = || match config.qk_norm {
            QkNorm::No => None,
            QkNorm::PerHead(norm) => Some(norm.layer(config.head_dim, device)),
            QkNorm::Whole(norm) => Some(norm.layer(width, device)),
        };
        Self {
            in_norm: config.norm.layer(channels, device),
            in_proj: Linear::new(channels, hidden + 3 * width, Bias::when(all), precision, device),
            mlp_bias: (!all).then(|| zeros_parameter([hidden], device)),
            q_norm: qk_norm(),
            k_norm: qk_norm(),
            attn_out_proj: Linear::new(width, channels, proj_bias, precision, device),
            mlp_out_proj: Linear::new(hidden, channels, proj_bias, precision, device),
            ls: config.layer_scale.map(|initial| LayerScale::new(channels, initial, device)),
            config: config.clone(),
        }
    }

    fn heads(&self) -> Heads {
        let BlockConfig { heads, head_dim, .. } = self.config;
        Heads { count: heads, dim: head_dim, scale: (head_dim as f64).powf(-0.5) as f32 }
    }
}

impl EncoderBlock for ParallelBlock {
    fn attend(&self, mut tokens: Tokens, with: &Context, _: Wants) -> (Tokens, Evidence) {
        let (hidden, heads) = (self.config.mlp.hidden, self.heads());
        let (width, qk_norm) = (heads.count * heads.dim, self.config.qk_norm);
        let mut weights = self.in_proj.weights();
        if let Some(bias) = &self.mlp_bias {
            let bias = bias.val();
            let zeros = Tensor::zeros([3 * width], &bias.device());
            weights.bias = Some(Tensor::cat(vec![bias, zeros], 0));
        }
        let x = tokens.x;
        let norm = || self.in_norm.weights();
        let mlp =
            norm_linear(x.clone(), norm(), weights.clone().outputs(0..hidden), self.config.mlp.activation);
        let precision = weights.precision.without_int8();
        let qkv = weights.outputs(hidden..hidden + 3 * width);
        let qkv = norm_linear(x.clone(), norm(), qkv, Activation::Identity);
        let norms = [self.q_norm.as_ref(), self.k_norm.as_ref()];
        let qkv = normalise_parts(qkv, norms, qk_norm, heads);
        let qkv = match &with.rotation {
            Some(rotation) => rotate_heads(qkv, heads, 2, rotation),
            None => qkv,
        };
        let y = attention(qkv, &spec(heads, precision, with, &tokens.layout));
        let scale = self.ls.as_ref().map(|ls| ls.gamma.val());
        let x = linear_residual(y, self.attn_out_proj.weights(), scale.clone(), x);
        tokens.x = linear_residual(mlp, self.mlp_out_proj.weights(), scale, x);
        (tokens, Evidence::default())
    }

    fn feed_forward(&self, tokens: Tokens, _: Option<&mut Random>) -> (Tokens, Option<Tensor<1>>) {
        (tokens, None)
    }
}

/// Several attentions side by side, then several MLPs (timm's `ParallelThingsBlock`).
#[derive(Module, Debug)]
pub struct BranchesBlock {
    /// Attentions of the same input.
    pub attns: Vec<AttentionBranch>,
    /// MLPs of the same input.
    pub ffns: Vec<MlpBranch>,
}

/// `ls(attn(norm(x)))`.
#[derive(Module, Debug)]
pub struct AttentionBranch {
    /// Before attention.
    pub norm: Norm,
    /// Attention.
    pub attn: Attention,
    /// On the branch.
    pub ls: Option<LayerScale>,
}

/// `ls(mlp(norm(x)))`.
#[derive(Module, Debug)]
pub struct MlpBranch {
    /// Before the MLP.
    pub norm: Norm,
    /// MLP.
    pub mlp: FeedForward,
    /// On the branch.
    pub ls: Option<LayerScale>,
}

impl BranchesBlock {
    /// A block of so many attentions and as many MLPs, random until weights are loaded. They are pre-norm, whatever the
    /// configuration has.
    #[must_use]
    pub fn new(branches: usize, config: &BlockConfig, precision: Precision, device: &Device) -> Self {
        let norm = || config.norm.layer(config.channels, device);
        let ls = || config.layer_scale.map(|initial| LayerScale::new(config.channels, initial, device));
        let attention =
            |_| AttentionBranch { norm: norm(), attn: Attention::new(config, precision, device), ls: ls() };
        let mlp = |_| MlpBranch { norm: norm(), mlp: FeedForward::new(config, precision, device), ls: ls() };
        Self { attns: (0..branches).map(attention).collect(), ffns: (0..branches).map(mlp).collect() }
    }
}

impl EncoderBlock for BranchesBlock {
    /// Tokens are compared by the metrics of all attentions side by side; what they receive is the mean.
    /// Methods that ask for the softmax do not bind to models of such blocks.
    fn attend(&self, mut tokens: Tokens, with: &Context, wants: Wants) -> (Tokens, Evidence) {
        let asked = wants.metric.map(|request| request.of);
        let x = tokens.x;
        let (mut sum, mut metric, mut received) = (x.clone(), Vec::new(), None::<Vec<f32>>);
        for AttentionBranch { norm, attn, ls } in &self.attns {
            let qkv = attn.project(x.clone(), Some(norm.weights()));
            let (y, evidence) = attn.attend(qkv, with, (&tokens.layout, &tokens.prefix), wants);
            metric.extend(evidence.metric);
            let share = 1.0 / self.attns.len() as f32;
            received = match (received, evidence.received) {
                (Some(sum), Some(more)) => {
                    Some(sum.iter().zip(more).map(|(sum, more)| sum + share * more).collect())
                }
                (_, more) => more.map(|more| more.iter().map(|more| share * more).collect()),
            };
            sum = linear_residual(y, attn.proj.weights(), ls.as_ref().map(|ls| ls.gamma.val()), sum);
        }
        tokens.x = sum;
        let metric = match asked {
            Some(Metric::Entered) => Some(x.without_autodiff()),
            Some(Metric::Attended) => Some(tokens.x.clone().without_autodiff()),
            _ => (!metric.is_empty()).then(|| Tensor::cat(metric, 1)),
        };
        (tokens, Evidence { metric, received, ..Evidence::default() })
    }

    fn feed_forward(
        &self,
        mut tokens: Tokens,
        mut training: Option<&mut Random>,
    ) -> (Tokens, Option<Tensor<1>>) {
        let (mut sum, mut auxiliary) = (tokens.x.clone(), None::<Tensor<1>>);
        for MlpBranch { norm, mlp, ls } in &self.ffns {
            let normed = norm.forward(tokens.x.clone());
            let (y, more) = mlp.branch(normed, &tokens.layout, training.as_deref_mut());
            sum = add(sum, y, ls.as_ref().map(|ls| ls.gamma.val()));
            auxiliary = match (auxiliary, more) {
                (Some(sum), Some(more)) => Some(sum + more),
                (one, other) => one.or(other),
            };
        }
        tokens.x = sum;
        (tokens, auxiliary)
    }
}

#[cfg(test)]
mod tests {
    use super::EncoderBlock;
    use super::{BranchesBlock, ParallelBlock};
    use crate::blocks::testing::{assert_close, random_weights, tokens};
    use crate::blocks::{Block, BlockConfig, Context, QkNorm, QkvBias};
    use burn::tensor::{Device, Tensor};
    use tokmerge_merge::{Tokens, Wants};
    use tokmerge_nn::parameters::{self, Values};
    use tokmerge_ops::Precision;

    fn whole(block: &impl EncoderBlock, tokens: Tokens) -> Tensor<2> {
        let (tokens, _) = block.attend(tokens, &Context::default(), Wants::default());
        block.feed_forward(tokens, None).0.x
    }

    /// Some rows of a parameter.
    fn rows(values: &Values, range: std::ops::Range<usize>) -> Values {
        let row = values.values.len() / values.shape[0];
        let mut shape = values.shape.clone();
        shape[0] = range.len();
        Values { shape, values: values.values[range.start * row..range.end * row].to_vec() }
    }

    /// Its two branches are those of two ordinary blocks.
    #[test]
    fn a_parallel_block_adds_both_branches_of_one_input() {
        let device = Device::flex();
        for qkv_bias in [QkvBias::All, QkvBias::No] {
            let plain = BlockConfig::new(12, 3);
            let qk_norm = QkNorm::PerHead(plain.norm);
            let config = BlockConfig { qkv_bias, qk_norm, layer_scale: Some(0.5), ..plain };
            let block = random_weights(ParallelBlock::new(&config, Precision::F32, &device), &device);
            let given = parameters::read(&block);
            let mut ours = std::collections::BTreeMap::new();
            for (from, to) in [
                ("in_norm.weight", "norm1.weight"),
                ("in_norm.bias", "norm1.bias"),
                ("in_norm.weight", "norm2.weight"),
                ("in_norm.bias", "norm2.bias"),
                ("q_norm.weight", "attn.q_norm.weight"),
                ("q_norm.bias", "attn.q_norm.bias"),
                ("k_norm.weight", "attn.k_norm.weight"),
                ("k_norm.bias", "attn.k_norm.bias"),
                ("attn_out_proj.weight", "attn.proj.weight"),
                ("attn_out_proj.bias", "attn.proj.bias"),
                ("mlp_out_proj.weight", "mlp.fc2.weight"),
                ("mlp_out_proj.bias", "mlp.fc2.bias"),
                ("ls.gamma", "ls1.gamma"),
                ("ls.gamma", "ls2.gamma"),
            ] {
                ours.insert(to.to_owned(), given[from].clone());
            }
            ours.insert("mlp.fc1.weight".to_owned(), rows(&given["in_proj.weight"], 0..48));
            ours.insert("attn.qkv.weight".to_owned(), rows(&given["in_proj.weight"], 48..84));
            match given.get("in_proj.bias") {
                Some(bias) => {
                    ours.insert("mlp.fc1.bias".to_owned(), rows(bias, 0..48));
                    ours.insert("attn.qkv.bias".to_owned(), rows(bias, 48..84));
                }
                None => {
                    ours.insert("mlp.fc1.bias".to_owned(), given["mlp_bias"].clone());
                }
            }
            let twin = parameters::assign(Block::new(&config, Precision::F32, &device), &ours, &device);
            let tokens = tokens(&[5, 2], 12, &device);
            let x = tokens.x.clone();
            let (attended, _) = twin.attend(tokens.clone(), &Context::default(), Wants::default());
            let fed = twin.feed_forward(tokens.clone(), None).0;
            assert_close(whole(&block, tokens), attended.x + fed.x - x, 1e-5);
        }
    }

    #[test]
    fn branches_add_up_and_their_features_stand_side_by_side() {
        let device = Device::flex();
        let config = BlockConfig { layer_scale: Some(0.5), ..BlockConfig::new(12, 3) };
        let block = random_weights(BranchesBlock::new(2, &config, Precision::F32, &device), &device);
        let given = parameters::read(&block);
        let tokens = tokens(&[5, 2], 12, &device);
        // Each branch as a block of its own.
        let branch = |index: usize| {
            let ours = given.iter().filter_map(|(path, values)| {
                let half = path.split('.').next()?;
                let rest = path.strip_prefix(&format!("{half}.{index}."))?;
                let number = if half == "attns" { "1" } else { "2" };
                let rest = if rest.starts_with("norm") {
                    rest.replacen("norm", &format!("norm{number}"), 1)
                } else {
                    rest.replacen("ls.", &format!("ls{number}."), 1)
                };
                Some((rest, values.clone()))
            });
            parameters::assign(Block::new(&config, Precision::F32, &device), &ours.collect(), &device)
        };
        let (first, second) = (branch(0), branch(1));
        let attended =
            |block: &Block, tokens: Tokens| block.attend(tokens, &Context::default(), Wants::default()).0.x;
        let x = tokens.x.clone();
        let mid = attended(&first, tokens.clone()) + attended(&second, tokens.clone()) - x;
        let between = tokens.clone().with(mid.clone());
        let fed = |block: &Block| block.feed_forward(between.clone(), None).0.x;
        let expected = fed(&first) + fed(&second) - mid;
        assert_close(whole(&block, tokens.clone()), expected, 1e-5);

        let wants = crate::blocks::testing::keys();
        let (_, evidence) = block.attend(tokens, &Context::default(), wants);
        assert_eq!(evidence.metric.expect("asked for").dims(), [7, 2 * 12]);
    }
}
