//! Columns of Parquet files, some rows at a time.

use crate::error::one_line;
use crate::thrift;
use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// An open file, whose sizes were checked.
pub(crate) struct Table {
    reader: SerializedFileReader<File>,
    file: File,
}

impl Table {
    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        self.reader.metadata()
    }
}

/// Opens a file; what is wrong with it in one line.
pub(crate) fn open(path: &Path) -> Result<Table, String> {
    let found = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    thrift::check_footer(&file)?;
    let again = file.try_clone().map_err(|error| error.to_string())?;
    let reader = guarded(|| SerializedFileReader::new(file))?;
    Ok(Table { reader, file: again })
}

/// Damage that makes a reader panic is an error like others.
pub(crate) fn guarded<T>(read: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| one_line(&error.to_string())),
        Err(_) => Err("it is damaged".to_owned()),
    }
}

/// What a column of bytes holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    Text,
    Binary,
}

/// What a column holds; `None` for lists, and for whatever else is not bytes.
pub(crate) fn bytes(column: &ColumnDescriptor) -> Option<Bytes> {
    if column.max_rep_level() > 0 || column.physical_type() != Type::BYTE_ARRAY {
        return None;
    }
    let text = matches!(column.logical_type_ref(), Some(LogicalType::String))
        || column.converted_type() == ConvertedType::UTF8;
    Some(if text { Bytes::Text } else { Bytes::Binary })
}

/// Values of some rows, and levels of those too that are not there (of definition, of repetition in lists).
struct Values<T> {
    values: Vec<T>,
    defined: Vec<i16>,
    repeated: Vec<i16>,
}

/// Lists behind each other, and their length.
pub(crate) type Lists<T> = (Vec<T>, usize);

/// Values of a column within one row group.
pub(crate) struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// Levels of values that are there.
    present: i16,
}

impl<T: DataType> Column<T> {
    pub(crate) fn open(table: &Table, group: usize, column: usize) -> Result<Self, String> {
        let present = table.metadata().file_metadata().schema_descr().column(column).max_def_level();
        let (start, length) = guarded(|| Ok(table.metadata().row_group(group).column(column).byte_range()))?;
        thrift::check_pages(&table.file, start, length)?;
        let reader = guarded(|| table.reader.get_row_group(group)?.get_column_reader(column))?;
        Ok(Self { reader: get_typed_column_reader(reader), present })
    }

    pub(crate) fn skip(&mut self, rows: usize) -> Result<(), String> {
        let skipped = guarded(|| self.reader.skip_records(rows))?;
        if skipped == rows { Ok(()) } else { Err("it has fewer rows than it says".to_owned()) }
    }

    /// The next rows.
    fn read(&mut self, rows: usize) -> Result<Values<T::T>, String> {
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        let mut read = 0;
        while read < rows {
            let more = guarded(|| {
                self.reader.read_records(rows - read, Some(&mut defined), Some(&mut repeated), &mut values)
            })?;
            if more.0 == 0 {
                return Err("it has fewer rows than it says".to_owned());
            }
            read += more.0;
        }
        Ok(Values { values, defined, repeated })
    }

    /// Lists of the next rows behind each other, and their length; `None` where they differ in length, are empty, or miss
    /// a value.
    pub(crate) fn lists(&mut self, rows: usize) -> Result<Option<Lists<T::T>>, String> {
        let Values { values, defined, repeated } = self.read(rows)?;
        if defined.iter().any(|level| *level != self.present) || repeated.len() != values.len() {
            return Ok(None);
        }
        let length = values.len() / rows.max(1);
        let starts = repeated.iter().enumerate().filter(|(_, level)| **level == 0).map(|(at, _)| at);
        let even =
            length > 0 && starts.eq((0..rows).map(|row| row * length)) && values.len() == rows * length;
        Ok(even.then_some((values, length)))
    }
}

impl Column<ByteArrayType> {
    /// The next rows, where they hold something.
    pub(crate) fn optional(&mut self, rows: usize) -> Result<Vec<Option<ByteArray>>, String> {
        let Values { values, defined, .. } = self.read(rows)?;
        if self.present == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        let value = |level: &i16| if *level == self.present { values.next() } else { None };
        Ok(defined.iter().map(value).collect())
    }
}

/// Text of a value.
pub(crate) fn text(value: &ByteArray) -> String {
    String::from_utf8_lossy(value.data()).into_owned()
}
