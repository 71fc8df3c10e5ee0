//! Throughput of the kernels on ViT-S/16 shapes (8 images of 197 tokens), beside the peak of the machine.
//!
//! Throughput is in floating-point operations (a multiply-add is two), so criterion's `Gelem/s` reads
//! GFLOP/s. The clock of a shared host drifts: compare only with `peak` of the same run.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokmerge_kernels::{
    Activation, Bipartite, Epilogue, Heads, Isa, Mlp, Norm, PackedLinear, Precision, Similarity, attention,
    best_match, linear, mlp,
};

const TOKENS: usize = 197;
const ROWS: usize = 8 * TOKENS;
const CHANNELS: usize = 384;
const HIDDEN: usize = 1536;

fn values(len: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

/// Multiply-adds on registers only; returns the number of operations.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn peak_avx512(steps: usize) -> usize {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    use std::hint::black_box;
    const SUMS: usize = 28;
    let (a, b) = (black_box(_mm512_set1_ps(0.5)), black_box(_mm512_set1_ps(1e-3)));
    let mut sums = [b; SUMS];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    for sum in sums {
        black_box(_mm512_reduce_add_ps(sum));
    }
    steps * SUMS * 16 * 2
}

/// As [`peak_avx512`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn peak_avx2(steps: usize) -> usize {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    use std::hint::black_box;
    const SUMS: usize = 12;
    let (a, b) = (black_box(_mm256_set1_ps(0.5)), black_box(_mm256_set1_ps(1e-3)));
    let mut sums = [b; SUMS];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums);
    steps * SUMS * 8 * 2
}

/// One call of the peak loop on every thread of the pool; returns the number of operations.
fn peak(isa: Isa) -> usize {
    const STEPS: usize = 100_000;
    #[cfg(target_arch = "x86_64")]
    {
        let counts = rayon::broadcast(|_| match isa {
            // SAFETY: `isa` is one of those this CPU has.
            Isa::Avx512 => unsafe { peak_avx512(STEPS) },
            // SAFETY: as above.
            Isa::Avx2 => unsafe { peak_avx2(STEPS) },
            Isa::Portable => 0,
        });
        counts.into_iter().sum()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (isa, STEPS);
        0
    }
}

fn bench_isa(c: &mut Criterion, isa: Isa) {
    let mut group = c.benchmark_group(isa.to_string());
    group.sample_size(20);
    let operations = peak(isa);
    if operations > 0 {
        group.throughput(Throughput::Elements(operations as u64));
        group.bench_function("peak", |b| b.iter(|| peak(isa)));
    }

    let (x, bias, ones) = (values(ROWS * CHANNELS), values(HIDDEN), vec![1.0; CHANNELS]);
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        for n in [1152, HIDDEN] {
            let w = PackedLinear::new(isa, precision, &values(n * CHANNELS), n, CHANNELS);
            let mut y = vec![0.0; ROWS * n];
            group.throughput(Throughput::Elements((2 * ROWS * CHANNELS * n) as u64));
            group.bench_function(format!("linear {precision:?} {ROWS}x{CHANNELS}x{n}"), |b| {
                b.iter(|| linear(&w, Some(&bias[..n]), &x, Epilogue::Store, &mut y));
            });
        }
        let fc1 = PackedLinear::new(isa, precision, &values(HIDDEN * CHANNELS), HIDDEN, CHANNELS);
        let fc2 = PackedLinear::new(isa, precision, &values(HIDDEN * CHANNELS), CHANNELS, HIDDEN);
        let parts = Mlp {
            norm: Norm::layer(&ones, &bias[..CHANNELS], 1e-6),
            fc1: &fc1,
            fc1_bias: Some(&bias),
            activation: Activation::Gelu,
            gate: None,
            inner_norm: None,
            fc2: &fc2,
            fc2_bias: Some(&bias[..CHANNELS]),
            // Small, so that the input stays the same size from call to call.
            scale: Some(&vec![1e-6; CHANNELS]),
        };
        for (name, rows) in [("mlp", ROWS), ("mlp of one image", TOKENS)] {
            let mut x = x[..rows * CHANNELS].to_vec();
            group.throughput(Throughput::Elements((4 * rows * CHANNELS * HIDDEN) as u64));
            group.bench_function(format!("{name} {precision:?}"), |b| b.iter(|| mlp(&parts, &mut x)));
        }
    }

    let heads = Heads { count: 6, dim: 64, scale: 0.125 };
    let (qkv, key_bias) = (values(ROWS * 3 * CHANNELS), values(ROWS));
    let offsets: Vec<usize> = (0..=8).map(|i| i * TOKENS).collect();
    let mut out = vec![0.0; ROWS * CHANNELS];
    group.throughput(Throughput::Elements((4 * ROWS * TOKENS * CHANNELS) as u64));
    for precision in [Precision::F32, Precision::Bf16] {
        group.bench_function(format!("attention {precision:?} 8x197x6x64"), |b| {
            b.iter(|| attention(isa, precision, heads, &qkv, &offsets, Some(&key_bias), &mut out, None));
        });
    }

    let dim = 64;
    let metric = values(ROWS * dim);
    let rows = |first: usize| (first as u32..ROWS as u32).step_by(2).collect::<Vec<_>>();
    let (sources, destinations) = (rows(0), rows(1));
    let items: Vec<Bipartite<'_>> = sources
        .chunks(98)
        .zip(destinations.chunks(98))
        .map(|(sources, destinations)| Bipartite { sources, destinations })
        .collect();
    let mut best = vec![0.0; items.iter().map(|item| item.sources.len()).sum()];
    let mut partner = vec![0; best.len()];
    group.throughput(Throughput::Elements((2 * best.len() * 98 * dim) as u64));
    group.bench_function("best_match 8x197x64", |b| {
        b.iter(|| best_match(isa, Similarity::Cosine, &metric, dim, &items, &mut best, &mut partner));
    });
    group.finish();
}

fn bench(c: &mut Criterion) {
    for &isa in Isa::available() {
        bench_isa(c, isa);
    }
}

criterion_group!(kernels, bench);
criterion_main!(kernels);
