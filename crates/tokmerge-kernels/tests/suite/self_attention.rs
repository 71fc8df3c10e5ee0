//! The fused attention half against the calls that it stands for.

use crate::common::{PRECISIONS, Random, assert_same_bits, isas, threads};
use tokmerge_kernels::{
    Angles, Epilogue, HeadAggregation, Heads, Isa, Metric, Norm, NormKind, PackedLinear, Pairs, Part,
    Precision, Rotation, SelfAttention, attention, head_metric, linear, norm_linear, normalise_heads, rotate,
    self_attention,
};

/// What stands between the layers.
#[derive(Clone, Copy, Debug)]
struct Between {
    qk_norm: bool,
    rotation: Option<(Angles, Pairs)>,
    inner_norm: bool,
}

const BETWEEN: [Between; 4] = [
    Between { qk_norm: false, rotation: None, inner_norm: false },
    Between { qk_norm: true, rotation: None, inner_norm: true },
    Between { qk_norm: false, rotation: Some((Angles::Shared, Pairs::Adjacent)), inner_norm: false },
    Between { qk_norm: true, rotation: Some((Angles::PerHead, Pairs::Halves)), inner_norm: true },
];

/// The most rows of a test.
const ROWS: usize = 80;

struct Half {
    heads: Heads,
    channels: usize,
    norm: [Vec<f32>; 2],
    between: Between,
    /// Weights of the norms of queries, keys and what is attended to.
    norms: [Vec<f32>; 3],
    /// Cosines and sines of `ROWS` rows, for each head.
    angles: [Vec<f32>; 2],
    qkv: (PackedLinear, Vec<f32>),
    proj: (PackedLinear, Vec<f32>),
    scale: Vec<f32>,
    precision: Precision,
}

impl Half {
    fn new(
        isa: Isa,
        precision: Precision,
        heads: Heads,
        channels: usize,
        between: Between,
        random: &mut Random,
    ) -> Self {
        let width = heads.count * heads.dim;
        let mut layer = |outputs: usize, inputs: usize| {
            let weight = random.values(outputs * inputs, 1.0);
            (PackedLinear::new(isa, precision, &weight, outputs, inputs), random.values(outputs, 1.0))
        };
        let (qkv, proj) = (layer(3 * width, channels), layer(channels, width));
        let norm = [random.values(channels, 1.0), random.values(channels, 1.0)];
        let scale = random.values(channels, 1.0);
        let norms = [heads.dim, heads.dim, width].map(|len| random.values(len, 1.0));
        let angle = random.values(ROWS * heads.count * (heads.dim / 2), 3.0);
        let angles = [f32::cos, f32::sin].map(|of| angle.iter().map(|angle| of(*angle)).collect());
        let precision = precision.without_int8();
        Self { heads, channels, norm, between, norms, angles, qkv, proj, scale, precision }
    }

    fn view(&self, rows: usize) -> SelfAttention<'_> {
        let rms = |weight| Norm { kind: NormKind::Rms, weight, bias: None, eps: 1e-6 };
        let Between { qk_norm, rotation, inner_norm } = self.between;
        let rotation = rotation.map(|(angles, pairs)| {
            let sets = if angles == Angles::Shared { 1 } else { self.heads.count };
            let len = rows * sets * (self.heads.dim / 2);
            Rotation { cos: &self.angles[0][..len], sin: &self.angles[1][..len], angles, pairs }
        });
        SelfAttention {
            norm: Norm::layer(&self.norm[0], &self.norm[1], 1e-6),
            qkv: &self.qkv.0,
            qkv_bias: Some(&self.qkv.1),
            qk_norm: [0, 1].map(|part| qk_norm.then(|| rms(&self.norms[part]))),
            rotation,
            heads: self.heads,
            precision: self.precision,
            inner_norm: inner_norm.then(|| Norm::layer(&self.norms[2], &self.norms[2], 1e-6)),
            proj: &self.proj.0,
            proj_bias: Some(&self.proj.1),
            scale: Some(&self.scale),
        }
    }

    /// One call after the other.
    fn apart(
        &self,
        offsets: &[usize],
        key_bias: Option<&[f32]>,
        (part, aggregation): (Part, HeadAggregation),
        x: &mut [f32],
    ) -> Vec<f32> {
        let rows = x.len() / self.channels;
        let SelfAttention { norm, qkv, qkv_bias, heads, qk_norm, rotation, inner_norm, .. } = self.view(rows);
        let width = heads.count * heads.dim;
        let (mut q, mut y) = (vec![0.0; rows * 3 * width], vec![0.0; rows * width]);
        norm_linear(norm, qkv, qkv_bias, x, Epilogue::Store, &mut q);
        normalise_heads(qkv.isa(), heads, &qk_norm, &mut q, rows);
        let mut metric = vec![0.0; rows * metric_width(heads, aggregation)];
        head_metric(qkv.isa(), heads, &q, part, aggregation, &mut metric);
        if let Some(rotation) = rotation {
            rotate(qkv.isa(), heads, rotation, 2, &mut q, rows);
        }
        attention(qkv.isa(), self.precision, heads, &q, offsets, key_bias, &mut y, None);
        let scale = Some(&self.scale[..]);
        let (proj, residual) = (&self.proj.0, Epilogue::Residual { scale });
        match inner_norm {
            Some(norm) => norm_linear(norm, proj, Some(&self.proj.1), &y, residual, x),
            None => linear(proj, Some(&self.proj.1), &y, residual, x),
        }
        metric
    }
}

