//! `clip`, `chinese_clip`, `altclip`, `metaclip_2` and their image towers alone.

use super::vit::Defaults;
use super::{DescribeError, Given, Reader};
use crate::families::vit::{NormPlace, Pool, VitConfig};
use tokmerge_ops::Activation;

/// CLIP's image tower: a norm before the first block, patches without a bias, QuickGELU unless the file says otherwise, and
/// a projection of the class token in models of both towers.
pub(super) fn clip(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let vision = &given.vision;
    let mut config = given.plain(Defaults { patch: 32, eps: 1e-5, ..Defaults::BASE }, 1)?;
    config.patch_bias = false;
    config.pre_norm = true;
    config.block.mlp.activation = vision.activation("hidden_act", Activation::QuickGelu)?;
    config.block.mlp.hidden = given.intermediate_size(3072)?;
    config.projection = projection(given)?;
    if config.num_classes > 0 {
        // transformers' classifier averages patches that no norm has seen.
        (config.pool, config.norm_place) = (Pool::Average, NormPlace::None);
    }
    Ok(config)
}

/// Outputs of the projection, which models of both towers have, and towers that say so.
fn projection(given: &Given<'_>) -> Result<Option<usize>, DescribeError> {
    // In the file of both towers it is a field beside `vision_config`.
    let is_tower = given.config.model_type.ends_with("_vision_model");
    let default = if given.config.model_type == "altclip" { 768 } else { 512 };
    let inside = given.vision.channels("projection_dim", default)?;
    let width = match is_tower {
        true => inside,
        false => Reader::new(given.config.fields()?).channels("projection_dim", default)?,
    };
    let is_projected = !is_tower || given.has_class("WithProjection");
    let is_projected = given.num_classes() == 0 && given.has_parameter("projection.weight", is_projected);
    Ok(is_projected.then_some(width))
}
