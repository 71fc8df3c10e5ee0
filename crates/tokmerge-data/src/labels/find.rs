//! Classes by what people call them.

use super::ClassNames;
use std::collections::HashMap;

/// The class that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedClass {
    /// This one.
    One(usize),
    /// Several, of which these are two.
    Several(usize, usize),
}

/// Classes by id, by name, and by each of the words of a name such as `tench, Tinca tinca`.
pub(crate) struct NameIndex {
    /// The surest first.
    levels: [HashMap<String, NamedClass>; 3],
}

impl NameIndex {
    pub(crate) fn of(names: &ClassNames) -> Self {
        let mut levels = [HashMap::new(), HashMap::new(), HashMap::new()];
        let [ids, whole, words] = &mut levels;
        for (index, wnid) in names.wnids.iter().enumerate() {
            add(ids, wnid, index);
        }
        for (index, name) in names.names.iter().enumerate() {
            add(whole, name, index);
            if name.contains(',') {
                name.split(',').for_each(|word| add(words, word, index));
            }
        }
        for (word, index) in &names.synonyms {
            add(words, word, *index);
        }
        Self { levels }
    }

    /// The class of this id or name, in any case; `_` and `-` count as spaces.
    pub(crate) fn find(&self, name: &str) -> Option<NamedClass> {
        let name = normalised(name);
        self.levels.iter().find_map(|level| level.get(&name).copied())
    }
}

fn add(level: &mut HashMap<String, NamedClass>, name: &str, index: usize) {
    let name = normalised(name);
    if name.is_empty() {
        return;
    }
    let class = level.entry(name).or_insert(NamedClass::One(index));
    match *class {
        NamedClass::One(first) if first != index => *class = NamedClass::Several(first, index),
        _ => {}
    }
}

fn normalised(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', '-'], " ")
}
