//! The weights that a training run begins with.

use std::collections::BTreeMap;
use tokmerge_models::{Config, Network, Precision, VitConfig};
use tokmerge_nn::parameters::{self, Values};

use burn::tensor::Device;

/// Whether every weight is a number.
pub(crate) fn all_finite(values: &BTreeMap<String, Values>) -> bool {
    values.values().all(|values| values.values.iter().all(|value| value.is_finite()))
}

/// A model of random weights that follow from the seed and each parameter's path alone: matrices and positions from
/// a normal distribution of deviation 0.02, cut off at two deviations; norms, biases and tokens as they begin. The
/// experts of a layer begin alike, as V-MoE's do.
pub(crate) fn random(config: &Config, precision: Precision, seed: u64, device: &Device) -> Network {
    let drawn = |path: &str, shape: &[usize]| {
        // Of clips there are several: `pos_embed_spatial` and others.
        let of_its_own = ["latent", "smooth"].iter().any(|name| path.rsplit('.').next() == Some(name));
        path.starts_with("pos_embed") || of_its_own || (path.ends_with(".weight") && shape.len() > 1)
    };
    // What begins otherwise (the turns of mixed rotary positions) draws from the device's generator when it is made.
    device.seed(seed);
    let network = config.init(precision, device);
    parameters::materialise(&network);
    parameters::random(network, seed, device, drawn, drawn_as)
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
    use tokmerge_models::{Config, Precision};
    use tokmerge_nn::parameters::read;

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
