//! T2T-ViT's own names: timm's, with the stages that make tokens of tokens in front. Its positions are sines, which a
//! file holds although they follow from the shape.

use super::{KeyMap, Names, Role, Source, one, rows};

pub(super) struct T2tVit;

impl KeyMap for T2tVit {
    fn name(&self) -> &'static str {
        "T2T-ViT"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["tokens_to_token.project.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.has("blocks.0.attn.qkv.weight")
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        one(file, path.to_owned())
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        match name.split('.').next() {
            Some("head") => Role::Head,
            Some("pos_embed") => Role::Ignored,
            _ => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "head.weight")
    }
}
