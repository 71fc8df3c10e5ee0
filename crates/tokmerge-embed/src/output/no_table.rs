//! In place of tables of vectors where the feature `parquet` is off.

use super::{Kind, Rows};
use crate::EmbedError;
use std::path::Path;

/// There are none.
pub(super) enum Writer {}

impl Writer {
    pub(super) fn create(path: &Path, _: &Kind<'_>) -> Result<Self, EmbedError> {
        Err(EmbedError::NoParquet { path: path.to_owned() })
    }

    pub(super) fn write(&mut self, _: &Rows) -> Result<(), EmbedError> {
        match *self {}
    }

    pub(super) fn finish(self) -> Result<(), EmbedError> {
        match self {}
    }
}

pub(super) fn metadata(path: &Path) -> Result<Option<String>, EmbedError> {
    Err(EmbedError::NoParquet { path: path.to_owned() })
}

pub(super) fn read(path: &Path, _: &mut dyn FnMut(Rows) -> Result<(), EmbedError>) -> Result<(), EmbedError> {
    Err(EmbedError::NoParquet { path: path.to_owned() })
}
