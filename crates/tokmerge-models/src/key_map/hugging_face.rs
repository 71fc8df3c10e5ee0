//! Hugging Face's ViT and DeiT (`ViTForImageClassification`, `DeiTForImageClassificationWithTeacher`, ...).
//!
//! | Hugging Face (`vit.`, `deit.` or nothing in front) | ours |
//! |---|---|
//! | `embeddings.cls_token`, `embeddings.distillation_token` | `cls_token`, `dist_token` |
//! | `embeddings.position_embeddings` | `pos_embed` |
//! | `embeddings.patch_embeddings.projection.*` | `patch_embed.proj.*` |
//! | `encoder.layer.{i}.layernorm_before.*`, `layernorm_after.*` | `blocks.{i}.norm1.*`, `norm2.*` |
//! | `encoder.layer.{i}.attention.attention.{query,key,value}.*`, stacked | `blocks.{i}.attn.qkv.*` |
//! | `encoder.layer.{i}.attention.output.dense.*` | `blocks.{i}.attn.proj.*` |
//! | `encoder.layer.{i}.intermediate.dense.*`, `output.dense.*` | `blocks.{i}.mlp.fc1.*`, `fc2.*` |
//! | `layernorm.*` | `norm.*` |
//! | `classifier.*` (DeiT with teacher: `cls_classifier.*`, `distillation_classifier.*`) | `head.*`, `head_dist.*` |

use super::Key;

pub(super) fn recognises(name: &str) -> bool {
    name.ends_with("embeddings.patch_embeddings.projection.weight")
}

pub(super) fn key(path: &str, exists: &dyn Fn(&str) -> bool) -> Key {
    let prefix = ["vit.", "deit.", ""]
        .into_iter()
        .find(|prefix| exists(&format!("{prefix}embeddings.patch_embeddings.projection.weight")))
        .unwrap_or_default();
    let one = |name: String| Key::One(format!("{prefix}{name}"));
    if let Some(rest) = path.strip_prefix("blocks.") {
        return block(rest, prefix).unwrap_or_else(|| one(path.to_owned()));
    }
    let (module, tensor) = path.rsplit_once('.').unwrap_or(("", path));
    match (module, tensor) {
        ("", "cls_token") => one("embeddings.cls_token".to_owned()),
        ("", "dist_token") => one("embeddings.distillation_token".to_owned()),
        ("", "pos_embed") => one("embeddings.position_embeddings".to_owned()),
        ("patch_embed.proj", _) => one(format!("embeddings.patch_embeddings.projection.{tensor}")),
        ("norm", _) => one(format!("layernorm.{tensor}")),
        ("head", _) if exists("cls_classifier.weight") => Key::One(format!("cls_classifier.{tensor}")),
        ("head", _) => Key::One(format!("classifier.{tensor}")),
        ("head_dist", _) => Key::One(format!("distillation_classifier.{tensor}")),
        _ => one(path.to_owned()),
    }
}

fn block(rest: &str, prefix: &str) -> Option<Key> {
    let (index, rest) = rest.split_once('.')?;
    let (module, tensor) = rest.rsplit_once('.')?;
    let name = |theirs: &str| format!("{prefix}encoder.layer.{index}.{theirs}.{tensor}");
    let one = |theirs: &str| Some(Key::One(name(theirs)));
    match module {
        "norm1" => one("layernorm_before"),
        "norm2" => one("layernorm_after"),
        "attn.qkv" => {
            let parts = ["query", "key", "value"].map(|part| name(&format!("attention.attention.{part}")));
            Some(Key::Stacked(parts.to_vec()))
        }
        "attn.proj" => one("attention.output.dense"),
        "mlp.fc1" => one("intermediate.dense"),
        "mlp.fc2" => one("output.dense"),
        _ => None,
    }
}

/// The pooler of a headless model, and the mask token of masked image modelling.
pub(super) fn is_expendable(name: &str) -> bool {
    name.contains("pooler.") || name.ends_with("mask_token")
}

pub(super) fn is_head(name: &str) -> bool {
    ["classifier.", "cls_classifier.", "distillation_classifier."].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::super::{Key, KeyMap};

    #[test]
    fn names_translate() {
        let names = ["vit.embeddings.patch_embeddings.projection.weight", "classifier.weight"];
        let map = KeyMap::detect(names);
        assert_eq!(map, KeyMap::HuggingFace);
        let key = |path: &str| map.key(path, &|name| names.contains(&name));
        assert_eq!(key("pos_embed"), Key::One("vit.embeddings.position_embeddings".to_owned()));
        assert_eq!(key("head.bias"), Key::One("classifier.bias".to_owned()));
        assert_eq!(key("norm.weight"), Key::One("vit.layernorm.weight".to_owned()));
        let Key::Stacked(parts) = key("blocks.3.attn.qkv.bias") else { panic!("queries, keys and values") };
        assert_eq!(parts[1], "vit.encoder.layer.3.attention.attention.key.bias");
        assert_eq!(
            key("blocks.0.mlp.fc2.weight"),
            Key::One("vit.encoder.layer.0.output.dense.weight".to_owned())
        );
        assert_eq!(KeyMap::detect(["blocks.0.norm1.weight"]), KeyMap::Timm);
    }
}
