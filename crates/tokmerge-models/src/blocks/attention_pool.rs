//! One learned query attends to all tokens of an item: timm's `AttentionPoolLatent`, SigLIP's MAP head.

use super::{MlpConfig, NormConfig};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use std::sync::Arc;
use tokmerge_merge::{Layout, Tokens};
use tokmerge_nn::{Bias, Linear, Mlp, Norm, normal_parameter};
use tokmerge_ops::{AttentionSpec, Heads, Precision, cross_attention};

/// The shape of an attention pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionPoolShape {
    /// Channels of a token (`C`).
    pub channels: usize,
    /// Heads.
    pub heads: usize,
    /// Whether the query is projected.
    pub query_projection: bool,
    /// Whether what is attended to is projected.
    pub projection: bool,
    /// The norm before the MLP.
    pub norm: Option<NormConfig>,
    /// The MLP after attention, without gate.
    pub mlp: Option<MlpConfig>,
}

/// `y = proj(attention(q(latent), kv(x)))`, then `y + mlp(norm(y))`: a vector per item.
#[derive(Module, Debug)]
pub struct AttentionPool {
    /// The query, `[1, 1, C]`.
    pub latent: Param<Tensor<3>>,
    /// Its projection.
    pub q: Option<Linear>,
    /// Keys and values, `[2 * C, C]`.
    pub kv: Linear,
    /// Of what is attended to.
    pub proj: Option<Linear>,
    /// Before `mlp`.
    pub norm: Option<Norm>,
    /// After attention, with a residual.
    pub mlp: Option<Mlp>,
    #[module(skip)]
    num_heads: usize,
}

impl AttentionPool {
    /// Random until weights are loaded.
    #[must_use]
    pub fn new(shape: &AttentionPoolShape, precision: Precision, device: &Device) -> Self {
        let AttentionPoolShape { channels, heads, query_projection, projection, norm, mlp } = *shape;
        let square = || Linear::new(channels, channels, Bias::Yes, precision, device);
        Self {
            latent: normal_parameter([1, 1, channels], device),
            q: query_projection.then(square),
            kv: Linear::new(channels, 2 * channels, Bias::Yes, precision, device),
            proj: projection.then(square),
            norm: norm.map(|norm| norm.layer(channels, device)),
            mlp: mlp.map(|mlp| Mlp::new(channels, mlp.hidden, mlp.activation, precision, device)),
            num_heads: heads,
        }
    }

    /// A vector for every item, `[B, C]`. `key_bias: [T]` is added to the logits of its token: the logarithm of its size
    /// where merged tokens are to count for all that they stand for.
    ///
    /// # Panics
    /// When an item has no tokens.
    #[must_use]
    pub fn forward(&self, tokens: &Tokens, key_bias: Option<Arc<[f32]>>) -> Tensor<2> {
        let [_, _, channels] = self.latent.lazy_shape().dims();
        let latent = self.latent.val().reshape([1, channels]);
        let query = match &self.q {
            Some(q) => q.forward(latent),
            None => latent,
        };
        let items = tokens.layout.items();
        let dim = channels / self.num_heads;
        let heads = Heads { count: self.num_heads, dim, scale: (dim as f64).powf(-0.5) as f32 };
        let precision = self.kv.weights().precision.without_int8();
        let spec = AttentionSpec { precision, key_bias, ..AttentionSpec::new(heads, &tokens.layout) };
        let keys_values = self.kv.forward(tokens.x.clone());
        let queries = query.repeat_dim(0, items);
        let y = cross_attention(queries, &Layout::uniform(items, 1), keys_values, &spec);
        let y = match &self.proj {
            Some(proj) => proj.forward(y),
            None => y,
        };
        let Some(mlp) = &self.mlp else { return y };
        let normed = match &self.norm {
            Some(norm) => norm.forward(y.clone()),
            None => y.clone(),
        };
        y + mlp.forward(normed)
    }
}

#[cfg(test)]
mod tests {
    use super::{AttentionPool, AttentionPoolShape};
    use crate::blocks::BlockConfig;
    use burn::tensor::{Device, Distribution, Tensor, activation::softmax, s};
    use tokmerge_merge::{Layout, Tokens};
    use tokmerge_nn::Linear;
    use tokmerge_ops::Precision;

