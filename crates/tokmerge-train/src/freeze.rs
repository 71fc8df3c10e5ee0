//! Parts of a model that keep the weights that they begin with.

use crate::error::TrainError;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use tokmerge_models::Network;
use tokmerge_nn::parameters::shapes;

/// Whether a parameter is one of a part, or is the part.
pub(crate) fn is_of(part: &str, path: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Refuses parts that the model has not, and a model of which nothing would be trained.
pub(crate) fn check(network: &Network, parts: &[String]) -> Result<(), TrainError> {
    let paths = shapes(network);
    for part in parts {
        if !paths.keys().any(|path| is_of(part, path)) {
            return Err(TrainError::Data(format!(
                "train.frozen names {part}, and the model has no part of that name; give names such as tower, blocks.0 or patch_embed"
            )));
        }
    }
    if paths.keys().all(|path| parts.iter().any(|part| is_of(part, path))) {
        return Err(TrainError::Data(
            "train.frozen names all parts of the model, and nothing would be trained; leave some out"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The model whose parameters below these parts have no gradient.
pub(crate) fn frozen(network: Network, parts: &[String]) -> Network {
    if parts.is_empty() { network } else { network.map(&mut Freeze { parts, path: Vec::new() }) }
}

struct Freeze<'a> {
    parts: &'a [String],
    path: Vec<String>,
}

impl ModuleMapper for Freeze<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        match self.parts.iter().any(|part| is_of(part, &path)) {
            true => param.set_require_grad(false),
            false => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn a_part_is_named_by_whole_words() {
        assert!(is_of("tower", "tower.blocks.0.norm1.weight") && is_of("pos_embed", "pos_embed"));
        assert!(
            is_of("blocks.1", "blocks.1.attn.qkv.weight") && !is_of("blocks.1", "blocks.11.attn.qkv.weight")
        );
    }
}
