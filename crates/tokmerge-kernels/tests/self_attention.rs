//! The fused attention half against the calls that it stands for.

mod common;
use common::{PRECISIONS, Random, assert_same_bits, isas, threads};
use tokmerge_kernels::{
    Epilogue, HeadAggregation, Heads, Isa, Metric, Norm, PackedLinear, Part, Precision, SelfAttention,
    attention, head_metric, linear, norm_linear, self_attention,
};

struct Half {
    heads: Heads,
    channels: usize,
    norm: [Vec<f32>; 2],
    qkv: (PackedLinear, Vec<f32>),
    proj: (PackedLinear, Vec<f32>),
    scale: Vec<f32>,
    precision: Precision,
}

impl Half {
    fn new(isa: Isa, precision: Precision, heads: Heads, channels: usize, random: &mut Random) -> Self {
        let width = heads.count * heads.dim;
        let mut layer = |outputs: usize, inputs: usize| {
            let weight = random.values(outputs * inputs, 1.0);
            (PackedLinear::new(isa, precision, &weight, outputs, inputs), random.values(outputs, 1.0))
        };
        let (qkv, proj) = (layer(3 * width, channels), layer(channels, width));
        let norm = [random.values(channels, 1.0), random.values(channels, 1.0)];
        let scale = random.values(channels, 1.0);
        Self { heads, channels, norm, qkv, proj, scale, precision: precision.without_int8() }
    }

    fn view(&self) -> SelfAttention<'_> {
        SelfAttention {
            norm: Norm::layer(&self.norm[0], &self.norm[1], 1e-6),
            qkv: &self.qkv.0,
            qkv_bias: Some(&self.qkv.1),
            heads: self.heads,
            precision: self.precision,
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
        let (SelfAttention { norm, qkv, qkv_bias, heads, .. }, rows) = (self.view(), x.len() / self.channels);
        let width = heads.count * heads.dim;
        let (mut q, mut y) = (vec![0.0; rows * 3 * width], vec![0.0; rows * width]);
        norm_linear(norm, qkv, qkv_bias, x, Epilogue::Store, &mut q);
        let mut metric = vec![0.0; rows * metric_width(heads, aggregation)];
        head_metric(qkv.isa(), heads, &q, part, aggregation, &mut metric);
        attention(qkv.isa(), self.precision, heads, &q, offsets, key_bias, &mut y, None);
        let scale = Some(&self.scale[..]);
        linear(&self.proj.0, Some(&self.proj.1), &y, Epilogue::Residual { scale }, x);
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
            for (count, dim, channels) in [(2, 64, 48), (3, 32, 96), (2, 30, 60)] {
                let heads = Heads { count, dim, scale: (dim as f32).powf(-0.5) };
                let half = Half::new(isa, precision, heads, channels, &mut random);
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
                            self_attention(&half.view(), offsets, key_bias, Some(metric), &mut actual);
                        });
                        let what = format!("{isa} {precision:?} {count} x {dim}, {offsets:?}, {n} threads");
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
    let half = Half::new(Isa::Portable, Precision::F32, heads, 8, &mut Random::new(1));
    self_attention(&half.view(), &[0, 4], None, None, &mut [0.0; 48]);
}

#[test]
#[should_panic(expected = "the metric has 3 elements, expected 6 x 32")]
fn a_metric_of_another_shape_is_refused() {
    let heads = Heads { count: 1, dim: 32, scale: 1.0 };
    let half = Half::new(Isa::Portable, Precision::F32, heads, 8, &mut Random::new(1));
    let metric = Metric { part: Part::Key, aggregation: HeadAggregation::Mean, out: &mut [0.0; 3] };
    self_attention(&half.view(), &[0, 6], None, Some(metric), &mut [0.0; 48]);
}
