//! Low-rank additions to the weights of linear layers, trained in place of the weights (LoRA; Hu et al., 2021,
//! arXiv:2106.09685, §4.1): `W + alpha / rank · B A`, with `B = 0` to begin with.
//!
//! Composing, gradients and merging are burn's [`LoraAdapter`], whose factor `a` is the paper's `B` here: our weights
//! are stored `[N, K]`, outputs first. What is drawn, and the ids, follow from the seed and each path, as for every
//! parameter. The weight that the kernels see is dense, so a step costs as much as one of all weights; what is saved is
//! the optimiser's memory, and all but the factors stays as it was.

use crate::error::TrainError;
use crate::freeze::is_of;
use crate::recipe::{LoraRecipe, lora_also};
use burn::module::{LoraAdapter, Module, ModuleVisitor, Param, ParamId, Reparameterizer};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::{BTreeMap, BTreeSet};
use tokmerge_models::Network;
use tokmerge_nn::Random;
use tokmerge_nn::parameters::{Values, shapes, stable_hash};

/// Whether `name` means the layer: its own name, its path, or that of a part of the model it is in.
fn means(name: &str, layer: &str) -> bool {
    layer == name || layer.ends_with(&format!(".{name}")) || layer.starts_with(&format!("{name}."))
}

/// Paths of the linear layers with their shapes `[N, K]`. A method's own weights are trained whole.
fn linear_layers(network: &Network) -> BTreeMap<String, [usize; 2]> {
    let layer = |(path, shape): (String, Vec<usize>)| {
        let path = path.strip_suffix(".weight").filter(|path| !path.starts_with("mergers"))?;
        Some((path.to_owned(), <[usize; 2]>::try_from(shape).ok()?))
    };
    shapes(network).into_iter().filter_map(layer).collect()
}

/// Layers of a model that a recipe adds to.
pub(crate) fn targets(network: &Network, recipe: &LoraRecipe) -> Result<BTreeSet<String>, TrainError> {
    let layers = linear_layers(network);
    let mut found = BTreeSet::new();
    for target in &recipe.targets {
        let meant: Vec<_> = layers.iter().filter(|(layer, _)| means(target, layer)).collect();
        if meant.is_empty() {
            let names: BTreeSet<&str> =
                layers.keys().map(|path| path.rsplit('.').next().unwrap_or(path)).collect();
            let names: Vec<&str> = names.into_iter().collect();
            return Err(TrainError::Data(format!(
                "lora.targets names {target}, and the model has no linear layer of that name; it has {}, and whole paths such as blocks.0.attn.qkv or blocks.11 work too",
                names.join(", ")
            )));
        }
        for (layer, [outputs, inputs]) in meant {
            let most = outputs.min(inputs);
            if recipe.rank >= *most {
                return Err(TrainError::Data(format!(
                    "lora.rank is {}, and {layer} is {outputs}x{inputs}: additions of that rank would be no smaller than the weights; use a rank below {most}, e.g. 8",
                    recipe.rank
                )));
            }
            found.insert(layer.clone());
        }
    }
    let paths = shapes(network);
    // A model that writes has no head, and the default names one.
    let named = recipe.also.iter().filter(|_| recipe.also != lora_also());
    for name in named {
        if !paths.keys().any(|path| trains(std::slice::from_ref(name), path)) {
            return Err(TrainError::Data(format!(
                "lora.also names {name}, and the model has no part of that name; give names such as head, norm or pos_embed"
            )));
        }
    }
    Ok(found)
}

/// Refuses additions to layers, and parts to be trained whole, all of which are `frozen`.
pub(crate) fn check_frozen(
    network: &Network,
    recipe: &LoraRecipe,
    frozen: &[String],
) -> Result<(), TrainError> {
    let is_frozen = |path: &str| frozen.iter().any(|part| is_of(part, path));
    let layers = linear_layers(network);
    let targets = recipe.targets.iter().map(|name| {
        let meant = layers.keys().filter(|layer| means(name, layer)).map(|layer| is_frozen(layer));
        ("lora.targets", name, meant.collect::<Vec<bool>>())
    });
    let paths = shapes(network);
    let also = recipe.also.iter().map(|name| {
        let meant = paths.keys().filter(|path| trains_by_name(std::slice::from_ref(name), path));
        ("lora.also", name, meant.map(|path| is_frozen(path)).collect())
    });
    for (key, name, meant) in targets.chain(also) {
        if !meant.is_empty() && meant.iter().all(|frozen| *frozen) {
            return Err(TrainError::Data(format!(
                "{key} names {name}, and train.frozen keeps all of that as it begins; leave one of them out"
            )));
        }
    }
    Ok(())
}

/// Whether a parameter is trained whole.
fn trains(also: &[String], path: &str) -> bool {
    path.starts_with("mergers") || trains_by_name(also, path)
}

