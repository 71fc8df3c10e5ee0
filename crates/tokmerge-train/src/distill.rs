//! Targets from a teacher (Hinton et al., 2015, arXiv:1503.02531): the model as it was before training, merging
//! otherwise or not at all.

use crate::error::TrainError;
use crate::recipe::DistillRecipe;
use burn::module::Module;
use burn::tensor::{Tensor, activation::softmax};
use tokmerge_merge::{Method, ModelFacts, Reduction};
use tokmerge_models::{Input, Network, Pass};

/// A model that is not trained.
#[derive(Clone, Debug)]
pub(crate) struct Teacher {
    network: Network,
    reduction: Reduction,
    weight: f64,
}

impl Teacher {
    pub(crate) fn new(
        recipe: &DistillRecipe,
        network: &Network,
        facts: &ModelFacts,
    ) -> Result<Self, TrainError> {
        let method: Method =
            recipe.merge.parse().map_err(|error| TrainError::Data(format!("distill.merge: {error}")))?;
        if method.has_weights() {
            return Err(TrainError::Data(format!(
                "distill.merge is {method}, which has weights of its own that nobody has trained; use none"
            )));
        }
        Ok(Self {
            network: network.valid(),
            reduction: Reduction::bind(method, facts)?,
            weight: recipe.weight,
        })
    }

    /// What the teacher says of a batch mixed with its targets, `[B, classes]`, neither tracked, → `[B, classes]`.
    pub(crate) fn targets(&self, input: Input, targets: Tensor<2>) -> Tensor<2> {
        let said = softmax(self.network.run(input, Pass::head(&self.reduction)).logits, 1);
        if self.weight == 1.0 { said } else { targets * (1.0 - self.weight) + said * self.weight }
    }
}
