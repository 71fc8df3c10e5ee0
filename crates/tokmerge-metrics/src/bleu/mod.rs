//! BLEU: how many n-grams of a translation stand in its references.

mod tokenize;

use std::fmt;

use crate::runs::Runs;
use crate::text::{TextError, VERSION, Vocabulary, each_segment, words};

pub use tokenize::Tokenizer;

/// The longest n-grams that count, in tokens.
pub const MAX_ORDER: usize = 4;

/// What becomes of an order of n-grams without a match, whose precision of 0 would make the score 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Smoothing {
    /// The k-th such order counts as 1 / 2^k matches.
    #[default]
    Exponential,
    /// It counts as 0.1 matches.
    Floor,
    /// Orders above the first, with a match or without, have one match and one n-gram more.
    AddOne,
    /// Its precision is 0.
    None,
}

impl Smoothing {
    /// As signatures name it: `exp`, `floor[0.10]`, `add-k[1.00]` or `none`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exponential => "exp",
            Self::Floor => "floor[0.10]",
            Self::AddOne => "add-k[1.00]",
            Self::None => "none",
        }
    }
}

/// Which orders of n-grams the score is the mean of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Orders {
    /// 1 to [`MAX_ORDER`]: the rule for a corpus. A score is 0 where the hypotheses have no n-gram of some order.
    #[default]
    All,
    /// Those that the hypotheses have n-grams of: the rule for a sentence, which may be short (*effective order*).
    Effective,
}

/// Whether capital letters differ from small ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Case {
    /// They do.
    #[default]
    Mixed,
    /// They do not: texts are compared in lower case.
    Lower,
}

/// BLEU as sacrebleu 2.6 counts it.
///
/// Matches of an n-gram are clipped at the largest number that one reference has; the length of the reference is that of
/// the closest one, the shorter of two equally close. The default is the score that papers report of a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bleu {
    /// How a line becomes tokens.
    pub tokenizer: Tokenizer,
    /// What becomes of an order without a match.
    pub smoothing: Smoothing,
    /// Which orders count.
    pub orders: Orders,
    /// Whether capital letters differ from small ones.
    pub case: Case,
}

/// A BLEU score and what it was computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct BleuScore {
    /// From 0 to 100.
    pub score: f64,
    /// Of the orders 1 to [`MAX_ORDER`], from 0 to 100, after smoothing.
    pub precisions: [f64; MAX_ORDER],
    /// What the score was multiplied by for hypotheses that are shorter than the references, at most 1.
    pub brevity_penalty: f64,
    /// Tokens of the hypotheses.
    pub hypothesis_length: usize,
    /// Tokens of the references, the closest of each segment.
    pub reference_length: usize,
    /// n-grams of the hypotheses that stand in a reference, by order, as counted (before smoothing).
    pub matches: [usize; MAX_ORDER],
    /// n-grams of the hypotheses, by order, as counted.
    pub totals: [usize; MAX_ORDER],
}

impl Bleu {
    /// The rule for one sentence: [`Orders::Effective`].
    #[must_use]
    pub fn of_sentences() -> Self {
        Self { orders: Orders::Effective, ..Self::default() }
    }

