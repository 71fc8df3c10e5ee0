//! SWAG's names: torchvision's of an earlier day, with tokens in front of the batch.
//!
//! | SWAG | ours |
//! |---|---|
//! | `encoder.pos_embedding` `[N, 1, C]` | `pos_embed` `[1, N, C]` |
//! | `encoder.layers.layer_{i}.*` | `blocks.{i}.*` |
//! | `head.layers.head.*` | `head.*` |

use super::{KeyMap, Names, Role, Source, rows, torchvision};

pub(super) struct Swag;

const HEAD: &str = "head.layers.head";

impl KeyMap for Swag {
    fn name(&self) -> &'static str {
        "SWAG"
    }

    fn anchors(&self) -> &'static [&'static str] {
        &["conv_proj.weight"]
    }

    fn recognises(&self, file: &Names) -> bool {
        file.has("encoder.layers.layer_0.ln_1.weight")
    }

    fn source(&self, path: &str, file: &Names) -> Option<Source> {
        torchvision::source(path, file, "layer_", &[HEAD])
    }

    fn role(&self, name: &str, _file: &Names) -> Role {
        if name.starts_with("head.") { Role::Head } else { Role::Weight }
    }

    fn head(&self, file: &Names) -> Option<usize> {
        rows(file, &format!("{HEAD}.weight"))
    }
}
