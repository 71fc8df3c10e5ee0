//! torchvision's `VisionTransformer` (`vit_b_16`, ...).
//!
//! | torchvision | ours |
//! |---|---|
//! | `conv_proj.*`, `class_token`, `encoder.pos_embedding`, `encoder.ln.*` | `patch_embed.proj.*`, `cls_token`, `pos_embed`, `norm.*` |
//! | `encoder.layers.encoder_layer_{i}.ln_1.*`, `ln_2.*` | `blocks.{i}.norm1.*`, `norm2.*` |
//! | `....self_attention.in_proj_weight`, `in_proj_bias`, `out_proj.*` | `blocks.{i}.attn.qkv.*`, `attn.proj.*` |
//! | `....mlp.0.*`, `mlp.3.*` (older files: `mlp.linear_1.*`, `linear_2.*`) | `blocks.{i}.mlp.fc1.*`, `fc2.*` |
//! | `heads.pre_logits.*`, `heads.head.*` (or `heads.*`, where somebody put a layer of his own there) | `pre_logits.*`, `head.*` |

use super::{KeyMap, Names, Role, Source, block_path, module_and_tensor, one, rows, with_rank};

pub(super) struct Torchvision;

const HEADS: &[&str] = &["heads.head", "heads"];

impl KeyMap for Torchvision {
    fn name(&self) -> &'static str {
        "torchvision"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["conv_proj.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.has("encoder.layers.encoder_layer_0.ln_1.weight")
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        source(path, file, "encoder_layer_", HEADS)
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        if name.starts_with("heads.") { Role::Head } else { Role::Weight }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        HEADS.iter().find_map(|head| rows(file, &format!("{head}.weight")))
    }
}

/// With `layer` before the index of a block, and the head under one of `heads`.
pub(super) fn source(path: &str, file: &Names, layer: &str, heads: &[&str]) -> Option<Source> {
    if let Some((index, rest)) = block_path(path) {
        return block(&format!("encoder.layers.{layer}{index}"), rest, file);
    }
    let (module, tensor) = module_and_tensor(path);
    match (module, tensor) {
        ("", "cls_token") => with_rank(file, "class_token".to_owned(), 3),
        ("", "pos_embed") => positions(file),
        ("patch_embed.proj", _) => one(file, format!("conv_proj.{tensor}")),
        ("norm", _) => one(file, format!("encoder.ln.{tensor}")),
        ("pre_logits", _) => one(file, format!("heads.pre_logits.{tensor}")),
        ("head", _) => file.first(heads.iter().map(|head| format!("{head}.{tensor}"))).map(Source::tensor),
        _ => None,
    }
}

/// `[1, N, C]`, or `[N, 1, C]` where tokens come first.
fn positions(file: &Names) -> Option<Source> {
    let name = "encoder.pos_embedding".to_owned();
    match *file.shape(&name)? {
        [tokens, 1, channels] => {
            let batch_first = super::Transform::Reshape(vec![1, tokens, channels]);
            Some(Source::tensor(name).then(batch_first))
        }
        _ => Some(Source::tensor(name)),
    }
}

fn block(block: &str, path: &str, file: &Names) -> Option<Source> {
    let (module, tensor) = module_and_tensor(path);
    let theirs: &[&str] = match module {
        "norm1" => &["ln_1."],
        "norm2" => &["ln_2."],
        "attn.qkv" => &["self_attention.in_proj_"],
        "attn.proj" => &["self_attention.out_proj."],
        "mlp.fc1" => &["mlp.0.", "mlp.linear_1."],
        "mlp.fc2" => &["mlp.3.", "mlp.linear_2."],
        _ => return None,
    };
    file.first(theirs.iter().map(|theirs| format!("{block}.{theirs}{tensor}"))).map(Source::tensor)
}
