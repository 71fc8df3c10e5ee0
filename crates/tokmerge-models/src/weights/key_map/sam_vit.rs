//! Segment Anything's image encoder, as timm and as its authors spell it.
//!
//! | timm | the authors (`image_encoder.`) | ours |
//! |---|---|---|
//! | `blocks.{i}.mlp.fc1.*`, `fc2.*` | `blocks.{i}.mlp.lin1.*`, `lin2.*` | `blocks.{i}.mlp.fc1.*`, `fc2.*` |
//! | `neck.0.weight` | the same | `neck.narrow.weight` |
//! | `neck.1.*`, `neck.3.*` | the same | `neck.norm1.*`, `neck.norm2.*` |
//! | `neck.2.weight` | the same | `neck.smooth` |
//! | `neck.*` without a neck | | `norm.*` |
//! | `head.fc.*` | | `head.*` |

use super::{KeyMap, Names, Role, Source, Transform, module_and_tensor, one, rows};

pub(super) struct SamVit;

impl KeyMap for SamVit {
    fn name(&self) -> &'static str {
        "Segment Anything"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["patch_embed.proj.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.has("neck.2.weight") || file.has("neck.weight") && file.has("blocks.0.attn.qkv.weight")
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        let (module, tensor) = module_and_tensor(path);
        match module {
            "neck.narrow" => {
                let [outputs, inputs, 1, 1] = *file.shape("neck.0.weight")? else { return None };
                one(file, "neck.0.weight".to_owned())
                    .map(|source| source.then(Transform::Reshape(vec![outputs, inputs])))
            }
            "neck.norm1" => one(file, format!("neck.1.{tensor}")),
            "neck.norm2" => one(file, format!("neck.3.{tensor}")),
            "neck" => one(file, "neck.2.weight".to_owned()),
            "norm" => one(file, format!("neck.{tensor}")),
            "head" => one(file, format!("head.fc.{tensor}")),
            _ => one(file, path.to_owned()).or_else(|| one(file, path.replace(".mlp.fc", ".mlp.lin"))),
        }
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        if name.starts_with("head.") { Role::Head } else { Role::Weight }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, "head.fc.weight")
    }
}
