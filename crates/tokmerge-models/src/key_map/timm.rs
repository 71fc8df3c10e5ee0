//! timm's names are the paths of our modules; only wrappers have to be looked through.

use super::Key;

/// Prefixes under which a whole model may hang.
const WRAPPERS: &[&str] = &["", "model.", "encoder.", "backbone.", "visual.trunk."];

pub(super) fn key(path: &str, exists: &dyn Fn(&str) -> bool) -> Key {
    let wrapped = WRAPPERS.iter().map(|wrapper| format!("{wrapper}{path}")).find(|name| exists(name));
    Key::One(wrapped.unwrap_or_else(|| path.to_owned()))
}

/// The name inside the wrapper.
fn unwrapped(name: &str) -> &str {
    WRAPPERS.iter().rev().find_map(|wrapper| name.strip_prefix(wrapper)).unwrap_or(name)
}

/// The tanh layer of ImageNet-21k pretraining, MAE's decoder, and a mask token.
pub(super) fn is_expendable(name: &str) -> bool {
    ["pre_logits.", "decoder_", "mask_token"].iter().any(|start| unwrapped(name).starts_with(start))
}

pub(super) fn is_head(name: &str) -> bool {
    ["head.", "head_dist."].iter().any(|start| unwrapped(name).starts_with(start))
}
