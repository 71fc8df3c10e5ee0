//! Where the time of a ViT-S/16 goes, kernel by kernel: operations, bytes, time and share of the peak.
//!
//! `cargo bench --bench roofline -- [r] [threads] [batch]`, r tokens merging per layer (13), 8 images. The kernels of a whole pass
//! run in the model's order and on its shapes, so that each finds the caches as it would there; a row of the table is
//! the sum over the layers, in the median of the passes.
//!
//! Conventions: a multiply-add is two operations, and only those of products count. Bytes are what a kernel has to
//! read and write at least: activations as f32, weights as packed, each once. The peak is that of registers-only
//! products of the row's dtype, measured between the passes.

#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};
use tokmerge_kernels::{
    Activation, Bipartite, Epilogue, HeadAggregation, Heads, Isa, Metric, Mlp, Norm, PackedLinear, Part,
    Precision, SelfAttention, Similarity, assemble, attention, best_match, head_mean, linear, merge_rows,
    mlp, norm_linear, normalise, patchify, peak, self_attention,
};

/// How the attention half of a block is run.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    /// In one pass, as models do it.
    Whole,
    /// Kernel by kernel, for what each of them takes.
    Apart,
}

const SIDE: usize = 224;
const PATCH: usize = 16;
const PATCHES: usize = (SIDE / PATCH) * (SIDE / PATCH);
const CHANNELS: usize = 384;
const HIDDEN: usize = 4 * CHANNELS;
const CLASSES: usize = 1000;
const DEPTH: usize = 12;
const HEADS: Heads = Heads { count: 6, dim: 64, scale: 0.125 };

