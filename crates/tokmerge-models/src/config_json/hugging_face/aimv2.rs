//! `aimv2` and its image tower alone.

use super::vit::Defaults;
use super::{DescribeError, Given, Reader};
use crate::blocks::{Gate, NormConfig, NormKind, QkvBias};
use crate::families::vit::{AttentionPoolConfig, ClassToken, Pool, VitConfig};
use serde_json::json;
use tokmerge_ops::Activation;

/// Those of the large model, the smallest that was published.
const DEFAULTS: Defaults = Defaults { channels: 1024, heads: 8, patch: 14, eps: 1e-5 };
const DEPTH: usize = 24;

/// AIMv2: RMSNorm everywhere, also on the patches, gated MLPs, no class token; a learned query, which is not projected,
/// gathers the patches.
pub(super) fn aimv2(given: &Given<'_>) -> Result<VitConfig, DescribeError> {
    let vision = &given.vision;
    let mut config = given.plain(DEFAULTS, 0)?;
    config.depth = vision.depth("num_hidden_layers", DEPTH)?;
    let biased = vision.flag("qkv_bias", false)?;
    let block = &mut config.block;
    block.norm = NormConfig { kind: NormKind::Rms, eps: vision.eps("rms_norm_eps", DEFAULTS.eps)? };
    block.qkv_bias = if biased { QkvBias::All } else { QkvBias::No };
    block.proj_bias = biased;
    block.mlp.hidden = given.intermediate_size(2816)?;
    block.mlp.activation = vision.activation("hidden_act", Activation::Silu)?;
    (block.mlp.gate, block.mlp.bias) = (Gate::First, vision.flag("mlp_bias", false)?);
    config.patch_norm = Some(block.norm);
    config.class_token = ClassToken::Absent;
    // Models for images of any size have sines in place of learned positions; one without a head has no pooled output.
    vision.field("is_native").only("is_native", &json!(false))?;
    vision.field("use_head").only("use_head", &json!(true))?;
    config.pool = Pool::Attention(AttentionPoolConfig {
        heads: config.block.heads,
        mlp_hidden: None,
        norm: false,
        prefix: false,
        query_projection: false,
    });
    if given.config.model_type == "aimv2" {
        config.projection = Some(Reader::new(given.config.fields()?).channels("projection_dim", 512)?);
    }
    Ok(config)
}
