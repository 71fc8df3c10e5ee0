//! No method: the model as it is.

use super::{MethodInfo, Rule};

pub(super) const INFO: MethodInfo = MethodInfo {
    name: "none",
    summary: "leave the model as it is",
    source: "-",
    example: "none",
    options: &[],
};

/// Merges nothing.
#[derive(Debug)]
pub(super) struct Nothing;

impl Rule for Nothing {}