fn metric_width(heads: Heads, aggregation: HeadAggregation) -> usize {
    match aggregation {
        HeadAggregation::Mean => heads.dim,
        HeadAggregation::Concat => heads.count * heads.dim,
    }
}

const WANTED: [(Part, HeadAggregation); 4] = [
    (Part::Key, HeadAggregation::Mean),
    (Part::Value, HeadAggregation::Mean),
    (Part::Query, HeadAggregation::Concat),
    (Part::Key, HeadAggregation::Concat),
];

#[test]
fn one_pass_is_bit_for_bit_the_calls_apart() {
    let mut random = Random::new(3);
    let items: [&[usize]; 5] =
        [&[0, 40, 80], &[0, 19], &[0, 7, 7, 40, 41], &[0], &[0, 5, 10, 15, 20, 25, 30, 35, 40]];
    for &isa in isas() {
        for precision in PRECISIONS {
            let shapes = [(2, 64, 48), (3, 32, 96), (2, 30, 60)];
            for ((count, dim, channels), between) in
                shapes.into_iter().flat_map(|shape| BETWEEN.map(|between| (shape, between)))
            {
                let heads = Heads { count, dim, scale: (dim as f32).powf(-0.5) };
                let half = Half::new(isa, precision, heads, channels, between, &mut random);
                for (offsets, wanted) in items.iter().zip(WANTED.into_iter().cycle()) {
                    let rows = offsets[offsets.len() - 1];
                    let x = random.values(rows * channels, 1.0);
                    let sizes: Vec<f32> = (0..rows).map(|row| ((row % 4 + 1) as f32).ln()).collect();
                    for (n, key_bias) in [(1, None), (2, Some(&sizes[..])), (3, Some(&sizes[..]))] {
                        let (part, aggregation) = wanted;
                        let mut expected = x.clone();
                        let features = half.apart(offsets, key_bias, wanted, &mut expected);
                        let mut actual = x.clone();
                        let mut out = vec![f32::NAN; rows * metric_width(heads, aggregation)];
                        threads(n, || {
                            let metric = Metric { part, aggregation, out: &mut out };
                            self_attention(&half.view(rows), offsets, key_bias, Some(metric), &mut actual);
                        });
                        let what = format!(
                            "{isa} {precision:?} {count} x {dim}, {offsets:?}, {between:?}, {n} threads"
                        );
                        assert_same_bits(&what, &actual, &expected);
                        assert_same_bits(&format!("{what}, metric"), &out, &features);
                    }
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "self_attention: offsets must rise from 0 to 6 rows, got [0, 4]")]
fn offsets_that_miss_rows_are_refused() {
    let heads = Heads { count: 1, dim: 32, scale: 1.0 };
    let half = Half::new(Isa::Portable, Precision::F32, heads, 8, BETWEEN[0], &mut Random::new(1));
    self_attention(&half.view(6), &[0, 4], None, None, &mut [0.0; 48]);
}

#[test]
#[should_panic(expected = "the metric has 3 elements, expected 6 x 32")]
fn a_metric_of_another_shape_is_refused() {
    let heads = Heads { count: 1, dim: 32, scale: 1.0 };
    let half = Half::new(Isa::Portable, Precision::F32, heads, 8, BETWEEN[0], &mut Random::new(1));
    let metric = Metric { part: Part::Key, aggregation: HeadAggregation::Mean, out: &mut [0.0; 3] };
    self_attention(&half.view(6), &[0, 6], None, Some(metric), &mut [0.0; 48]);
}

#[test]
#[should_panic(expected = "self_attention: the rotation has 64 cosines and 64 sines, expected 6 x 1 x 16")]
fn a_rotation_of_other_rows_is_refused() {
    let heads = Heads { count: 1, dim: 32, scale: 1.0 };
    let half = Half::new(Isa::Portable, Precision::F32, heads, 8, BETWEEN[2], &mut Random::new(1));
    self_attention(&half.view(4), &[0, 6], None, None, &mut [0.0; 48]);
}
