//! Images inside Parquet tables.
#![cfg(feature = "parquet")]

use crate::common::{all, loaded, open, png, put};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokmerge_embed::Sources;

fn refused(path: &Path, column: Option<&str>) -> String {
    let sources =
        Sources { paths: vec![path.to_owned()], column: column.map(str::to_owned), ..Sources::default() };
    sources.open().unwrap_err().to_string()
}

enum Column {
    Numbers,
    /// Bytes, and the level of those that are there.
    Bytes(Vec<Option<Vec<u8>>>, i16),
}

/// Writes a table of several row groups.
fn table(path: &Path, schema: &str, rows: usize, columns: &[Column]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
    for start in (0..rows).step_by(20) {
        let range = start..rows.min(start + 20);
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            let mut written = group.next_column().unwrap().unwrap();
            match column {
                Column::Numbers => {
                    let numbers: Vec<i64> = range.clone().map(|row| row as i64).collect();
                    let levels = vec![1; numbers.len()];
                    written.typed::<Int64Type>().write_batch(&numbers, Some(&levels), None).unwrap();
                }
                Column::Bytes(values, present) => {
                    let values = &values[range.clone()];
                    let levels: Vec<i16> = values
                        .iter()
                        .map(|value| if value.is_some() { *present } else { present - 1 })
                        .collect();
                    let values: Vec<ByteArray> =
                        values.iter().flatten().cloned().map(ByteArray::from).collect();
                    written.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
                }
            }
            written.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn tables_hold_images_as_bytes_or_as_hugging_face_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut images: Vec<Option<Vec<u8>>> = (0..50).map(|gray| Some(png(gray))).collect();
    images[7] = None;
    let ids: Vec<Option<Vec<u8>>> = (0..50).map(|id| Some(format!("id {id}").into_bytes())).collect();
    let mut paths = ids.clone();
    paths[3] = None;
    let at = |name: &str| dir.path().join(name);
    // The key in front of the images, and after them.
    let front = "message t { OPTIONAL BINARY id (UTF8); OPTIONAL INT64 label; OPTIONAL BINARY photo; }";
    table(
        &at("a.parquet"),
        front,
        50,
        &[Column::Bytes(ids.clone(), 1), Column::Numbers, Column::Bytes(images.clone(), 1)],
    );
    let after = "message t { OPTIONAL BINARY photo; OPTIONAL INT64 label; OPTIONAL BINARY id (UTF8); }";
    table(
        &at("b.parquet"),
        after,
        50,
        &[Column::Bytes(images.clone(), 1), Column::Numbers, Column::Bytes(ids, 1)],
    );
    let nested = "message t { OPTIONAL INT64 label; \
                  OPTIONAL GROUP image { OPTIONAL BINARY bytes; OPTIONAL BINARY path (UTF8); } }";
    table(
        &at("hf.parquet"),
        nested,
        50,
        &[Column::Numbers, Column::Bytes(images, 2), Column::Bytes(paths, 2)],
    );
    for name in ["a.parquet", "b.parquet", "hf.parquet"] {
        let inputs = open(&[at(name)]);
        let found = all(&inputs);
        assert_eq!(found.len(), 50);
        for (row, (key, gray)) in found.iter().enumerate() {
            let unnamed = name == "hf.parquet" && row == 3;
            assert_eq!(*key, if unnamed { format!("{}#3", at(name).display()) } else { format!("id {row}") });
            match row {
                7 => assert!(gray.as_ref().unwrap_err().contains("row 7 holds no bytes"), "{gray:?}"),
                _ => assert_eq!(gray.as_ref().unwrap(), &(row as u8)),
            }
        }
        assert_eq!(loaded(&inputs, &[3..5, 19..41], 3), [&found[3..5], &found[19..41]].concat());
    }
}

#[test]
fn tables_without_images_or_with_damage_are_told_from_good_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("t.parquet");
    let images: Vec<Option<Vec<u8>>> = (0..40).map(|gray| Some(png(gray))).collect();
    let schema = "message t { OPTIONAL INT64 label; OPTIONAL BINARY a; OPTIONAL BINARY b; }";
    table(&path, schema, 40, &[Column::Numbers, Column::Bytes(images.clone(), 1), Column::Bytes(images, 1)]);
    let several = refused(&path, None);
    assert!(several.contains("no column of images;") && several.contains("label, a, b"), "{several}");
    let wrong = refused(&path, Some("label"));
    assert!(wrong.contains("no column of images called label"), "{wrong}");
    let inputs = Sources { paths: vec![path.clone()], column: Some("b".to_owned()), ..Sources::default() }
        .open()
        .unwrap();
    assert_eq!(inputs.len(), 40);
    // Damage in the second column of images, which fills the second half but for the footer.
    let mut bytes = std::fs::read(&path).unwrap();
    let (from, to) = (bytes.len() * 6 / 10, bytes.len() * 7 / 10);
    bytes[from..to].fill(0xFF);
    std::fs::write(&path, bytes).unwrap();
    let found = all(&inputs);
    assert_eq!(found.len(), 40);
    assert!(found.iter().any(|(_, gray)| gray.is_err()));
    let no = refused(&put(dir.path(), "no.parquet", b"PAR1 is not enough"), None);
    assert!(no.contains("no.parquet: cannot be read") && !no.contains('\n'), "{no}");
}
