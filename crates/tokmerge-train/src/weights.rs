//! The weights that a training run begins with.

use std::collections::BTreeMap;
use tokmerge_models::{BlockConfig, Config, LogitScale, Network, Precision, VitConfig};
use tokmerge_nn::parameters::{self, Deviation, Values};
use tokmerge_nn::{Bias, Linear};

use crate::groups::within_part;
use burn::tensor::Device;

/// Whether every weight is a number.
pub(crate) fn all_finite(values: &BTreeMap<String, Values>) -> bool {
    values.values().all(|values| values.values.iter().all(|value| value.is_finite()))
}

/// The deviation of weights of Vision Transformers, BERT and all others but T5.
const PLAIN: f64 = 0.02;

/// A model of random weights that follow from the seed and each parameter's path alone: matrices and positions from
/// a normal distribution of deviation 0.02, cut off at two deviations; norms, biases and tokens as they begin. The
/// experts of a layer begin alike, as V-MoE's do. T5's begin as in T5X, which its attention without a scale needs to learn.
pub(crate) fn random(config: &Config, precision: Precision, seed: u64, device: &Device) -> Network {
    let t5 = match config {
        Config::Text(text) => Some(("", &text.block)),
        Config::Pali(pali) => Some(("text.", &pali.text.block)),
        _ => None,
    };
    let t5 = t5.filter(|(_, block)| block.logit_scale == LogitScale::One);
    let drawn = |path: &str, shape: &[usize]| {
        if let Some((prefix, block)) = t5
            && let Some(path) = path.strip_prefix(prefix)
        {
            return of_t5(block, path, shape);
        }
        // Of clips there are several: `pos_embed_spatial` and others.
        let of_its_own = ["latent", "smooth"].iter().any(|name| path.rsplit('.').next() == Some(name));
        let is_drawn = within_part(path).starts_with("pos_embed")
            || of_its_own
            || (path.ends_with(".weight") && shape.len() > 1);
        is_drawn.then_some(Deviation::of_all(PLAIN))
    };
    // What begins otherwise (the turns of mixed rotary positions) draws from the device's generator when it is made.
    device.seed(seed);
    let network = config.init(precision, device);
    parameters::materialise(&network);
    parameters::random(network, seed, device, drawn, drawn_as)
}

/// A head on the class token of a model, of random weights that follow from the seed.
pub(crate) fn class_head(
    channels: usize,
    classes: usize,
    precision: Precision,
    seed: u64,
    device: &Device,
) -> Linear {
    let head = Linear::new(channels, classes, Bias::Yes, precision, device);
    let drawn = |_: &str, shape: &[usize]| (shape.len() > 1).then_some(Deviation::of_all(PLAIN));
    parameters::random(head, seed, device, drawn, |path| format!("class_head.{path}"))
}

/// T5X's initial deviations: 1 of the table of tokens, one over the root of what goes into a layer, queries divided by the root
/// of a head's channels too.
fn of_t5(block: &BlockConfig, path: &str, shape: &[usize]) -> Option<Deviation> {
    let inputs = match path.ends_with("distance_bias") {
        true => block.channels,
        false => *shape.get(1)?,
    };
    if path == "token_embed" {
        return Some(Deviation::of_all(1.0));
    }
    let others = (inputs.max(1) as f64).powf(-0.5);
    let first = others * (block.head_dim.max(1) as f64).powf(-0.5);
    let rows = match path.strip_suffix(".weight").and_then(|layer| layer.rsplit('.').next()) {
        Some("qkv") => shape[0] / 3,
        Some("q") => shape[0],
        _ => 0,
    };
    Some(Deviation { first, rows, others })
}

/// The path that decides what a parameter is drawn as: of an expert, that of the first of its layer.
fn drawn_as(path: &str) -> String {
    let Some((block, rest)) = path.split_once(".experts.") else { return path.to_owned() };
    let within = rest.split_once('.').map_or("", |(_, within)| within);
    format!("{block}.experts.0.{within}")
}

/// A model that holds nothing, to stand in while the real one is being changed.
pub(crate) fn placeholder() -> Network {
    let config = VitConfig { num_classes: 0, ..VitConfig::new(16, 1, 0, 1) };
    Config::from(config).init(Precision::F32, &Device::default())
}

#[cfg(test)]
mod tests {
    use super::random;
    use tokmerge_models::{Config, Precision, TextConfig};
    use tokmerge_nn::parameters::read;

    #[test]
    fn queries_of_t5_begin_smaller_than_keys_and_its_table_wide() {
        let device = burn::tensor::Device::flex();
        let config = Config::from(TextConfig::t5(50, 64, 1, 2, 16, 96));
        let values = read(&random(&config, Precision::F32, 3, &device));
        let deviation = |path: &str, rows: std::ops::Range<usize>| {
            let found = &values[path];
            let width = found.shape[1];
            let part = &found.values[rows.start * width..rows.end * width];
            (part.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / part.len() as f64).sqrt()
        };
        // What is cut off at two deviations has 0.96 of the deviation left.
        let near =
            |found: f64, expected: f64| assert!((found / expected - 0.96).abs() < 0.06, "{found} {expected}");
        near(deviation("token_embed", 0..50), 1.0);
        near(deviation("blocks.0.attn.qkv.weight", 0..32), 64f64.powf(-0.5) / 4.0);
        near(deviation("blocks.0.attn.qkv.weight", 32..96), 64f64.powf(-0.5));
        near(deviation("decoder.blocks.0.cross.q.weight", 0..32), 64f64.powf(-0.5) / 4.0);
        near(deviation("decoder.blocks.0.cross.kv.weight", 0..64), 64f64.powf(-0.5));
    }

    #[test]
    fn every_parameter_of_every_family_follows_from_the_seed() {
        let device = burn::tensor::Device::flex();
        for config in Config::examples() {
            let drawn = |seed| read(&random(&config, Precision::F32, seed, &device));
            let (first, again, other) = (drawn(3), drawn(3), drawn(4));
            // Other tests draw from the device's generator beside this one.
            for (path, values) in first.iter().filter(|(path, _)| !path.ends_with("rope.freqs")) {
                assert_eq!(values, &again[path], "{path} of {config:?}");
            }
            assert!(first != other, "{config:?}");
        }
    }
}
