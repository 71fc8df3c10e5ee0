//! Files of texts: one line each.

use super::TextError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Endings of files of texts, in lower case.
pub const EXTENSIONS: [&str; 1] = ["txt"];

/// Bytes of a line at most.
const MOST_BYTES: u64 = 16 << 20;

/// Bytes by which a file is taken for texts or not.
const LOOKED_AT: usize = 8 << 10;

/// The lines of a file, in order: each a text, or what is wrong with it.
pub struct Lines<R> {
    source: R,
    line: usize,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// Of a stream.
    pub fn new(source: R) -> Self {
        Self::from_line(source, 0)
    }

    /// Of a stream of texts from its first line on.
    ///
    /// # Errors
    /// When it cannot be read, or begins like something else.
    pub fn open(mut source: R) -> io::Result<Self> {
        check_text(source.fill_buf()?).map_err(io::Error::other)?;
        Ok(Self::new(source))
    }

    /// Of a stream that begins after so many lines.
    pub fn from_line(source: R, before: usize) -> Self {
        Self { source, line: before, ended: false }
    }
}

impl<R: BufRead + 'static> Lines<R> {
    /// The same, whatever they are of.
    #[must_use]
    pub fn boxed(self) -> Lines<Box<dyn BufRead>> {
        Lines { source: Box::new(self.source), line: self.line, ended: self.ended }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Result<String, TextError>>;

    /// The next line without its end; of a file that begins with a byte order mark without that.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        self.line += 1;
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(MOST_BYTES + 1).read_until(b'\n', &mut bytes);
        match read {
            Err(error) => {
                self.ended = true;
                return Some(Err(error));
            }
            Ok(0) => return None,
            Ok(_) => {}
        }
        if bytes.len() as u64 > MOST_BYTES && !bytes.ends_with(b"\n") {
            // Where the next text begins nobody knows without reading on.
            self.ended = true;
            return Some(Ok(Err(TextError::Long { line: self.line, most: MOST_BYTES })));
        }
        while bytes.ends_with(b"\n") || bytes.ends_with(b"\r") {
            bytes.pop();
        }
        if self.line == 1 && bytes.starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(..3);
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| TextError::Utf8 { line: self.line, byte: error.utf8_error().valid_up_to() + 1 });
        Some(Ok(text))
    }
}

/// The lines of a file.
///
/// # Errors
/// When it cannot be read, or is no file of texts.
pub fn read_lines(path: &Path) -> io::Result<Lines<BufReader<File>>> {
    Lines::open(BufReader::new(File::open(path)?))
}

/// Bytes as text.
///
/// # Errors
/// When they are not UTF-8; the line is named.
pub fn from_utf8(bytes: &[u8]) -> Result<&str, TextError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let begins = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        TextError::Utf8 { line, byte: before.len() - begins + 1 }
    })
}

/// Refuses what is no text by the first bytes of a file, so that it is said once and not of every line. A line that is not
/// UTF-8 among others that are is left to who reads it.
///
/// # Errors
/// When there is a zero among them, or more than half of their lines are not UTF-8.
pub fn check_text(start: &[u8]) -> Result<(), TextError> {
    let start = &start[..start.len().min(LOOKED_AT)];
    if let Some(at) = start.iter().position(|byte| *byte == 0) {
        return Err(TextError::Binary { byte: at + 1 });
    }
    // The last line may go on, in the middle of a character.
    let (whole, last) =
        start.split_at(start.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    let whole = || whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let goes_on = |last: &[u8]| std::str::from_utf8(last).is_err_and(|error| error.error_len().is_some());
    let broken =
        whole().filter(|line| std::str::from_utf8(line).is_err()).count() + usize::from(goes_on(last));
    let lines = whole().count() + usize::from(!last.is_empty());
    match 2 * broken > lines {
        true => Err(TextError::NoUtf8 { broken, lines }),
        false => Ok(()),
    }
}
