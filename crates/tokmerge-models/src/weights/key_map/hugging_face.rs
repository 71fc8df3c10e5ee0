//! transformers' ViT and its kin: ViT, DeiT, MAE, MSN, I-JEPA, DINOv2 and 3, BEiT, data2vec, AST, VideoMAE. Names as version 4
//! writes them, and as version 5 has them in memory.
//!
//! | transformers (`vit.`, `dinov2.`, ... or nothing in front) | ours |
//! |---|---|
//! | `embeddings.{cls_token, distillation_token, register_tokens, position_embeddings}` | `cls_token`, `dist_token`, `reg_token`, `pos_embed` |
//! | `embeddings.patch_embeddings.projection.*`, `embeddings.patch_embeddings.*` | `patch_embed.proj.*` |
//! | `encoder.layer.{i}.*`, `layers.{i}.*`, `layer.{i}.*` | `blocks.{i}.*` |
//! | `layernorm_before`, `layernorm_after`, `norm1`, `norm2` | `norm1`, `norm2` |
//! | `attention.attention.{query,key,value}.*`, `attention.{q,k,v}_proj.*`, stacked | `attn.qkv.*`, `attn.q_bias`, `attn.v_bias` |
//! | `attention.output.dense.*`, `attention.o_proj.*` | `attn.proj.*` |
//! | `intermediate.dense.*`, `output.dense.*`; `mlp.fc1.*`, `fc2.*`; `mlp.up_proj.*`, `down_proj.*` | `mlp.fc1.*`, `fc2.*` |
//! | `mlp.weights_in.*`, `mlp.gate_proj.*` and `up_proj.*` stacked; `mlp.weights_out.*` | `mlp.fc1.*`; `mlp.fc2.*` |
//! | `layer_scale1.lambda1`, `lambda_1` | `ls1.gamma` |
//! | `layernorm.*`, `norm.*` | `norm.*` |
//! | `pooler.dense.*`, `pooler.layernorm.*` | `pre_logits.*`, `fc_norm.*` |
//! | `classifier.*`, `cls_classifier.*`, `distillation_classifier.*` | `head.*`, `head.*`, `head_dist.*` |

use super::{
    KeyMap, Names, Role, Source, block_path, module_and_tensor, one, qkv_bias, rows, stack, with_rank,
};

pub(super) struct HuggingFace;

/// Modules that hold the encoder.
const BASES: &[&str] = &[
    "vit.",
    "deit.",
    "beit.",
    "dinov2.",
    "dinov2_with_registers.",
    "dinov3_vit.",
    "data2vec_vision.",
    "ijepa.",
    "vit_msn.",
    "videomae.",
    "audio_spectrogram_transformer.",
];

/// Where blocks are.
const BLOCKS: &[&str] = &["encoder.layer.", "layers.", "layer.", "model.layer.", "encoder.layers."];

/// The classifier.
const HEADS: &[&str] = &["classifier", "cls_classifier", "classifier.dense"];

/// Where queries, keys and values are in a block.
const ATTENTIONS: &[(&str, [&str; 3])] = &[
    ("attention.attention.", ["query", "key", "value"]),
    ("attention.", ["q_proj", "k_proj", "v_proj"]),
    ("attention.", ["query", "key", "value"]),
];

impl KeyMap for HuggingFace {
    fn name(&self) -> &'static str {
        "transformers"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["embeddings.patch_embeddings.projection.weight", "embeddings.patch_embeddings.weight"]
    }

    fn bases(&self) -> &'static [&'static str] {
        BASES
    }

    fn recognises(&self, file: &Names) -> bool {
        block_of(file, "0").is_some()
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        if let Some((index, rest)) = block_path(path) {
            return block(&block_of(file, index)?, rest, file);
        }
        let at = |name: &str| format!("{}{name}", file.base());
        let (module, tensor) = module_and_tensor(path);
        match (module, tensor) {
            ("", "cls_token") => with_rank(file, at("embeddings.cls_token"), 3),
            ("", "dist_token") => with_rank(file, at("embeddings.distillation_token"), 3),
            ("", "reg_token") => one(file, at("embeddings.register_tokens")),
            ("", "pos_embed") => one(file, at("embeddings.position_embeddings")),
            ("patch_embed.proj", _) => first(
                file,
                ["embeddings.patch_embeddings.projection", "embeddings.patch_embeddings"]
                    .map(|module| at(&format!("{module}.{tensor}"))),
            ),
            // Outside of the base, VideoMAE normalises what it has pooled.
            ("norm", _) if file.has("fc_norm.weight") => one(file, format!("fc_norm.{tensor}")),
            ("norm", _) => first(file, norms(file).map(|norm| format!("{norm}.{tensor}"))),
            ("head_norm", _) => one(file, format!("classifier.layernorm.{tensor}")),
            ("fc_norm", _) => one(file, at(&format!("pooler.layernorm.{tensor}"))),
            ("pre_logits", _) => one(file, at(&format!("pooler.dense.{tensor}"))),
            ("head", _) => first(file, HEADS.iter().map(|head| format!("{head}.{tensor}"))),
            ("head_dist", _) => one(file, format!("distillation_classifier.{tensor}")),
            ("rel_pos_bias", _) => first(
                file,
                ["encoder.relative_position_bias", "shared_position_bias"]
                    .map(|module| at(&format!("{module}.{tensor}"))),
            ),
            _ => None,
        }
    }

    fn role(&self, name: &str, file: &Names) -> Role {
        match name.split('.').next() {
            Some("classifier" | "cls_classifier" | "distillation_classifier") => return Role::Head,
            // What pre-training predicts with.
            Some("decoder" | "lm_head") => return Role::Ignored,
            _ => {}
        }
        match name.strip_prefix(file.base()) {
            // A classifier stands in place of the pooler.
            Some(inside) if inside.starts_with("pooler.") && self.head(file).is_some() => Role::Ignored,
            Some(inside) if inside.starts_with("rope_embeddings.") => Role::Ignored,
            _ => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        HEADS.iter().find_map(|head| rows(file, &format!("{head}.weight")))
    }
}