fn trains_by_name(also: &[String], path: &str) -> bool {
    let layer = path.rsplit_once('.').map_or(path, |(layer, _)| layer);
    also.iter().any(|name| path == name || means(name, layer))
}

/// The model with factors, which have the values that were `saved`, or begin. All weights but those that the recipe
/// names are frozen.
pub(crate) fn attach(
    network: Network,
    recipe: &LoraRecipe,
    seed: u64,
    saved: Option<&BTreeMap<String, Values>>,
    device: &Device,
) -> Result<Network, TrainError> {
    let targets = targets(&network, recipe)?;
    let mut attach = Attach { recipe, targets, seed, saved, device, missing: None };
    let network = network.apply_reparameterization(&mut attach);
    match attach.missing {
        Some(path) => Err(TrainError::Data(format!(
            "the checkpoint has no {path}: it was made without lora, or with another rank"
        ))),
        None => Ok(network),
    }
}

struct Attach<'a> {
    recipe: &'a LoraRecipe,
    targets: BTreeSet<String>,
    seed: u64,
    saved: Option<&'a BTreeMap<String, Values>>,
    device: &'a Device,
    /// A factor that should have been saved.
    missing: Option<String>,
}

impl Attach<'_> {
    fn factor(
        &mut self,
        path: String,
        shape: [usize; 2],
        begin: impl FnOnce(&str) -> Vec<f32>,
    ) -> Param<Tensor<2>> {
        let values = match self.saved {
            None => begin(&path),
            Some(saved) => match saved.get(&path).filter(|found| found.shape == shape) {
                Some(found) => found.values.clone(),
                None => {
                    self.missing.get_or_insert_with(|| path.clone());
                    vec![0.0; shape[0] * shape[1]]
                }
            },
        };
        let tensor = Tensor::from_data(TensorData::new(values, shape), self.device).require_grad();
        Param::initialized(ParamId::from(stable_hash(&path)), tensor)
    }
}

impl Reparameterizer for &mut Attach<'_> {
    type Reparam = LoraAdapter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraAdapter>) {
        let layer = path.strip_suffix(".weight");
        if !layer.is_some_and(|layer| self.targets.contains(layer)) {
            return (param.set_require_grad(trains(&self.recipe.also, path)), None);
        }
        let shape = param.lazy_shape();
        let (outputs, inputs) = (shape[0], shape[1]);
        let (rank, seed) = (self.recipe.rank, self.seed);
        let a = self.factor(format!("{path}.lora.a"), [outputs, rank], |_| vec![0.0; outputs * rank]);
        let b = self.factor(format!("{path}.lora.b"), [rank, inputs], |path| {
            let mut random = Random::new(seed ^ stable_hash(path));
            let deviation = (inputs as f64).powf(-0.5);
            (0..rank * inputs).map(|_| (deviation * random.normal()) as f32).collect()
        });
        let scale = self.recipe.alpha() / rank as f64;
        (param.set_require_grad(false), Some(LoraAdapter { a, b, scale }))
    }
}

/// The model as others see it: for inference, the additions in the weights, without what training alone has.
pub(crate) fn merged(network: &Network) -> Network {
    network.valid().materialize().with_class_head(None)
}

/// Values that are trained, and all.
pub(crate) fn trained(network: &Network) -> (usize, usize) {
    struct Counter(usize, usize);
    impl ModuleVisitor for Counter {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let count = param.lazy_shape().num_elements();
            self.1 += count;
            self.0 += if param.is_require_grad() { count } else { 0 };
        }
    }
    let mut counter = Counter(0, 0);
    network.visit(&mut counter);
    (counter.0, counter.1)
}

#[cfg(test)]
mod tests {
    use super::{means, trains};

    #[test]
    fn a_layer_is_meant_by_its_name_its_path_or_its_block() {
        for name in ["qkv", "attn.qkv", "blocks.1.attn.qkv", "blocks.1", "blocks"] {
            assert!(means(name, "blocks.1.attn.qkv"), "{name}");
        }
        for name in ["kv", "proj", "blocks.11", "blocks.1.attn.q", "blocks.10.attn.qkv"] {
            assert!(!means(name, "blocks.1.attn.qkv"), "{name}");
        }
    }

    #[test]
    fn parts_are_trained_whole_by_name() {
        let also = ["head".to_owned(), "pos_embed".to_owned(), "norm1".to_owned()];
        for path in ["head.weight", "head.bias", "pos_embed", "blocks.3.norm1.weight", "mergers.items.0.w"] {
            assert!(trains(&also, path), "{path}");
        }
        for path in ["cls_token", "norm.weight", "blocks.3.norm2.weight", "head_dist.weight"] {
            assert!(!trains(&also, path), "{path}");
        }
    }
}