    /// The score of a corpus. `references` are whole texts, each with a line for every hypothesis.
    ///
    /// # Errors
    /// When there is no line, no reference, or a reference has another number of lines.
    pub fn corpus<H: AsRef<str>, R: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[&[R]],
    ) -> Result<BleuScore, TextError> {
        let mut counts = Counts::default();
        each_segment(hypotheses, references, |hypothesis, references| {
            let references: Vec<String> = references.iter().map(|line| self.tokens(line)).collect();
            counts.add(&self.tokens(hypothesis), &references);
        })?;
        Ok(self.score(&counts))
    }

    /// The score of one sentence, which should have [`Orders::Effective`] as [`Bleu::of_sentences`] has.
    ///
    /// # Errors
    /// When there is no reference.
    pub fn sentence(&self, hypothesis: &str, references: &[&str]) -> Result<BleuScore, TextError> {
        let references: Vec<&[&str]> = references.iter().map(std::slice::from_ref).collect();
        self.corpus(&[hypothesis], &references)
    }

    /// How the score was computed, in sacrebleu's words: `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:...`. The
    /// version is tokmerge's.
    #[must_use]
    pub fn signature(&self, references: usize) -> String {
        let case = match self.case {
            Case::Mixed => "mixed",
            Case::Lower => "lc",
        };
        let effective = match self.orders {
            Orders::All => "no",
            Orders::Effective => "yes",
        };
        let (tokenizer, smoothing) = (self.tokenizer.name(), self.smoothing.name());
        format!(
            "nrefs:{references}|case:{case}|eff:{effective}|tok:{tokenizer}|smooth:{smoothing}|version:{VERSION}"
        )
    }

    fn tokens(&self, line: &str) -> String {
        match self.case {
            Case::Mixed => self.tokenizer.tokenize(line),
            Case::Lower => self.tokenizer.tokenize(&line.to_lowercase()),
        }
    }

    fn score(&self, counts: &Counts) -> BleuScore {
        let (hypothesis, reference) = (counts.hypothesis_length as f64, counts.reference_length as f64);
        let brevity_penalty = match counts.hypothesis_length {
            length if length >= counts.reference_length => 1.0,
            0 => 0.0,
            _ => (1.0 - reference / hypothesis).exp(),
        };
        let (precisions, orders) = self.precisions(counts);
        let log_sum: f64 = precisions[..orders].iter().map(|precision| precision.ln()).sum();
        BleuScore {
            // The logarithm of a precision of 0 is minus infinity, which makes the score 0.
            score: brevity_penalty * (log_sum / orders as f64).exp(),
            precisions,
            brevity_penalty,
            hypothesis_length: counts.hypothesis_length,
            reference_length: counts.reference_length,
            matches: counts.matches,
            totals: counts.totals,
        }
    }

    /// Precisions in percent after smoothing, and how many orders count.
    fn precisions(&self, counts: &Counts) -> ([f64; MAX_ORDER], usize) {
        let (mut precisions, mut orders) = ([0.0; MAX_ORDER], MAX_ORDER);
        if counts.matches == [0; MAX_ORDER] {
            return (precisions, orders);
        }
        let mut share = 1.0;
        for (order, precision) in precisions.iter_mut().enumerate() {
            let (mut matches, mut total) = (counts.matches[order] as f64, counts.totals[order] as f64);
            if self.smoothing == Smoothing::AddOne && order > 0 {
                (matches, total) = (matches + 1.0, total + 1.0);
            }
            if total == 0.0 {
                break;
            }
            if self.orders == Orders::Effective {
                orders = order + 1;
            }
            if matches == 0.0 {
                matches = match self.smoothing {
                    Smoothing::Exponential => {
                        share /= 2.0;
                        share
                    }
                    Smoothing::Floor => 0.1,
                    Smoothing::AddOne | Smoothing::None => 0.0,
                };
            }
            *precision = 100.0 * matches / total;
        }
        (precisions, orders)
    }
}

impl fmt::Display for BleuScore {
    /// As sacrebleu prints it: the score, the precisions, the lengths.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precisions = self.precisions.map(|precision| format!("{precision:.1}")).join("/");
        let (hypothesis, reference) = (self.hypothesis_length, self.reference_length);
        let ratio = if reference == 0 { 0.0 } else { hypothesis as f64 / reference as f64 };
        let (score, penalty) = (self.score, self.brevity_penalty);
        write!(
            f,
            "BLEU = {score:.2} {precisions} (BP = {penalty:.3} ratio = {ratio:.3} hyp_len = {hypothesis} ref_len = {reference})"
        )
    }
}

