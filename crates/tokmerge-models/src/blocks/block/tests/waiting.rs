//! Blocks that work on some tokens while others wait (IdleViT), chosen by keys that are there before they attend.

use super::{
    Block, CHANNELS, HEADS, LAYER, Weights, assert_close, block, configs, contexts, heads_of, normal, normed,
    tokens, weights, whole,
};
use crate::blocks::{BlockConfig, Context, EncoderBlock, Order};
use burn::tensor::{Device, Tensor, TensorData, s};
use std::sync::Arc;
use tokmerge_merge::{Evidence, Layout, MergePlan, ModelFacts, Reduction, Tokens, Trace, Wants};
use tokmerge_nn::parameters;
use tokmerge_ops::PairBias;

const LENS: [usize; 3] = [5, 1, 8];

/// Drops every third token, the first of no item.
fn thinned(layout: &Layout) -> MergePlan {
    let mut dst = Vec::new();
    let mut kept = Vec::new();
    let mut lens = Vec::new();
    for item in 0..layout.items() {
        let before = kept.len();
        for (place, row) in layout.range(item).enumerate() {
            if place % 3 == 2 {
                dst.push(tokmerge_merge::DROPPED);
            } else {
                dst.push(kept.len() as u32);
                kept.push(row as u32);
            }
        }
        lens.push(kept.len() - before);
    }
    MergePlan::new(dst, kept, layout.clone(), Layout::from_lens(&lens)).expect("a plan")
}

/// The context of some of the rows.
fn of_rows(with: &Context, rows: &[u32], config: &BlockConfig) -> Context {
    let heads = tokmerge_ops::Heads { count: HEADS, dim: config.head_dim, scale: 1.0 };
    Context {
        key_bias: with.key_bias.as_ref().map(|bias| rows.iter().map(|row| bias[*row as usize]).collect()),
        rotation: with.rotation.as_ref().map(|rotation| Arc::new(rotation.select(rows, heads))),
        ..with.clone()
    }
}

/// The class token's logits of one item, as the mean of the heads.
fn by_hand(
    config: &BlockConfig,
    w: &Weights,
    x: Tensor<2>,
    with: &Context,
    rows: std::ops::Range<usize>,
) -> Tensor<2> {
    let x = if config.order == Order::PreNorm { normed(x, config.norm, "norm1", w) } else { x };
    let heads = heads_of(config, w, x, with, rows).into_iter();
    let of_head = |[q, k, _]: [Tensor<2>; 3]| q.slice(s![0..1, ..]).matmul(k.transpose());
    heads.map(of_head).reduce(|sum, logits| sum + logits).expect("heads") / HEADS as f64
}

#[test]
fn blocks_begin_with_the_logits_of_the_class_token() {
    let device = Device::flex();
    for config in configs() {
        let block = block(&config, &device);
        let w = weights(&block, &device);
        let batch = tokens(&LENS, CHANNELS, &device);
        for with in contexts(14, config.head_dim) {
            let (_, logits) = block.begin(&batch, &with);
            for item in 0..3 {
                let rows = batch.layout.range(item);
                let x = batch.x.clone().slice(s![rows.clone(), ..]);
                let found = TensorData::new(logits[rows.clone()].to_vec(), [1, rows.len()]);
                let found = Tensor::<2>::from_data(found, &device);
                assert_close(found, by_hand(&config, &w, x, &with, rows), 2e-4);
            }
        }
    }
}

#[test]
fn what_works_attends_by_keys_that_are_there_already() {
    let device = Device::flex();
    for config in configs() {
        let block = block(&config, &device);
        let mut batch = tokens(&LENS, CHANNELS, &device);
        batch.prefix = 2.into();
        let plan = thinned(&batch.layout);
        let few = batch.clone().merge(&plan, tokmerge_merge::Combine::KeepOne);
        for with in contexts(14, config.head_dim) {
            let begun = block.begin(&batch, &with).0.after(&plan);
            let anew = of_rows(&with, plan.representative(), &config);
            let known = Context { begun: Some(begun), ..anew.clone() };
            let [anew, known] = [anew, known].map(|with| {
                let attended = block.attend(few.clone(), &with, Wants::default()).0;
                let prefix = block.attend_prefix(few.clone(), &with).x;
                assert_eq!(attended.clone().prefix_only().x.into_data(), prefix.into_data(), "{config:?}");
                attended.x
            });
            assert_close(known, anew, 1e-5);
        }
    }
}

