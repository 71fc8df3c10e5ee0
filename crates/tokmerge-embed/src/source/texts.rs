//! Texts, one a line of a file or of standard input.

use super::{Content, Encoded, add};
use crate::EmbedError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokmerge_checkpoint::Fnv;
use tokmerge_data::path_text;
use tokmerge_data::text::{Lines, check_text};

/// Bytes of texts on a stream at most: they are held in memory.
const MOST_BYTES: u64 = 1 << 30;

/// Lines between places that are remembered.
const STRIDE: usize = 256;

#[derive(Debug)]
pub(super) struct TextFile {
    path: PathBuf,
    /// What a stream held; `None` of a file, which is read again.
    held: Option<Arc<[u8]>>,
    /// Where every [`STRIDE`]th line begins.
    places: Vec<u64>,
    lines: usize,
    /// Of all bytes.
    content: Fnv,
}

impl TextFile {
    /// Reads a file once, to know its lines.
    pub(super) fn open(path: &Path) -> Result<Self, EmbedError> {
        let wrong = |error| EmbedError::read(path, error);
        Self::index(path, File::open(path).map_err(wrong)?, None)
    }

    /// Reads a stream to its end, which is called `name`.
    pub(super) fn of_stream(name: &Path, stream: impl Read) -> Result<Self, EmbedError> {
        let mut bytes = Vec::new();
        let read = stream.take(MOST_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| EmbedError::read(name, error))?;
        if bytes.len() as u64 > MOST_BYTES {
            let reason = format!("more than {MOST_BYTES} bytes come in; save them as a file, and give that");
            return Err(EmbedError::read(name, reason));
        }
        let held: Arc<[u8]> = bytes.into();
        Self::index(name, Cursor::new(Arc::clone(&held)), Some(held))
    }

    /// Finds the lines.
    fn index(path: &Path, source: impl Read, held: Option<Arc<[u8]>>) -> Result<Self, EmbedError> {
        let wrong = |error| EmbedError::read(path, error);
        let mut file = BufReader::with_capacity(1 << 16, source);
        check_text(file.fill_buf().map_err(wrong)?)
            .map_err(|source| EmbedError::NoTexts { path: path.to_owned(), source })?;
        let (mut places, mut lines, mut at, mut content) = (Vec::new(), 0, 0_u64, Fnv::default());
        let mut begins = true;
        loop {
            let bytes = file.fill_buf().map_err(wrong)?;
            if bytes.is_empty() {
                break;
            }
            content.bytes(bytes);
            for byte in bytes {
                if begins {
                    if lines % STRIDE == 0 {
                        places.push(at);
                    }
                    lines += 1;
                }
                begins = *byte == b'\n';
                at += 1;
            }
            let read = bytes.len();
            file.consume(read);
        }
        Ok(Self { path: path.to_owned(), held, places, lines, content })
    }

    pub(super) fn len(&self) -> usize {
        self.lines
    }

    pub(super) fn digest(&self, digest: &mut Fnv) {
        add(digest, self.path.as_os_str().as_encoded_bytes());
        add(digest, self.content.to_string().as_bytes());
    }

    pub(super) fn read(&self, range: Range<usize>) -> impl Iterator<Item = Encoded> + '_ {
        let first = range.start / STRIDE;
        let mut lines = self.lines_from(first);
        let skipped = range.start - first * STRIDE;
        if let Ok(lines) = &mut lines {
            lines.by_ref().take(skipped).for_each(drop);
        }
        range.map(move |line| {
            let key = format!("{}:{}", path_text(&self.path), line + 1);
            let next = match &mut lines {
                Ok(lines) => lines.next(),
                Err(error) => Some(Err(io::Error::new(error.kind(), error.to_string()))),
            };
            let content = match next {
                Some(Ok(Ok(text))) => Content::Text(text),
                Some(Ok(Err(error))) => Content::Broken(format!("{}: {error}", path_text(&self.path))),
                Some(Err(error)) => Content::Broken(format!("{key}: {error}")),
                None => Content::Broken(format!("{key}: the file has become shorter since it was listed")),
            };
            Encoded { key, content }
        })
    }

    fn lines_from(&self, place: usize) -> io::Result<Lines<Box<dyn BufRead>>> {
        let begins = self.places.get(place).copied().unwrap_or(0);
        let source: Box<dyn BufRead> = match &self.held {
            Some(held) => {
                let mut held = Cursor::new(Arc::clone(held));
                held.set_position(begins);
                Box::new(held)
            }
            None => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(begins))?;
                Box::new(BufReader::new(file))
            }
        };
        Ok(Lines::from_line(source, place * STRIDE))
    }
}
