//! Options of methods, one row each: name, values, help, reader and writer.
//!
//! A row reads its text into the method's own struct, which begins as [`FromOptions::start`] makes it, and writes it
//! back, or nothing where the option has its default. Rows are read in their order, so that an option may depend on
//! those above it.

use super::{MethodInfo, OptionInfo, Rule};
use crate::spec::Given;
use crate::{LastLayer, ModelFacts, ProportionalAttention, Protect, Schedule, SequencePositions, SpecError};

/// Whether an option can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Optional,
    Required,
}

/// An option of a method with options `T`.
pub(super) struct Opt<T> {
    info: OptionInfo,
    /// Completes "the option takes ...".
    allowed: &'static str,
    need: Need,
    read: fn(&mut T, &str) -> Result<(), Refusal>,
    /// `None` where the option has its default.
    write: fn(&T) -> Option<String>,
}

/// Why the text of an option, or all options together, are refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The option does not take this value.
    Value,
    /// An option is missing.
    Missing(&'static str),
    /// It does not go together with another option.
    Conflict(String),
}

impl<T> Opt<T> {
    /// `values` stand in help texts, `allowed` completes the sentence "the option takes ...".
    pub(super) const fn new(
        name: &'static str,
        (values, allowed): (&'static str, &'static str),
        help: &'static str,
        read: fn(&mut T, &str) -> Result<(), Refusal>,
        write: fn(&T) -> Option<String>,
    ) -> Self {
        Self { info: OptionInfo { name, values, help }, allowed, need: Need::Optional, read, write }
    }

    /// An option that has to be given.
    pub(super) const fn required(
        name: &'static str,
        texts: (&'static str, &'static str),
        help: &'static str,
        read: fn(&mut T, &str) -> Result<(), Refusal>,
        write: fn(&T) -> Option<String>,
    ) -> Self {
        Self { need: Need::Required, ..Self::new(name, texts, help, read, write) }
    }
}

/// A method that is made from options.
pub(super) trait FromOptions: Rule + Sized + 'static {
    /// All options, in the order in which they are read and written.
    const OPTIONS: &'static [Opt<Self>];

    /// The method with every option at its default, before those that have none are read.
    fn start() -> Self;

    /// Whether the options go together.
    fn check(&self) -> Result<(), Refusal> {
        Ok(())
    }

    /// The same method, its other options kept, as [`Method::at_dial`](super::Method::at_dial) says.
    fn at_dial(&self, dial: f64, facts: &ModelFacts) -> Option<Self> {
        let _ = (dial, facts);
        None
    }

    /// The same method, its other options kept, as [`Method::in_part`](super::Method::in_part) says.
    fn in_part(&self, part: f64) -> Option<Self> {
        let _ = part;
        None
    }

    fn read(info: &MethodInfo, mut given: Given) -> Result<Self, SpecError> {
        let mut method = Self::start();
        let refuse = |refusal: Refusal, option: &str, value: &str, allowed: &str| match refusal {
            Refusal::Value => SpecError::Value {
                method: info.name.to_owned(),
                option: option.to_owned(),
                value: value.to_owned(),
                allowed: allowed.to_owned(),
            },
            Refusal::Missing(option) => SpecError::Missing {
                method: info.name.to_owned(),
                option: option.to_owned(),
                example: info.example.to_owned(),
            },
            Refusal::Conflict(reason) => SpecError::Conflict { method: info.name.to_owned(), reason },
        };
        for row in Self::OPTIONS {
            let name = row.info.name;
            match (given.text(name), row.need) {
                (Some(text), _) => (row.read)(&mut method, &text)
                    .map_err(|refusal| refuse(refusal, name, &text, row.allowed))?,
                (None, Need::Required) => return Err(refuse(Refusal::Missing(name), "", "", "")),
                (None, Need::Optional) => {}
            }
        }
        method.check().map_err(|refusal| refuse(refusal, "", "", ""))?;
        Ok(method)
    }

    fn written(&self) -> Vec<(String, String)> {
        let write = |row: &Opt<Self>| Some((row.info.name.to_owned(), (row.write)(self)?));
        Self::OPTIONS.iter().filter_map(write).collect()
    }
}

