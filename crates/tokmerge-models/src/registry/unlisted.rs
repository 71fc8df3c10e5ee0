//! Names that are not listed but follow the pattern of one that is: other patch and image sizes, other experts.

use super::table::Row;
use serde_json::{Value, json};

/// A name in its words: `vmoe_small_patch32_every2_224`.
struct Words<'a> {
    /// All words but those below, with placeholders for patch and image size.
    pattern: Vec<&'a str>,
    patch: usize,
    img_size: usize,
}

impl<'a> Words<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let mut pattern: Vec<&str> = name.split('_').collect();
        let size = |text: &str, most| text.parse().ok().filter(|size| (1..=most).contains(size));
        let img_size = size(pattern.pop()?, 4096)?;
        let (at, patch) = pattern
            .iter()
            .enumerate()
            .find_map(|(at, word)| Some((at, size(word.strip_prefix("patch")?, 64)?)))?;
        pattern[at] = "patch";
        Some(Self { pattern, patch, img_size })
    }
}

/// The argument that a word of a name stands for, where the model has experts.
fn argument(word: &str) -> Option<(&'static str, Value)> {
    match word.strip_prefix('e').and_then(|count| count.parse::<usize>().ok()) {
        Some(count) => Some(("experts", json!(count))),
        None if word.parse::<crate::experts::Placement>().is_ok() => Some(("expert_blocks", json!(word))),
        None => None,
    }
}

/// The row of the nearest listed name, changed into what the given name says.
pub(super) fn find(name: &str, rows: impl Iterator<Item = Row>) -> Option<Row> {
    let mut given = Words::of(name)?;
    if !given.img_size.is_multiple_of(given.patch) {
        return None;
    }
    let experts: Vec<(&str, Value)> = given.pattern.iter().filter_map(|word| argument(word)).collect();
    given.pattern.retain(|word| argument(word).is_none());
    let twice = |name: &str| experts.iter().filter(|(known, _)| *known == name).count() > 1;
    if twice("experts") || twice("expert_blocks") {
        return None;
    }
    let near = rows.filter_map(|row| {
        let words = Words::of(row.name).filter(|words| words.pattern == given.pattern)?;
        let distance = (words.patch != given.patch, words.img_size.abs_diff(given.img_size));
        Some((distance, row))
    });
    let (_, mut row) = near.min_by_key(|(distance, _)| *distance)?;
    if !experts.iter().all(|(argument, _)| row.arguments.contains_key(*argument)) {
        return None;
    }
    row.arguments.extend(experts.into_iter().map(|(argument, value)| (argument.to_owned(), value)));
    row.arguments.insert("patch_size".to_owned(), json!(given.patch));
    row.arguments.insert("img_size".to_owned(), json!(given.img_size));
    Some(row)
}
