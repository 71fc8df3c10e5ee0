//! Options that several methods share.

use crate::{HeadAggregation, ProportionalAttention};

pub(super) const HEADS: &[(&str, HeadAggregation)] =
    &[("mean", HeadAggregation::Mean), ("concat", HeadAggregation::Concat)];
pub(super) const PROPORTIONAL: &[(&str, ProportionalAttention)] = &[
    ("auto", ProportionalAttention::Auto),
    ("on", ProportionalAttention::On),
    ("off", ProportionalAttention::Off),
];
/// The name under which a choice is written.
pub(super) fn name_of<T: PartialEq>(choices: &'static [(&'static str, T)], choice: &T) -> &'static str {
    choices.iter().find(|(_, known)| known == choice).map_or("", |(name, _)| name)
}
