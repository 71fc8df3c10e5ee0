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

/// A whole number from `least` on, or a list of them: `8`, `[4,8]`.
pub(super) fn read_list(
    options: &mut Options,
    option: &str,
    least: usize,
) -> Result<Option<Vec<usize>>, SpecError> {
    let allowed = format!("a whole number from {least} to 4096, or a list of up to 64 such as [4,8]");
    options.value(option, &allowed, |text| {
        let one = |text: &str| text.trim().parse().ok().filter(|n| (least..=4096).contains(n));
        let list = match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(list) => list.split(',').map(one).collect::<Option<Vec<usize>>>()?,
            None => vec![one(text)?],
        };
        (list.len() <= 64).then_some(list)
    })
}

/// As [`read_list`] reads it.
pub(super) fn list_text(list: &[usize]) -> String {
    match list {
        [one] => one.to_string(),
        list => format!("[{}]", list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    }
}
