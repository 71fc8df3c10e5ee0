//! transformers' image towers of two: CLIP, Chinese-CLIP, AltCLIP, SigLIP, SigLIP 2.
//!
//! | transformers (`vision_model.` or nothing in front) | ours |
//! |---|---|
//! | `embeddings.class_embedding` `[C]`, `embeddings.position_embedding.weight` `[N, C]` | `cls_token`, `pos_embed` |
//! | `embeddings.patch_embedding.*`; of SigLIP 2 for any size `[C, P * P * 3]` | `patch_embed.proj.*` |
//! | `pre_layrnorm.*` (sic), `post_layernorm.*` | `norm_pre.*`, `norm.*` |
//! | `encoder.layers.{i}.layer_norm1.*`, `layer_norm2.*`, `mlp.fc1.*`, `mlp.fc2.*` | `blocks.{i}.norm1.*`, `norm2.*`, `mlp.fc1.*`, `mlp.fc2.*` |
//! | `....self_attn.{q,k,v}_proj.*` stacked, `self_attn.out_proj.*` | `blocks.{i}.attn.qkv.*`, `attn.proj.*` |
//! | `head.probe`, `head.layernorm.*`, `head.mlp.*` | `attn_pool.latent`, `attn_pool.norm.*`, `attn_pool.mlp.*` |
//! | `head.attention.in_proj_*`: first third and the rest; `out_proj.*` | `attn_pool.q.*` and `kv.*`; `attn_pool.proj.*` |
//! | `visual_projection.weight`, `classifier.*` (outside `vision_model.`) | `projection.weight`, `head.*` |

use super::{
    KeyMap, Names, Part, Role, Source, Transform, block_path, module_and_tensor, one, qkv_bias, rows, stack,
    with_rank,
};

pub(super) struct HuggingFaceClip;

/// Colours of the pictures of these towers.
const COLOURS: usize = 3;

impl KeyMap for HuggingFaceClip {
    fn name(&self) -> &'static str {
        "transformers' CLIP and SigLIP"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["embeddings.patch_embedding.weight"]
    }

    fn bases(&self) -> &'static [&'static str] {
        &["vision_model."]
    }

    fn recognises(&self, file: &Names) -> bool {
        block_of(file, "0").is_some()
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let at = |name: &str| format!("{}{name}", file.base());
        if let Some((index, rest)) = block_path(path) {
            return block(&block_of(file, index)?, rest, file);
        }
        if let Some(rest) = path.strip_prefix("attn_pool.") {
            return pool(&at("head"), rest, file);
        }
        let (module, tensor) = module_and_tensor(path);
        match (module, tensor) {
            ("", "cls_token") => with_rank(file, at("embeddings.class_embedding"), 3),
            ("", "pos_embed") => with_rank(file, at("embeddings.position_embedding.weight"), 3),
            ("patch_embed.proj", "weight") => patches(file, at("embeddings.patch_embedding.weight")),
            ("patch_embed.proj", _) => one(file, at(&format!("embeddings.patch_embedding.{tensor}"))),
            ("norm_pre", _) => one(file, at(&format!("pre_layrnorm.{tensor}"))),
            ("norm", _) => one(file, at(&format!("post_layernorm.{tensor}"))),
            ("projection", _) => one(file, format!("visual_projection.{tensor}")),
            ("head", _) => one(file, format!("classifier.{tensor}")),
            _ => None,
        }
    }

    fn role(&self, name: &str, file: &Names) -> Role {
        match name.split('.').next() {
            Some("classifier") => return Role::Head,
            Some("text_model" | "text_projection") => return Role::Ignored,
            _ => {}
        }
        // Classifiers of transformers average tokens: neither a pool of attention nor CLIP's last norm is read.
        let is_unread = |inside: &str| inside.starts_with("head.") || inside.starts_with("post_layernorm.");
        match name.strip_prefix(file.base()) {
            Some(inside) if is_unread(inside) && self.head(file).is_some() => Role::Ignored,
            _ => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "classifier.weight")
    }
}

/// The kernel `[C, 3, P, P]` that cuts patches. Where patches come cut already, it is a matrix over their rows, columns
/// and colours.
fn patches(file: &Names, name: String) -> Option<Source> {
    let [channels, pixels] = *file.shape(&name)? else { return one(file, name) };
    let side = (pixels / COLOURS).isqrt();
    let source = Source::tensor(name).then(Transform::Reshape(vec![channels, side, side, COLOURS]));
    Some(source.then(Transform::Permute(vec![0, 3, 1, 2])))
}

/// Where a block is. AltCLIP's files say `layer`.
pub(super) fn block_of(file: &Names, index: &str) -> Option<String> {
    let places = ["encoder.layers", "encoder.layer"].map(|blocks| format!("{}{blocks}.{index}", file.base()));
    places.into_iter().find(|place| file.has(&format!("{place}.layer_norm1.weight")))
}

/// A parameter of a block at `block`.
pub(super) fn block(block: &str, path: &str, file: &Names) -> Option<Source> {
    let (module, tensor) = module_and_tensor(path);
    let qkv = || ["q_proj", "k_proj", "v_proj"].map(|part| format!("{block}.self_attn.{part}.{tensor}"));
    let theirs = match (module, tensor) {
        ("attn.qkv", "weight") => return stack(file, qkv()),
        ("attn.qkv", "bias") => {
            let [q, k, v] = qkv();
            return qkv_bias(file, q, k, v);
        }
        ("norm1", _) => "layer_norm1",
        ("norm2", _) => "layer_norm2",
        ("attn.proj", _) => "self_attn.out_proj",
        ("mlp.fc1" | "mlp.fc2", _) => module,
        _ => return None,
    };
    one(file, format!("{block}.{theirs}.{tensor}"))
}

/// A parameter of the attention pool at `head`.
fn pool(head: &str, path: &str, file: &Names) -> Option<Source> {
    let (module, tensor) = module_and_tensor(path);
    let name = match (module, tensor) {
        ("", "latent") => format!("{head}.probe"),
        ("proj", _) => format!("{head}.attention.out_proj.{tensor}"),
        ("norm", _) => format!("{head}.layernorm.{tensor}"),
        ("mlp.fc1" | "mlp.fc2", _) => format!("{head}.{module}.{tensor}"),
        ("q" | "kv", _) => {
            let name = format!("{head}.attention.in_proj_{tensor}");
            let outputs = *file.shape(&name)?.first()?;
            let range = if module == "q" { 0..outputs / 3 } else { outputs / 3..outputs };
            return Some(Source::stack(vec![Part::Slice { name, dim: 0, range }]));
        }
        _ => return None,
    };
    one(file, name)
}
