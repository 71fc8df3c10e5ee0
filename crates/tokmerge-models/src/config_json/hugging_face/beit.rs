//! `beit` and `data2vec-vision`.

use super::vit::Defaults;
use super::{DescribeError, Given};
use crate::blocks::QkvBias;
use crate::families::vit::{NormPlace, Pool, VitConfig};
use crate::positions::{Absolute, Relative};

/// BEiT: positions by tables of pairs, per block or shared, queries and values with a bias, and the mean of the patches
/// through a norm of the pooler's own.
pub(super) fn beit(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let vision = &given.vision;
    let mut config = given.plain(Defaults::BASE, 1)?;
    config.block.mlp.hidden = given.intermediate_size(3072)?;
    config.block.qkv_bias = QkvBias::QueryValue;
    let scale = vision.field("layer_scale_init_value").number("layer_scale_init_value", 0.1, 0.0..=1e3)?;
    config.block.layer_scale = (scale > 0.0).then_some(scale);
    if !vision.flag("use_absolute_position_embeddings", false)? {
        config.positions.absolute = Absolute::None;
    }
    let per_block = vision.flag("use_relative_position_bias", false)?;
    let shared = vision.flag("use_shared_relative_position_bias", false)?;
    config.positions.relative = match (per_block, shared) {
        (false, false) => Relative::None,
        (true, false) => Relative::PerBlock,
        (false, true) => Relative::Shared,
        (true, true) => {
            let field = "use_shared_relative_position_bias";
            let reason = "is true beside `use_relative_position_bias`; one of the two is understood";
            return Err(vision.field(field).refuse(field, reason).into());
        }
    };
    if config.positions.relative != Relative::None {
        let (trained, patch) = (vision.sides("image_size", 224)?, config.patch_size);
        let grid = (trained.0 / patch.0, trained.1 / patch.1);
        config.positions.table_grid = Some(grid);
    }
    if vision.flag("use_mean_pooling", true)? {
        config.pool = Pool::Average;
        // Pre-training has no pooler: its norm stands on all tokens. Nor has data2vec's bare model, which has none.
        let has_pooler = given.config.model_type == "beit" || config.num_classes > 0;
        config.norm_place = match given.has_parameter("fc_norm.weight", has_pooler) {
            true => NormPlace::AfterPool,
            false if given.has_parameter("norm.weight", false) => NormPlace::BeforePool,
            false => NormPlace::None,
        };
    }
    Ok(config)
}
