//! Vectors as lines of JSON and as CSV, and keys as lines.

use super::Rows;
use crate::EmbedError;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

/// Rows that are handed on at a time.
const ROWS: usize = 1024;

/// A line is not longer, in bytes.
const LONGEST: u64 = 1 << 26;

#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    vector: &'a [f32],
}

#[derive(Deserialize)]
struct ReadLine {
    key: String,
    vector: Vec<f32>,
}

/// Keys, a line each; line breaks in them are escaped.
pub(super) fn write_keys(out: &mut impl Write, keys: &[String]) -> io::Result<()> {
    keys.iter().try_for_each(|key| writeln!(out, "{}", key.replace('\n', "\\n").replace('\r', "\\r")))
}

/// Rows as lines of JSON. Numbers have as many digits as it takes to read back the same.
pub(super) fn write_jsonl(out: &mut impl Write, rows: &Rows) -> io::Result<()> {
    for (row, key) in rows.keys.iter().enumerate() {
        serde_json::to_writer(&mut *out, &Line { key, vector: rows.row(row) })?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Names of the columns.
pub(super) fn write_csv_header(out: &mut impl Write, dim: usize) -> io::Result<()> {
    write!(out, "key")?;
    (0..dim).try_for_each(|column| write!(out, ",v{column}"))?;
    writeln!(out)
}

/// Rows as CSV, without the names of columns.
pub(super) fn write_csv(out: &mut impl Write, rows: &Rows) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    for (row, key) in rows.keys.iter().enumerate() {
        writer.write_field(key)?;
        rows.row(row).iter().try_for_each(|value| writer.write_field(value.to_string()))?;
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()
}

/// Collects rows of one length.
struct Collected<'a> {
    path: &'a Path,
    rows: Rows,
    each: &'a mut dyn FnMut(Rows) -> Result<(), EmbedError>,
}

impl Collected<'_> {
    fn push(&mut self, line: usize, key: String, vector: &[f32]) -> Result<(), EmbedError> {
        if self.rows.dim == 0 {
            self.rows.dim = vector.len();
        }
        let dim = self.rows.dim;
        if vector.len() != dim || dim == 0 {
            let found = vector.len();
            return Err(EmbedError::vectors(
                self.path,
                format!("line {line} has a vector of {found} numbers, and those before have {dim}"),
            ));
        }
        self.rows.keys.push(key);
        self.rows.values.extend(vector);
        if self.rows.len() == ROWS { self.hand_on() } else { Ok(()) }
    }

    fn hand_on(&mut self) -> Result<(), EmbedError> {
        let next = Rows::new(self.rows.dim);
        (self.each)(std::mem::replace(&mut self.rows, next))
    }
}

pub(super) fn read_jsonl(
    path: &Path,
    each: &mut dyn FnMut(Rows) -> Result<(), EmbedError>,
) -> Result<(), EmbedError> {
    let file = File::open(path).map_err(|error| EmbedError::read(path, error))?;
    let mut input = BufReader::new(file);
    let mut collected = Collected { path, rows: Rows::default(), each };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = (&mut input).take(LONGEST).read_until(b'\n', &mut line);
        if read.map_err(|error| EmbedError::read(path, error))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let read: ReadLine = serde_json::from_slice(&line).map_err(|error| {
            EmbedError::vectors(path, format!("line {number} is no object with key and vector ({error})"))
        })?;
        collected.push(number, read.key, &read.vector)?;
    }
    collected.hand_on()
}

pub(super) fn read_csv(
    path: &Path,
    each: &mut dyn FnMut(Rows) -> Result<(), EmbedError>,
) -> Result<(), EmbedError> {
    let mut reader = csv::Reader::from_path(path).map_err(|error| EmbedError::read(path, error))?;
    let mut collected = Collected { path, rows: Rows::default(), each };
    let mut vector = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|error| EmbedError::vectors(path, error))?;
        vector.clear();
        for field in record.iter().skip(1) {
            let value = field.trim().parse().map_err(|_| {
                EmbedError::vectors(path, format!("line {} holds {field:?} in place of a number", row + 2))
            })?;
            vector.push(value);
        }
        collected.push(row + 2, record.get(0).unwrap_or_default().to_owned(), &vector)?;
    }
    collected.hand_on()
}
