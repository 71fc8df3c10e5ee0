//! timm's names are the paths of our modules, with a few variants of its own:
//!
//! | timm | ours |
//! |---|---|
//! | `blocks.{i}.attn.{q,k,v}_proj.*` stacked (EVA-02) | `blocks.{i}.attn.qkv.*`, `q_bias`, `v_bias` |
//! | `blocks.{i}.gamma_1`, `gamma_2` (BEiT, EVA) | `blocks.{i}.ls1.gamma`, `ls2.gamma` |
//! | `blocks.{i}.mlp.fc1_g.*`, `fc1_x.*` stacked (SwiGLU) | `blocks.{i}.mlp.fc1.*` |
//! | `pre_logits.fc.*` | `pre_logits.*` |
//! | `visual.head.proj.*` beside `visual.trunk.`, or `visual.trunk.head.*` (open_clip) | `projection.*`, or the head |

use super::{KeyMap, Names, Part, Role, Source, block_path, module_and_tensor, one, qkv_bias, rows, stack};

pub(super) struct Timm;

/// Where open_clip keeps the projection of a tower of timm's.
const PROJECTION: &str = "visual.head.proj.weight";

impl KeyMap for Timm {
    fn name(&self) -> &'static str {
        "timm"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["patch_embed.proj.weight"]
    }

    fn bases(&self) -> &'static [&'static str] {
        &["visual.trunk."]
    }

    fn recognises(&self, _file: &Names) -> bool {
        true
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        source(path, file)
    }

    fn role(&self, name: &str, file: &Names) -> Role {
        role(name, file)
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, &at(file, "head.weight")).or_else(|| rows(file, PROJECTION))
    }
}

/// A name inside the base.
fn at(file: &Names, name: &str) -> String {
    format!("{}{name}", file.base())
}

pub(super) fn source(path: &str, file: &Names) -> Option<Source> {
    if let Some(same) = one(file, at(file, path)) {
        return Some(same);
    }
    if let Some((index, rest)) = block_path(path) {
        return block(&at(file, &format!("blocks.{index}")), rest, file);
    }
    match path {
        "pos_table" => one(file, at(file, "pos_embed")),
        "head.weight" => one(file, PROJECTION.to_owned()),
        // Without a layer of its own, open_clip projects by timm's head.
        "projection.weight" | "projection.bias" if !file.base().is_empty() => {
            let tensor = path.trim_start_matches("projection.");
            file.first([format!("visual.head.proj.{tensor}"), at(file, &format!("head.{tensor}"))])
                .map(Source::tensor)
        }
        // As timm does it: a projection outside of its tower becomes a head whose bias is zero.
        "head.bias" => rows(file, PROJECTION).map(|outputs| Source::stack(vec![Part::Zeros(vec![outputs])])),
        _ => one(file, at(file, &path.replace("pre_logits.", "pre_logits.fc."))),
    }
}

/// A parameter of the block at `block` that has another name than ours.
pub(super) fn block(block: &str, path: &str, file: &Names) -> Option<Source> {
    let (module, tensor) = module_and_tensor(path);
    let of = |names: [&str; 3]| names.map(|name| format!("{block}.attn.{name}"));
    match (module, tensor) {
        ("attn.qkv", "weight") => stack(file, of(["q_proj.weight", "k_proj.weight", "v_proj.weight"])),
        ("attn.qkv", "bias") => {
            [["q_proj.bias", "k_proj.bias", "v_proj.bias"], ["q_bias", "k_bias", "v_bias"]]
                .into_iter()
                .find_map(|names| {
                    let [q, k, v] = of(names);
                    qkv_bias(file, q, k, v)
                })
        }
        ("attn", "q_bias") => one(file, format!("{block}.attn.q_proj.bias")),
        ("attn", "v_bias") => one(file, format!("{block}.attn.v_proj.bias")),
        ("ls1", "gamma") => one(file, format!("{block}.gamma_1")),
        ("ls2", "gamma") => one(file, format!("{block}.gamma_2")),
        ("mlp.fc1", _) => {
            stack(file, [format!("{block}.mlp.fc1_g.{tensor}"), format!("{block}.mlp.fc1_x.{tensor}")])
        }
        _ => None,
    }
}

pub(super) fn role(name: &str, file: &Names) -> Role {
    let inside = match name.strip_prefix(file.base()) {
        // The rest of a model of open_clip: its text tower.
        None if name.starts_with("visual.head.") => return Role::Head,
        None => {
            return if super::open_clip::is_text(name) { Role::Ignored } else { Role::Weight };
        }
        Some(inside) => inside,
    };
    match inside.split_once('.').map_or(inside, |(module, _)| module) {
        "head" | "head_dist" => Role::Head,
        // A layer of pre-training on ImageNet-21k, and the outputs of masked image modelling.
        "pre_logits" | "lm_head" => Role::Ignored,
        module if module.starts_with("decoder_") => Role::Ignored,
        // The heads of self-distillation, and a norm that only its training uses.
        "dino_head" | "ibot_head" | "local_cls_norm" => Role::Ignored,
        _ => Role::Weight,
    }
}
