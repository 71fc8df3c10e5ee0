//! What can go wrong with a weights file, each in one line: the rule, the value, the way out.

use std::io;
use std::path::{Path, PathBuf};

/// Why a weights file could not be found, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb: `open`, `read`, `rename`.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The content is none of the formats read here.
    #[error("{}: not a weights file: {found}; expected safetensors or PyTorch's zip format", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What it looks like instead.
        found: String,
    },
    /// The file as a whole is damaged or lies about itself.
    #[error("{}: invalid {format} file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The format it was read as.
        format: &'static str,
        /// The rule that was broken, with the values.
        reason: String,
    },
    /// One tensor of the file is damaged or cannot be represented.
    #[error("{}: tensor {}: {reason}", path.display(), quoted(name))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor, as named in the file.
        name: String,
        /// The rule that was broken, with the values.
        reason: String,
    },
    /// A pickle asks for a class or function outside the allow-list. It was not run.
    #[error(
        "{}: the pickle asks for {}, which is not on the allow-list and was not run; \
         in Python, save the tensors alone with torch.save(model.state_dict()) or convert them to safetensors",
        path.display(), quoted(global)
    )]
    ForbiddenGlobal {
        /// The file.
        path: PathBuf,
        /// `module.name` as the pickle spells it.
        global: String,
    },
    /// A PyTorch file older than the zip format, or written on a big-endian machine.
    #[error(
        "{}: {found} is not read; re-save it in Python with \
         torch.save(..., _use_new_zipfile_serialization=True) or convert it to safetensors",
        path.display()
    )]
    UnsupportedPytorch {
        /// The file.
        path: PathBuf,
        /// Which layout was found.
        found: &'static str,
    },
    /// A tensor of integers or booleans was asked for as `f32`.
    #[error("tensor {} holds {dtype}, which is not converted to f32; read its bytes instead", quoted(name))]
    NotFloat {
        /// The tensor.
        name: String,
        /// What it holds.
        dtype: crate::Dtype,
    },
    /// A tensor given by the caller has a byte count that its shape and dtype do not explain.
    #[error("tensor {}: {reason}", quoted(name))]
    InvalidView {
        /// The tensor.
        name: String,
        /// The rule that was broken, with the values.
        reason: String,
    },
    /// The file has no set of weights of the name asked for.
    #[error("{}: there is no `state_dict` {}; its {found}", path.display(), quoted(wanted))]
    NoStateDict {
        /// The file.
        path: PathBuf,
        /// The name.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// No weights in a folder.
    #[error("{}: no weights found; looked for {looked_for}", dir.display())]
    NoWeights {
        /// The folder.
        dir: PathBuf,
        /// Names and endings, in the order tried.
        looked_for: String,
    },
    /// Several files with the same ending and no conventional name among them.
    #[error("{}: several files could be the weights: {candidates}; name one of them instead of the folder", dir.display())]
    AmbiguousWeights {
        /// The folder.
        dir: PathBuf,
        /// The files, comma-separated.
        candidates: String,
    },
}

impl CheckpointError {
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    pub(crate) fn malformed(path: &Path, format: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), format, reason: reason.into() }
    }

    pub(crate) fn tensor(path: &Path, name: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { path: path.to_owned(), name: name.to_owned(), reason: reason.into() }
    }
}

/// A name from outside in backticks, made safe for one line of a terminal: escaped, and cut after 120 shown ones.
///
/// ```
/// use tokmerge_checkpoint::quoted;
///
/// assert_eq!(quoted("head.weight"), "`head.weight`");
/// assert_eq!(quoted("a\n\u{1b}[31m"), "`a\\n\\u{1b}[31m`");
/// ```
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("`{}`", cut(name, 120, |c| c.escape_debug().collect()))
}

/// So many characters of a text as they are shown, whatever each becomes.
fn cut(text: &str, most: usize, show: impl Fn(char) -> String) -> String {
    let (mut shown, mut length) = (String::new(), 0);
    for c in text.chars() {
        let next = show(c);
        length += next.chars().count();
        if length > most {
            shown.push('…');
            break;
        }
        shown.push_str(&next);
    }
    shown
}

/// Whether terminals do something at a character instead of showing it: control characters, line ends, and those that turn
/// the direction of writing.
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text that holds words from outside, made safe for one line of a terminal: control characters and those that turn the
/// direction of writing are escaped, and it is cut after 400 shown ones.
///
/// ```
/// use tokmerge_checkpoint::shortened;
///
/// assert_eq!(shortened("a \"b\" c\u{1b}"), "a \"b\" c\\u{1b}");
/// assert_eq!(shortened(&"x".repeat(1000)).chars().count(), 401);
/// ```
#[must_use]
pub fn shortened(text: &str) -> String {
    cut(text, 400, |c| if is_obeyed(c) { c.escape_unicode().collect() } else { c.to_string() })
}

#[cfg(test)]
mod tests {
    use super::{quoted, shortened};

    #[test]
    fn names_from_files_cannot_break_the_line() {
        assert_eq!(quoted("a\nb\x1b[31m"), "`a\\nb\\u{1b}[31m`");
        assert!(quoted(&"x".repeat(100_000)).len() < 200);
        // What is escaped counts as long as it is shown.
        assert_eq!(quoted(&"\x12".repeat(1000)).chars().count(), 120 + 3);
        assert_eq!(shortened(&"\x12".repeat(1000)).chars().count(), 396 + 1);
        assert_eq!(quoted(&"\x12".repeat(20)), format!("`{}`", "\\u{12}".repeat(20)));
    }
}
