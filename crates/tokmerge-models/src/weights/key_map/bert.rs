//! BERT as transformers and sentence-transformers have it.
//!
//! | transformers | ours |
//! |---|---|
//! | `embeddings.{word,position,token_type}_embeddings.weight` | `{token,pos,type}_embed` |
//! | `embeddings.LayerNorm.*` | `embed_norm.*` |
//! | `encoder.layer.{i}.attention.self.{query,key,value}.*`, stacked | `blocks.{i}.attn.qkv.*` |
//! | `encoder.layer.{i}.attention.output.{dense,LayerNorm}.*` | `blocks.{i}.{attn.proj,norm1}.*` |
//! | `encoder.layer.{i}.{intermediate.dense,output.dense,output.LayerNorm}.*` | `blocks.{i}.{mlp.fc1,mlp.fc2,norm2}.*` |
//! | `pooler.dense.*`, `classifier.*` beside the encoder | `pooler.*`, `head.*` |

use super::{KeyMap, Names, Role, Source, bert_block, block_path, module_and_tensor, one, rows};

pub(super) struct Bert;

/// Modules of a block: ours, and theirs.
const MODULES: [(&str, &str); 5] = [
    ("attn.proj", "attention.output.dense"),
    ("norm1", "attention.output.LayerNorm"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
    ("norm2", "output.LayerNorm"),
];

impl KeyMap for Bert {
    fn name(&self) -> &'static str {
        "BERT"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["embeddings.word_embeddings.weight"]
    }

    fn bases(&self) -> &'static [&'static str] {
        &["bert."]
    }

    fn recognises(&self, file: &Names) -> bool {
        let base = file.base();
        ["embeddings.LayerNorm.weight", "encoder.layer.0.attention.output.LayerNorm.weight"]
            .iter()
            .all(|name| file.has(&format!("{base}{name}")))
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let inside = |name: &str| format!("{}{name}", file.base());
        if let Some(block) = block_path(path) {
            return bert_block(file, block, "attention.self", &MODULES);
        }
        let name = match module_and_tensor(path) {
            ("", "token_embed") => inside("embeddings.word_embeddings.weight"),
            ("", "pos_embed") => inside("embeddings.position_embeddings.weight"),
            ("", "type_embed") => inside("embeddings.token_type_embeddings.weight"),
            ("embed_norm", tensor) => inside(&format!("embeddings.LayerNorm.{tensor}")),
            ("pooler", tensor) => inside(&format!("pooler.dense.{tensor}")),
            ("head", tensor) => format!("classifier.{tensor}"),
            _ => return None,
        };
        one(file, name)
    }

    fn role(&self, name: &str, file: &Names) -> Role {
        let own = name.strip_prefix(file.base()).unwrap_or(name);
        match own.split('.').next() {
            Some("classifier") => Role::Head,
            // What nobody reads where the answer is a mean; what predicts words.
            Some("pooler" | "cls") => Role::Ignored,
            _ => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "classifier.weight")
    }
}
