//! chrF: how many runs of characters a translation and its reference have in common.

use std::fmt;

use crate::runs::Runs;
use crate::text::{TextError, VERSION, Vocabulary, each_segment, is_space, words};

/// The longest runs of characters that count.
const CHARACTERS: usize = 6;
/// The longest runs of words that count in chrF++.
const WORDS: usize = 2;
/// How much more recall counts than precision, squared.
const BETA_SQUARED: f64 = 4.0;

/// chrF as sacrebleu 2.6 counts it: runs of 1 to 6 characters without white space, recall counting twice as much as
/// precision, the mean over the orders that both sides have, the reference with the best score of each segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChrF {
    /// chrF: characters alone.
    #[default]
    Characters,
    /// chrF++: also runs of 1 and 2 words.
    CharactersAndWords,
}

/// A chrF score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChrFScore {
    /// From 0 to 100.
    pub score: f64,
    /// What was counted.
    pub metric: ChrF,
}

/// How many n-grams of one order the hypotheses and the references have, and how many are in both.
#[derive(Clone, Copy, Default)]
struct Order {
    hypothesis: usize,
    reference: usize,
    matches: usize,
}

/// The counts of all orders, those of characters first.
type Orders = [Order; CHARACTERS + WORDS];

impl ChrF {
    /// The name, as sacrebleu prints it: `chrF2` or `chrF2++`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Characters => "chrF2",
            Self::CharactersAndWords => "chrF2++",
        }
    }

    /// The score of a corpus. `references` are whole texts, each with a line for every hypothesis.
    ///
    /// # Errors
    /// When there is no line, no reference, or a reference has another number of lines.
    pub fn corpus<H: AsRef<str>, R: AsRef<str>>(
        self,
        hypotheses: &[H],
        references: &[&[R]],
    ) -> Result<ChrFScore, TextError> {
        let mut sums = Orders::default();
        each_segment(hypotheses, references, |hypothesis, references| {
            for (sum, order) in sums.iter_mut().zip(self.best(hypothesis, references)) {
                sum.hypothesis += order.hypothesis;
                sum.reference += order.reference;
                sum.matches += order.matches;
            }
        })?;
        Ok(ChrFScore { score: f_score(&sums), metric: self })
    }

    /// The score of one sentence.
    ///
    /// # Errors
    /// When there is no reference.
    pub fn sentence(self, hypothesis: &str, references: &[&str]) -> Result<ChrFScore, TextError> {
        let references: Vec<&[&str]> = references.iter().map(std::slice::from_ref).collect();
        self.corpus(&[hypothesis], &references)
    }

    /// How the score was computed, in sacrebleu's words: `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:...`. The
    /// version is tokmerge's.
    #[must_use]
    pub fn signature(self, references: usize) -> String {
        let words = match self {
            Self::Characters => 0,
            Self::CharactersAndWords => WORDS,
        };
        format!("nrefs:{references}|case:mixed|eff:yes|nc:{CHARACTERS}|nw:{words}|space:no|version:{VERSION}")
    }

    /// The counts of a segment with the reference of the best score, the first of several.
    fn best(self, hypothesis: &str, references: &[&str]) -> Orders {
        let mut vocabulary = Vocabulary::default();
        let hypothesis = self.runs(hypothesis, &mut vocabulary);
        let (mut best, mut best_score) = (Orders::default(), -1.0);
        for reference in references {
            let orders = compare(&hypothesis, &self.runs(reference, &mut vocabulary));
            let score = f_score(&orders);
            if score > best_score {
                (best, best_score) = (orders, score);
            }
        }
        best
    }

    /// The runs of characters of a line, and those of words.
    fn runs<'text>(self, line: &'text str, vocabulary: &mut Vocabulary<'text>) -> [Runs; 2] {
        let characters: Vec<u32> = line.chars().filter(|c| !is_space(*c)).map(u32::from).collect();
        let words: Vec<u32> = match self {
            Self::Characters => Vec::new(),
            Self::CharactersAndWords => {
                words(line).flat_map(apart).flatten().map(|word| vocabulary.number(word)).collect()
            }
        };
        [Runs::new(&characters, CHARACTERS), Runs::new(&words, WORDS)]
    }
}

