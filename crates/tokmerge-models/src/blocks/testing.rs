//! Shared by the tests of blocks.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use tokmerge_merge::{Layout, Metric, MetricRequest, Tokens, Wants};
use tokmerge_nn::{Random, parameters};
use tokmerge_ops::HeadAggregation;

/// All parameters drawn from a normal distribution, whatever they begin with.
pub(crate) fn random_weights<M: Module>(module: M, device: &Device) -> M {
    let mut values = parameters::read(&module);
    let mut random = Random::new(11);
    for (path, parameter) in &mut values {
        let deviation = if parameter.shape.len() > 1 {
            (*parameter.shape.last().expect("two") as f64).powf(-0.5)
        } else {
            0.5
        };
        let mean = if path.contains("norm") && path.ends_with("weight") { 1.0 } else { 0.0 };
        parameter.values.iter_mut().for_each(|value| *value = (mean + deviation * random.normal()) as f32);
    }
    parameters::assign(module, &values, device)
}

/// Items of these lengths without a prefix.
pub(crate) fn tokens(lens: &[usize], channels: usize, device: &Device) -> Tokens {
    let layout = Layout::from_lens(lens);
    Tokens::new(normal([layout.rows(), channels], 5, device), layout, 0)
}

/// Standard normal values that follow from the seed.
pub(crate) fn normal<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut random = Random::new(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Keys, all heads side by side.
pub(crate) fn keys() -> Wants {
    let request = MetricRequest { of: Metric::Key, heads: HeadAggregation::Concat };
    Wants { metric: Some(request), ..Wants::default() }
}

/// Panics with the largest difference.
pub(crate) fn assert_close<const D: usize>(actual: Tensor<D>, expected: Tensor<D>, tolerance: f32) {
    assert_eq!(actual.dims(), expected.dims());
    let values = |x: Tensor<D>| x.into_data().iter::<f32>().collect::<Vec<_>>();
    let (actual, expected) = (values(actual), values(expected));
    let worst =
        actual.iter().zip(&expected).map(|(a, e)| (a - e).abs() / e.abs().max(1.0)).fold(0.0, f32::max);
    assert!(worst <= tolerance, "differs by {worst:e}");
}
