//! transformers' text towers of two: CLIP, MetaCLIP 2, SigLIP, SigLIP 2.
//!
//! | transformers (`text_model.` or nothing in front) | ours |
//! |---|---|
//! | `embeddings.{token,position}_embedding.weight` | `{token,pos}_embed` |
//! | `encoder.layers.{i}.*` | `blocks.{i}.*`, as of the image tower |
//! | `final_layer_norm.*` | `norm.*` |
//! | `head.*` of SigLIP; `text_projection.weight` (outside `text_model.`) | `proj.*` |

use super::hugging_face_clip::{block, block_of};
use super::{KeyMap, Names, Role, Source, block_path, module_and_tensor, one};

pub(super) struct HuggingFaceClipText;

impl KeyMap for HuggingFaceClipText {
    fn name(&self) -> &'static str {
        "transformers' text towers of CLIP and SigLIP"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["embeddings.token_embedding.weight"]
    }

    fn bases(&self) -> &'static [&'static str] {
        &["text_model."]
    }

    fn recognises(&self, file: &Names) -> bool {
        block_of(file, "0").is_some() && file.has(&format!("{}final_layer_norm.weight", file.base()))
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let at = |name: &str| format!("{}{name}", file.base());
        if let Some((index, rest)) = block_path(path) {
            return block(&block_of(file, index)?, rest, file);
        }
        let name = match module_and_tensor(path) {
            ("", "token_embed") => at("embeddings.token_embedding.weight"),
            ("", "pos_embed") => at("embeddings.position_embedding.weight"),
            ("norm", tensor) => at(&format!("final_layer_norm.{tensor}")),
            ("proj", tensor) => {
                let names = [at(&format!("head.{tensor}")), format!("text_projection.{tensor}")];
                return one(file, file.first(names)?);
            }
            _ => return None,
        };
        one(file, name)
    }

    fn role(&self, name: &str, _: &Names) -> Role {
        match name.split('.').next() {
            Some("vision_model" | "visual_projection") => Role::Ignored,
            _ => Role::Weight,
        }
    }

    fn head(&self, _: &Names) -> Option<usize> {
        None
    }
}
