//! Sentences in two languages that were made up: translation that needs no download.
//!
//! The first is English without endings; the second says the same in another order, with endings that agree over any distance.
//! A verb stands at the end of its clause and agrees with its subject in gender and number, its tense is that of the word
//! which the first language begins with, a relative clause stands in front of its noun, adjectives behind it in reverse order,
//! each agreeing with it, then the article. Which gender a noun has only its word says. So every word of the first
//! language matters, and most words of the second depend on several of the first, which stand elsewhere.
//!
//! ```
//! use tokmerge_scenes::Split;
//! use tokmerge_scenes::sentences::Sentences;
//!
//! let sentences = Sentences::of(Split::Train);
//! let pair = sentences.pair(3);
//! println!("{} = {}", pair.source, pair.target);
//! assert_eq!(sentences.pair(3), pair);
//! ```

mod grammar;
mod lexicon;

use crate::Split;
use crate::random::Random;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

/// A sentence in both languages, its words and its full stop between single spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// In the first language.
    pub source: String,
    /// In the second: the only translation.
    pub target: String,
}

/// The sentences of a seed; any number of them, at any index. A sentence has one to three clauses and is its own function of
/// seed and index, the same on every platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentences {
    seed: u64,
}

impl Sentences {
    /// The sentences of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The sentences of a split.
    #[must_use]
    pub fn of(split: Split) -> Self {
        Self::new(split.seed())
    }

    /// Sentence `index`.
    #[must_use]
    pub fn pair(&self, index: u64) -> Pair {
        let mut random = Random::for_sentence(self.seed, index);
        let sentence = grammar::Sentence::random(&mut random);
        let joined = |words: Vec<String>| words.join(" ");
        Pair { source: joined(sentence.first()), target: joined(sentence.second()) }
    }

    /// Writes sentences to a file, a line each, both languages with a tab between them.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path, which: Range<u64>) -> io::Result<()> {
        let mut file = BufWriter::new(File::create_new(path)?);
        for index in which {
            let Pair { source, target } = self.pair(index);
            writeln!(file, "{source}\t{target}")?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// Every word of both languages, in a fixed order: what a vocabulary must hold.
#[must_use]
pub fn words() -> Vec<String> {
    lexicon::words()
}

#[cfg(test)]
mod tests {
    use super::{Sentences, Split, words};
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_vocabulary_is_what_is_said() {
        let vocabulary: Vec<String> = words();
        let known: BTreeSet<&str> = vocabulary.iter().map(String::as_str).collect();
        assert_eq!(known.len(), vocabulary.len(), "no word is there twice");
        let mut said = BTreeSet::new();
        for index in 0..20_000 {
            let pair = Sentences::of(Split::Train).pair(index);
            said.extend(pair.source.split(' ').chain(pair.target.split(' ')).map(str::to_owned));
        }
        assert!(said.iter().all(|word| known.contains(word.as_str())));
        let never: Vec<&&str> = known.iter().filter(|word| !said.contains(**word)).collect();
        assert!(never.is_empty(), "{never:?}");
    }

    #[test]
    fn a_sentence_has_one_translation_and_a_translation_one_meaning() {
        let mut meanings: BTreeMap<String, String> = BTreeMap::new();
        for index in 0..5_000 {
            let pair = Sentences::of(Split::Validation).pair(index);
            if let Some(known) = meanings.insert(pair.source.clone(), pair.target.clone()) {
                assert_eq!(known, pair.target, "{}", pair.source);
            }
        }
        assert!(meanings.len() > 4_900, "sentences hardly ever come twice: {}", meanings.len());
    }

    #[test]
    fn sentences_are_long_and_of_many_lengths() {
        let lens: Vec<usize> =
            (0..2_000).map(|index| Sentences::new(5).pair(index).source.split(' ').count()).collect();
        let mean = lens.iter().sum::<usize>() as f64 / lens.len() as f64;
        assert!((14.0..28.0).contains(&mean), "{mean}");
        assert!(lens.iter().all(|len| (5..=80).contains(len)));
        assert!(lens.iter().collect::<BTreeSet<_>>().len() > 25);
    }

    #[test]
    fn splits_have_other_sentences() {
        let of = |split| (0..50).map(|index| Sentences::of(split).pair(index)).collect::<Vec<_>>();
        assert_ne!(of(Split::Train), of(Split::Validation));
    }

    #[test]
    fn a_file_has_a_line_for_each() {
        let dir = tempfile::tempdir().unwrap();
        let (path, sentences) = (dir.path().join("pairs.tsv"), Sentences::of(Split::Validation));
        sentences.write(&path, 2..5).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let pair = sentences.pair(3);
        assert_eq!((lines.len(), lines[1]), (3, format!("{}\t{}", pair.source, pair.target).as_str()));
        assert!(sentences.write(&path, 0..1).is_err(), "nothing is written over");
    }
}
