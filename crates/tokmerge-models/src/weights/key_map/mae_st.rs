//! The spatiotemporal MAE's own names: timm's, with queries, keys and values apart.
//!
//! | reference | ours |
//! |---|---|
//! | `blocks.{i}.attn.{q,k,v}.*`, stacked | `blocks.{i}.attn.qkv.*` |

use super::{KeyMap, Names, Role, Source, block_path, one, rows, stack};

pub(super) struct MaeSt;

impl KeyMap for MaeSt {
    fn name(&self) -> &'static str {
        "spatiotemporal MAE"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["patch_embed.proj.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.shape("patch_embed.proj.weight").is_some_and(|shape| shape.len() == 5)
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let parts = |tensor: &str| {
            let (index, _) = block_path(path)?;
            stack(file, ["q", "k", "v"].map(|part| format!("blocks.{index}.attn.{part}.{tensor}")))
        };
        let apart = match block_path(path) {
            Some((_, "attn.qkv.weight")) => parts("weight"),
            Some((_, "attn.qkv.bias")) => parts("bias"),
            _ => None,
        };
        apart.or_else(|| one(file, path.to_owned()))
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        match name.split_once('.').map_or(name, |(module, _)| module) {
            "head" => Role::Head,
            module if module.starts_with("decoder_") => Role::Ignored,
            _ => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "head.weight")
    }
}
