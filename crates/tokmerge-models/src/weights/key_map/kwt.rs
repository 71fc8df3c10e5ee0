//! Keyword Transformers as their constants lie in the published models: layers in the words of attention and MLP.
//!
//! | KWT | ours |
//! |---|---|
//! | `proj.weight`, a patch flat | `patch_embed.proj.weight` |
//! | `cls_token`, `pos_embed` without leading dimensions | `cls_token`, `pos_embed` |
//! | `layers.{i}.{q,k,v}.weight`, stacked | `blocks.{i}.attn.qkv.weight` |
//! | `layers.{i}.{out,fc1,fc2,norm1,norm2}.*` | `blocks.{i}.{attn.proj,mlp.fc1,mlp.fc2,norm1,norm2}.*` |

use super::{
    KeyMap, Names, Role, Source, Transform, block_path, module_and_tensor, one, rows, stack, with_rank,
};

pub(super) struct Kwt;

impl KeyMap for Kwt {
    fn name(&self) -> &'static str {
        "Keyword Transformer"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["layers.0.out.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        ["proj.weight", "layers.0.q.weight", "cls_token"].iter().all(|name| file.has(name))
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        if let Some((index, rest)) = block_path(path) {
            let at = |name: &str| format!("layers.{index}.{name}");
            let (module, tensor) = module_and_tensor(rest);
            return match module {
                "attn.qkv" => stack(file, ["q", "k", "v"].map(|part| at(&format!("{part}.{tensor}")))),
                "attn.proj" => one(file, at(&format!("out.{tensor}"))),
                _ => one(file, at(rest.trim_start_matches("mlp."))),
            };
        }
        match path {
            "patch_embed.proj.weight" => {
                let shape = match *file.shape("proj.weight")? {
                    [channels, bins] => vec![channels, 1, 1, bins],
                    _ => return None,
                };
                Some(one(file, "proj.weight".to_owned())?.then(Transform::Reshape(shape)))
            }
            "patch_embed.proj.bias" => one(file, "proj.bias".to_owned()),
            "cls_token" => with_rank(file, path.to_owned(), 3),
            // With its two dimensions; a class token alone would have positions of one row.
            "pos_embed" => match *file.shape(path)? {
                [tokens, channels] => {
                    let shape = vec![1, tokens, channels];
                    Some(one(file, path.to_owned())?.then(Transform::Reshape(shape)))
                }
                _ => one(file, path.to_owned()),
            },
            _ => one(file, path.to_owned()),
        }
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        match name.split('.').next() {
            Some("head") => Role::Head,
            // Constants of the front end, which follow from its settings.
            Some("frontend") => Role::Ignored,
            _ => Role::Weight,
        }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "head.weight")
    }
}