/// The counts of a hypothesis and a reference: of runs of characters, then of words.
fn compare(hypothesis: &[Runs; 2], reference: &[Runs; 2]) -> Orders {
    let kinds = (1..=CHARACTERS).map(|order| (0, order)).chain((1..=WORDS).map(|order| (1, order)));
    let mut orders = Orders::default();
    for (counts, (kind, order)) in orders.iter_mut().zip(kinds) {
        let (hypothesis, reference) = (&hypothesis[kind], &reference[kind]);
        let in_reference = reference.total(order);
        *counts = Order {
            // Of an order that the reference has nothing of, nothing is held against the hypothesis.
            hypothesis: if in_reference == 0 { 0 } else { hypothesis.total(order) },
            reference: in_reference,
            matches: hypothesis.matches(std::slice::from_ref(reference), order),
        };
    }
    orders
}

impl fmt::Display for ChrFScore {
    /// As sacrebleu prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:.2}", self.metric.name(), self.score)
    }
}

/// A word and the punctuation mark at its end, or else at its beginning, as chrF++ parts them.
fn apart(word: &str) -> [Option<&str>; 2] {
    let is_mark = |c: char| c.is_ascii_punctuation();
    let last = word.char_indices().next_back().map_or(0, |(at, _)| at);
    let (begin, end) = (word.starts_with(is_mark), word.ends_with(is_mark));
    match (last, begin, end) {
        (0, ..) | (_, false, false) => [Some(word), None],
        (_, _, true) => [Some(&word[..last]), Some(&word[last..])],
        (_, true, false) => [Some(&word[..1]), Some(&word[1..])],
    }
}

/// The mean precision and recall over the orders that both sides have, as one number from 0 to 100.
fn f_score(orders: &Orders) -> f64 {
    let (mut precision, mut recall, mut count) = (0.0, 0.0, 0.0);
    for order in orders.iter().filter(|order| order.hypothesis > 0 && order.reference > 0) {
        precision += order.matches as f64 / order.hypothesis as f64;
        recall += order.matches as f64 / order.reference as f64;
        count += 1.0;
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    (precision, recall) = (precision / count, recall / count);
    100.0 * (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
}

#[cfg(test)]
mod tests {
    use super::{ChrF, apart};

    #[test]
    fn a_mark_at_the_end_goes_first_and_only_one_goes() {
        let parts = |word| apart(word).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(parts("(hi)"), ["(hi", ")"]);
        assert_eq!(parts("(hi"), ["(", "hi"]);
        assert_eq!(parts("é"), ["é"]);
        assert_eq!(parts("!"), ["!"]);
        assert_eq!(parts("né…"), ["né…"]);
        assert_eq!(parts("né..."), ["né..", "."]);
    }

    #[test]
    fn runs_are_clipped_and_white_space_does_not_count() {
        // a: 2 of 3 and 2 of 2; aa: 1 of 2 and 1 of 1; aaa: the reference has none.
        let found = ChrF::Characters.sentence("a a a", &["aa"]).unwrap().score;
        let (precision, recall) = ((2.0 / 3.0 + 0.5) / 2.0, 1.0);
        let expected = 100.0 * 5.0 * precision * recall / (4.0 * precision + recall);
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn empty_lines_score_0_and_the_same_line_100() {
        for metric in [ChrF::Characters, ChrF::CharactersAndWords] {
            assert_eq!(metric.sentence("", &["a b"]).unwrap().score, 0.0);
            assert_eq!(metric.sentence("a b", &[""]).unwrap().score, 0.0);
            assert_eq!(metric.sentence("", &[""]).unwrap().score, 0.0);
            assert_eq!(metric.sentence("Ein Hund.", &["Eine Katze.", "Ein Hund."]).unwrap().score, 100.0);
        }
    }

    #[test]
    fn the_signature_names_the_orders() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            ChrF::CharactersAndWords.signature(2),
            format!("nrefs:2|case:mixed|eff:yes|nc:6|nw:2|space:no|version:tokmerge-{version}")
        );
    }
}
