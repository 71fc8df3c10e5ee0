//! Every shape of block against the same in ordinary tensor ops, item by item.

mod waiting;

use super::Block;
use crate::blocks::EncoderBlock;
use crate::blocks::testing::{assert_close, keys, normal, random_weights, tokens};
use crate::blocks::{
    BlockConfig, Context, Gate, Memory, MlpConfig, NormConfig, NormKind, Order, QkNorm, QkvBias,
    relative_position_bias,
};
use burn::tensor::{Device, Tensor, TensorData, activation as act, s};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokmerge_merge::{Evidence, Layout, Received, Tokens, Wants};
use tokmerge_nn::{Random, parameters};
use tokmerge_ops::{
    Activation, Angles, AttentionSpec, HeadAggregation, Heads, Pairs, Part, Precision, Rotation,
    cross_attention, head_features, rotate_heads,
};

const CHANNELS: usize = 12;
const HEADS: usize = 3;
const HEAD_DIM: usize = 4;

const LAYER: NormConfig = NormConfig { kind: NormKind::Layer, eps: 1e-5 };
const RMS: NormConfig = NormConfig { kind: NormKind::Rms, eps: 1e-5 };

/// One of each choice, and several at once as families have them.
fn configs() -> Vec<BlockConfig> {
    let plain = || BlockConfig { norm: LAYER, ..BlockConfig::new(CHANNELS, HEADS) };
    let gated = |gate, norm| MlpConfig { hidden: 20, activation: Activation::Silu, gate, norm, bias: true };
    let mut configs = vec![plain()];
    configs.extend([Order::ResidualPostNorm, Order::PostNorm].map(|order| BlockConfig { order, ..plain() }));
    configs.extend([QkvBias::No, QkvBias::QueryValue].map(|qkv_bias| BlockConfig { qkv_bias, ..plain() }));
    configs.extend(
        [QkNorm::PerHead(LAYER), QkNorm::PerHead(RMS), QkNorm::Whole(RMS)]
            .map(|qk_norm| BlockConfig { qk_norm, ..plain() }),
    );
    configs.extend([
        BlockConfig { norm: RMS, ..plain() },
        BlockConfig { attn_norm: true, proj_bias: false, ..plain() },
        BlockConfig { head_dim: 6, ..plain() },
        BlockConfig { mlp: gated(Gate::First, false), ..plain() },
        BlockConfig { mlp: gated(Gate::Last, true), ..plain() },
        BlockConfig { mlp: MlpConfig { norm: true, bias: false, ..plain().mlp }, ..plain() },
        BlockConfig { layer_scale: Some(0.1), branch_divisor: Some(2.0), ..plain() },
        BlockConfig { branch_divisor: Some(2.0), ..plain() },
        // EVA-02, and InternViT with its norms elsewhere.
        BlockConfig {
            qkv_bias: QkvBias::QueryValue,
            attn_norm: true,
            mlp: gated(Gate::First, true),
            ..plain()
        },
        BlockConfig {
            order: Order::ResidualPostNorm,
            norm: RMS,
            qk_norm: QkNorm::Whole(RMS),
            layer_scale: Some(0.1),
            branch_divisor: Some(3.0),
            mlp: gated(Gate::First, false),
            ..plain()
        },
    ]);
    configs
}

fn block(config: &BlockConfig, device: &Device) -> Block {
    random_weights(Block::new(config, Precision::F32, device), device)
}

/// Key biases, and angles for every row.
fn context(rows: usize, pairs: Pairs, half: usize) -> Context {
    let angle: Vec<f32> = (0..rows * half).map(|i| (i * i % 13) as f32).collect();
    let (cos, sin) = (angle.iter().map(|a| a.cos()).collect(), angle.iter().map(|a| a.sin()).collect());
    let rotation = Rotation { cos, sin, angles: Angles::Shared, pairs, learned: None };
    let key_bias: Arc<[f32]> = (0..rows).map(|row| ((row % 3 + 1) as f32).ln()).collect();
    Context { key_bias: Some(key_bias), rotation: Some(Arc::new(rotation)), ..Context::default() }
}

