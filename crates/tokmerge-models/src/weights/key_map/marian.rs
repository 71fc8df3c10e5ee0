//! Marian's own names, as its student models have them: matrices `[inputs, outputs]`, vectors as one row.
//!
//! | Marian | ours |
//! |---|---|
//! | `Wemb` | `token_embed` |
//! | `encoder_l{i + 1}_self_{Wq,Wk,Wv}` and `_b*`, stacked | `blocks.{i}.attn.qkv.*` |
//! | `encoder_l{i + 1}_self_{Wo,bo}`, `_Wo_ln_{scale,bias}` | `blocks.{i}.{attn.proj,norm1}.*` |
//! | `encoder_l{i + 1}_ffn_{W1,b1,W2,b2}`, `_ffn_ln_{scale,bias}` | `blocks.{i}.{mlp.fc1,mlp.fc2,norm2}.*` |
//! | `decoder_l{i + 1}_rnn_{W,Wf,bf}`, `_ffn_ln_*` | `decoder.blocks.{i}.{own.input,own.forget,norm1}.*` |
//! | `decoder_l{i + 1}_context_*` | `decoder.blocks.{i}.{cross.*,norm2}.*` |
//! | `decoder_l{i + 1}_ffn_*` | `decoder.blocks.{i}.{mlp.*,norm3}.*` |
//! | `decoder_ff_logit_out_b` | `decoder.out_bias` |

use super::{KeyMap, Names, Part, Role, Source, Transform, block_path, module_and_tensor};

pub(super) struct Marian;

impl KeyMap for Marian {
    fn name(&self) -> &'static str {
        "Marian"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["encoder_l1_self_Wq"]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.has("Wemb") && file.has("decoder_l1_rnn_Wf")
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let (stack_of, path) = match path.strip_prefix("decoder.") {
            Some(path) => ("decoder", path),
            None => ("encoder", path),
        };
        if let Some((index, rest)) = block_path(path) {
            let number = index.parse::<usize>().ok()? + 1;
            let at = |name: &str| format!("{stack_of}_l{number}_{name}");
            let (module, tensor) = module_and_tensor(rest);
            let norm = |of: &str| {
                let part = if tensor == "weight" { "scale" } else { "bias" };
                vector(file, vec![at(&format!("{of}_ln_{part}"))])
            };
            let layer = |of: &str, parts: &[&str]| {
                let letter = if tensor == "weight" { "W" } else { "b" };
                let names = parts.iter().map(|part| at(&format!("{of}_{letter}{part}"))).collect();
                if tensor == "weight" { matrix(file, names) } else { vector(file, names) }
            };
            return match (stack_of, module) {
                ("encoder", "attn.qkv") => layer("self", &["q", "k", "v"]),
                ("encoder", "attn.proj") => layer("self", &["o"]),
                ("encoder", "norm1") => norm("self_Wo"),
                ("encoder", "norm2") | ("decoder", "norm3") => norm("ffn_ffn"),
                (_, "mlp.fc1") => layer("ffn", &["1"]),
                (_, "mlp.fc2") => layer("ffn", &["2"]),
                ("decoder", "own.input") => layer("rnn", &[""]),
                ("decoder", "own.forget") => layer("rnn", &["f"]),
                ("decoder", "norm1") => norm("rnn_ffn"),
                ("decoder", "cross.q") => layer("context", &["q"]),
                ("decoder", "cross.kv") => layer("context", &["k", "v"]),
                ("decoder", "cross.proj") => layer("context", &["o"]),
                ("decoder", "norm2") => norm("context_Wo"),
                _ => None,
            };
        }
        match (stack_of, path) {
            ("encoder", "token_embed") => Some(Source::tensor("Wemb")),
            ("decoder", "out_bias") => vector(file, vec!["decoder_ff_logit_out_b".to_owned()]),
            _ => None,
        }
    }

    fn role(&self, _: &str, _: &Names) -> Role {
        Role::Weight
    }

    fn head(&self, _: &Names) -> Option<usize> {
        None
    }
}

/// Matrices `[inputs, outputs]` as one of `[all outputs, inputs]`.
fn matrix(file: &Names, names: Vec<String>) -> Option<Source> {
    let [inputs, outputs] = *file.shape(names.first()?)? else { return None };
    let count = names.len();
    let same = names.iter().all(|name| file.shape(name) == Some(&[inputs, outputs][..]));
    let stacked = Source::stack(names.into_iter().map(Part::Tensor).collect());
    same.then(|| {
        stacked
            .then(Transform::Reshape(vec![count, inputs, outputs]))
            .then(Transform::Permute(vec![0, 2, 1]))
            .then(Transform::Reshape(vec![count * outputs, inputs]))
    })
}

/// Rows behind each other as one vector.
fn vector(file: &Names, names: Vec<String>) -> Option<Source> {
    let width = file.shape(names.first()?)?.iter().product::<usize>();
    let count = names.len();
    let all = names.iter().all(|name| file.has(name));
    let stacked = Source::stack(names.into_iter().map(Part::Tensor).collect());
    all.then(|| stacked.then(Transform::Reshape(vec![count * width])))
}
