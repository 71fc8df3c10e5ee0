//! How a line becomes tokens.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use crate::text::{is_space, words};

/// Where BLEU parts words from punctuation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tokenizer {
    /// WMT's `mteval-v13a`, for languages in Latin script: knows punctuation and symbols of ASCII only.
    #[default]
    V13a,
    /// `mteval-v14`'s international one: punctuation and symbols of all of Unicode.
    International,
    /// White space alone, for lines of tokens.
    None,
}

/// Pairs of patterns and what is put in their place, in this order.
struct Rules(Vec<(Regex, &'static str)>);

impl Rules {
    fn new(rules: &[(&str, &'static str)]) -> Self {
        let compile = |(pattern, by): &(&str, &'static str)| {
            (Regex::new(pattern).expect("the patterns of this file are valid"), *by)
        };
        Self(rules.iter().map(compile).collect())
    }

    /// The line with one space between tokens.
    fn apply(&self, line: &str) -> String {
        let mut line = Cow::Borrowed(line);
        for (pattern, by) in &self.0 {
            if let Cow::Owned(changed) = pattern.replace_all(&line, *by) {
                line = Cow::Owned(changed);
            }
        }
        words(&line).collect::<Vec<_>>().join(" ")
    }
}

static V13A: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(&[
        // All of ASCII's punctuation and symbols but ' , - and .
        (r"[ -&(-+/:-@\[-`{-~]", " $0 "),
        // Full stops and commas, unless between digits.
        (r"([^0-9])([.,])", "$1 $2 "),
        (r"([.,])([^0-9])", " $1 $2"),
        // A dash after a digit.
        (r"([0-9])(-)", "$1 $2 "),
    ])
});

static INTERNATIONAL: LazyLock<Rules> = LazyLock::new(|| {
    Rules::new(&[
        // Punctuation, unless between numbers or between a number and the end of the line.
        (r"(\P{N})(\p{P})", "$1 $2 "),
        (r"(\p{P})(\P{N})", " $1 $2"),
        (r"\p{S}", " $0 "),
    ])
});

impl Tokenizer {
    /// The name, as in sacrebleu: `13a`, `intl` or `none`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::International => "intl",
            Self::None => "none",
        }
    }

    /// The tokens of a line, one space between them. White space at the end of the line is cut off first.
    #[must_use]
    pub fn tokenize(self, line: &str) -> String {
        let line = line.trim_end_matches(is_space);
        match self {
            Self::V13a => {
                let line = line.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
                // In this order, so that what `&amp;` uncovers is read again.
                let line = line.replace("&quot;", "\"").replace("&amp;", "&");
                let line = line.replace("&lt;", "<").replace("&gt;", ">");
                V13A.apply(&format!(" {line} "))
            }
            Self::International => INTERNATIONAL.apply(line),
            Self::None => words(line).collect::<Vec<_>>().join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tokenizer::{International, None, V13a};

    #[test]
    fn numbers_keep_their_points_and_words_lose_them() {
        let line = "It's 1,686.50 (about 2.5%), in 2019-20.";
        assert_eq!(V13a.tokenize(line), "It's 1,686.50 ( about 2.5 % ) , in 2019 - 20 .");
        // The full stop after a number at the end of a line stays, as in mteval-v14.
        assert_eq!(International.tokenize(line), "It ' s 1,686.50 ( about 2.5 % ) , in 2019-20.");
        assert_eq!(None.tokenize("  a,\tb. "), "a, b.");
    }

    #[test]
    fn entities_are_read_by_13a_alone() {
        assert_eq!(V13a.tokenize("&amp;lt;b&gt; <skipped>x-\ny\nz"), "< b > xy z");
        assert_eq!(International.tokenize("a &amp; b"), "a & amp ; b");
    }

    #[test]
    fn punctuation_in_a_row_is_taken_in_pairs() {
        assert_eq!(V13a.tokenize("well... 3.,4"), "well . . . 3 . , 4");
        assert_eq!(International.tokenize("„Ja“…– 50€½"), "„ Ja “ … – 50 € ½");
    }
}
