//! Vectors as a Parquet table of keys and lists.

use super::{Kind, Rows};
use crate::columns::{self, Bytes, Column, bytes, text};
use crate::error::one_line;
use crate::{EmbedError, VectorDtype};
use half::f16;
use parquet::basic::Type;
use parquet::data_type::{
    ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokmerge_checkpoint::AtomicFile;

/// The key of the metadata that say what the vectors were made with.
const METADATA: &str = "tokmerge";

const KEY: &str = "key";
const VECTOR: &str = "vector";

/// Rows that are read at a time.
const ROWS: usize = 1024;

/// A table that is being written.
pub(super) struct Writer {
    path: PathBuf,
    writer: SerializedFileWriter<AtomicFile>,
    dtype: VectorDtype,
}

impl Writer {
    pub(super) fn create(path: &Path, kind: &Kind<'_>) -> Result<Self, EmbedError> {
        let file = AtomicFile::create(path).map_err(EmbedError::write(path))?;
        let element = match kind.dtype {
            VectorDtype::F32 => "FLOAT element",
            VectorDtype::F16 => "FIXED_LEN_BYTE_ARRAY(2) element (FLOAT16)",
        };
        let schema = format!(
            "message vectors {{ REQUIRED BINARY {KEY} (STRING); \
             REQUIRED GROUP {VECTOR} (LIST) {{ REPEATED GROUP list {{ REQUIRED {element}; }} }} }}"
        );
        // Vectors have no values twice, so neither a dictionary nor statistics help.
        let properties = WriterProperties::builder()
            .set_created_by(format!("tokmerge {}", env!("CARGO_PKG_VERSION")))
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_key_value_metadata(Some(vec![KeyValue::new(METADATA.to_owned(), kind.metadata.to_string())]))
            .build();
        let begun = || {
            let schema = Arc::new(parse_message_type(&schema)?);
            SerializedFileWriter::new(file, schema, Arc::new(properties))
        };
        let writer = begun().map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.to_owned(), writer, dtype: kind.dtype })
    }

    /// Adds rows, as a row group of their own.
    pub(super) fn write(&mut self, rows: &Rows) -> Result<(), EmbedError> {
        if rows.len() == 0 {
            return Ok(());
        }
        self.group(rows).map_err(|error| failed(&self.path, &error))
    }

    fn group(&mut self, rows: &Rows) -> Result<(), ParquetError> {
        let missing = || ParquetError::General("a column is missing".to_owned());
        let mut group = self.writer.next_row_group()?;
        let keys: Vec<ByteArray> = rows.keys.iter().map(|key| ByteArray::from(key.as_str())).collect();
        let mut column = group.next_column()?.ok_or_else(missing)?;
        column.typed::<ByteArrayType>().write_batch(&keys, None, None)?;
        column.close()?;
        // A list begins where the level is 0; every value is there.
        let repeated: Vec<i16> = (0..rows.values.len()).map(|at| i16::from(at % rows.dim != 0)).collect();
        let defined = vec![1; rows.values.len()];
        let mut column = group.next_column()?.ok_or_else(missing)?;
        match self.dtype {
            VectorDtype::F32 => {
                column.typed::<FloatType>().write_batch(&rows.values, Some(&defined), Some(&repeated))?;
            }
            VectorDtype::F16 => {
                let half = |value: &f32| {
                    FixedLenByteArray::from(ByteArray::from(f16::from_f32(*value).to_le_bytes().to_vec()))
                };
                let values: Vec<FixedLenByteArray> = rows.values.iter().map(half).collect();
                column.typed::<FixedLenByteArrayType>().write_batch(
                    &values,
                    Some(&defined),
                    Some(&repeated),
                )?;
            }
        }
        column.close()?;
        group.close()?;
        Ok(())
    }

    /// Puts the table in its place.
    pub(super) fn finish(self) -> Result<(), EmbedError> {
        let Self { path, writer, .. } = self;
        let file = writer.into_inner().map_err(|error| failed(&path, &error))?;
        file.finish().map_err(EmbedError::write(&path))
    }
}

