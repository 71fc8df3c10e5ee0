//! ViLT as transformers has it.
//!
//! | transformers (`vilt.` or nothing in front) | ours |
//! |---|---|
//! | `embeddings.text_embeddings.{word,token_type}_embeddings.weight` | `{token,type}_embed` |
//! | `embeddings.text_embeddings.position_embeddings.weight`, `.LayerNorm.*` | `text_pos_embed`, `embed_norm.*` |
//! | `embeddings.{cls_token, position_embeddings, token_type_embeddings.weight}` | `cls_token`, `pos_embed`, `modality_embed` |
//! | `embeddings.patch_embeddings.projection.*` | `patch_embed.proj.*` |
//! | `encoder.layer.{i}.attention.attention.{query,key,value}.*`, stacked | `blocks.{i}.attn.qkv.*` |
//! | `encoder.layer.{i}.attention.output.dense.*`, `layernorm_{before,after}.*` | `blocks.{i}.{attn.proj,norm1,norm2}.*` |
//! | `encoder.layer.{i}.{intermediate,output}.dense.*` | `blocks.{i}.mlp.{fc1,fc2}.*` |
//! | `layernorm.*`, `pooler.dense.*` | `norm.*`, `pooler.*` |
//! | `classifier.{0,1,3}.*` beside the encoder | `head_fc.*`, `head_norm.*`, `head.*` |

use super::{KeyMap, Names, Role, Source, bert_block, block_path, module_and_tensor, one, rows};

pub(super) struct Vilt;

/// Modules of a block: ours, and theirs.
const MODULES: [(&str, &str); 5] = [
    ("attn.proj", "attention.output.dense"),
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
];

impl KeyMap for Vilt {
    fn name(&self) -> &'static str {
        "ViLT"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["embeddings.text_embeddings.word_embeddings.weight"]
    }

    fn bases(&self) -> &'static [&'static str] {
        &["vilt."]
    }

    fn recognises(&self, file: &Names) -> bool {
        let base = file.base();
        ["embeddings.patch_embeddings.projection.weight", "encoder.layer.0.layernorm_before.weight"]
            .iter()
            .all(|name| file.has(&format!("{base}{name}")))
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let inside = |name: &str| format!("{}{name}", file.base());
        if let Some(block) = block_path(path) {
            return bert_block(file, block, "attention.attention", &MODULES);
        }
        let name = match module_and_tensor(path) {
            ("", "token_embed") => inside("embeddings.text_embeddings.word_embeddings.weight"),
            ("", "text_pos_embed") => inside("embeddings.text_embeddings.position_embeddings.weight"),
            ("", "type_embed") => inside("embeddings.text_embeddings.token_type_embeddings.weight"),
            ("embed_norm", tensor) => inside(&format!("embeddings.text_embeddings.LayerNorm.{tensor}")),
            ("", "cls_token") => inside("embeddings.cls_token"),
            ("", "pos_embed") => inside("embeddings.position_embeddings"),
            ("", "modality_embed") => inside("embeddings.token_type_embeddings.weight"),
            ("patch_embed.proj", tensor) => {
                inside(&format!("embeddings.patch_embeddings.projection.{tensor}"))
            }
            ("norm", tensor) => inside(&format!("layernorm.{tensor}")),
            ("pooler", tensor) => inside(&format!("pooler.dense.{tensor}")),
            ("head_fc", tensor) => format!("classifier.0.{tensor}"),
            ("head_norm", tensor) => format!("classifier.1.{tensor}"),
            ("head", tensor) => format!("classifier.3.{tensor}"),
            _ => return None,
        };
        one(file, name)
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        match name.split('.').next() {
            Some("classifier") => Role::Head,
            // What pre-training predicts words and matches with.
            Some("mlm_score" | "rank_output") => Role::Ignored,
            _ => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "classifier.3.weight")
    }
}
