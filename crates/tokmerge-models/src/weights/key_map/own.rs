//! Names that are our own paths: of models that we save ourselves as nobody else has names for all of their parts, and of
//! those whose authors' names we took.

use super::{KeyMap, Names, Role, Source, one, rows};

pub(super) struct OwnPaths {
    name: &'static str,
    anchors: &'static [&'static str],
    /// What else a file of it has.
    has: &'static [&'static str],
    /// The classifier's weight.
    head: &'static str,
    /// What the names of the head's tensors begin with.
    heads: &'static [&'static str],
    /// What a file holds although it follows from the shape.
    ignored: &'static [&'static str],
}

/// LV-ViT (TokenLabeling): timm's names, with a stem of convolutions and a second head for every patch.
pub(super) const LV_VIT: OwnPaths = OwnPaths {
    name: "LV-ViT",
    anchors: &["patch_embed.conv1.weight"],
    has: &["patch_embed.proj.weight", "blocks.0.attn.qkv.weight"],
    head: "head.weight",
    heads: &["head.", "aux_head."],
    ignored: &[],
};

/// T2T-ViT: timm's names, with the stages that make tokens of tokens in front. Its positions are sines.
pub(super) const T2T_VIT: OwnPaths = OwnPaths {
    name: "T2T-ViT",
    anchors: &["tokens_to_token.project.weight"],
    has: &["blocks.0.attn.qkv.weight"],
    head: "head.weight",
    heads: &["head."],
    ignored: &["pos_embed"],
};

/// Models of texts, and of questions about pictures.
pub(super) const TEXTS: OwnPaths = OwnPaths {
    name: "our own of texts",
    anchors: &["token_embed"],
    has: &["blocks.0.attn.qkv.weight"],
    head: "head.weight",
    heads: &["head.", "head_fc.", "head_norm."],
    ignored: &[],
};

/// PaLI: a tower of images in front of a language model.
pub(super) const PALI: OwnPaths = OwnPaths {
    name: "PaLI",
    anchors: &["tower.patch_embed.proj.weight"],
    has: &["projector.weight", "text.token_embed"],
    head: "text.head.weight",
    heads: &["text.head."],
    ignored: &[],
};

impl KeyMap for OwnPaths {
    fn name(&self) -> &'static str {
        self.name
    }

    fn anchors(&self) -> &'static [&'static str] {
        self.anchors
    }

    fn recognises(&self, file: &Names) -> bool {
        self.has.iter().all(|name| file.has(name))
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        one(file, path.to_owned())
    }

    fn role(&self, name: &str, _: &Names) -> Role {
        let is_of = |beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
        if is_of(self.heads) {
            Role::Head
        } else if is_of(self.ignored) {
            Role::Ignored
        } else {
            Role::Weight
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, self.head)
    }
}
