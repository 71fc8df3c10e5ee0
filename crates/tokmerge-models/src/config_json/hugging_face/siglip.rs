//! `siglip`, `siglip2` and their image towers alone.

use super::vit::Defaults;
use super::{DescribeError, Given};
use crate::families::vit::{AttentionPoolConfig, ClassToken, Pool, Sizes, VitConfig};
use crate::positions::{Absolute, Resampling};
use tokmerge_ops::Activation;

/// SigLIP's image tower without what makes one vector of its patches, their average instead: no class token.
pub(super) fn tower(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let mut config = given.plain(Defaults { eps: 1e-6, ..Defaults::BASE }, 0)?;
    config.class_token = ClassToken::Absent;
    config.block.mlp.activation = given.vision.activation("hidden_act", Activation::GeluTanh)?;
    config.block.mlp.hidden = given.intermediate_size(3072)?;
    config.pool = Pool::Average;
    Ok(config)
}

/// SigLIP's image tower: a learned query gathers the patches.
pub(super) fn siglip(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let vision = &given.vision;
    let mut config = tower(given)?;
    let has_head = vision.flag("vision_use_head", true)?;
    config.pool = if config.num_classes > 0 {
        config.pool
    } else if has_head {
        let mlp_hidden = Some(config.block.mlp.hidden);
        Pool::Attention(AttentionPoolConfig {
            heads: config.block.heads,
            mlp_hidden,
            norm: true,
            prefix: false,
            query_projection: true,
        })
    } else {
        let reason = "must be true: without its head the tower has no pooled output";
        return Err(vision.field("vision_use_head").refuse("vision_use_head", reason).into());
    };
    config.sizes = sizes(given)?;
    if let Sizes::Own { most } = config.sizes {
        let side = most.isqrt();
        let (height, width) = config.patch_size;
        config.img_size = (side * height, side * width);
        config.positions.absolute = Absolute::Learned {
            prefix: 0,
            resampling: Resampling::BilinearAntialias,
            grid: Some((side, side)),
        };
    }
    Ok(config)
}

/// SigLIP 2 takes images of any proportions, unless its file cuts patches by a convolution as SigLIP does.
fn sizes(given: &Given<'_>) -> Result<Sizes, DescribeError> {
    if !given.config.model_type.starts_with("siglip2") {
        return Ok(Sizes::One);
    }
    let most = given.vision.field("num_patches").size("num_patches", 256, 1 << 20)?;
    let takes_patches = match given.weights {
        Some(weights) => {
            weights.source("patch_embed.proj.weight").is_some_and(|source| !source.then.is_empty())
        }
        None => given.vision.field("image_size").get("image_size").is_none(),
    };
    if !takes_patches {
        return Ok(Sizes::One);
    }
    if most.isqrt().pow(2) != most {
        let reason = format!("must be a square number, not {most}");
        return Err(given.vision.field("num_patches").refuse("num_patches", reason).into());
    }
    Ok(Sizes::Own { most })
}
