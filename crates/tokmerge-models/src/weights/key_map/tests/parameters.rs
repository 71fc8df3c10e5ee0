//! The parameters of a model by path and shape, from its configuration.

use crate::blocks::{Gate, QkNorm, QkvBias};
use crate::families::vit::{ClassToken, DistillationHead, NormPlace, Pool, VitConfig};
use crate::positions::{Absolute, Frequencies, Relative};

type Parameters = Vec<(String, Vec<usize>)>;

/// All parameters of a model without experts whose halves of a block follow each other.
pub(super) fn parameters(config: &VitConfig) -> Parameters {
    let block = &config.block;
    let (channels, grid) = (block.channels, config.grid());
    let mut all = Parameters::new();
    let mut add = |path: &str, shape: &[usize]| all.push((path.to_owned(), shape.to_vec()));
    add("patch_embed.proj.weight", &[channels, config.in_chans, config.patch_size.0, config.patch_size.1]);
    if config.patch_bias {
        add("patch_embed.proj.bias", &[channels]);
    }
    if config.class_token != ClassToken::Absent {
        add("cls_token", &[1, 1, channels]);
    }
    if matches!(config.class_token, ClassToken::Distilled(_)) {
        add("dist_token", &[1, 1, channels]);
    }
    if config.reg_tokens > 0 {
        add("reg_token", &[1, config.reg_tokens, channels]);
    }
    if let Absolute::Learned { prefix, .. } = config.positions.absolute {
        add("pos_embed", &[1, prefix + grid.0 * grid.1, channels]);
    }
    if let Some(Frequencies::Mixed { .. }) =
        config.positions.rotary.as_ref().map(|rotary| &rotary.frequencies)
    {
        add("rope.freqs", &[2, config.depth, block.heads, block.head_dim / 2]);
    }
    if config.positions.relative == Relative::Shared {
        add("rel_pos_bias.relative_position_bias_table", &[table_rows(grid), block.heads]);
    }
    let classes = config.num_classes;
    let pooled = if config.pool == Pool::TokenAndAverage { 2 * channels } else { channels };
    let embedding = config.projection.unwrap_or(pooled);
    let mut linear = |path: &str, outputs: usize, inputs: usize, bias: bool| {
        add(&format!("{path}.weight"), &[outputs, inputs]);
        if bias {
            add(&format!("{path}.bias"), &[outputs]);
        }
    };
    if config.pre_logits.is_some() {
        linear("pre_logits", pooled, pooled, true);
    }
    if let Some(width) = config.projection {
        linear("projection", width, pooled, config.projection_bias);
    }
    if classes > 0 {
        linear("head", classes, embedding, config.head_bias);
    }
    if classes > 0 && config.class_token == ClassToken::Distilled(DistillationHead::Averaged) {
        linear("head_dist", classes, embedding, config.head_bias);
    }
    if let Pool::Attention(pool) = config.pool {
        linear("attn_pool.q", channels, channels, true);
        linear("attn_pool.kv", 2 * channels, channels, true);
        linear("attn_pool.proj", channels, channels, true);
        if let Some(hidden) = pool.mlp_hidden {
            linear("attn_pool.mlp.fc1", hidden, channels, true);
            linear("attn_pool.mlp.fc2", channels, hidden, true);
        }
        if pool.norm {
            norm(&mut all, "attn_pool.norm", channels);
        }
        all.push(("attn_pool.latent".to_owned(), vec![1, 1, channels]));
    }
    for (name, is_there) in [
        ("norm_pre", config.pre_norm),
        ("norm", config.norm_place == NormPlace::BeforePool),
        ("fc_norm", config.norm_place == NormPlace::AfterPool),
    ] {
        if is_there {
            norm(&mut all, name, channels);
        }
    }
    (0..config.depth).for_each(|layer| of_block(&mut all, config, &format!("blocks.{layer}")));
    all
}

fn of_block(all: &mut Parameters, config: &VitConfig, at: &str) {
    let block = &config.block;
    let (channels, width) = (block.channels, block.heads * block.head_dim);
    let mut add = |path: &str, shape: &[usize]| all.push((format!("{at}.{path}"), shape.to_vec()));
    add("attn.qkv.weight", &[3 * width, channels]);
    match block.qkv_bias {
        QkvBias::No => {}
        QkvBias::All => add("attn.qkv.bias", &[3 * width]),
        QkvBias::QueryValue => {
            add("attn.q_bias", &[width]);
            add("attn.v_bias", &[width]);
        }
    }
    if config.positions.relative == Relative::PerBlock {
        add("attn.relative_position_bias_table", &[table_rows(config.grid()), block.heads]);
    }
    if block.layer_scale.is_some() {
        add("ls1.gamma", &[channels]);
        add("ls2.gamma", &[channels]);
    }
    let mlp = block.mlp;
    let gated = if mlp.gate == Gate::None { mlp.hidden } else { 2 * mlp.hidden };
    for (path, outputs, inputs, bias) in [
        ("attn.proj", channels, width, block.proj_bias),
        ("mlp.fc1", gated, channels, mlp.bias),
        ("mlp.fc2", channels, mlp.hidden, mlp.bias),
    ] {
        add(&format!("{path}.weight"), &[outputs, inputs]);
        if bias {
            add(&format!("{path}.bias"), &[outputs]);
        }
    }
    if let QkNorm::PerHead(_) = block.qk_norm {
        norm(all, &format!("{at}.attn.q_norm"), block.head_dim);
        norm(all, &format!("{at}.attn.k_norm"), block.head_dim);
    }
    for (name, width, is_there) in [
        ("norm1", channels, true),
        ("norm2", channels, true),
        ("attn.norm", width, block.attn_norm),
        ("mlp.norm", mlp.hidden, mlp.norm),
    ] {
        if is_there {
            norm(all, &format!("{at}.{name}"), width);
        }
    }
}

fn norm(all: &mut Parameters, path: &str, width: usize) {
    all.extend(["weight", "bias"].map(|tensor| (format!("{path}.{tensor}"), vec![width])));
}

/// Distances of two patches, and three for the class token.
fn table_rows((rows, columns): (usize, usize)) -> usize {
    (2 * rows - 1) * (2 * columns - 1) + 3
}
