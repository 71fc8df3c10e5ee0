//! Fits the weights of foresight ([`tokmerge_merge::foresight`]) to a model, by what it attends to on some images.
//!
//! Two passes over the images, without labels and without gradients:
//!
//! 1. In every layer the logarithm of the attention that the class token pays to each patch in all later layers, as a
//!    mean over layers and heads, is fitted by ridge regression to the patch's norm. Of a model without a class token it is
//!    the attention of all tokens.
//! 2. In every layer alone the cheapest pairs merge, and how far the output moves says what a unit of the foretold cost does
//!    in the end. A limit that is the same in all layers then weighs what is lost against what is saved: biases are shifted
//!    by half the logarithm of loss over multiply-adds saved.
//!
//! By theory it would be the whole logarithm. Half of it did better on the ViT-Ti, as pairs that are alone in a layer are a
//! mild case of what merges together; both numbers are ours.

mod damage;
mod regression;

use crate::Images;
use burn::tensor::Device;
use regression::Regression;
use tokmerge_merge::foresight::Importance;
use tokmerge_merge::{BindError, Leading, Merger, Mergers, Method};
use tokmerge_models::{Model, NotFinite};

/// What was fitted, and how well.
#[derive(Clone, Debug)]
pub struct Foreseen {
    /// A map for every block but the last.
    pub mergers: Mergers,
    /// Of each, the part of the variance of the logarithm of later attention that it explains.
    pub explained: Vec<f64>,
    /// How much larger a limit each layer would have alone; their geometric mean is 1.
    pub tolerance: Vec<f64>,
}

/// Why weights cannot be fitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForesightError {
    /// The model cannot merge, or not in this way.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// An output is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// There is nothing to foretell.
    #[error("foresight needs a model of at least 2 layers, and this one has {0}; take another method")]
    Depth(usize),
    /// The images are all alike.
    #[error("attention in layer {0} says nothing about tokens: all are alike; give other images, or more")]
    Alike(usize),
}

/// How much of the logarithm of loss over saving is made up for.
const MADE_UP: f64 = 0.5;

/// Fits weights to a model on images. Images that cannot be read are none of them.
///
/// # Errors
/// When the model cannot merge, an output is not finite, or tokens are all alike.
pub fn foresee(model: &Model, images: &Images) -> Result<Foreseen, ForesightError> {
    let depth = model.config().depth();
    if depth < 2 {
        return Err(ForesightError::Depth(depth));
    }
    let method: Method = "foresight:limit=1".parse().expect("a spec");
    model.bind(&method)?;
    let by_class = model.facts().leading == Leading::ClassToken;
    let mut regression = Regression::new(depth, by_class);
    for batch in images.batches() {
        regression.add(model, batch)?;
    }
    let fits = regression.solve().map_err(|layer| ForesightError::Alike(layer + 1))?;
    let device = Device::default();
    let maps = |shift: &dyn Fn(usize) -> f64| -> Vec<Importance> {
        let map = |(layer, fit): (usize, &regression::Fit)| {
            let weight: Vec<f32> = fit.weight.iter().map(|weight| *weight as f32).collect();
            Importance::fitted(&weight, (fit.bias + shift(layer)) as f32, &device)
        };
        fits.iter().enumerate().map(map).collect()
    };
    let damages = damage::measure(model, images, &maps(&|_| 0.0))?;
    let tolerance = tolerances(&damages, depth);
    let fitted = maps(&|layer| -tolerance[layer].ln());
    let at = fitted.into_iter().map(Merger::Importance).enumerate().collect();
    Ok(Foreseen {
        mergers: Mergers { at },
        explained: fits.iter().map(|fit| fit.explained).collect(),
        tolerance,
    })
}

/// From what a unit of cost does in each layer, how much larger its limit is to be; where nothing was measured, as its
/// neighbour before.
fn tolerances(damages: &[Option<f64>], depth: usize) -> Vec<f64> {
    // A token that is gone after the attention of a block saves its MLP, two thirds of a block's linear layers, and all that
    // follows.
    let saved = |layer: usize| (depth - layer) as f64 - 1.0 / 3.0;
    let wanted = |(layer, damage): (usize, &Option<f64>)| {
        damage.filter(|damage| *damage > 0.0).map(|damage| MADE_UP * (saved(layer) / damage).ln())
    };
    let logs: Vec<Option<f64>> = damages.iter().enumerate().map(wanted).collect();
    let mut last = logs.iter().flatten().next().copied().unwrap_or(0.0);
    let filled: Vec<f64> = logs
        .iter()
        .map(|log| {
            last = log.unwrap_or(last);
            last
        })
        .collect();
    let mean = filled.iter().sum::<f64>() / filled.len().max(1) as f64;
    filled.iter().map(|log| (log - mean).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::tolerances;

    #[test]
    fn limits_grow_with_the_root_of_what_is_saved_over_what_is_lost() {
        // Of three layers two merge: 8/3 and 5/3 blocks are saved; the first loses 16 times as much of a unit.
        let found = tolerances(&[Some(16.0), Some(1.0)], 3);
        let ratio = ((8.0 / 3.0 / 16.0) / (5.0 / 3.0f64)).sqrt();
        assert!((found[0] / found[1] - ratio).abs() < 1e-12, "{found:?}");
        assert!((found[0] * found[1] - 1.0).abs() < 1e-12, "{found:?}");
        // Where nothing merged there is nothing to go by.
        let found = tolerances(&[None, Some(1.0), None, Some(0.0)], 5);
        assert!(found.iter().all(|one| (one - 1.0).abs() < 1e-12), "{found:?}");
        assert_eq!(tolerances(&[None], 2), [1.0]);
    }
}
