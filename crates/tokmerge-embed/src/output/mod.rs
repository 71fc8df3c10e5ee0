//! Vectors as files: written, joined and read back.

pub(crate) mod npy;
#[cfg(feature = "parquet")]
mod table;
#[cfg(not(feature = "parquet"))]
#[path = "no_table.rs"]
mod table;
mod text;

use crate::{EmbedError, Format, Length, VectorDtype};
use half::f16;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::AtomicFile;

/// Vectors with their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) keys: Vec<String>,
    /// `[N, C]`.
    pub(crate) values: Vec<f32>,
    pub(crate) dim: usize,
}

impl Rows {
    pub(crate) fn new(dim: usize) -> Self {
        Self { dim, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The values of a row.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// Adds a vector as it will be stored.
    pub(crate) fn push(
        &mut self,
        key: String,
        vector: &[f32],
        length: Length,
        dtype: VectorDtype,
    ) -> Result<(), EmbedError> {
        for value in length.of(vector) {
            self.values.push(match dtype {
                VectorDtype::F32 => value,
                VectorDtype::F16 => {
                    halved(value).ok_or(EmbedError::TooLargeForF16 { key: key.clone(), value })?
                }
            });
        }
        self.keys.push(key);
        Ok(())
    }
}

/// A number rounded to half precision; `None` where it is too large for that.
fn halved(value: f32) -> Option<f32> {
    let half = f16::from_f32(value);
    half.is_finite().then(|| half.to_f32())
}

/// What a file of vectors is, beside the vectors.
#[derive(Clone, Debug)]
pub(crate) struct Kind<'a> {
    pub(crate) format: Format,
    pub(crate) dtype: VectorDtype,
    pub(crate) dim: usize,
    /// What the vectors were made with; where the format has a place for that.
    pub(crate) metadata: &'a Value,
}

/// The file of keys beside an array.
pub(crate) fn keys_path(array: &Path) -> PathBuf {
    array.with_extension("keys.txt")
}

/// Writes a file of vectors, with what belongs beside it.
pub(crate) fn write(path: &Path, rows: &Rows, kind: &Kind<'_>) -> Result<(), EmbedError> {
    match kind.format {
        Format::Parquet => {
            let mut table = table::Writer::create(path, kind)?;
            table.write(rows)?;
            table.finish()
        }
        Format::Npy => {
            whole(&keys_path(path), |out| text::write_keys(out, &rows.keys))?;
            whole(path, |out| {
                out.write_all(&npy::header(&[rows.len(), rows.dim], kind.dtype))?;
                npy::write_values(out, &rows.values, kind.dtype)
            })
        }
        Format::Jsonl => whole(path, |out| text::write_jsonl(out, rows)),
        Format::Csv => whole(path, |out| {
            text::write_csv_header(out, rows.dim)?;
            text::write_csv(out, rows)
        }),
    }
}

/// Joins files of vectors, `rows` in all, to one; what belongs beside it becomes whole before it does.
pub(crate) fn join(path: &Path, parts: &[PathBuf], rows: usize, kind: &Kind<'_>) -> Result<(), EmbedError> {
    match kind.format {
        Format::Parquet => {
            let mut table = table::Writer::create(path, kind)?;
            for part in parts {
                table::read(part, &mut |rows| table.write(&rows))?;
            }
            table.finish()
        }
        Format::Npy => {
            let keys: Vec<PathBuf> = parts.iter().map(|part| keys_path(part)).collect();
            whole(&keys_path(path), |out| append(out, &keys, 0))?;
            join_arrays(path, parts, &[rows, kind.dim], kind.dtype)
        }
        Format::Jsonl => whole(path, |out| append(out, parts, 0)),
        Format::Csv => whole(path, |out| {
            let mut header = Vec::new();
            text::write_csv_header(&mut header, kind.dim)?;
            out.write_all(&header)?;
            append(out, parts, header.len() as u64)
        }),
    }
}

/// Joins arrays whose first lengths add up to that of `shape`.
pub(crate) fn join_arrays(
    path: &Path,
    parts: &[PathBuf],
    shape: &[usize],
    dtype: VectorDtype,
) -> Result<(), EmbedError> {
    whole(path, |out| {
        out.write_all(&npy::header(shape, dtype))?;
        append(out, parts, npy::HEADER as u64)
    })
}

/// Calls `each` with the vectors of a file, some at a time.
pub(crate) fn read(
    path: &Path,
    format: Format,
    each: &mut dyn FnMut(Rows) -> Result<(), EmbedError>,
) -> Result<(), EmbedError> {
    match format {
        Format::Parquet => table::read(path, each),
        Format::Npy => npy::read(path, &keys_path(path), each),
        Format::Jsonl => text::read_jsonl(path, each),
        Format::Csv => text::read_csv(path, each),
    }
}

/// What the vectors of a table were made with, as its metadata say.
pub(crate) fn table_metadata(path: &Path) -> Result<Option<String>, EmbedError> {
    table::metadata(path)
}

/// Writes a file aside and puts it in its place.
pub(crate) fn whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<AtomicFile>) -> io::Result<()>,
) -> Result<(), EmbedError> {
    let written = || {
        let mut out = BufWriter::new(AtomicFile::create(path)?);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    };
    written().map_err(EmbedError::write(path))
}

/// Appends files without their first `skip` bytes.
fn append(out: &mut BufWriter<AtomicFile>, parts: &[PathBuf], skip: u64) -> io::Result<()> {
    for part in parts {
        let mut file = File::open(part)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(skip))?;
        io::copy(&mut file, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