/// Nothing, key biases alone, and rotations of both kinds.
fn contexts(rows: usize, head_dim: usize) -> [Context; 4] {
    let [adjacent, halves] = [Pairs::Adjacent, Pairs::Halves].map(|pairs| context(rows, pairs, head_dim / 2));
    let biased = Context { rotation: None, ..adjacent.clone() };
    [Context::default(), biased, adjacent, halves]
}

type Weights = BTreeMap<String, Tensor<2>>;

/// The parameters as matrices, vectors as rows of one.
fn weights(block: &Block, device: &Device) -> Weights {
    let values = parameters::read(block).into_iter();
    let matrix = |(path, values): (String, parameters::Values)| {
        let [rows, columns] = match values.shape[..] {
            [columns] => [1, columns],
            [rows, columns] => [rows, columns],
            _ => panic!("{path} is no matrix"),
        };
        (path, Tensor::from_data(TensorData::new(values.values, [rows, columns]), device))
    };
    values.map(matrix).collect()
}

fn normed(x: Tensor<2>, kind: NormConfig, name: &str, w: &Weights) -> Tensor<2> {
    let x = match kind.kind {
        NormKind::Layer => x.clone() - x.mean_dim(1),
        NormKind::Rms => x,
    };
    let y = x.clone() / (x.square().mean_dim(1) + kind.eps).sqrt() * w[&format!("{name}.weight")].clone();
    match w.get(&format!("{name}.bias")) {
        Some(bias) => y + bias.clone(),
        None => y,
    }
}

fn linear(x: Tensor<2>, name: &str, w: &Weights) -> Tensor<2> {
    let y = x.matmul(w[&format!("{name}.weight")].clone().transpose());
    match w.get(&format!("{name}.bias")) {
        Some(bias) => y + bias.clone(),
        None => y,
    }
}

/// The half around `branch`, with norm and scale of number `n`.
fn half(
    config: &BlockConfig,
    x: Tensor<2>,
    n: usize,
    w: &Weights,
    branch: impl Fn(Tensor<2>) -> Tensor<2>,
) -> Tensor<2> {
    let norm = |x| normed(x, config.norm, &format!("norm{n}"), w);
    let scaled = |y: Tensor<2>| {
        let y = y / config.branch_divisor.unwrap_or(1.0);
        match w.get(&format!("ls{n}.gamma")) {
            Some(gamma) => y * gamma.clone(),
            None => y,
        }
    };
    match config.order {
        Order::PreNorm => x.clone() + scaled(branch(norm(x))),
        Order::ResidualPostNorm => x.clone() + scaled(norm(branch(x))),
        Order::PostNorm => norm(x.clone() + scaled(branch(x))),
    }
}

/// Queries, keys and values of every head, as they are compared, of what attention begins with.
fn heads_of(
    config: &BlockConfig,
    w: &Weights,
    x: Tensor<2>,
    with: &Context,
    rows: std::ops::Range<usize>,
) -> Vec<[Tensor<2>; 3]> {
    let dim = config.head_dim;
    let width = HEADS * dim;
    let qkv = linear(x, "attn.qkv", w);
    let part = |index: usize| qkv.clone().slice(s![.., index * width..(index + 1) * width]);
    let (mut q, mut k, mut v) = (part(0), part(1), part(2));
    if let (Some(q_bias), Some(v_bias)) = (w.get("attn.q_bias"), w.get("attn.v_bias")) {
        (q, v) = (q + q_bias.clone(), v + v_bias.clone());
    }
    if let QkNorm::Whole(norm) = config.qk_norm {
        (q, k) = (normed(q, norm, "attn.q_norm", w), normed(k, norm, "attn.k_norm", w));
    }
    let head = |head: usize| {
        let columns = |x: &Tensor<2>| x.clone().slice(s![.., head * dim..(head + 1) * dim]);
        let (mut q, mut k, v) = (columns(&q), columns(&k), columns(&v));
        if let QkNorm::PerHead(norm) = config.qk_norm {
            (q, k) = (normed(q, norm, "attn.q_norm", w), normed(k, norm, "attn.k_norm", w));
        }
        if let Some(rotation) = &with.rotation {
            let at = rows.start * dim / 2..rows.end * dim / 2;
            let rotation = Rotation {
                cos: rotation.cos[at.clone()].into(),
                sin: rotation.sin[at].into(),
                ..Rotation::clone(rotation)
            };
            let heads = Heads { count: 1, dim, scale: 1.0 };
            (q, k) = (rotate_heads(q, heads, 1, &rotation), rotate_heads(k, heads, 1, &rotation));
        }
        [q, k, v]
    };
    (0..HEADS).map(head).collect()
}

