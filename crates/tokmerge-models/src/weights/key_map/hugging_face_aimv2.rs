//! transformers' AIMv2.
//!
//! | transformers (`vision_model.` or nothing in front) | ours |
//! |---|---|
//! | `embeddings.patch_embed.*`, `embeddings.rms_norm.*` | `patch_embed.proj.*`, `patch_embed.norm.*` |
//! | `embeddings.position_embedding.weight` | `pos_embed` |
//! | `encoder.layers.{i}.rms_norm1`, `rms_norm2` | `blocks.{i}.norm1`, `norm2` |
//! | `encoder.layers.{i}.attention.{q,k,v}_proj.*` stacked, `out_proj.*` | `blocks.{i}.attn.qkv.*`, `proj.*` |
//! | `encoder.layers.{i}.ffn.gate_proj.*` and `up_proj.*` stacked, `down_proj.*` | `blocks.{i}.mlp.fc1.*`, `fc2.*` |
//! | `rms_norm.*` | `norm.*` |
//! | `head.cls_token`, `head.{k,v}_proj.*` stacked, `head.output_proj.*` | `attn_pool.latent`, `kv.*`, `proj.*` |
//! | `visual_projection.*` | `projection.*` |

use super::{
    KeyMap, Names, Part, Role, Source, block_path, module_and_tensor, one, qkv_bias, stack, with_rank,
};

pub(super) struct HuggingFaceAimv2;

impl KeyMap for HuggingFaceAimv2 {
    fn name(&self) -> &'static str {
        "transformers' AIMv2"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["embeddings.patch_embed.weight"]
    }

    fn bases(&self) -> &'static [&'static str] {
        &["vision_model."]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.has(&format!("{}encoder.layers.0.rms_norm1.weight", file.base()))
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let at = |name: &str| format!("{}{name}", file.base());
        if let Some((index, rest)) = block_path(path) {
            return block(&at(&format!("encoder.layers.{index}")), rest, file);
        }
        let (module, tensor) = module_and_tensor(path);
        match (module, tensor) {
            ("", "pos_embed") => with_rank(file, at("embeddings.position_embedding.weight"), 3),
            ("patch_embed.proj", _) => one(file, at(&format!("embeddings.patch_embed.{tensor}"))),
            ("patch_embed.norm", _) => one(file, at(&format!("embeddings.rms_norm.{tensor}"))),
            ("norm", _) => one(file, at(&format!("rms_norm.{tensor}"))),
            ("attn_pool", "latent") => one(file, at("head.cls_token")),
            ("attn_pool.proj", _) => one(file, at(&format!("head.output_proj.{tensor}"))),
            ("attn_pool.kv", _) => {
                let [key, value] = ["k_proj", "v_proj"].map(|part| at(&format!("head.{part}.{tensor}")));
                stack(file, [key, value]).or_else(|| no_bias(tensor, &at("head.output_proj.bias"), file))
            }
            ("projection", _) => one(file, format!("visual_projection.{tensor}")),
            _ => None,
        }
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        match name.split('.').next() {
            Some("text_model" | "text_projection") => Role::Ignored,
            _ => Role::Weight,
        }
    }

    fn head(&self, _file: &Names) -> Option<usize> {
        None
    }
}

/// Zeros in place of the bias of keys and values, as long as another bias says.
fn no_bias(tensor: &str, like: &str, file: &Names) -> Option<Source> {
    let [channels] = *file.shape(like)? else { return None };
    (tensor == "bias").then(|| Source::stack(vec![Part::Zeros(vec![2 * channels])]))
}

fn block(block: &str, path: &str, file: &Names) -> Option<Source> {
    let (module, tensor) = module_and_tensor(path);
    let at = |name: &str| format!("{block}.{name}.{tensor}");
    let qkv = || ["attention.q_proj", "attention.k_proj", "attention.v_proj"].map(at);
    match (module, tensor) {
        ("norm1", _) => one(file, at("rms_norm1")),
        ("norm2", _) => one(file, at("rms_norm2")),
        ("attn.qkv", "weight") => stack(file, qkv()),
        ("attn.qkv", "bias") => {
            let [q, k, v] = qkv();
            qkv_bias(file, q, k, v)
        }
        ("attn.proj", _) => one(file, at("attention.out_proj")),
        ("mlp.fc1", _) => stack(file, ["ffn.gate_proj", "ffn.up_proj"].map(at)),
        ("mlp.fc2", _) => one(file, at("ffn.down_proj")),
        _ => None,
    }
}
