//! Position embeddings for images of another size than the weights were trained on.

use super::Resampling;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Resamples a grid of embeddings, `[from.0 * from.1, C]` row by row, to `to`. A grid of the same size stays as it is.
///
/// # Panics
/// When `embed` has another length.
pub(crate) fn resample(
    kind: Resampling,
    embed: &[f32],
    from: (usize, usize),
    to: (usize, usize),
    channels: usize,
) -> Vec<f32> {
    assert_eq!(embed.len(), from.0 * from.1 * channels, "{from:?} embeddings of {channels} channels");
    if from == to {
        return embed.to_vec();
    }
    // Columns first, then rows.
    let columns = kind.taps(from.1, to.1);
    let mut narrow = vec![0.0_f32; from.0 * to.1 * channels];
    let lines = embed.chunks_exact(from.1 * channels).zip(narrow.chunks_exact_mut(to.1 * channels));
    for (embed, narrow) in lines {
        weigh(&columns, embed, channels, narrow);
    }
    let mut resampled = vec![0.0_f32; to.0 * to.1 * channels];
    weigh(&kind.taps(from.0, to.0), &narrow, to.1 * channels, &mut resampled);
    resampled
}

/// The positions of patches of several images, `[sum of rows * columns, C]`, each resampled to its own grid; grids that
/// several images have are resampled once.
///
/// # Panics
/// When `embed` has another length.
pub(crate) fn resample_each(
    kind: Resampling,
    embed: &[f32],
    from: (usize, usize),
    grids: &[(usize, usize)],
    channels: usize,
) -> Vec<f32> {
    let patches: usize = grids.iter().map(|(rows, columns)| rows * columns).sum();
    let mut resampled: Vec<f32> = Vec::with_capacity(patches * channels);
    let mut known = HashMap::new();
    for &grid in grids {
        let begin = resampled.len();
        match known.entry(grid) {
            Entry::Occupied(range) => resampled.extend_from_within(std::ops::Range::clone(range.get())),
            Entry::Vacant(range) => {
                resampled.extend(resample(kind, embed, from, grid, channels));
                range.insert(begin..resampled.len());
            }
        }
    }
    resampled
}

/// What [`resample`] does, as weights: `[to.0 * to.1, from.0 * from.1]`, a row per output.
pub(crate) fn resampling_weights(kind: Resampling, from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let inputs = from.0 * from.1;
    let mut identity = vec![0.0; inputs * inputs];
    identity.iter_mut().step_by(inputs + 1).for_each(|value| *value = 1.0);
    resample(kind, &identity, from, to, inputs)
}

/// What one output along an axis is made of: the first input, and the weights of the inputs from there on.
type Taps = (usize, Vec<f32>);

/// Every output, `width` values wide, as the weighted sum of its inputs; `output` begins with zeros.
fn weigh(taps: &[Taps], input: &[f32], width: usize, output: &mut [f32]) {
    for ((first, weights), output) in taps.iter().zip(output.chunks_exact_mut(width)) {
        for (weight, input) in weights.iter().zip(input[first * width..].chunks_exact(width)) {
            output.iter_mut().zip(input).for_each(|(value, input)| *value += weight * input);
        }
    }
}

impl Resampling {
    /// What the outputs along an axis are made of.
    fn taps(self, from: usize, to: usize) -> Vec<Taps> {
        let (inputs, outputs) = (from as f64, to as f64);
        let scale = inputs / outputs;
        match self {
            Self::BicubicAntialias => averaging(scale, from, to, 2.0, |x| cubic(x, -0.5)),
            Self::BilinearAntialias => averaging(scale, from, to, 1.0, |x| (1.0 - x.abs()).max(0.0)),
            Self::Bilinear => {
                between(from, to, LINEAR, |output| ((output + 0.5) * scale - 0.5).clamp(0.0, inputs - 1.0))
            }
            Self::Bicubic => between(from, to, CUBIC, |output| (output + 0.5) * scale - 0.5),
            Self::BicubicOffset => {
                let scale = inputs / (outputs + 0.1);
                between(from, to, CUBIC, |output| (output + 0.5) * scale - 0.5)
            }
            Self::BicubicAlignedCorners => between(from, to, CUBIC, |output| output * aligned(from, to)),
            Self::BilinearAlignedCorners => between(from, to, LINEAR, |output| output * aligned(from, to)),
        }
    }
}

/// Inputs from one output to the next where the first and the last stand on those of the input.
fn aligned(from: usize, to: usize) -> f64 {
    if to > 1 { (from as f64 - 1.0) / (to as f64 - 1.0) } else { 0.0 }
}

