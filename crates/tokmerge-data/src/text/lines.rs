//! Files of texts: one line each.

use super::TextError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Endings of files of texts, in lower case.
pub const EXTENSIONS: [&str; 1] = ["txt"];

/// Bytes of a line at most.
const MOST_BYTES: u64 = 16 << 20;

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
/// When it cannot be read.
pub fn read_lines(path: &Path) -> io::Result<Lines<BufReader<File>>> {
    Ok(Lines::new(BufReader::new(File::open(path)?)))
}
