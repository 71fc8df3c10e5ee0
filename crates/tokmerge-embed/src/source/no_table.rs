//! In place of tables of images where the feature `parquet` is off.

use super::Encoded;
use crate::EmbedError;
use std::ops::Range;
use std::path::Path;
use tokmerge_checkpoint::Fnv;

/// There are none.
#[derive(Debug)]
pub(super) enum Table {}

impl Table {
    pub(super) fn open(path: &Path, _: Option<&str>) -> Result<Self, EmbedError> {
        Err(EmbedError::NoParquet { path: path.to_owned() })
    }

    pub(super) fn len(&self) -> usize {
        match *self {}
    }

    pub(super) fn digest(&self, _: &mut Fnv) {
        match *self {}
    }

    pub(super) fn read(&self, _: Range<usize>) -> std::iter::Empty<Encoded> {
        match *self {}
    }
}