fn first(file: &Names, names: impl IntoIterator<Item = String>) -> Option<Source> {
    file.first(names).map(Source::tensor)
}

/// Modules that may be the last norm. BEiT's masked image modelling keeps it outside of the base.
fn norms(file: &Names) -> [String; 3] {
    let base = file.base();
    [format!("{base}layernorm"), format!("{base}norm"), "layernorm".to_owned()]
}

/// Where a block is. `ViTMSNForImageClassification` writes its blocks, but nothing else, without the base.
fn block_of(file: &Names, index: &str) -> Option<String> {
    let bases = [file.base(), ""];
    let mut places =
        bases.iter().flat_map(|base| BLOCKS.iter().map(move |blocks| format!("{base}{blocks}{index}")));
    let is_there = |place: &String| {
        ["norm1.weight", "layernorm_before.weight"].iter().any(|norm| file.has(&format!("{place}.{norm}")))
    };
    places.find(is_there)
}

fn block(block: &str, path: &str, file: &Names) -> Option<Source> {
    let (module, tensor) = module_and_tensor(path);
    let find = |names: &[&str]| first(file, names.iter().map(|name| format!("{block}.{name}.{tensor}")));
    match (module, tensor) {
        ("norm1", _) => find(&["norm1", "layernorm_before"]),
        ("norm2", _) => find(&["norm2", "layernorm_after"]),
        ("attn.qkv", "weight") => attention(block, tensor, file).and_then(|names| stack(file, names)),
        ("attn.qkv", "bias") => attention(block, tensor, file).and_then(|[q, k, v]| qkv_bias(file, q, k, v)),
        ("attn", "q_bias" | "v_bias") if file.has(&format!("{block}.attention.attention.{tensor}")) => {
            one(file, format!("{block}.attention.attention.{tensor}"))
        }
        ("attn", "q_bias") => attention(block, "bias", file).and_then(|[q, ..]| one(file, q)),
        ("attn", "v_bias") => attention(block, "bias", file).and_then(|[.., v]| one(file, v)),
        ("attn", "relative_position_bias_table") => find(&[
            "attention.attention.relative_position_bias",
            "attention.relative_position_bias",
            "relative_position_bias",
        ]),
        ("attn.proj", _) => find(&["attention.output.dense", "attention.o_proj"]),
        ("ls1", "gamma") => {
            first(file, ["layer_scale1.lambda1", "lambda_1"].map(|name| format!("{block}.{name}")))
        }
        ("ls2", "gamma") => {
            first(file, ["layer_scale2.lambda1", "lambda_2"].map(|name| format!("{block}.{name}")))
        }
        ("mlp.fc1", _) => {
            let gated = ["mlp.gate_proj", "mlp.up_proj"].map(|name| format!("{block}.{name}.{tensor}"));
            let plain = ["intermediate.dense", "mlp.fc1", "mlp.weights_in", "mlp.up_proj"];
            stack(file, gated).or_else(|| find(&plain))
        }
        ("mlp.fc2", _) => find(&["output.dense", "mlp.fc2", "mlp.weights_out", "mlp.down_proj"]),
        _ => None,
    }
}

/// The names of a tensor of queries, keys and values.
fn attention(block: &str, tensor: &str, file: &Names) -> Option<[String; 3]> {
    ATTENTIONS.iter().find_map(|(place, parts)| {
        let names = parts.map(|part| format!("{block}.{place}{part}.{tensor}"));
        names.iter().any(|name| file.has(name)).then_some(names)
    })
}
