//! What BLEU and chrF have in common: lines, references and white space.

use std::collections::HashMap;

/// Why texts cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Nothing to score.
    #[error("a score needs at least one line, and there are 0 hypotheses; give a text that is not empty")]
    NoHypotheses,
    /// Nothing to compare with.
    #[error("a score needs something to compare with, and there are 0 references; give at least one")]
    NoReferences,
    /// A hypothesis without its reference, or the other way round.
    #[error(
        "every hypothesis needs a line of every reference, and reference {reference} has {lines} lines for \
         {hypotheses} hypotheses; give texts of equally many lines, which end at a newline and nothing else"
    )]
    Lines {
        /// Number of hypotheses.
        hypotheses: usize,
        /// Which reference, counted from 1.
        reference: usize,
        /// Its number of lines.
        lines: usize,
    },
}

/// The lines of a text: they end at a newline, not at the other line ends of Unicode, which stand inside of segments. The
/// newline at the end of the text is optional.
#[must_use]
pub fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    lines
}

/// Goes through a corpus: calls `segment` with each hypothesis and its references, in order.
pub(crate) fn each_segment<H: AsRef<str>, R: AsRef<str>>(
    hypotheses: &[H],
    references: &[&[R]],
    mut segment: impl FnMut(&str, &[&str]),
) -> Result<(), TextError> {
    if hypotheses.is_empty() {
        return Err(TextError::NoHypotheses);
    }
    if references.is_empty() {
        return Err(TextError::NoReferences);
    }
    if let Some((at, lines)) =
        references.iter().enumerate().find(|(_, lines)| lines.len() != hypotheses.len())
    {
        let (hypotheses, lines) = (hypotheses.len(), lines.len());
        return Err(TextError::Lines { hypotheses, reference: at + 1, lines });
    }
    for (at, hypothesis) in hypotheses.iter().enumerate() {
        let references: Vec<&str> = references.iter().map(|lines| lines[at].as_ref()).collect();
        segment(hypothesis.as_ref(), &references);
    }
    Ok(())
}

/// White space as Python has it, which sacrebleu splits at: Unicode's and four separators of ASCII.
pub(crate) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The words of a line, between white space.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(is_space).filter(|word| !word.is_empty())
}

/// Numbers for words: equal ones for equal words.
#[derive(Default)]
pub(crate) struct Vocabulary<'text>(HashMap<&'text str, u32>);

impl<'text> Vocabulary<'text> {
    pub(crate) fn number(&mut self, word: &'text str) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(word).or_insert(next)
    }
}

/// The name and version in signatures.
pub(crate) const VERSION: &str = concat!("tokmerge-", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::{TextError, each_segment, lines, words};

    #[test]
    fn lines_end_at_newlines_only() {
        assert_eq!(lines("a\u{2028}b\u{85}c\r\nd"), ["a\u{2028}b\u{85}c\r", "d"]);
        assert_eq!(lines("a\n\n"), ["a", ""]);
        assert_eq!(lines(""), [""; 0]);
        assert_eq!(lines("\n"), [""]);
    }

    #[test]
    fn words_lie_between_white_space_of_python() {
        let found: Vec<&str> = words(" a\u{1f}b\u{a0}c\u{3000}d\u{200b}e ").collect();
        assert_eq!(found, ["a", "b", "c", "d\u{200b}e"]);
    }

    #[test]
    fn texts_of_different_lengths_are_refused() {
        let run =
            |hypotheses: &[&str], references: &[&[&str]]| each_segment(hypotheses, references, |_, _| ());
        assert_eq!(run(&[], &[&[]]), Err(TextError::NoHypotheses));
        assert_eq!(run(&["a"], &[]), Err(TextError::NoReferences));
        let error = run(&["a", "b"], &[&["a", "b"], &["a"]]).unwrap_err();
        assert_eq!(error, TextError::Lines { hypotheses: 2, reference: 2, lines: 1 });
        assert_eq!(
            error.to_string(),
            "every hypothesis needs a line of every reference, and reference 2 has 1 lines for 2 hypotheses; give \
             texts of equally many lines, which end at a newline and nothing else"
        );
    }
}
