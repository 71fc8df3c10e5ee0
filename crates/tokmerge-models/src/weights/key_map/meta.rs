//! Files in Meta's own spelling of DINO, DINOv2, DINOv3 and EVA-02's authors: timm's names with differences.
//!
//! | Meta | ours |
//! |---|---|
//! | `register_tokens`, `storage_tokens` | `reg_token` |
//! | `cls_token` + row 0 of `pos_embed` beside `register_tokens`, as timm folds it | `cls_token` |
//! | `blocks.{chunk}.{i}.*` (sharded training) | `blocks.{i}.*` |
//! | `blocks.{i}.mlp.w12.*`, or `w1.*` and `w2.*` stacked | `blocks.{i}.mlp.fc1.*` |
//! | `blocks.{i}.mlp.w3.*` | `blocks.{i}.mlp.fc2.*` |
//! | `blocks.{i}.mlp.ffn_ln.*`, `attn.inner_attn_ln.*` (EVA-02) | `blocks.{i}.mlp.norm.*`, `attn.norm.*` |
//! | first and last third of `blocks.{i}.attn.qkv.bias` beside a `bias_mask` | `blocks.{i}.attn.q_bias`, `v_bias` |

use super::{
    KeyMap, Names, Part, Role, Source, Transform, block_path, module_and_tensor, one, rows, stack, timm,
};

pub(super) struct Meta;

/// Parts into which sharded training cuts the blocks, at most.
const CHUNKS: usize = 64;

impl KeyMap for Meta {
    fn name(&self) -> &'static str {
        "Meta"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["patch_embed.proj.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        ["register_tokens", "storage_tokens"].iter().any(|name| file.has(name))
            || block_of(file, "0").is_some_and(|block| {
                let particular =
                    ["mlp.w12.weight", "mlp.w1.weight", "attn.qkv.bias_mask", "attn.inner_attn_ln.weight"];
                block != "blocks.0" || particular.iter().any(|name| file.has(&format!("{block}.{name}")))
            })
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        if let Some((index, rest)) = block_path(path) {
            return block(&block_of(file, index)?, rest, file);
        }
        match path {
            "cls_token" if has_folded_position(file) => {
                let parts = vec![Part::Tensor(path.to_owned()), positions(0..1)];
                Some(Source::stack(parts).then(Transform::SumLeading))
            }
            "pos_embed" if has_folded_position(file) => {
                let [_, positioned, _] = *file.shape("pos_embed")? else { return None };
                Some(Source::stack(vec![positions(1..positioned)]))
            }
            "reg_token" => {
                one(file, "register_tokens".to_owned()).or_else(|| one(file, "storage_tokens".to_owned()))
            }
            _ => timm::source(path, file),
        }
    }

    fn role(&self, name: &str, file: &Names) -> Role {
        timm::role(name, file)
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "head.weight")
    }
}

/// Whether the class token has a position although registers follow it: timm's models of this kind give positions to
/// patches alone.
fn has_folded_position(file: &Names) -> bool {
    file.has("register_tokens")
        && matches!(file.shape("pos_embed"), Some([1, positioned, _]) if *positioned > 1)
}

fn positions(range: std::ops::Range<usize>) -> Part {
    Part::Slice { name: "pos_embed".to_owned(), dim: 1, range }
}

/// Where a block is: `blocks.3`, or `blocks.0.3` where training was sharded.
fn block_of(file: &Names, index: &str) -> Option<String> {
    let chunks = (0..CHUNKS).map(|chunk| format!("blocks.{chunk}.{index}"));
    let mut places = std::iter::once(format!("blocks.{index}")).chain(chunks);
    places.find(|place| file.has(&format!("{place}.norm1.weight")))
}

fn block(block: &str, path: &str, file: &Names) -> Option<Source> {
    let (module, tensor) = module_and_tensor(path);
    let mlp = |layer: &str| format!("{block}.mlp.{layer}.{tensor}");
    let third = |from: usize| {
        let name = format!("{block}.attn.qkv.bias");
        let [outputs] = *file.shape(&name)? else { return None };
        let third = outputs / 3;
        let masked = file.has(&format!("{block}.attn.qkv.bias_mask"));
        let range = from * third..(from + 1) * third;
        masked.then(|| Source::stack(vec![Part::Slice { name, dim: 0, range }]))
    };
    let other = match (module, tensor) {
        ("attn", "q_bias") => third(0),
        ("attn", "v_bias") => third(2),
        ("attn.norm", _) => one(file, format!("{block}.attn.inner_attn_ln.{tensor}")),
        ("mlp.norm", _) => one(file, format!("{block}.mlp.ffn_ln.{tensor}")),
        ("mlp.fc1", _) => one(file, mlp("w12")).or_else(|| stack(file, [mlp("w1"), mlp("w2")])),
        ("mlp.fc2", _) => one(file, mlp("w3")),
        _ => None,
    };
    other.or_else(|| one(file, format!("{block}.{path}"))).or_else(|| timm::block(block, path, file))
}