fn values(len: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Memory that was used before, as in a model: fresh pages would count as the kernel's time.
struct Buffer(Vec<f32>);

impl Buffer {
    fn new(len: usize) -> Self {
        let used = FREE.with_borrow_mut(|free| {
            let place = free.iter().position(|buffer| buffer.capacity() >= len)?;
            Some(free.swap_remove(place))
        });
        let mut buffer = used.unwrap_or_default();
        buffer.resize(len, 0.0);
        Self(buffer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        FREE.with_borrow_mut(|free| free.push(std::mem::take(&mut self.0)));
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// A linear layer of its own memory, as in a model.
struct Layer {
    packed: PackedLinear,
    bias: Vec<f32>,
}

impl Layer {
    fn new(precision: Precision, inputs: usize, outputs: usize) -> Self {
        let weight: Vec<f32> = values(outputs * inputs).iter().map(|w| 0.1 * w).collect();
        let packed = PackedLinear::new(Isa::current(), precision, &weight, outputs, inputs);
        Self { packed, bias: values(outputs) }
    }

    /// Operations and bytes for some rows, the output written and, if `reads` is 2, read too.
    fn cost(&self, rows: usize, reads: usize) -> Cost {
        let (inputs, outputs) = (self.packed.in_features(), self.packed.out_features());
        Cost {
            flops: 2 * rows * inputs * outputs,
            bytes: self.packed.bytes() + 4 * rows * (inputs + reads * outputs),
        }
    }
}

struct Block {
    qkv: Layer,
    proj: Layer,
    fc1: Layer,
    fc2: Layer,
}

struct Model {
    /// Images at once.
    batch: usize,
    precision: Precision,
    embed: Layer,
    blocks: Vec<Block>,
    head: Layer,
    ones: Vec<f32>,
    zeros: Vec<f32>,
}

#[derive(Clone, Copy, Default)]
struct Cost {
    flops: usize,
    bytes: usize,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

/// What the kernels of one pass cost and took, in the order of their first call.
#[derive(Default)]
struct Pass {
    order: Vec<&'static str>,
    kernels: BTreeMap<&'static str, (Cost, Duration)>,
}

impl Pass {
    fn run(&mut self, name: &'static str, cost: Cost, kernel: impl FnOnce()) {
        let start = Instant::now();
        kernel();
        let elapsed = start.elapsed();
        if !self.kernels.contains_key(name) {
            self.order.push(name);
        }
        let (sum, time) = self.kernels.entry(name).or_default();
        *sum = *sum + cost;
        *time += elapsed;
    }
}

impl Model {
    fn new(precision: Precision, batch: usize) -> Self {
        let outside = precision.without_int8();
        let block = |_| Block {
            qkv: Layer::new(precision, CHANNELS, 3 * CHANNELS),
            proj: Layer::new(precision, CHANNELS, CHANNELS),
            fc1: Layer::new(precision, CHANNELS, HIDDEN),
            fc2: Layer::new(precision, HIDDEN, CHANNELS),
        };
        Self {
            batch,
            precision,
            embed: Layer::new(outside, 3 * PATCH * PATCH, CHANNELS),
            blocks: (0..DEPTH).map(block).collect(),
            head: Layer::new(outside, CHANNELS, CLASSES),
            ones: vec![1.0; CHANNELS],
            zeros: vec![0.0; CHANNELS],
        }
    }

    fn norm(&self) -> Norm<'_> {
        Norm::layer(&self.ones, &self.zeros, 1e-6)
    }

    fn pass(&self, images: &[f32], r: usize, half: Half) -> Pass {
        let mut pass = Pass::default();
        let traffic = |read: usize, written: usize| Cost { flops: 0, bytes: 4 * (read + written) };
        let mut patches = Buffer::new(self.batch * PATCHES * 3 * PATCH * PATCH);
        pass.run("patchify", traffic(patches.len(), patches.len()), || {
            patchify(images, [3, SIDE, SIDE], PATCH, &mut patches);
        });
        let mut embedded = Buffer::new(self.batch * PATCHES * CHANNELS);
        pass.run("patch embedding", self.embed.cost(self.batch * PATCHES, 1), || {
            linear(&self.embed.packed, Some(&self.embed.bias), &patches, Epilogue::Store, &mut embedded);
        });
        let (prefix, positions) = (values(CHANNELS), values(PATCHES * CHANNELS));
        let mut x = Buffer::new(self.batch * (PATCHES + 1) * CHANNELS);
        pass.run("positions", traffic(embedded.len(), x.len()), || {
            assemble(&embedded, &prefix, &positions, &mut x);
        });
        let mut tokens = PATCHES + 1;
        for block in &self.blocks {
            tokens = self.block(block, &mut x, tokens, r, half, &mut pass);
        }
        let class: Vec<f32> =
            x.chunks_exact(tokens * CHANNELS).flat_map(|x| &x[..CHANNELS]).copied().collect();
        let (mut normed, mut logits) = (vec![0.0; class.len()], vec![0.0; self.batch * CLASSES]);
        pass.run("norm and head", self.head.cost(self.batch, 1), || {
            normalise(Isa::current(), self.norm(), &class, &mut normed);
            linear(&self.head.packed, Some(&self.head.bias), &normed, Epilogue::Store, &mut logits);
        });
        pass
    }

    fn block(
        &self,
        block: &Block,
        x: &mut Buffer,
        tokens: usize,
        r: usize,
        half: Half,
        pass: &mut Pass,
    ) -> usize {
        let (isa, rows) = (Isa::current(), self.batch * tokens);
        let mut metric = Buffer::new(rows * HEADS.dim);
        match half {
            Half::Whole => self.attend(block, x, tokens, r, &mut metric, pass),
            Half::Apart => self.attend_apart(block, x, tokens, r, &mut metric, pass),
        }
        let r = r.min((tokens - 1) / 2);
        let mut left = tokens;
        if r > 0 {
            let partners = self.matching(&metric, tokens, pass);
            let destinations = destinations(&partners, self.batch, tokens, r);
            left = tokens - r;
            let (weight, mut merged) = (vec![1.0; rows], Buffer::new(self.batch * left * CHANNELS));
            let cost = Cost { flops: 0, bytes: 4 * (x.len() + merged.len()) };
            pass.run("merging", cost, || merge_rows(isa, x, &weight, &destinations, &mut merged));
            *x = merged;
        }
        let (rows, inner) = (self.batch * left, block.fc1.packed.bytes() + block.fc2.packed.bytes());
        let cost = Cost { flops: 4 * rows * CHANNELS * HIDDEN, bytes: inner + 8 * rows * CHANNELS };
        let parts = Mlp {
            norm: self.norm(),
            fc1: &block.fc1.packed,
            fc1_bias: Some(&block.fc1.bias),
            activation: Activation::Gelu,
            gate: None,
            inner_norm: None,
            fc2: &block.fc2.packed,
            fc2_bias: Some(&block.fc2.bias),
            scale: None,
        };
        pass.run("norm, MLP and residual", cost, || mlp(&parts, x));
        left
    }

    fn attend(
        &self,
        block: &Block,
        x: &mut [f32],
        tokens: usize,
        r: usize,
        metric: &mut [f32],
        pass: &mut Pass,
    ) {
        let rows = self.batch * tokens;
        let offsets: Vec<usize> = (0..=self.batch).map(|item| item * tokens).collect();
        let key_bias = vec![0.0; rows];
        let half = SelfAttention {
            norm: self.norm(),
            qkv: &block.qkv.packed,
            qkv_bias: Some(&block.qkv.bias),
            qk_norm: [None; 2],
            rotation: None,
            heads: HEADS,
            precision: self.precision.without_int8(),
            inner_norm: None,
            proj: &block.proj.packed,
            proj_bias: Some(&block.proj.bias),
            scale: None,
        };
        let weights = block.qkv.packed.bytes() + block.proj.packed.bytes();
        let cost = Cost {
            flops: 8 * rows * CHANNELS * CHANNELS + 4 * rows * tokens * CHANNELS,
            bytes: weights + 8 * rows * CHANNELS,
        };
        pass.run("attention half", cost, || {
            let metric = Metric { part: Part::Key, aggregation: HeadAggregation::Mean, out: metric };
            let (sizes, metric) = if r > 0 { (Some(&key_bias[..]), Some(metric)) } else { (None, None) };
            self_attention(&half, &offsets, sizes, metric, x);
        });
    }

    fn attend_apart(
        &self,
        block: &Block,
        x: &mut [f32],
        tokens: usize,
        r: usize,
        metric: &mut [f32],
        pass: &mut Pass,
    ) {
        let (isa, rows) = (Isa::current(), self.batch * tokens);
        let mut qkv = Buffer::new(3 * rows * CHANNELS);
        pass.run("norm and qkv", block.qkv.cost(rows, 1), || {
            let bias = Some(&block.qkv.bias[..]);
            norm_linear(self.norm(), &block.qkv.packed, bias, x, Epilogue::Store, &mut qkv);
        });
        if r > 0 {
            let cost = Cost { flops: 0, bytes: 4 * (rows * CHANNELS + metric.len()) };
            pass.run("mean of keys", cost, || head_mean(isa, HEADS, &qkv, Part::Key, metric));
        }
        let offsets: Vec<usize> = (0..=self.batch).map(|item| item * tokens).collect();
        let (key_bias, mut attended) = (vec![0.0; rows], Buffer::new(rows * CHANNELS));
        let cost = Cost { flops: 4 * rows * tokens * CHANNELS, bytes: 4 * (qkv.len() + attended.len()) };
        pass.run("attention", cost, || {
            let precision = self.precision.without_int8();
            let sizes = (r > 0).then_some(&key_bias[..]);
            attention(isa, precision, HEADS, &qkv, &offsets, sizes, &mut attended, None);
        });
        pass.run("projection and residual", block.proj.cost(rows, 2), || {
            let epilogue = Epilogue::Residual { scale: None };
            linear(&block.proj.packed, Some(&block.proj.bias), &attended, epilogue, x);
        });
    }

    /// The best destination of every source: rows with odd numbers, the class token aside, look among the even ones.
    fn matching(&self, metric: &[f32], tokens: usize, pass: &mut Pass) -> Vec<u32> {
        let of = |item: usize, first: usize| -> Vec<u32> {
            (item * tokens + first..(item + 1) * tokens).step_by(2).map(|row| row as u32).collect()
        };
        let sides: Vec<[Vec<u32>; 2]> = (0..self.batch).map(|item| [of(item, 1), of(item, 2)]).collect();
        let items: Vec<Bipartite<'_>> =
            sides.iter().map(|[sources, destinations]| Bipartite { sources, destinations }).collect();
        let sources: usize = items.iter().map(|item| item.sources.len()).sum();
        let (mut best, mut partner) = (vec![0.0; sources], vec![0; sources]);
        let flops =
            2 * HEADS.dim * items.iter().map(|i| i.sources.len() * i.destinations.len()).sum::<usize>();
        let cost = Cost { flops, bytes: 4 * (metric.len() + 2 * sources) };
        pass.run("matching", cost, || {
            best_match(
                Isa::current(),
                Similarity::Cosine,
                metric,
                HEADS.dim,
                &items,
                &mut best,
                &mut partner,
            );
        });
        partner
    }
}

/// Where every row goes when the first `r` sources of each item merge with their partners.
fn destinations(partners: &[u32], batch: usize, tokens: usize, r: usize) -> Vec<u32> {
    let per_item = partners.len() / batch;
    let mut to = Vec::with_capacity(batch * tokens);
    for item in 0..batch {
        let merges = |row: usize| row % 2 == 1 && row / 2 < r;
        let mut places = vec![0; tokens];
        for (place, row) in (0..tokens).filter(|&row| !merges(row)).enumerate() {
            places[row] = (item * (tokens - r) + place) as u32;
        }
        for row in (0..tokens).filter(|&row| merges(row)) {
            places[row] = places[partners[item * per_item + row / 2] as usize - item * tokens];
        }
        to.extend(places);
    }
    to
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(precision: Precision, r: usize, threads: usize, batch: usize) {
    let passes = (200 / batch).clamp(5, 100);
    let isa = Isa::current();
    let model = Model::new(precision, batch);
    let images = values(batch * 3 * SIDE * SIDE);
    let rate =
        |precision: Precision| peak(isa, precision, threads, Duration::from_millis(4)).unwrap_or(f64::NAN);
    let dtype = |kernel: &str| match kernel {
        "matching" => Precision::F32,
        "attention" | "patch embedding" | "norm and head" => precision.without_int8(),
        _ => precision,
    };
    // In turn, so that the machine's drift is in both.
    let mut runs = [Half::Whole, Half::Apart].map(|half| (half, Vec::new(), BTreeMap::new()));
    for round in 0..passes + 2 {
        for (half, passes, shares) in &mut runs {
            let pass = model.pass(&images, r, *half);
            if round < 2 {
                continue;
            }
            for &name in &pass.order {
                let (cost, time) = pass.kernels[name];
                let share = cost.flops as f64 / time.as_secs_f64() / rate(dtype(name));
                shares.entry(name).or_insert_with(Vec::new).push(share);
            }
            passes.push(pass);
        }
    }
    for (half, passes, shares) in &runs {
        let what = match half {
            Half::Whole => "as in models",
            Half::Apart => "the attention half kernel by kernel",
        };
        let title = format!("{precision:?}, r = {r}, batch {batch}, {threads} threads, {isa}, {what}");
        print(&title, passes, shares, dtype);
    }
    let total = |passes: &[Pass]| -> Vec<f64> {
        let sum = |pass: &Pass| pass.kernels.values().map(|(_, time)| time.as_secs_f64()).sum();
        passes.iter().map(sum).collect()
    };
    let ratios = total(&runs[1].1).into_iter().zip(total(&runs[0].1)).map(|(apart, whole)| apart / whole);
    println!(
        "\nA pass kernel by kernel takes {:.3} times as long (median of pairs).",
        median(ratios.collect())
    );
}

fn print(title: &str, passes: &[Pass], shares: &BTreeMap<&str, Vec<f64>>, dtype: impl Fn(&str) -> Precision) {
    let Some(first) = passes.first() else { return };
    let micros =
        |name: &str| median(passes.iter().map(|pass| pass.kernels[name].1.as_secs_f64() * 1e6).collect());
    let total: f64 = first.order.iter().map(|name| micros(name)).sum();
    println!("\n{title}: {:.2} ms\n", total / 1e3);
    println!("| kernel | GFLOP | MB | ms | % of time | GFLOP/s | % of peak | GB/s |");
    println!("|---|---|---|---|---|---|---|---|");
    for name in &first.order {
        let (cost, _) = first.kernels[name];
        let (time, flops, bytes) = (micros(name), cost.flops as f64, cost.bytes as f64);
        let (work, share) = if cost.flops > 0 {
            let share = median(shares[name].clone());
            (format!("{:.0}", flops / time / 1e3), format!("{:.0} ({:?})", 1e2 * share, dtype(name)))
        } else {
            ("-".to_owned(), "-".to_owned())
        };
        println!(
            "| {name} | {:.2} | {:.1} | {:.2} | {:.1} | {work} | {share} | {:.1} |",
            flops / 1e9,
            bytes / 1e6,
            time / 1e3,
            1e2 * time / total,
            bytes / time / 1e3,
        );
    }
}

fn main() {
    // cargo passes flags of its own.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let r = numbers.next().unwrap_or(13);
    let threads = numbers.next().unwrap_or_else(rayon::current_num_threads);
    let batch = numbers.next().unwrap_or(8);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().ok();
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        table(precision, r, threads, batch);
    }
}
