//! OpenAI's spelling of CLIP, which open_clip kept.
//!
//! | CLIP (`visual.`) | ours |
//! |---|---|
//! | `conv1.weight`, `class_embedding` `[C]`, `positional_embedding` `[N, C]` | `patch_embed.proj.weight`, `cls_token`, `pos_embed` |
//! | `ln_pre.*`, `ln_post.*` | `norm_pre.*`, `norm.*` (or `fc_norm.*`, after the pool) |
//! | `transformer.resblocks.{i}.ln_1.*`, `ln_2.*`, `ls_1.gamma`, `ls_2.gamma` | `blocks.{i}.norm1.*`, `norm2.*`, `ls1.gamma`, `ls2.gamma` |
//! | `....attn.in_proj_weight`, `in_proj_bias`, `out_proj.*` | `blocks.{i}.attn.qkv.*`, `attn.proj.*` |
//! | `....mlp.c_fc.*`, `c_proj.*` | `blocks.{i}.mlp.fc1.*`, `fc2.*` |
//! | `proj` `[C, E]`, transposed | `projection.weight`, or `head.weight` with a bias of zeros, as timm reads it |

use super::{KeyMap, Names, Part, Role, Source, Transform, block_path, module_and_tensor, one, with_rank};

pub(super) struct OpenClip;

impl KeyMap for OpenClip {
    fn name(&self) -> &'static str {
        "CLIP"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["conv1.weight"]
    }

    fn bases(&self) -> &'static [&'static str] {
        &["visual."]
    }

    fn recognises(&self, file: &Names) -> bool {
        let at = |name: &str| file.has(&format!("{}{name}", file.base()));
        at("class_embedding") && at("transformer.resblocks.0.ln_1.weight")
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let at = |name: &str| format!("{}{name}", file.base());
        if let Some((index, rest)) = block_path(path) {
            return block(&at(&format!("transformer.resblocks.{index}")), rest, file);
        }
        let (module, tensor) = module_and_tensor(path);
        match (module, tensor) {
            ("", "cls_token") => with_rank(file, at("class_embedding"), 3),
            ("", "pos_embed") => with_rank(file, at("positional_embedding"), 3),
            ("patch_embed.proj", _) => one(file, at(&format!("conv1.{tensor}"))),
            ("norm_pre", _) => one(file, at(&format!("ln_pre.{tensor}"))),
            ("norm" | "fc_norm", _) => one(file, at(&format!("ln_post.{tensor}"))),
            ("projection" | "head", "weight") => {
                Some(one(file, at("proj"))?.then(Transform::Permute(vec![1, 0])))
            }
            ("head", "bias") => Some(Source::stack(vec![Part::Zeros(vec![self.head(file)?])])),
            _ => None,
        }
    }

    fn role(&self, name: &str, file: &Names) -> Role {
        match name.strip_prefix(file.base()) {
            Some("proj") => Role::Head,
            Some(_) => Role::Weight,
            None if is_text(name) => Role::Ignored,
            None => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        match file.shape(&format!("{}proj", file.base()))? {
            [_, outputs] => Some(*outputs),
            _ => None,
        }
    }
}

/// The text tower of a CLIP model and the facts of its script.
pub(super) fn is_text(name: &str) -> bool {
    const MODULES: &[&str] = &[
        "transformer",
        "text",
        "text_decoder",
        "token_embedding",
        "positional_embedding",
        "ln_final",
        "text_projection",
        "logit_scale",
        "logit_bias",
        "input_resolution",
        "context_length",
        "vocab_size",
    ];
    name.split('.').next().is_some_and(|module| MODULES.contains(&module))
}

fn block(block: &str, path: &str, file: &Names) -> Option<Source> {
    let (module, tensor) = module_and_tensor(path);
    let theirs = match module {
        "norm1" => "ln_1.",
        "norm2" => "ln_2.",
        "ls1" => "ls_1.",
        "ls2" => "ls_2.",
        "attn.qkv" => "attn.in_proj_",
        "attn.proj" => "attn.out_proj.",
        "mlp.fc1" => "mlp.c_fc.",
        "mlp.fc2" => "mlp.c_proj.",
        _ => return None,
    };
    one(file, format!("{block}.{theirs}{tensor}"))
}
