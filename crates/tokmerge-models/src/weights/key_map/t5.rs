//! T5 as transformers has it.
//!
//! | transformers | ours |
//! |---|---|
//! | `shared.weight` | `token_embed` |
//! | `encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight` | `distance_bias` |
//! | `encoder.block.{i}.layer.0.SelfAttention.{q,k,v}.weight`, stacked | `blocks.{i}.attn.qkv.weight` |
//! | `encoder.block.{i}.layer.0.{SelfAttention.o,layer_norm}.weight` | `blocks.{i}.{attn.proj,norm1}.weight` |
//! | `encoder.block.{i}.layer.1.DenseReluDense.{wi_0,wi_1}.weight`, stacked, `wo` | `blocks.{i}.mlp.{fc1,fc2}.weight` |
//! | `encoder.final_layer_norm.weight` | `norm.weight` |
//! | the same of `decoder.`, with `layer.1.EncDecAttention` in the middle | `decoder.{distance_bias,blocks,norm}` |
//! | `lm_head.weight` | `decoder.lm_head.weight` |

use super::{KeyMap, Names, Role, Source, block_path, module_and_tensor, one, stack};

pub(super) struct T5;

impl KeyMap for T5 {
    fn name(&self) -> &'static str {
        "T5"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["encoder.block.0.layer.0.SelfAttention.q.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.has("encoder.final_layer_norm.weight")
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let (stack_of, path) = match path.strip_prefix("decoder.") {
            Some(path) => ("decoder", path),
            None => ("encoder", path),
        };
        if let Some((index, rest)) = block_path(path) {
            let at = |name: &str| format!("{stack_of}.block.{index}.{name}.weight");
            // In a decoder attention to the encoder stands in between.
            let feed = if stack_of == "decoder" { "layer.2" } else { "layer.1" };
            let within = |layer: &str, name: &str| at(&format!("{layer}.{name}"));
            let (module, tensor) = module_and_tensor(rest);
            if tensor != "weight" {
                return None;
            }
            let feed_norm = if stack_of == "decoder" { "norm3" } else { "norm2" };
            return match module {
                "attn.qkv" | "own.qkv" => {
                    stack(file, ["q", "k", "v"].map(|part| within("layer.0.SelfAttention", part)))
                }
                "attn.proj" | "own.proj" => one(file, within("layer.0.SelfAttention", "o")),
                "norm1" => one(file, within("layer.0", "layer_norm")),
                "cross.q" => one(file, within("layer.1.EncDecAttention", "q")),
                "cross.kv" => stack(file, ["k", "v"].map(|part| within("layer.1.EncDecAttention", part))),
                "cross.proj" => one(file, within("layer.1.EncDecAttention", "o")),
                "mlp.fc1" => gated(file, feed, within),
                "mlp.fc2" => one(file, within(&format!("{feed}.DenseReluDense"), "wo")),
                norm if norm == feed_norm => one(file, within(feed, "layer_norm")),
                "norm2" => one(file, within("layer.1", "layer_norm")),
                _ => None,
            };
        }
        let bias = "block.0.layer.0.SelfAttention.relative_attention_bias.weight";
        match (stack_of, path) {
            ("encoder", "token_embed") => {
                let names = ["shared.weight", "encoder.embed_tokens.weight"].map(str::to_owned);
                Some(Source::tensor(file.first(names)?))
            }
            (_, "distance_bias") => one(file, format!("{stack_of}.{bias}")),
            (_, "norm.weight") => one(file, format!("{stack_of}.final_layer_norm.weight")),
            ("decoder", "lm_head.weight") => one(file, "lm_head.weight".to_owned()),
            _ => None,
        }
    }

    fn role(&self, name: &str, _: &Names) -> Role {
        // The table of tokens once more, and tables that the first release had and nobody reads.
        let again = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"].contains(&name);
        let unread = name.contains("EncDecAttention.relative_attention_bias");
        if again || unread { Role::Ignored } else { Role::Weight }
    }

    fn head(&self, _: &Names) -> Option<usize> {
        None
    }
}

/// The first layer of an MLP with or without a gate.
fn gated(file: &Names, feed: &str, within: impl Fn(&str, &str) -> String) -> Option<Source> {
    let name = |part: &str| within(&format!("{feed}.DenseReluDense"), part);
    stack(file, ["wi_0", "wi_1"].map(name)).or_else(|| one(file, name("wi")))
}
