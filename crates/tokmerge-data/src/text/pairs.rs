//! Texts with what is to be written of them: translations.

use super::{TextError, read_lines};
use std::path::{Path, PathBuf};

/// Ending of files of such pairs.
const ENDING: &str = "tsv";

/// A text, and what is to be written of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPair {
    /// What goes in.
    pub source: String,
    /// What is to come out.
    pub target: String,
}

/// Why pairs were not read. One line each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextPairsError {
    /// The file cannot be read.
    #[error("{}: {source}{}", path.display(), crate::way_out(source))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no text.
    #[error("{}: {source}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TextError,
    },
    /// A line is no pair.
    #[error(
        "{}: line {line} has {fields} fields between tabs, and a pair has two, the text and what is to be written of it; join two \
         files of lines with `paste`",
        path.display()
    )]
    Fields {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// How many.
        fields: usize,
    },
    /// One of both is missing.
    #[error("{}: line {line} has an empty {what}; leave the line out", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Text or target.
        what: &'static str,
    },
    /// There are none.
    #[error("{}: holds no pairs of texts; write one a line, with a tab between both", path.display())]
    None {
        /// The file.
        path: PathBuf,
    },
}

/// Whether a path is one of a file of pairs, by its ending `.tsv`.
#[must_use]
pub fn is_text_pairs(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(ENDING))
}

/// The pairs of a file: one a line, with a tab between both.
///
/// # Errors
/// When it cannot be read, a line is no pair, or there is none.
pub fn read_text_pairs(path: &Path) -> Result<Vec<TextPair>, TextPairsError> {
    let own = || path.to_owned();
    let read = |source| TextPairsError::Read { path: path.to_owned(), source };
    let mut pairs = Vec::new();
    for (index, line) in read_lines(path).map_err(read)?.enumerate() {
        let text = line.map_err(read)?.map_err(|source| TextPairsError::Text { path: own(), source })?;
        let line = index + 1;
        let fields: Vec<&str> = text.split('\t').map(str::trim).collect();
        let [source, target] = fields[..] else {
            return Err(TextPairsError::Fields { path: own(), line, fields: fields.len() });
        };
        let empty = [("text", source), ("target", target)].into_iter().find(|(_, text)| text.is_empty());
        if let Some((what, _)) = empty {
            return Err(TextPairsError::Empty { path: own(), line, what });
        }
        pairs.push(TextPair { source: source.to_owned(), target: target.to_owned() });
    }
    if pairs.is_empty() { Err(TextPairsError::None { path: own() }) } else { Ok(pairs) }
}

#[cfg(test)]
mod tests {
    use super::{TextPair, read_text_pairs};

    #[test]
    fn pairs_are_read_and_what_is_none_is_named_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.tsv");
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            read_text_pairs(&path).map_err(|error| error.to_string())
        };
        let pair = |source: &str, target: &str| TextPair { source: source.into(), target: target.into() };
        let both = read("\u{feff}a cat\t eine Katze \r\nb\tc".as_bytes());
        assert_eq!(both.unwrap(), [pair("a cat", "eine Katze"), pair("b", "c")]);
        for (text, said) in [
            (&b"a\tb\nc"[..], "line 2 has 1 fields"),
            (b"a\tb\tc\n", "line 1 has 3 fields"),
            (b"a\tb\n\tc\n", "line 2 has an empty text"),
            (b"a\t \n", "line 1 has an empty target"),
            (b"a\tb\n\xFF\tc\n", "line 2 is not UTF-8"),
            (b"", "holds no pairs"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said) && !error.contains('\n'), "{error}");
        }
        assert!(read_text_pairs(dir.path()).is_err());
    }
}
