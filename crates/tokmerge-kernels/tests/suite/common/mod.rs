//! Shapes, random numbers and comparisons shared by the tests against f64 references.

pub(crate) mod buffers;

use tokmerge_kernels::{Heads, Isa, Norm, NormKind, Precision};

/// Numbers that look random and are the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn unit(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// Values in -scale..scale.
    pub(crate) fn values(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| (self.unit() * 2.0 - 1.0) * scale).collect()
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f32) as usize % end
    }
}

/// Every instruction set this CPU has; the missing ones are reported, they do not vanish.
#[expect(clippy::print_stderr, reason = "a path that is not tested must be seen")]
pub(crate) fn isas() -> &'static [Isa] {
    for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
        if !Isa::available().contains(&isa) {
            eprintln!("SKIPPED: this CPU lacks {isa}, its kernels are NOT tested here");
        }
    }
    Isa::available()
}

pub(crate) const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

/// Runs `f` in a pool; under Miri, where the kernels have a team of their own, without.
pub(crate) fn threads<R: Send>(count: usize, f: impl FnOnce() -> R + Send) -> R {
    if cfg!(miri) {
        return f();
    }
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap().install(f)
}

/// As `precision` sees rows of `k` activations.
pub(crate) fn seen(precision: Precision, x: &[f32], k: usize) -> Vec<f64> {
    match precision {
        Precision::F32 => x.iter().map(|&v| f64::from(v)).collect(),
        Precision::Bf16 => x.iter().map(|&v| half::bf16::from_f32(v).to_f64()).collect(),
        Precision::Int8 => x.chunks_exact(k).flat_map(bytes).collect(),
    }
}

/// A row on 256 steps between its smallest and its largest value.
fn bytes(row: &[f32]) -> Vec<f64> {
    let least = row.iter().copied().fold(f32::INFINITY, f32::min);
    let span = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least;
    let (step, inverse) = (f64::from(span / 255.0), if span == 0.0 { 0.0 } else { 255.0 / span });
    row.iter()
        .map(|v| f64::from(((v - least) * inverse).round_ties_even()) * step + f64::from(least))
        .collect()
}

/// As `precision` sees rows of `k` weights.
pub(crate) fn seen_weights(precision: Precision, w: &[f32], k: usize) -> Vec<f64> {
    if precision != Precision::Int8 {
        return seen(precision, w, k);
    }
    let column = |row: &[f32]| {
        let largest = row.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
        let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
        let step = f64::from(largest / 127.0);
        row.iter().map(|v| f64::from((v * inverse).round_ties_even()) * step).collect::<Vec<_>>()
    };
    w.chunks_exact(k).flat_map(column).collect()
}

/// Panics unless |got - want| <= tolerance * (1 + |want|) everywhere, naming the worst element.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let error = |i: usize| {
        let e = (f64::from(got[i]) - want[i]).abs() / (1.0 + want[i].abs());
        if e.is_nan() { f64::INFINITY } else { e }
    };
    if let Some(worst) = (0..got.len()).max_by(|&a, &b| error(a).total_cmp(&error(b))) {
        let e = error(worst);
        assert!(
            e <= tolerance,
            "{what}: [{worst}] is {}, expected {} (error {e:e})",
            got[worst],
            want[worst]
        );
    }
}

#[track_caller]
pub(crate) fn assert_same_bits(what: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{what}: lengths");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "{what}: [{i}] is {a} and {b}");
    }
}

/// x Wᵀ + b in f64, with operands as `precision` sees them.
pub(crate) fn linear(
    precision: Precision,
    w: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
    [n, k]: [usize; 2],
) -> Vec<f64> {
    let (x, w) = (seen(precision, x, k), seen_weights(precision, w, k));
    let mut y = Vec::new();
    for x in x.chunks_exact(k) {
        for j in 0..n {
            let sum: f64 = (0..k).map(|i| x[i] * w[j * k + i]).sum();
            y.push(sum + bias.map_or(0.0, |b| f64::from(b[j])));
        }
    }
    y
}

pub(crate) fn normalise(norm: Norm<'_>, x: &[f32]) -> Vec<f64> {
    let c = norm.weight.len();
    let mut y = Vec::new();
    for row in x.chunks_exact(c) {
        let mean = match norm.kind {
            NormKind::Layer => row.iter().map(|&v| f64::from(v)).sum::<f64>() / c as f64,
            NormKind::Rms => 0.0,
        };
        let var = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / c as f64;
        for i in 0..c {
            let normed = (f64::from(row[i]) - mean) / (var + f64::from(norm.eps)).sqrt();
            y.push(normed * f64::from(norm.weight[i]) + norm.bias.map_or(0.0, |bias| f64::from(bias[i])));
        }
    }
    y
}

/// Both kinds with these weights, each with the bias and without.
pub(crate) fn norms<'a>(weight: &'a [f32], bias: &'a [f32], eps: f32) -> [Norm<'a>; 4] {
    [(NormKind::Layer, true), (NormKind::Layer, false), (NormKind::Rms, true), (NormKind::Rms, false)]
        .map(|(kind, biased)| Norm { kind, weight, bias: biased.then_some(bias), eps })
}

/// erf by its Taylor series, or the continued fraction of erfc where that converges.
pub(crate) fn erf(x: f64) -> f64 {
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let a = x.abs();
    let fraction = (1..200).rev().fold(a, |f, n| a + f64::from(n) / 2.0 / f);
    (1.0 - (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt())).copysign(x)
}

/// `out` and `received` of attention in f64.
pub(crate) fn attention(
    heads: Heads,
    qkv: &[f64],
    offsets: &[usize],
    key_bias: Option<&[f32]>,
) -> (Vec<f64>, Vec<f64>) {
    let (h, d) = (heads.count, heads.dim);
    let (width, rows) = (h * d, qkv.len() / (3 * h * d));
    let (mut out, mut received) = (vec![0.0; rows * width], vec![0.0; rows]);
    let at =
        |row: usize, part: usize, head: usize, i: usize| qkv[row * 3 * width + part * width + head * d + i];
    for item in offsets.windows(2) {
        for head in 0..h {
            for q in item[0]..item[1] {
                let scores: Vec<f64> = (item[0]..item[1])
                    .map(|k| {
                        let dot: f64 = (0..d).map(|i| at(q, 0, head, i) * at(k, 1, head, i)).sum();
                        dot * f64::from(heads.scale) + key_bias.map_or(0.0, |s| f64::from(s[k]))
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
                for (k, score) in (item[0]..item[1]).zip(&scores) {
                    let p = (score - largest).exp() / sum;
                    received[k] += p / (h * (item[1] - item[0])) as f64;
                    for i in 0..d {
                        out[q * width + head * d + i] += p * at(k, 2, head, i);
                    }
                }
            }
        }
    }
    (out, received)
}
