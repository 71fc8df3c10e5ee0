//! A SigLIP tower, a projector and a T5 in one file, the parts as transformers has them.
//!
//! | the file | ours |
//! |---|---|
//! | `vision_tower.` and what transformers' SigLIP has | `tower.` and what a Vision Transformer has |
//! | `multi_modal_projector.linear.*` | `projector.*` |
//! | `language_model.` and what transformers' T5 has | `text.` and what a Transformer of texts has |
//! | `stm.norm.*`, `stm.{query,key}.weight` | `mergers.soft.0.norm.*`, `mergers.soft.0.{query,key}` |
//!
//! Files of our own have our paths.

use super::hugging_face_clip::HuggingFaceClip;
use super::t5::T5;
use super::{KeyMap, Names, Role, Source, module_and_tensor, one};

/// Parts as transformers has them.
pub(super) struct Pali;

const TOWER: &str = "vision_tower.";
const TOWER_BASE: &str = "vision_model.";
const TEXT: &str = "language_model.";

impl KeyMap for Pali {
    fn name(&self) -> &'static str {
        "PaLI of transformers' parts"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["multi_modal_projector.linear.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        HuggingFaceClip.recognises(&file.within(TOWER, TOWER_BASE)) && T5.recognises(&file.within(TEXT, ""))
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        if let Some(path) = path.strip_prefix("tower.") {
            return Some(HuggingFaceClip.source(path, &file.within(TOWER, TOWER_BASE))?.below(TOWER));
        }
        if let Some(path) = path.strip_prefix("text.") {
            return Some(T5.source(path, &file.within(TEXT, ""))?.below(TEXT));
        }
        match module_and_tensor(path) {
            ("projector", tensor) => one(file, format!("multi_modal_projector.linear.{tensor}")),
            ("mergers.soft.0.norm", tensor) => one(file, format!("stm.norm.{tensor}")),
            ("mergers.soft.0", matrix) => one(file, format!("stm.{matrix}.weight")),
            _ => None,
        }
    }

    fn role(&self, name: &str, file: &Names) -> Role {
        match (name.strip_prefix(TOWER), name.strip_prefix(TEXT)) {
            // What makes one vector of all patches.
            (Some(name), _) if name.starts_with("vision_model.head.") => Role::Ignored,
            (_, Some(name)) => T5.role(name, &file.within(TEXT, "")),
            _ => Role::Weight,
        }
    }

    fn head(&self, _: &Names) -> Option<usize> {
        None
    }
}
