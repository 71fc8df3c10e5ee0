//! Models of texts, and of questions about pictures, as we save them: nobody else has names for all of their parts.

use super::{KeyMap, Names, Role, Source, one, rows};

pub(super) struct Texts;

impl KeyMap for Texts {
    fn name(&self) -> &'static str {
        "our own of texts"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["token_embed"]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.has("blocks.0.attn.qkv.weight")
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        one(file, path.to_owned())
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        match name.split('.').next() {
            Some("head" | "head_fc" | "head_norm") => Role::Head,
            _ => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "head.weight")
    }
}
