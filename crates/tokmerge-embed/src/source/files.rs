//! Images that are files of their own.

use super::{Content, Encoded, add};
use crate::EmbedError;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::{Fnv, read_text};
use tokmerge_data::{Media, files_in, path_text};

/// A list of paths is not longer, in bytes.
const LONGEST_LIST: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Files {
    paths: Vec<PathBuf>,
}

impl Files {
    pub(super) fn one(path: &Path) -> Self {
        Self { paths: vec![path.to_owned()] }
    }

    pub(super) fn below(dir: &Path, media: Media, notes: &mut Vec<String>) -> Result<Self, EmbedError> {
        let (paths, left_out) = files_in(dir, media)?;
        if !left_out.is_empty() {
            notes.push(format!("left out in {}: {left_out}", dir.display()));
        }
        Ok(Self { paths })
    }

    /// Paths, one a line; lines of nothing but white space are none.
    pub(super) fn listed_in(list: &Path) -> Result<Self, EmbedError> {
        if !list.exists() {
            return Err(EmbedError::Missing { path: list.to_owned() });
        }
        let text = read_text(list, LONGEST_LIST).map_err(|error| EmbedError::read(list, error))?;
        let lines =
            text.lines().map(|line| line.trim_end_matches('\r')).filter(|line| !line.trim().is_empty());
        Ok(Self { paths: lines.map(PathBuf::from).collect() })
    }

    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(super) fn digest(&self, digest: &mut Fnv) {
        self.paths.iter().for_each(|path| add(digest, path.as_os_str().as_encoded_bytes()));
    }

    pub(super) fn read(&self, range: Range<usize>) -> impl Iterator<Item = Encoded> + '_ {
        self.paths[range]
            .iter()
            .map(|path| Encoded { key: path_text(path), content: Content::File(path.clone()) })
    }
}