    fn pool(device: &Device) -> AttentionPool {
        let BlockConfig { norm, mlp, .. } = BlockConfig::new(12, 3);
        let shape = AttentionPoolShape {
            channels: 12,
            heads: 3,
            query_projection: true,
            projection: true,
            norm: Some(norm),
            mlp: Some(mlp),
        };
        AttentionPool::new(&shape, Precision::F32, device)
    }

    fn tokens(lens: &[usize], device: &Device) -> Tokens {
        let layout = Layout::from_lens(lens);
        let x = Tensor::random([layout.rows(), 12], Distribution::Normal(0.0, 3.0), device);
        Tokens::new(x, layout, 0)
    }

    fn assert_close(actual: Tensor<2>, expected: Tensor<2>) {
        let worst = (actual - expected).abs().max().into_scalar::<f32>();
        assert!(worst < 1e-5, "differs by {worst}");
    }

    #[test]
    fn it_is_attention_by_hand_for_items_of_any_length() {
        let device = Device::flex();
        let (pool, tokens) = (pool(&device), tokens(&[5, 2], &device));
        let by_hand = |layer: &Linear, x: Tensor<2>| {
            let bias = layer.bias.as_ref().expect("it has one").val();
            x.matmul(layer.weight.val().transpose()) + bias.unsqueeze::<2>()
        };
        let q = by_hand(pool.q.as_ref().expect("it has one"), pool.latent.val().reshape([1, 12]));
        for item in 0..2 {
            let x = tokens.x.clone().slice(s![tokens.layout.range(item), ..]);
            let kv = by_hand(&pool.kv, x);
            let heads = (0..3).map(|head| {
                let columns = |x: &Tensor<2>, first: usize| {
                    x.clone().slice(s![.., first + 4 * head..first + 4 * head + 4])
                };
                let logits = columns(&q, 0).matmul(columns(&kv, 0).transpose()) * 0.5;
                softmax(logits, 1).matmul(columns(&kv, 12))
            });
            let y = by_hand(pool.proj.as_ref().expect("it has one"), Tensor::cat(heads.collect(), 1));
            let mlp = pool.mlp.as_ref().expect("it has one");
            let normed = pool.norm.as_ref().expect("it has one").forward(y.clone());
            let expected = y + by_hand(&mlp.fc2, burn::tensor::activation::gelu(by_hand(&mlp.fc1, normed)));
            assert_close(pool.forward(&tokens, None).slice(s![item..=item, ..]), expected);
        }
    }

    #[test]
    fn a_token_of_size_two_counts_as_two_tokens() {
        let device = Device::flex();
        let (pool, tokens) = (pool(&device), tokens(&[3], &device));
        let first = tokens.x.clone().slice(s![..1, ..]);
        let twice = Tokens::new(Tensor::cat(vec![tokens.x.clone(), first], 0), Layout::uniform(1, 4), 0);
        let bias = Some([2.0_f32.ln(), 0.0, 0.0].into());
        assert_close(pool.forward(&tokens, bias), pool.forward(&twice, None));
    }

    #[test]
    fn an_item_is_as_alone_bit_for_bit_and_gradients_flow() {
        let device = Device::flex();
        let (network, batch) = (pool(&device), tokens(&[5, 2, 5], &device));
        let all = network.forward(&batch, None);
        for item in 0..3 {
            let x = batch.x.clone().slice(s![batch.layout.range(item), ..]);
            let alone = Tokens::new(x, Layout::uniform(1, batch.layout.range(item).len()), 0);
            let alone = network.forward(&alone, None).into_data();
            assert_eq!(all.clone().slice(s![item..=item, ..]).into_data(), alone);
        }
        let tracked = Device::flex().autodiff();
        let (network, batch) = (pool(&tracked), tokens(&[5, 2], &tracked));
        let grads = network.forward(&batch, None).square().sum().backward();
        let grad = network.latent.val().grad(&grads).expect("the query has a gradient");
        assert!(grad.abs().sum().into_scalar::<f32>() > 0.0);
    }
}