/// The whole block on one item, whose rows of the batch are `rows`.
fn oracle(
    config: &BlockConfig,
    w: &Weights,
    x: Tensor<2>,
    with: &Context,
    rows: std::ops::Range<usize>,
) -> Tensor<2> {
    let (device, dim) = (x.device(), config.head_dim);
    let vector =
        |values: Vec<f32>, shape: [usize; 2]| Tensor::<2>::from_data(TensorData::new(values, shape), &device);
    let attend = |x: Tensor<2>| {
        let heads = heads_of(config, w, x, with, rows.clone()).into_iter().map(|[q, k, v]| {
            let mut logits = q.matmul(k.transpose()) / (dim as f64).sqrt();
            if let Some(bias) = &with.key_bias {
                logits = logits + vector(bias[rows.clone()].to_vec(), [1, rows.len()]);
            }
            act::softmax(logits, 1).matmul(v)
        });
        let y = Tensor::cat(heads.collect(), 1);
        let y = if config.attn_norm { normed(y, config.norm, "attn.norm", w) } else { y };
        linear(y, "attn.proj", w)
    };
    let feed = |x: Tensor<2>| {
        let (y, hidden) = (linear(x, "mlp.fc1", w), config.mlp.hidden);
        let halves = |y: Tensor<2>| (y.clone().slice(s![.., ..hidden]), y.slice(s![.., hidden..]));
        let y = match config.mlp.gate {
            Gate::None => act::gelu(y),
            Gate::First => {
                let (gate, value) = halves(y);
                act::silu(gate) * value
            }
            Gate::Last => {
                let (value, gate) = halves(y);
                act::silu(gate) * value
            }
        };
        let y = if config.mlp.norm { normed(y, config.norm, "mlp.norm", w) } else { y };
        linear(y, "mlp.fc2", w)
    };
    let x = half(config, x, 1, w, attend);
    half(config, x, 2, w, feed)
}

fn whole(block: &Block, tokens: Tokens, with: &Context) -> Tensor<2> {
    let (tokens, _) = block.attend(tokens, with, Wants::default());
    block.feed_forward(tokens, None).0.x
}

#[test]
fn every_shape_equals_ordinary_tensor_ops_and_an_item_is_as_alone() {
    let device = Device::flex();
    for config in configs() {
        let block = block(&config, &device);
        let w = weights(&block, &device);
        let batch = tokens(&[5, 1, 8], CHANNELS, &device);
        for with in contexts(14, config.head_dim) {
            let y = whole(&block, batch.clone(), &with);
            for item in 0..3 {
                let rows = batch.layout.range(item);
                let x = batch.x.clone().slice(s![rows.clone(), ..]);
                let here = y.clone().slice(s![rows.clone(), ..]);
                assert_close(here.clone(), oracle(&config, &w, x.clone(), &with, rows.clone()), 2e-4);
                let own = |values: &Arc<[f32]>, per: usize| values[rows.start * per..rows.end * per].into();
                let alone = Context {
                    key_bias: with.key_bias.as_ref().map(|bias| own(bias, 1)),
                    rotation: with.rotation.as_ref().map(|rotation| {
                        let half = config.head_dim / 2;
                        let (cos, sin) = (own(&rotation.cos, half), own(&rotation.sin, half));
                        Arc::new(Rotation { cos, sin, ..Rotation::clone(rotation) })
                    }),
                    ..Context::default()
                };
                let single = Tokens::new(x, Layout::uniform(1, rows.len()), 0);
                assert_eq!(whole(&block, single, &alone).into_data(), here.into_data(), "{config:?}");
            }
        }
    }
}

