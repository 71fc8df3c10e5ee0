//! Position embeddings for images of another size than the weights were trained on.

/// Resamples a grid of embeddings, `[from.0 * from.1, C]` row by row, to `to`: bicubic with antialiasing
/// (a = -0.5, half-pixel centres), as timm does it.
pub(crate) fn resample(embed: &[f32], from: (usize, usize), to: (usize, usize), channels: usize) -> Vec<f32> {
    if from == to {
        return embed.to_vec();
    }
    let (rows, columns) = (taps(from.0, to.0), taps(from.1, to.1));
    // Columns first, then rows.
    let mut narrow = vec![0.0_f32; from.0 * to.1 * channels];
    for row in 0..from.0 {
        for (column, (first, weights)) in columns.iter().enumerate() {
            let out = (row * to.1 + column) * channels;
            for (offset, weight) in weights.iter().enumerate() {
                let input = (row * from.1 + first + offset) * channels;
                for channel in 0..channels {
                    narrow[out + channel] += weight * embed[input + channel];
                }
            }
        }
    }
    let mut resampled = vec![0.0_f32; to.0 * to.1 * channels];
    let line = to.1 * channels;
    for (row, (first, weights)) in rows.iter().enumerate() {
        for (offset, weight) in weights.iter().enumerate() {
            let input = &narrow[(first + offset) * line..(first + offset + 1) * line];
            for (value, input) in resampled[row * line..(row + 1) * line].iter_mut().zip(input) {
                *value += weight * input;
            }
        }
    }
    resampled
}

/// For every output position the first input position and the weights from there on.
fn taps(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    (0..to)
        .map(|position| {
            let centre = scale * (position as f64 + 0.5);
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights: Vec<f64> =
                (first..end).map(|tap| cubic((tap as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.iter().map(|weight| (weight / sum) as f32).collect())
        })
        .collect()
}

/// Keys' cubic convolution kernel with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::resample;

    /// `torch.nn.functional.interpolate(x, size, mode="bicubic", antialias=True)` of torch 2.15 on
    /// `x[i, j] = sin(i * 1.3 + j * 0.7)`, 4x3.
    #[test]
    fn equals_pytorch() {
        let input: Vec<f32> =
            (0..12).map(|at| ((at / 3) as f32 * 1.3 + (at % 3) as f32 * 0.7).sin()).collect();
        for (to, expected) in EXPECTED {
            let actual = resample(&input, (4, 3), *to, 1);
            assert_eq!(actual.len(), expected.len());
            for (actual, expected) in actual.iter().zip(*expected) {
                assert!((actual - expected).abs() < 1e-5, "{to:?}: {actual} instead of {expected}");
            }
        }
    }

    include!("../fixtures/pos_embed.in");

    #[test]
    fn a_constant_stays_constant_and_channels_stay_apart() {
        let input: Vec<f32> = (0..14 * 14).flat_map(|_| [2.5, -1.0]).collect();
        let output = resample(&input, (14, 14), (9, 23), 2);
        assert_eq!(output.len(), 9 * 23 * 2);
        assert!(output.chunks(2).all(|pair| (pair[0] - 2.5).abs() < 1e-5 && (pair[1] + 1.0).abs() < 1e-5));
    }
}
