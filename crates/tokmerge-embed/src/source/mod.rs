//! Where images come from: one ordered list over files, folders, archives and tables, read in ranges.

mod archive;
mod files;
#[cfg(feature = "parquet")]
mod table;
#[cfg(not(feature = "parquet"))]
#[path = "no_table.rs"]
mod table;
mod texts;

use crate::EmbedError;
use archive::Archive;
use files::Files;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::Table;
use texts::TextFile;
use tokmerge_checkpoint::Fnv;
use tokmerge_data::{Media, holds_frames};

/// Stands for standard input.
const STDIN: &str = "-";

/// All images of some sources, in order. Nothing is decoded yet; broken ones count.
#[derive(Debug)]
pub struct Inputs {
    segments: Vec<Segment>,
    /// Where each segment begins, and the end.
    starts: Vec<usize>,
    notes: Vec<String>,
}

/// Images of one kind in a row.
#[derive(Debug)]
enum Segment {
    Files(Files),
    Archive(Archive),
    Table(Table),
    Texts(TextFile),
    Stdin,
}

/// An image that is not decoded.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) key: String,
    pub(crate) content: Content,
}

/// Where its bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    File(PathBuf),
    /// A range of an archive.
    Member {
        archive: Arc<Path>,
        offset: u64,
        size: u64,
    },
    Bytes(Vec<u8>),
    Text(String),
    Stdin,
    /// Nowhere: what is wrong.
    Broken(String),
}

/// What images come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Images, folders, `.tar` archives, Parquet tables, `-` for an image on standard input; of texts files with one a line,
    /// and `-` for lines on standard input.
    pub paths: Vec<PathBuf>,
    /// A file with paths of images, one a line.
    pub list: Option<PathBuf>,
    /// The column of images in tables; found by its type if `None`.
    pub column: Option<String>,
    /// What is looked for in folders and archives.
    pub media: Media,
}

impl Default for Sources {
    fn default() -> Self {
        Self { paths: Vec::new(), list: None, column: None, media: Media::Image }
    }
}

impl Sources {
    /// Lists all images.
    ///
    /// # Errors
    /// When a source is not there, is no source of images, or there are no images at all.
    pub fn open(&self) -> Result<Inputs, EmbedError> {
        let mut inputs = Inputs { segments: Vec::new(), starts: vec![0], notes: Vec::new() };
        for path in &self.paths {
            let segment = self.segment(path, &mut inputs.notes)?;
            inputs.push(segment);
        }
        if let Some(list) = &self.list {
            inputs.push(Segment::Files(Files::listed_in(list)?));
        }
        if inputs.is_empty() {
            let all = self.paths.iter().chain(&self.list).map(|path| path.display().to_string());
            return Err(EmbedError::Empty { media: self.media, sources: all.collect::<Vec<_>>().join(", ") });
        }
        Ok(inputs)
    }

    fn segment(&self, path: &Path, notes: &mut Vec<String>) -> Result<Segment, EmbedError> {
        if path == Path::new(STDIN) {
            return Ok(match self.media {
                Media::Text => Segment::Texts(TextFile::of_stream(path, std::io::stdin().lock())?),
                _ => Segment::Stdin,
            });
        }
        let found = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => EmbedError::Missing { path: path.to_owned() },
            _ => EmbedError::read(path, error),
        })?;
        if found.is_dir() && self.media == Media::Clip && holds_frames(path)? {
            return Ok(Segment::Files(Files::one(path)));
        }
        if found.is_dir() && self.media == Media::Text {
            return Err(EmbedError::NoLines { path: path.to_owned() });
        }
        if found.is_dir() {
            return Ok(Segment::Files(Files::below(path, self.media, notes)?));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if ends(&[".tar"]) {
            Ok(Segment::Archive(Archive::open(path, self.media)?))
        } else if ends(&[".parquet"]) {
            Ok(Segment::Table(Table::open(path, self.column.as_deref())?))
        } else if self.media == Media::Text {
            Ok(Segment::Texts(TextFile::open(path)?))
        } else if ends(&[".txt"]) {
            Err(EmbedError::Text { path: path.to_owned(), media: self.media })
        } else if ends(&[".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz", ".zip"]) {
            Err(EmbedError::Compressed { path: path.to_owned() })
        } else {
            Ok(Segment::Files(Files::one(path)))
        }
    }
}

impl Inputs {
    fn push(&mut self, segment: Segment) {
        let images = match &segment {
            Segment::Files(files) => files.len(),
            Segment::Archive(archive) => archive.len(),
            Segment::Table(table) => table.len(),
            Segment::Texts(texts) => texts.len(),
            Segment::Stdin => 1,
        };
        self.segments.push(segment);
        self.starts.push(self.len() + images);
    }

    /// Number of images, broken ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was left out, a line each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A checksum of the list as it is: which images, in which order.
    #[must_use]
    pub fn digest(&self) -> Fnv {
        let mut digest = Fnv::default();
        for segment in &self.segments {
            match segment {
                Segment::Files(files) => files.digest(&mut digest),
                Segment::Archive(archive) => archive.digest(&mut digest),
                Segment::Table(table) => table.digest(&mut digest),
                Segment::Texts(texts) => texts.digest(&mut digest),
                Segment::Stdin => add(&mut digest, STDIN.as_bytes()),
            }
        }
        digest
    }

    /// Exactly the images of a range, in order.
    pub(crate) fn read(&self, range: Range<usize>) -> impl Iterator<Item = Encoded> + '_ {
        let segments = self.segments.iter().zip(self.starts.windows(2));
        segments.flat_map(move |(segment, ends)| {
            let from = range.start.clamp(ends[0], ends[1]) - ends[0];
            let to = range.end.clamp(ends[0], ends[1]) - ends[0];
            let images: Box<dyn Iterator<Item = Encoded> + '_> = match segment {
                _ if from >= to => Box::new(std::iter::empty()),
                Segment::Files(files) => Box::new(files.read(from..to)),
                Segment::Archive(archive) => Box::new(archive.read(from..to)),
                Segment::Table(table) => Box::new(table.read(from..to)),
                Segment::Texts(texts) => Box::new(texts.read(from..to)),
                Segment::Stdin => {
                    Box::new(std::iter::once(Encoded { key: STDIN.to_owned(), content: Content::Stdin }))
                }
            };
            images
        })
    }
}

/// Adds bytes to a checksum, and that they end here.
fn add(sum: &mut Fnv, bytes: &[u8]) {
    sum.bytes(bytes);
    sum.bytes(&(bytes.len() as u64).to_le_bytes());
}
