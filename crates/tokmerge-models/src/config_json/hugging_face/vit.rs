//! `vit`, `deit`, `vit_mae`, `vit_msn`, `ijepa`.

use super::{DescribeError, Given};
use crate::blocks::{BlockConfig, NormConfig, NormKind, QkvBias};
use crate::families::vit::{ClassToken, DistillationHead, Pool, PreLogits, VitConfig};
use crate::positions::{Absolute, PositionConfig, Resampling};
use tokmerge_merge::KeyBias;
use tokmerge_ops::Activation;

/// What stands for fields that a file leaves out.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) channels: usize,
    pub(super) heads: usize,
    /// Side of a patch.
    pub(super) patch: usize,
    /// Of all norms.
    pub(super) eps: f64,
}

impl Defaults {
    /// Those of ViT and most others.
    pub(super) const BASE: Self = Self { channels: 768, heads: 12, patch: 16, eps: 1e-12 };
}

impl Given<'_> {
    /// The model that all of transformers' image encoders share: 12 blocks where nothing else is written, a norm on all
    /// tokens, then the class token. Patches and `prefix` leading tokens have positions.
    pub(super) fn plain(&self, defaults: Defaults, prefix: usize) -> Result<VitConfig, DescribeError> {
        let vision = &self.vision;
        let channels = vision.channels("hidden_size", defaults.channels)?;
        let heads = vision.heads("num_attention_heads", defaults.heads, channels)?;
        let mut block = BlockConfig::new(channels, heads);
        block.norm = NormConfig { kind: NormKind::Layer, eps: vision.eps("layer_norm_eps", defaults.eps)? };
        block.mlp.activation = vision.activation("hidden_act", Activation::Gelu)?;
        let trained = vision.sides("image_size", 224)?;
        let patch_size = vision.sides("patch_size", defaults.patch)?;
        let img_size = self.input_size.unwrap_or(trained);
        let grid = (trained.0 / patch_size.0, trained.1 / patch_size.1);
        let absolute = Absolute::Learned {
            prefix,
            resampling: Resampling::Bicubic,
            grid: (grid != (img_size.0 / patch_size.0, img_size.1 / patch_size.1)).then_some(grid),
        };
        Ok(VitConfig {
            img_size,
            patch_size,
            in_chans: vision.channels("num_channels", 3)?,
            positions: PositionConfig { absolute, ..PositionConfig::learned(prefix) },
            num_classes: self.num_classes(),
            block,
            ..VitConfig::new(patch_size.0, channels, vision.depth("num_hidden_layers", 12)?, heads)
        })
    }

    /// Width of the MLP where the file names it.
    pub(super) fn intermediate_size(&self, default: usize) -> Result<usize, DescribeError> {
        Ok(self.vision.channels("intermediate_size", default)?)
    }

    /// A bias on all of queries, keys and values, or on none.
    pub(super) fn qkv_bias(&self) -> Result<QkvBias, DescribeError> {
        Ok(if self.vision.flag("qkv_bias", true)? { QkvBias::All } else { QkvBias::No })
    }

    /// The dense layer that follows the class token. transformers builds its bare models with it, but many files were
    /// saved without.
    fn pooler(&self, channels: usize) -> Result<Option<PreLogits>, DescribeError> {
        let is_bare = self.config.architectures.is_empty() || self.has_class("Model");
        if !is_bare || self.num_classes() > 0 || !self.has_parameter("pre_logits.weight", is_bare) {
            return Ok(None);
        }
        let width = self.vision.channels("pooler_output_size", channels)?;
        let activation = self.vision.activation("pooler_act", Activation::Tanh)?;
        Ok(Some(PreLogits { width, activation }))
    }

    /// The members of the family of 2021: their own width of the MLP and an eps of 1e-12.
    fn old(&self, eps: f64, prefix: usize) -> Result<VitConfig, DescribeError> {
        let mut config = self.plain(Defaults { eps, ..Defaults::BASE }, prefix)?;
        config.block.mlp.hidden = self.intermediate_size(3072)?;
        config.block.qkv_bias = self.qkv_bias()?;
        Ok(config)
    }
}

pub(super) fn vit(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let mut config = given.old(1e-12, 1)?;
    config.pre_logits = given.pooler(config.block.channels)?;
    Ok(config)
}

pub(super) fn deit(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let mut config = given.old(1e-12, 2)?;
    config.pre_logits = given.pooler(config.block.channels)?;
    let averages = given.has_class("WithTeacher")
        || given.config.architectures.is_empty() && given.has_parameter("head_dist.weight", false);
    let head = if averages { DistillationHead::Averaged } else { DistillationHead::Unread };
    config.class_token = ClassToken::Distilled(head);
    Ok(config)
}

pub(super) fn vit_mae(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let mut config = given.old(1e-12, 1)?;
    config.key_bias = KeyBias::None;
    Ok(config)
}

pub(super) fn vit_msn(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    given.old(1e-6, 1)
}

pub(super) fn ijepa(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let mut config = given.old(1e-12, 0)?;
    config.class_token = ClassToken::Absent;
    config.pool = Pool::Average;
    Ok(config)
}