#[test]
fn gradients_of_every_shape_equal_those_of_ordinary_tensor_ops() {
    let device = Device::flex().autodiff();
    for config in configs() {
        let block = block(&config, &device);
        let w: Weights = weights(&block, &Device::flex().autodiff());
        for with in [Context::default(), context(10, Pairs::Adjacent, config.head_dim / 2)] {
            let run = |op: &dyn Fn(Tensor<2>) -> Tensor<2>| {
                let x = normal::<2>([10, CHANNELS], 5, &device).require_grad();
                let y = op(x.clone());
                let grads = (y * normal([10, CHANNELS], 9, &device)).sum().backward();
                x.grad(&grads).expect("the input has a gradient")
            };
            let ours = run(&|x| whole(&block, Tokens::new(x, Layout::uniform(2, 5), 0), &with));
            let expected = run(&|x| {
                let item = |rows: std::ops::Range<usize>| {
                    oracle(&config, &w, x.clone().slice(s![rows.clone(), ..]), &with, rows)
                };
                Tensor::cat(vec![item(0..5), item(5..10)], 0)
            });
            assert_close(ours, expected, 1e-3);
        }
    }
}

#[test]
fn every_parameter_has_a_gradient() {
    let device = Device::flex().autodiff();
    for config in configs() {
        let block = block(&config, &device);
        let y = whole(&block, tokens(&[4, 4], CHANNELS, &device), &Context::default());
        let grads = y.square().sum().backward();
        struct Check<'g>(&'g burn::tensor::Gradients, usize);
        impl burn::module::ModuleVisitor for Check<'_> {
            fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
                assert!(param.val().grad(self.0).is_some(), "{:?} has none", param.lazy_shape());
                self.1 += 1;
            }
        }
        let mut check = Check(&grads, 0);
        burn::module::Module::visit(&block, &mut check);
        assert_eq!(check.1, parameters::shapes(&block).len());
    }
}

#[test]
fn the_prefix_alone_is_bit_for_bit_the_same() {
    let device = Device::flex();
    for config in configs() {
        let block = block(&config, &device);
        for with in contexts(13, config.head_dim) {
            let mut batch = tokens(&[5, 1, 7], CHANNELS, &device);
            batch.prefix = 2.into();
            let all = block.attend(batch.clone(), &with, Wants::default()).0.prefix_only();
            let some = block.attend_prefix(batch, &with);
            assert_eq!(all.layout, some.layout);
            assert_eq!(all.x.into_data(), some.x.into_data(), "{config:?}");
        }
    }
}