/// All gradients of a block and of its input, after a pass that ends in tokens of a weighted sum.
fn gradients(block: &Block, x: &Tensor<2>, y: Tensor<2>) -> Vec<Vec<f32>> {
    struct Found<'g>(&'g burn::tensor::Gradients, Vec<Vec<f32>>);
    impl burn::module::ModuleVisitor for Found<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            let gradient = param.val().grad(self.0).expect("a gradient");
            self.1.push(gradient.into_data().iter::<f32>().collect());
        }
    }
    let weighting = normal(y.dims(), 9, &x.device());
    let grads = (y * weighting).sum().backward();
    let of_input = x.grad(&grads).expect("a gradient").into_data().iter::<f32>().collect();
    let mut found = Found(&grads, vec![of_input]);
    burn::module::Module::visit(block, &mut found);
    found.1
}

/// As IdleViT is trained by its authors: idle tokens stay, are masked as keys by -1e5 in the logits, and come out as they went in.
fn masked(block: &Block, all: Tokens, works: &[bool]) -> Tensor<2> {
    let (device, count) = (all.device(), works.len());
    let column =
        |value: &dyn Fn(bool) -> f32| -> Vec<f32> { works.iter().map(|works| value(*works)).collect() };
    let bias = TensorData::new(column(&|works| if works { 0.0 } else { -1e5 }), [1, 1, count]);
    let bias = Tensor::<3>::from_data(bias, &device).expand([HEADS, count, count]);
    let with = Context { pair_bias: Some(PairBias::Shared(bias)), ..Context::default() };
    let works = TensorData::new(column(&|works| if works { 1.0 } else { 0.0 }), [count, 1]);
    let works = Tensor::<2>::from_data(works, &device);
    let before = all.x.clone();
    whole(block, all, &with) * works.clone() + before * (works * -1.0 + 1.0)
}

#[test]
fn training_idle_vit_by_the_plan_is_training_it_by_masks() {
    let device = Device::flex().autodiff();
    let config = BlockConfig { norm: LAYER, ..BlockConfig::new(CHANNELS, HEADS) };
    let block = block(&config, &device);
    let facts = ModelFacts { grid: Some((2, 4)), ..ModelFacts::new(1, 9, 1) };
    let idle = Reduction::bind("idle_vit:keep=50%,layer=1".parse().expect("a spec"), &facts).expect("fits");
    let leaf = || normal::<2>([9, CHANNELS], 5, &device).require_grad();
    let (x, again) = (leaf(), leaf());
    let all = |x: &Tensor<2>| Tokens::new(x.clone(), Layout::uniform(1, 9), 1);

    let mut trace = Trace::default();
    let (begun, logits) = block.begin(&all(&x), &Context::default());
    let told = Evidence { logits: Some(logits), ..Evidence::default() };
    let (working, held) = idle.enter(0, all(&x), told, &mut trace);
    let plan = trace.records().iter().find_map(|record| trace.plan_at(record.step)).expect("some are idle");
    let with = Context { begun: Some(begun.after(plan)), ..Context::default() };
    let ours = idle.leave(working.clone().with(whole(&block, working, &with)), held).x;

    let works: Vec<bool> = plan.groups(0).iter().map(Option::is_some).collect();
    assert_eq!(works.iter().filter(|works| **works).count(), 5);
    let theirs = masked(&block, all(&again), &works);
    assert_close(ours.clone(), theirs.clone(), 1e-5);
    let (ours, theirs) = (gradients(&block, &x, ours), gradients(&block, &again, theirs));
    assert_eq!(ours.len(), 1 + parameters::shapes(&block).len());
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert!(ours.iter().any(|gradient| gradient.abs() > 1e-3), "{index}");
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * (1.0 + b.abs());
        assert!(ours.len() == theirs.len() && ours.iter().zip(theirs).all(near), "{index}");
    }
}