/// What a user can read about options.
pub(super) const fn infos<T, const N: usize>(rows: &[Opt<T>]) -> [OptionInfo; N] {
    let mut infos = [OptionInfo { name: "", values: "", help: "" }; N];
    let mut row = 0;
    while row < N {
        infos[row] = rows[row].info;
        row += 1;
    }
    infos
}

/// A named value.
pub(super) type Choice<T> = (&'static str, T);

/// The choice of this name.
pub(super) fn chosen<T: Copy>(choices: &[Choice<T>], name: &str) -> Result<T, Refusal> {
    choices.iter().find(|(known, _)| *known == name).map(|(_, choice)| *choice).ok_or(Refusal::Value)
}

/// The name of a choice, unless it is the default, which comes first.
pub(super) fn named<T: PartialEq>(choices: &[Choice<T>], choice: &T) -> Option<String> {
    let place = choices.iter().position(|(_, known)| known == choice)?;
    (place > 0).then(|| choices[place].0.to_owned())
}

/// Bytes of the names of choices, separated by ", ".
pub(super) const fn names_len<T>(choices: &[Choice<T>]) -> usize {
    let (mut len, mut index) = (2 * (choices.len() - 1), 0);
    while index < choices.len() {
        len += choices[index].0.len();
        index += 1;
    }
    len
}

/// The names of choices, separated by ", ", in as many bytes as [`names_len`] says.
pub(super) const fn names<T, const N: usize>(choices: &[Choice<T>]) -> [u8; N] {
    let (mut bytes, mut at, mut index) = ([0; N], 0, 0);
    while index < choices.len() {
        let separator: &[u8] = if index == 0 { b"" } else { b", " };
        let parts = [separator, choices[index].0.as_bytes()];
        let mut part = 0;
        while part < 2 {
            let mut byte = 0;
            while byte < parts[part].len() {
                bytes[at] = parts[part][byte];
                (at, byte) = (at + 1, byte + 1);
            }
            part += 1;
        }
        index += 1;
    }
    bytes
}

/// The names of choices as one text.
macro_rules! joined {
    ($choices:expr) => {{
        const NAMES: [u8; $crate::methods::option::names_len($choices)] =
            $crate::methods::option::names($choices);
        match std::str::from_utf8(&NAMES) {
            Ok(names) => names,
            Err(_) => panic!("names are joined whole"),
        }
    }};
}
pub(super) use joined;

const PROTECTED: &[Choice<Protect>] =
    &[("special", Protect::Special), ("class", Protect::Class), ("none", Protect::Nothing)];
const PLACES: &[Choice<SequencePositions>] =
    &[("rescaled", SequencePositions::Rescaled), ("shrunk", SequencePositions::Shrunk)];

/// Which tokens of a text never merge.
pub(super) const fn protect<T: Rule>() -> Opt<T> {
    Opt::new(
        "protect",
        (joined!(PROTECTED), joined!(PROTECTED)),
        "which tokens of a text never merge: all that the tokenizer adds, the class token, or none",
        |method, text| {
            let protect = chosen(PROTECTED, text)?;
            method.set_common(|common| common.protect = protect);
            Ok(())
        },
        |method| named(PROTECTED, &method.common().protect),
    )
}

/// Where merged tokens of a text stand.
pub(super) const fn positions<T: Rule>() -> Opt<T> {
    Opt::new(
        "positions",
        (joined!(PLACES), joined!(PLACES)),
        "where merged tokens of a text stand: at the mean of their places, or counted anew",
        |method, text| {
            let positions = chosen(PLACES, text)?;
            method.set_common(|common| common.positions = positions);
            Ok(())
        },
        |method| named(PLACES, &method.common().positions),
    )
}

/// A row for one of several named values, the default first: `choice!("feature", METRICS, metric.of, "help")`.
macro_rules! choice {
    ($name:literal, $choices:expr, $($field:ident).+, $help:expr) => {
        $crate::methods::option::Opt::new(
            $name,
            ($crate::methods::option::joined!($choices), $crate::methods::option::joined!($choices)),
            $help,
            |method, text| {
                method.$($field).+ = $crate::methods::option::chosen($choices, text)?;
                Ok(())
            },
            |method| $crate::methods::option::named($choices, &method.$($field).+),
        )
    };
}
pub(super) use choice;

/// A row for a whole number in a range, for a field that may be `None`:
/// `number!("split", 0..=1000, split, ("values", "allowed"), "help")`.
macro_rules! number {
    ($name:literal, $range:expr, $($field:ident).+, $texts:expr, $help:expr) => {
        $crate::methods::option::Opt::new(
            $name,
            $texts,
            $help,
            |method, text| {
                method.$($field).+ = Some($crate::methods::option::whole(text, $range)?);
                Ok(())
            },
            |method| method.$($field).+.map(|number| number.to_string()),
        )
    };
}
pub(super) use number;

const LAST_LAYERS: &[Choice<LastLayer>] = &[KEEP, CLASS];

/// What goes through the last MLP, of methods that send all by default.
pub(super) const fn last<T: Rule>() -> Opt<T> {
    Opt::new(
        "last",
        (joined!(LAST_LAYERS), joined!(LAST_LAYERS)),
        "what goes through the last MLP: all, or the class token",
        |method, text| {
            let last_layer = chosen(LAST_LAYERS, text)?;
            method.set_common(|common| common.last_layer = last_layer);
            Ok(())
        },
        |method| named(LAST_LAYERS, &method.common().last_layer),
    )
}

/// Whether attention weighs tokens by size, of methods that do as suits the weights by default.
pub(super) const fn prop_attn<T: Rule>() -> Opt<T> {
    Opt::new(
        "prop_attn",
        (joined!(PROPORTIONAL), joined!(PROPORTIONAL)),
        "attention weighs tokens by size; auto: on, but off for off-the-shelf MAE",
        |method, text| {
            let weighed = chosen(PROPORTIONAL, text)?;
            method.set_common(|common| common.proportional_attention = weighed);
            Ok(())
        },
        |method| named(PROPORTIONAL, &method.common().proportional_attention),
    )
}

/// A row for the part of the patches that is kept, above 0: `keep!("help")`.
macro_rules! keep {
    ($help:literal) => {
        $crate::methods::option::Opt::required(
            "keep",
            ("a share such as 70%, above 0%", "a share above 0% and up to 100% such as 70%"),
            $help,
            |method, text| {
                method.keep = $crate::methods::option::percent(text, 100.0)?;
                if method.keep > 0.0 { Ok(()) } else { Err($crate::methods::option::Refusal::Value) }
            },
            |method| Some($crate::methods::option::percent_text(method.keep)),
        )
    };
}
pub(super) use keep;

pub(super) const fn recheck<T: Rule>() -> Opt<T> {
    const VALUES: &str = "never, or a number above 0";
    Opt::new(
        "recheck",
        (VALUES, VALUES),
        "run images whose two best logits are closer than this a second time, unmerged",
        |method, text| {
            let recheck = match text {
                "never" => None,
                _ => Some(number_in(text, |gap: &f32| *gap > 0.0 && gap.is_finite())?),
            };
            method.set_common(|common| common.recheck = recheck);
            Ok(())
        },
        |method| method.common().recheck.map(|gap| gap.to_string()),
    )
}

pub(super) const PROPORTIONAL: &[Choice<ProportionalAttention>] = &[
    ("auto", ProportionalAttention::Auto),
    ("on", ProportionalAttention::On),
    ("off", ProportionalAttention::Off),
];
/// The same for methods that do not weigh tokens by default.
pub(super) const PROPORTIONAL_OFF: &[Choice<ProportionalAttention>] = &[
    ("off", ProportionalAttention::Off),
    ("auto", ProportionalAttention::Auto),
    ("on", ProportionalAttention::On),
];
/// The same for methods that always weigh tokens by default.
pub(super) const PROPORTIONAL_ON: &[Choice<ProportionalAttention>] = &[
    ("on", ProportionalAttention::On),
    ("auto", ProportionalAttention::Auto),
    ("off", ProportionalAttention::Off),
];
pub(super) const KEEP: Choice<LastLayer> = ("keep", LastLayer::All);
pub(super) const CLASS: Choice<LastLayer> = ("cls", LastLayer::Prefix);

/// A number for which `allowed` holds.
pub(super) fn number_in<N: std::str::FromStr>(
    text: &str,
    allowed: impl FnOnce(&N) -> bool,
) -> Result<N, Refusal> {
    text.trim().parse().ok().filter(allowed).ok_or(Refusal::Value)
}

/// A whole number in a range.
pub(super) fn whole(text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize, Refusal> {
    number_in(text, |number| range.contains(number))
}

/// A share such as `10%`, of up to `most` percent.
pub(super) fn percent(text: &str, most: f64) -> Result<f64, Refusal> {
    let percent = text.trim().strip_suffix('%').ok_or(Refusal::Value)?;
    Ok(number_in(percent, |percent: &f64| (0.0..=most).contains(percent))? / 100.0)
}

/// What [`part`] reads, for help texts and error messages.
pub(super) const PART: (&str, &str) =
    ("a share such as 70%, above 0% and below 100%", "a share above 0% and below 100% such as 70%");

/// A share above 0% and below 100%.
pub(super) fn part(text: &str) -> Result<f64, Refusal> {
    let share = percent(text, 100.0)?;
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err(Refusal::Value) }
}

/// A share as [`percent`] reads it: the shortest number of percent that is the same share.
pub(super) fn percent_text(share: f64) -> String {
    let rounded = |digits: i32| {
        let power = 10_f64.powi(digits);
        (share * 100.0 * power).round() / power
    };
    let exact = (0..=17).map(rounded).find(|percent| percent / 100.0 == share);
    format!("{}%", exact.unwrap_or(share * 100.0))
}

/// The entries of a list such as `[4,8]`; `None` for anything else.
pub(super) fn entries<N>(
    text: &str,
    entry: impl Fn(&str) -> Result<N, Refusal>,
) -> Option<Result<Vec<N>, Refusal>> {
    let list = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(list.split(',').map(entry).collect())
}

/// A list as [`entries`] reads it.
pub(super) fn list_text<N: ToString>(list: &[N]) -> String {
    format!("[{}]", list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// What [`one_or_list`] reads, for error messages.
pub(super) const ONE_OR_LIST: &str = "a whole number from 1 to 4096, or a list of up to 64 such as [4,8]";

/// One whole number from 1 on, or a list of them: `8`, `[4,8]`.
pub(super) fn one_or_list(text: &str) -> Result<Vec<usize>, Refusal> {
    let one = |text: &str| whole(text, 1..=4096);
    let list = entries(text, one).unwrap_or_else(|| Ok(vec![one(text)?]))?;
    if list.len() <= 64 { Ok(list) } else { Err(Refusal::Value) }
}

/// As [`one_or_list`] reads it.
pub(super) fn one_or_list_text(list: &[usize]) -> String {
    match list {
        [one] => one.to_string(),
        list => list_text(list),
    }
}

/// What [`counts`] reads, for help texts and error messages.
pub(super) const COUNTS: (&str, &str) = (
    "a number, or a list such as [16,16,8] with one per layer",
    "a whole number from 0 to 100000, or a list such as [16,16,8]",
);
/// What [`schedule`] reads.
pub(super) const SCHEDULE: (&str, &str) = (
    "a number, a list such as [16,16,8] with one per layer, or a share such as 10%",
    "a whole number from 0 to 100000, a list such as [16,16,8], or a share of up to 50% such as 10%",
);

/// Tokens to remove per layer: one number for all, or a list.
pub(super) fn counts(text: &str) -> Result<Schedule, Refusal> {
    let number = |text: &str| whole(text, 0..=100_000);
    Ok(match entries(text, number) {
        Some(list) => Schedule::PerLayer(list?),
        None => Schedule::Constant(number(text)?),
    })
}

/// The same, or a share of up to half.
pub(super) fn schedule(text: &str) -> Result<Schedule, Refusal> {
    match text.trim().strip_suffix('%') {
        Some(_) => Ok(Schedule::Share(percent(text, 50.0)?)),
        None => counts(text),
    }
}

/// As [`schedule`] reads it; of a tilted schedule the mean.
pub(super) fn schedule_text(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Constant(r) | Schedule::Linear { r, .. } => r.to_string(),
        Schedule::PerLayer(list) => list_text(list),
        Schedule::Share(share) => percent_text(*share),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_choices_are_joined_before_the_program_runs() {
        const NAMES: &str = joined!(&[("a", 1), ("bc", 2), ("d", 3)]);
        assert_eq!(NAMES, "a, bc, d");
    }
}
