//! Images inside a column of a Parquet table, as binary or as Hugging Face's struct of `bytes` and `path`.

use super::{Content, Encoded, add};
use crate::EmbedError;
use crate::columns::{self, Bytes, Column, bytes, text};
use parquet::data_type::ByteArrayType;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::Fnv;
use tokmerge_data::path_text;

/// Images that are held in memory at a time, encoded.
const ROWS: usize = 16;

/// Columns that say how a row is called, the first that there is.
const KEYS: [&str; 6] = ["key", "__key__", "id", "path", "file_name", "filename"];

#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    /// The column of images.
    images: usize,
    /// Columns that say how a row is called, the better first.
    keys: Vec<usize>,
    /// Rows of every row group.
    groups: Vec<usize>,
}

impl Table {
    pub(super) fn open(path: &Path, asked: Option<&str>) -> Result<Self, EmbedError> {
        let table = columns::open(path).map_err(|reason| EmbedError::read(path, reason))?;
        let all = table.metadata().file_metadata().schema_descr().columns();
        let leaves = all.iter().enumerate().filter_map(|(index, column)| {
            bytes(column)
                .map(|holds| (index, holds, column.path().parts().iter().map(String::as_str).collect()))
        });
        let leaves: Vec<(usize, Bytes, Vec<&str>)> = leaves.collect();
        let images = column_of_images(&leaves, asked).ok_or_else(|| {
            let mut columns: Vec<String> =
                all.iter().map(|column| column.path().parts()[0].clone()).collect();
            columns.dedup();
            EmbedError::Column { path: path.to_owned(), asked: asked.map(str::to_owned), columns }
        })?;
        let root = leaves.iter().find(|(index, ..)| *index == images).map_or("", |(.., parts)| parts[0]);
        let of_text = |wanted: &[&str]| {
            leaves
                .iter()
                .find(|(_, holds, parts)| *holds == Bytes::Text && parts == wanted)
                .map(|(index, ..)| *index)
        };
        let named = KEYS.iter().find_map(|key| of_text(&[key]));
        let keys = named.into_iter().chain(of_text(&[root, "path"])).collect();
        let rows = |rows: i64| usize::try_from(rows).unwrap_or(0);
        let groups = table.metadata().row_groups().iter().map(|group| rows(group.num_rows())).collect();
        Ok(Self { path: path.to_owned(), images, keys, groups })
    }

    pub(super) fn len(&self) -> usize {
        self.groups.iter().fold(0, |sum: usize, rows| sum.saturating_add(*rows))
    }

    pub(super) fn digest(&self, digest: &mut Fnv) {
        add(digest, self.path.as_os_str().as_encoded_bytes());
        for number in [self.len(), self.images] {
            add(digest, &(number as u64).to_le_bytes());
        }
    }

    /// Rows of a range; what cannot be read from some row on is broken in all of them.
    pub(super) fn read(&self, range: Range<usize>) -> impl Iterator<Item = Encoded> + '_ {
        let mut row = range.start;
        let mut waiting = VecDeque::new();
        let mut state = match columns::open(&self.path) {
            Ok(table) => State::Reading(Box::new(Rows { table: self, file: table, open: None })),
            Err(reason) => State::Broken(self.broken(&reason)),
        };
        std::iter::from_fn(move || {
            if row >= range.end {
                return None;
            }
            if waiting.is_empty()
                && let State::Reading(rows) = &mut state
            {
                match rows.next(row, ROWS.min(range.end - row)) {
                    Ok(images) => waiting.extend(images),
                    Err(reason) => state = State::Broken(self.broken(&reason)),
                }
            }
            let encoded = match (&state, waiting.pop_front()) {
                (_, Some(encoded)) => encoded,
                (State::Broken(reason), None) => {
                    Encoded { key: self.key(row), content: Content::Broken(reason.clone()) }
                }
                (State::Reading(_), None) => {
                    let content = Content::Broken(self.broken("it has fewer rows than it says"));
                    Encoded { key: self.key(row), content }
                }
            };
            row += 1;
            Some(encoded)
        })
    }

    /// How a row is called that has no name.
    fn key(&self, row: usize) -> String {
        format!("{}#{row}", path_text(&self.path))
    }

    fn broken(&self, reason: &str) -> String {
        format!("{}: cannot be read ({reason})", self.path.display())
    }
}

enum State<'a> {
    Reading(Box<Rows<'a>>),
    Broken(String),
}

/// Rows that are read in order.
struct Rows<'a> {
    table: &'a Table,
    file: columns::Table,
    /// The row group that is being read: its number, the first row after it, its columns.
    open: Option<(usize, usize, Vec<Column<ByteArrayType>>)>,
}

impl Rows<'_> {
    /// At most `most` images from `row` on, which is where the last ended.
    fn next(&mut self, row: usize, most: usize) -> Result<Vec<Encoded>, String> {
        if self.open.as_ref().is_none_or(|(_, end, _)| row >= *end) {
            self.enter(row)?;
        }
        let Some((_, end, columns)) = &mut self.open else { return Ok(Vec::new()) };
        let rows = most.min(*end - row);
        let read = columns.iter_mut().map(|column| column.optional(rows)).collect::<Result<Vec<_>, _>>()?;
        let image = |at: usize| {
            let mut names = read[1..].iter().filter_map(|names| names[at].as_ref()).map(text);
            let key = names.find(|name| !name.is_empty()).unwrap_or_else(|| self.table.key(row + at));
            let content = match &read[0][at] {
                Some(bytes) => Content::Bytes(bytes.data().to_vec()),
                None => Content::Broken(format!(
                    "{}: row {} holds no bytes of an image",
                    self.table.path.display(),
                    row + at
                )),
            };
            Encoded { key, content }
        };
        Ok((0..rows).map(image).collect())
    }

    /// Opens the row group of a row, at that row.
    fn enter(&mut self, row: usize) -> Result<(), String> {
        let mut start = 0;
        for (group, rows) in self.table.groups.iter().enumerate() {
            let end = start + rows;
            if row < end {
                let columns = [self.table.images].into_iter().chain(self.table.keys.iter().copied());
                let mut columns = columns
                    .map(|column| Column::open(&self.file, group, column))
                    .collect::<Result<Vec<Column<ByteArrayType>>, _>>()?;
                if row > start {
                    columns.iter_mut().try_for_each(|column| column.skip(row - start))?;
                }
                self.open = Some((group, end, columns));
                return Ok(());
            }
            start = end;
        }
        Err("it has fewer rows than it says".to_owned())
    }
}

/// The column called so; without a name `image`, or the only one of binary.
fn column_of_images(leaves: &[(usize, Bytes, Vec<&str>)], asked: Option<&str>) -> Option<usize> {
    let fits = |parts: &[&str]| parts.len() == 1 || (parts.len() == 2 && parts[1] == "bytes");
    let fitting: Vec<(usize, &str)> = leaves
        .iter()
        .filter(|(_, holds, parts)| *holds == Bytes::Binary && fits(parts))
        .map(|(index, _, parts)| (*index, parts[0]))
        .collect();
    let named = |name: &str| fitting.iter().find(|(_, root)| *root == name).map(|(index, _)| *index);
    match asked {
        Some(name) => named(name),
        None => {
            named("image").or_else(|| fitting.first().filter(|_| fitting.len() == 1).map(|(index, _)| *index))
        }
    }
}