/// A kernel of `radius`, stretched where there are fewer outputs than inputs, its weights summing up to one.
fn averaging(scale: f64, from: usize, to: usize, radius: f64, kernel: impl Fn(f64) -> f64) -> Vec<Taps> {
    let stretch = scale.max(1.0);
    let support = radius * stretch;
    (0..to)
        .map(|output| {
            let centre = scale * (output as f64 + 0.5);
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights: Vec<f64> =
                (first..end).map(|tap| kernel((tap as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.iter().map(|weight| (weight / sum) as f32).collect())
        })
        .collect()
}

/// What lies around a place: its reach to either side, and a kernel.
type Around = (i64, fn(f64) -> f64);

const LINEAR: Around = (1, |x| (1.0 - x.abs()).max(0.0));
/// Keys' kernel with a = -0.75.
const CUBIC: Around = (2, |x| cubic(x, -0.75));

/// A kernel around where an output is among the inputs; the outermost inputs go on beyond the edge.
fn between(from: usize, to: usize, (reach, kernel): Around, place: impl Fn(f64) -> f64) -> Vec<Taps> {
    (0..to)
        .map(|output| {
            let place = place(output as f64);
            let nearest = |tap: i64| tap.clamp(0, from as i64 - 1) as usize;
            let taps = place.floor() as i64 + 1 - reach..place.floor() as i64 + 1 + reach;
            let first = nearest(taps.start);
            let mut weights = vec![0.0_f32; nearest(taps.end - 1) + 1 - first];
            for tap in taps {
                weights[nearest(tap) - first] += kernel(place - tap as f64) as f32;
            }
            (first, weights)
        })
        .collect()
}

/// Keys' cubic convolution kernel.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Resampling, resample, resample_each, resampling_weights};
    use std::path::Path;
    use tokmerge_checkpoint::Checkpoint;

    include!("../../fixtures/pos_embed.in");

    const KINDS: [Resampling; 7] = [
        Resampling::BicubicAntialias,
        Resampling::Bicubic,
        Resampling::BicubicOffset,
        Resampling::BicubicAlignedCorners,
        Resampling::BilinearAntialias,
        Resampling::Bilinear,
        Resampling::BilinearAlignedCorners,
    ];

    /// Of `x[i, j] = sin(i * 1.3 + j * 0.7)`, 4x3.
    fn input() -> Vec<f32> {
        (0..12).map(|at| ((at / 3) as f32 * 1.3 + (at % 3) as f32 * 0.7).sin()).collect()
    }

    #[test]
    fn equals_pytorch() {
        for (kind, to, expected) in EXPECTED {
            let actual = resample(*kind, &input(), (4, 3), *to, 1);
            assert_eq!(actual.len(), expected.len());
            for (actual, expected) in actual.iter().zip(*expected) {
                assert!((actual - expected).abs() < 1e-5, "{kind:?} {to:?}: {actual} instead of {expected}");
            }
        }
        assert!(KINDS.iter().all(|kind| EXPECTED.iter().any(|(tested, ..)| tested == kind)));
    }

    #[test]
    fn a_constant_stays_constant_and_channels_stay_apart() {
        let input: Vec<f32> = (0..14 * 14).flat_map(|_| [2.5, -1.0]).collect();
        for kind in KINDS {
            for to in [(9, 23), (1, 14), (40, 1)] {
                let output = resample(kind, &input, (14, 14), to, 2);
                assert_eq!(output.len(), to.0 * to.1 * 2);
                let close = |pair: &[f32]| (pair[0] - 2.5).abs() < 1e-5 && (pair[1] + 1.0).abs() < 1e-5;
                assert!(output.chunks(2).all(close), "{kind:?} {to:?}");
            }
        }
    }

    #[test]
    fn weights_do_what_resampling_does() {
        for kind in KINDS {
            for to in [(4, 3), (7, 5), (1, 6)] {
                let weights = resampling_weights(kind, (4, 3), to);
                let weigh = |row: &[f32]| row.iter().zip(input()).map(|(weight, value)| weight * value).sum();
                let weighed: Vec<f32> = weights.chunks_exact(12).map(weigh).collect();
                for (weighed, resampled) in weighed.iter().zip(resample(kind, &input(), (4, 3), to, 1)) {
                    assert!((weighed - resampled).abs() < 1e-5, "{kind:?} {to:?}: {weighed} {resampled}");
                }
            }
        }
    }

    #[test]
    fn every_image_gets_its_own_grid() {
        let grids = [(2, 2), (3, 8), (4, 3), (2, 2)];
        let expected: Vec<f32> = grids
            .iter()
            .flat_map(|&to| resample(Resampling::BilinearAntialias, &input(), (4, 3), to, 1))
            .collect();
        assert_eq!(resample_each(Resampling::BilinearAntialias, &input(), (4, 3), &grids, 1), expected);
    }

    #[test]
    fn equals_swag_and_torchvision() {
        let cases = [
            ("swag", "encoder.pos_embedding", 5, 7, 48),
            ("torchvision_vit", "encoder.pos_embedding", 7, 9, 40),
        ];
        for (family, name, from, to, channels) in cases {
            let folder =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/material/families").join(family);
            if !folder.exists() {
                let required = std::env::var("TOKMERGE_REQUIRE").is_ok_and(|what| what == "material");
                assert!(
                    !required,
                    "{} is absent, and TOKMERGE_REQUIRE=material asks for it",
                    folder.display()
                );
                #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
                {
                    eprintln!("SKIPPED: {} is absent", folder.display());
                }
                continue;
            }
            let read = |file: &str, name: &str| {
                let file = Checkpoint::open(folder.join(file)).expect("a checkpoint");
                file.get(name).expect("a tensor").to_f32().expect("floats").into_owned()
            };
            let stored = read("model.safetensors", name);
            let expected = read("golden.safetensors", "interp.pos_embedding");
            let kind = Resampling::BicubicAlignedCorners;
            let actual = resample(kind, &stored[channels..], (from, from), (to, to), channels);
            assert_eq!(actual.len(), expected[channels..].len(), "{family}");
            for (actual, expected) in actual.iter().zip(&expected[channels..]) {
                assert!((actual - expected).abs() < 2e-6, "{family}: {actual} instead of {expected}");
            }
        }
    }
}
