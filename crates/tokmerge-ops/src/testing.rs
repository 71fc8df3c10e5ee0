//! Shared by the twin tests: every op against its composed body, values and gradients.

use burn::tensor::{Device, Tensor, TensorData};

pub(crate) struct Devices {
    pub(crate) plain: Device,
    pub(crate) tracked: Device,
}

pub(crate) fn devices() -> Devices {
    Devices { plain: Device::flex(), tracked: Device::flex().autodiff() }
}

/// Seeded standard normal values: a seed and a shape always give the same tensor.
pub(crate) fn normal<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 + 0.5) / (1u64 << 24) as f32
    };
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| (-2.0 * uniform().ln()).sqrt() * (std::f32::consts::TAU * uniform()).cos())
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Panics with the largest difference and its index.
pub(crate) fn assert_close<const D: usize>(actual: Tensor<D>, expected: Tensor<D>, tolerance: f32) {
    assert_eq!(actual.dims(), expected.dims());
    let actual = actual.into_data().try_to_vec::<f32>().expect("f32");
    let expected = expected.into_data().try_to_vec::<f32>().expect("f32");
    let worst = actual
        .iter()
        .zip(&expected)
        .map(|(a, e)| (a - e).abs() / e.abs().max(1.0))
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((index, difference)) = worst {
        assert!(
            difference <= tolerance,
            "differs by {difference:e} at {index}: {} instead of {}",
            actual[index],
            expected[index]
        );
    }
}

/// Compares the gradients of two bodies of an op with respect to every input, under a random weighting of the
/// outputs.
pub(crate) fn gradients_match<const N: usize, const D: usize>(
    inputs: [Tensor<D>; N],
    op: impl Fn([Tensor<D>; N]) -> Tensor<2>,
    oracle: impl Fn([Tensor<D>; N]) -> Tensor<2>,
    tolerance: f32,
) {
    let run = |op: &dyn Fn([Tensor<D>; N]) -> Tensor<2>| {
        let leaves = inputs.clone().map(|input| input.detach().require_grad());
        let y = op(leaves.clone());
        let weighting = normal(y.dims(), 99, &y.device());
        let grads = (y * weighting).sum().backward();
        leaves.map(|leaf| leaf.grad(&grads).expect("every input has a gradient"))
    };
    for (actual, expected) in run(&op).into_iter().zip(run(&oracle)) {
        assert_close(actual, expected, tolerance);
    }
}
