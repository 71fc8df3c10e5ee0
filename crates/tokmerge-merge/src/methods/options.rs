//! Options that several methods share.

use super::OptionInfo;
use crate::spec::Options;
use crate::{HeadAggregation, ProportionalAttention, SpecError};

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

pub(super) const RECHECK: OptionInfo = OptionInfo {
    name: "recheck",
    values: "never, or a number above 0",
    help: "run images whose two best logits are closer than this once more, unmerged",
};

pub(super) fn read_recheck(options: &mut Options) -> Result<Option<f32>, SpecError> {
    let recheck = options.value("recheck", "never, or a number above 0", |text| match text {
        "never" => Some(None),
        _ => text.parse().ok().filter(|gap: &f32| *gap > 0.0 && gap.is_finite()).map(Some),
    })?;
    Ok(recheck.flatten())
}