fn failed(path: &Path, error: &ParquetError) -> EmbedError {
    // What the system said, without the word that it is not Parquet's own.
    let said = match error {
        ParquetError::External(source) => source.to_string(),
        own => own.to_string(),
    };
    EmbedError::Write { path: path.to_owned(), source: io::Error::other(one_line(&said)) }
}

/// What the metadata of a table say it was made with.
pub(super) fn metadata(path: &Path) -> Result<Option<String>, EmbedError> {
    let table = columns::open(path).map_err(|reason| EmbedError::vectors(path, reason))?;
    let pairs = table.metadata().file_metadata().key_value_metadata();
    let ours = pairs.into_iter().flatten().find(|pair| pair.key == METADATA);
    Ok(ours.and_then(|pair| pair.value.clone()))
}

/// Calls `each` with rows of a table that has columns `key` and `vector`.
pub(super) fn read(
    path: &Path,
    each: &mut dyn FnMut(Rows) -> Result<(), EmbedError>,
) -> Result<(), EmbedError> {
    let wrong = |reason: String| EmbedError::vectors(path, reason);
    let no_columns = "has no columns key, of text, and vector, of lists of numbers of one length";
    let table = columns::open(path).map_err(wrong)?;
    let leaves = table.metadata().file_metadata().schema_descr().columns();
    let key = leaves.iter().position(|leaf| leaf.path().string() == KEY && bytes(leaf) == Some(Bytes::Text));
    let vector = leaves.iter().position(|leaf| leaf.path().parts()[0] == VECTOR && leaf.max_rep_level() == 1);
    let (Some(key), Some(vector)) = (key, vector) else { return Err(wrong(no_columns.to_owned())) };
    let of = leaves[vector].physical_type();
    if of == Type::FIXED_LEN_BYTE_ARRAY && leaves[vector].type_length() != 2 {
        return Err(wrong(no_columns.to_owned()));
    }
    for (group, rows) in table.metadata().row_groups().iter().enumerate() {
        let rows = usize::try_from(rows.num_rows()).unwrap_or(0);
        let mut keys = Column::<ByteArrayType>::open(&table, group, key).map_err(wrong)?;
        let mut vectors = Vectors::open(&table, group, vector, of).map_err(wrong)?;
        let mut done = 0;
        while done < rows {
            let count = ROWS.min(rows - done);
            let keys = keys.optional(count).map_err(wrong)?;
            let keys: Option<Vec<String>> = keys.iter().map(|key| key.as_ref().map(text)).collect();
            let (keys, (values, dim)) =
                keys.zip(vectors.next(count).map_err(wrong)?).ok_or_else(|| wrong(no_columns.to_owned()))?;
            each(Rows { keys, values, dim })?;
            done += count;
        }
    }
    Ok(())
}

/// Lists of numbers.
enum Vectors {
    Single(Column<FloatType>),
    Double(Column<DoubleType>),
    Half(Column<FixedLenByteArrayType>),
}

impl Vectors {
    fn open(table: &columns::Table, group: usize, column: usize, of: Type) -> Result<Self, String> {
        match of {
            Type::FLOAT => Ok(Self::Single(Column::open(table, group, column)?)),
            Type::DOUBLE => Ok(Self::Double(Column::open(table, group, column)?)),
            Type::FIXED_LEN_BYTE_ARRAY => Ok(Self::Half(Column::open(table, group, column)?)),
            other => Err(format!("has vectors of {other}, and numbers are FLOAT, DOUBLE or FLOAT16")),
        }
    }

    fn next(&mut self, rows: usize) -> Result<Option<(Vec<f32>, usize)>, String> {
        let half = |value: &FixedLenByteArray| match value.data() {
            &[low, high] => f16::from_le_bytes([low, high]).to_f32(),
            _ => f32::NAN,
        };
        Ok(match self {
            Self::Single(column) => column.lists(rows)?,
            Self::Double(column) => column
                .lists(rows)?
                .map(|(values, dim)| (values.iter().map(|value| *value as f32).collect(), dim)),
            Self::Half(column) => {
                column.lists(rows)?.map(|(values, dim)| (values.iter().map(half).collect(), dim))
            }
        })
    }
}
