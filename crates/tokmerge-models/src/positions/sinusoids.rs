//! Positions that follow from the shape: sines and cosines over periods that grow to 10 000.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Shape, Tensor, TensorData};

/// Periods grow to this.
const LONGEST: f64 = 10_000.0;

/// Positions of a sequence, `[rows, channels]`: sines and cosines of a row's number in turn (Vaswani et al., 2017).
pub(crate) fn sinusoids(rows: usize, channels: usize) -> Vec<f32> {
    let value = |row: usize, channel: usize| {
        let angle = row as f64 / LONGEST.powf((channel / 2 * 2) as f64 / channels as f64);
        if channel.is_multiple_of(2) { angle.sin() } else { angle.cos() }
    };
    (0..rows * channels).map(|at| value(at / channels, at % channels) as f32).collect()
}

/// Positions of a grid, `[rows * columns, channels]`, as MAE has them: the first half of the channels tells the column, the
/// second the row, each first by sines, then by cosines. Channels beyond a multiple of four are 0.
pub(crate) fn grid_sinusoids((rows, columns): (usize, usize), channels: usize) -> Vec<f32> {
    let quarter = channels / 4;
    let mut all = vec![0.0; rows * columns * channels];
    for (at, position) in all.chunks_exact_mut(channels).enumerate() {
        for (half, coordinate) in [at % columns, at / columns].into_iter().enumerate() {
            for index in 0..quarter {
                let angle = coordinate as f64 / LONGEST.powf(index as f64 / quarter as f64);
                position[half * 2 * quarter + index] = angle.sin() as f32;
                position[half * 2 * quarter + quarter + index] = angle.cos() as f32;
            }
        }
    }
    all
}

/// A table `[1, rows, channels]` as a buffer of a module: saved with it, never trained, and what it follows from until a
/// file is read.
pub(crate) fn table(
    [rows, channels]: [usize; 2],
    values: impl Fn() -> Vec<f32> + Send + Sync + 'static,
    device: &Device,
) -> Param<Tensor<3>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, _| Tensor::from_data(TensorData::new(values(), [1, rows, channels]), device),
        device.clone(),
        false,
        Shape::from(vec![1, rows, channels]),
    )
}