/// Sums over the segments of a corpus.
#[derive(Default)]
struct Counts {
    hypothesis_length: usize,
    reference_length: usize,
    matches: [usize; MAX_ORDER],
    totals: [usize; MAX_ORDER],
}

impl Counts {
    /// Adds a segment of tokens that are parted by white space.
    fn add(&mut self, hypothesis: &str, references: &[String]) {
        let mut vocabulary = Vocabulary::default();
        let mut runs =
            |line| Runs::new(&words(line).map(|word| vocabulary.number(word)).collect::<Vec<_>>(), MAX_ORDER);
        let hypothesis = runs(hypothesis);
        let references: Vec<Runs> = references.iter().map(|line| runs(line)).collect();
        let length = hypothesis.total(1);
        self.hypothesis_length += length;
        let lengths = references.iter().map(|reference| reference.total(1));
        self.reference_length += lengths.min_by_key(|other| (other.abs_diff(length), *other)).unwrap_or(0);
        for order in 1..=MAX_ORDER {
            self.totals[order - 1] += hypothesis.total(order);
            self.matches[order - 1] += hypothesis.matches(&references, order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bleu, Case, Smoothing, Tokenizer};

    #[test]
    fn the_signature_names_every_choice() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            Bleu::default().signature(1),
            format!("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:tokmerge-{version}")
        );
        let other = Bleu {
            tokenizer: Tokenizer::International,
            smoothing: Smoothing::Floor,
            case: Case::Lower,
            ..Bleu::of_sentences()
        };
        assert_eq!(
            other.signature(2),
            format!("nrefs:2|case:lc|eff:yes|tok:intl|smooth:floor[0.10]|version:tokmerge-{version}")
        );
    }

    #[test]
    fn the_closest_reference_counts_and_the_shorter_of_two() {
        let length =
            |references: &[&str]| Bleu::default().sentence("a b c", references).unwrap().reference_length;
        assert_eq!(length(&["a", "a b c d e f", "a b c d"]), 4);
        assert_eq!(length(&["a b c d", "a b"]), 2);
    }

    #[test]
    fn matches_are_clipped_at_the_most_that_one_reference_has() {
        let found = Bleu::default().sentence("a a a b", &["a a", "a b"]).unwrap();
        assert_eq!((found.matches, found.totals), ([3, 2, 0, 0], [4, 3, 2, 1]));
    }

    #[test]
    fn a_corpus_sums_counts_and_does_not_average_scores() {
        let found = Bleu::default().corpus(&["a b c d e", "x"], &[&["a b c d e", "y z"]]).unwrap();
        assert_eq!((found.matches, found.totals), ([5, 4, 3, 2], [6, 4, 3, 2]));
        let expected = 100.0 * (1.0 - 7.0 / 6.0_f64).exp() * (5.0 / 6.0_f64).powf(0.25);
        assert!((found.score - expected).abs() < 1e-10, "{} {expected}", found.score);
    }

    #[test]
    fn only_effective_orders_give_short_sentences_a_score() {
        assert_eq!(Bleu::default().sentence("Hund", &["Hund"]).unwrap().score, 0.0);
        assert!((Bleu::of_sentences().sentence("Hund", &["Hund"]).unwrap().score - 100.0).abs() < 1e-12);
        assert_eq!(Bleu::of_sentences().sentence("", &["Hund"]).unwrap().brevity_penalty, 0.0);
        assert_eq!(Bleu::of_sentences().sentence("", &[""]).unwrap().score, 0.0);
    }

    #[test]
    fn lower_case_is_a_choice() {
        let lower = Bleu { case: Case::Lower, ..Bleu::of_sentences() };
        assert!((lower.sentence("DIE Katze", &["die KATZE"]).unwrap().score - 100.0).abs() < 1e-12);
        assert_eq!(Bleu::of_sentences().sentence("DIE Katze", &["die KATZE"]).unwrap().score, 0.0);
    }
}
