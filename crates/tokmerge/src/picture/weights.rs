//! How much every patch weighs in its token, as a picture (soft token merging, Figure 8).

use super::{PictureError, Seen, caption, mixture_of, nothing_merged, see};
use std::fmt;
use std::path::Path;
use tokmerge_data::Rgb;
use tokmerge_merge::{Mixture, Reduction};
use tokmerge_models::Model;
use tokmerge_viz::{Fill, Style, save_over, shaded};

/// What a picture of weights shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// Patches of the image.
    pub patches: usize,
    /// Tokens that they were mixed into, prefix tokens not included.
    pub tokens: usize,
    /// The smallest and the largest weight of a patch in the token where it weighs most.
    pub range: (f64, f64),
}

/// As the caption of a picture says it.
impl fmt::Display for Weighed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { patches, tokens, range: (least, most) } = self;
        write!(
            f,
            "{patches} patches mixed into {tokens} tokens; each is as light as it weighs in the token where it weighs most, \
             from 0 (dark) to {most:.3} (light); the least is {least:.3}"
        )
    }
}

/// Draws an image, as the model sees it, beside its patches in the colour of their weights, and writes it as PNG or SVG by
/// the ending of `path`: after `layer` blocks, or all if `None`. The borders are those of tokens, a patch being of the token
/// in which it weighs most.
///
/// # Errors
/// When the method mixes nothing by weights, nothing is mixed until there, the layer does not exist, or the file cannot be
/// written.
pub fn weights_picture(
    model: &Model,
    reduction: &Reduction,
    image: &Rgb,
    layer: Option<usize>,
    style: &Style,
    path: &Path,
) -> Result<Weighed, PictureError> {
    let method = reduction.method();
    if !method.mixes() {
        return Err(PictureError::NoWeights { merge: method.to_string() });
    }
    let Seen { seen, pixels, patches } = see(model, reduction, image, layer)?;
    let mixture =
        mixture_of(model, reduction, pixels, layer)?.ok_or_else(|| nothing_merged(reduction, layer))?;
    let Weights { groups, weights } = weights(&mixture, model.facts().prefix);
    let least = weights.iter().copied().fold(f64::INFINITY, f64::min);
    let most = weights.iter().copied().fold(0.0, f64::max);
    let shares: Vec<f64> = weights.iter().map(|weight| weight / most.max(f64::MIN_POSITIVE)).collect();
    let drawn = Weighed { patches: groups.len(), tokens: tokens(&mixture, model), range: (least, most) };
    let under = shaded(&seen, patches, &shares)?;
    let style = Style { fill: Fill::Original, ..*style };
    let text = caption(model, reduction, layer, &drawn);
    save_over(path, (&seen, &under), patches, &groups, &style, &text)?;
    Ok(drawn)
}

/// Of every patch the token in which it weighs most, and what it weighs there.
struct Weights {
    groups: Vec<Option<u32>>,
    weights: Vec<f64>,
}

fn weights(mixture: &Mixture, prefix: usize) -> Weights {
    let of = |patch: usize| match mixture.largest(patch) {
        Some(largest) => (Some(largest.output as u32), f64::from(mixture.weights(largest.output)[patch])),
        None => (None, 0.0),
    };
    let (groups, weights) = (prefix..mixture.inputs()).map(of).unzip();
    Weights { groups, weights }
}

/// Tokens that patches went into.
pub(super) fn tokens(mixture: &Mixture, model: &Model) -> usize {
    let prefix = model.facts().prefix;
    let outputs = 0..mixture.outputs();
    outputs.filter(|output| mixture.weights(*output)[prefix..].iter().any(|weight| *weight > 0.0)).count()
}