#[test]
fn tokens_are_compared_by_normalised_keys_before_they_are_rotated() {
    let device = Device::flex();
    for qk_norm in [QkNorm::No, QkNorm::PerHead(LAYER)] {
        let config = BlockConfig { norm: LAYER, qk_norm, ..BlockConfig::new(CHANNELS, HEADS) };
        let block = block(&config, &device);
        let batch = tokens(&[5, 8], CHANNELS, &device);
        let features = |with: &Context, received: Received| {
            let Evidence { metric: features, received, .. } =
                block.attend(batch.clone(), with, Wants { received, ..keys() }).1;
            (features.expect("asked for"), received)
        };
        let qkv = block.attn.project(batch.x.clone(), Some(block.norm1.weights()));
        let expected = head_features(qkv, block.attn.heads(), Part::Key, HeadAggregation::Concat);
        for with in contexts(13, HEAD_DIM) {
            assert_close(features(&with, Received::No).0, expected.clone(), 1e-6);
        }
        let turned = features(&contexts(13, HEAD_DIM)[2], Received::FromAll).1.expect("asked for");
        let plain = features(&contexts(13, HEAD_DIM)[1], Received::FromAll).1.expect("asked for");
        assert!(
            turned.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-3),
            "what is received depends on it"
        );
        for range in [0..5, 5..13] {
            assert!((turned[range].iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn a_bias_per_pair_moves_attention_and_its_table_learns() {
    let device = Device::flex().autodiff();
    let config = BlockConfig { norm: LAYER, ..BlockConfig::new(CHANNELS, HEADS) };
    let plain = block(&config, &device);
    let own = plain.clone().with_relative_positions((2, 3), &device);
    let batch = tokens(&[7, 7], CHANNELS, &device);
    let default = Context::default();
    // A table of zeros changes nothing.
    assert_close(whole(&own, batch.clone(), &default), whole(&plain, batch.clone(), &default), 1e-5);
    let own = random_weights(own, &device);
    let table = own.attn.relative_position_bias_table.as_ref().expect("added above").val();
    let shared =
        Context { pair_bias: Some(relative_position_bias(table.clone(), (2, 3))), ..Context::default() };
    let plain = parameters::assign(plain, &parameters::read(&own), &device);
    let y = whole(&own, batch.clone(), &default);
    assert_close(whole(&plain, batch.clone(), &shared), y.clone(), 1e-6);
    let mut front = batch.clone();
    front.prefix = 1.into();
    let prefix = own.attend(front.clone(), &default, Wants::default()).0.prefix_only().x;
    assert_close(own.attend_prefix(front, &default).x, prefix, 0.0);
    let grads = y.square().sum().backward();
    let grad = table.grad(&grads).expect("the table has a gradient");
    assert!(grad.abs().sum().into_scalar::<f32>() > 0.0);
}

/// Cross-attention of a decoder, as a block that reads the memory of its context.
struct Reader(Heads);

impl EncoderBlock for Reader {
    fn attend(&self, mut tokens: Tokens, with: &Context, _: Wants) -> (Tokens, Evidence) {
        let Memory { tokens: keys, layout, key_bias } = with.memory.clone().expect("something to read");
        let spec = AttentionSpec { key_bias, ..AttentionSpec::new(self.0, &layout) };
        let kv = Tensor::cat(vec![keys.clone(), keys], 1);
        tokens.x = tokens.x.clone() + cross_attention(tokens.x, &tokens.layout, kv, &spec);
        (tokens, Evidence::default())
    }

    fn feed_forward(&self, tokens: Tokens, _: Option<&mut Random>) -> (Tokens, Option<Tensor<1>>) {
        (tokens, None)
    }
}

#[test]
fn a_block_may_attend_to_a_memory_of_another_layout() {
    let device = Device::flex();
    let heads = Heads { count: HEADS, dim: HEAD_DIM, scale: 0.5 };
    let words = tokens(&[2, 3], CHANNELS, &device);
    let memory = normal([9, CHANNELS], 7, &device);
    let with = |tokens: Tensor<2>, lens: &[usize], key_bias: Option<Arc<[f32]>>| Context {
        memory: Some(Memory { tokens, layout: Layout::from_lens(lens), key_bias }),
        ..Context::default()
    };
    let read = |with: &Context| Reader(heads).attend(words.clone(), with, Wants::default()).0.x;
    // A token of twice the size is two tokens.
    let bias: Arc<[f32]> = (0..9).map(|row| if row == 5 { 2.0_f32.ln() } else { 0.0 }).collect();
    let twice = Tensor::cat(
        vec![
            memory.clone().slice(s![..6, ..]),
            memory.clone().slice(s![5..6, ..]),
            memory.clone().slice(s![6.., ..]),
        ],
        0,
    );
    assert_close(read(&with(memory, &[4, 5], Some(bias))), read(&with(twice, &[4, 6], None)), 1e-5);
}

/// What is fused, and what runs layer by layer, because a probe asks for the attention that tokens receive.
#[test]
fn the_fused_half_is_bit_for_bit_the_layers() {
    let device = Device::flex();
    for config in configs() {
        // Heads of whole panels, so that the kernel really fuses.
        let config = BlockConfig { head_dim: 32, ..config };
        let block = block(&config, &device);
        for with in contexts(36, config.head_dim) {
            let batch = tokens(&[9; 4], CHANNELS, &device);
            let run = |received| {
                let (tokens, evidence) = block.attend(batch.clone(), &with, Wants { received, ..keys() });
                (tokens.x.into_data(), evidence.metric.expect("asked for").into_data())
            };
            assert_eq!(run(Received::No), run(Received::FromAll), "{config:?}");
        }
    }
}
