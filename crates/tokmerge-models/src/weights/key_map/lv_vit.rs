//! LV-ViT's own names (TokenLabeling): timm's, with a stem of convolutions and a second head for every patch.

use super::{KeyMap, Names, Role, Source, one, rows};

pub(super) struct LvVit;

impl KeyMap for LvVit {
    fn name(&self) -> &'static str {
        "LV-ViT"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["patch_embed.conv1.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.has("patch_embed.proj.weight") && file.has("blocks.0.attn.qkv.weight")
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        one(file, path.to_owned())
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        match name.split('.').next() {
            Some("head" | "aux_head") => Role::Head,
            _ => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "head.weight")
    }
}
