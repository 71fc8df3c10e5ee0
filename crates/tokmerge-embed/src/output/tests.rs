//! Rows as they are stored, and back.

use super::*;
use serde_json::json;

fn formats() -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(|format| cfg!(feature = "parquet") || *format != Format::Parquet)
}

fn rows(dtype: VectorDtype) -> Rows {
    let mut rows = Rows::new(3);
    for (key, vector) in [("a,\"b\"", [1.0, -0.1, 1e-7]), ("line\u{e4}", [f32::MIN_POSITIVE, 3e-5, 65_504.0])]
    {
        rows.push(key.to_owned(), &vector, Length::Own, dtype).unwrap();
    }
    rows
}

#[test]
fn what_is_written_reads_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = json!({"tokmerge": "x"});
    for format in formats() {
        for dtype in VectorDtype::ALL {
            let kind = Kind { format, dtype, dim: 3, metadata: &metadata };
            let part = |name: &str| dir.path().join(format!("{name}-{}.{}", dtype.name(), format.name()));
            let (rows, none) = (rows(dtype), Rows::new(3));
            write(&part("a"), &rows, &kind).unwrap();
            write(&part("b"), &none, &kind).unwrap();
            join(&part("c"), &[part("a"), part("b"), part("a")], 4, &kind).unwrap();
            for (name, times) in [("a", 1), ("b", 0), ("c", 2)] {
                let mut found = Rows::new(3);
                read(&part(name), format, &mut |more| {
                    found.keys.extend(more.keys);
                    found.values.extend(more.values);
                    Ok(())
                })
                .unwrap();
                let keys = vec![rows.keys.clone(); times].concat();
                assert_eq!(found.keys, keys, "{format:?} {dtype:?}");
                assert_eq!(found.values, rows.values.repeat(times), "{format:?} {dtype:?}");
            }
            if format == Format::Parquet {
                assert_eq!(table_metadata(&part("c")).unwrap(), Some(metadata.to_string()));
            }
        }
    }
}

#[test]
fn unit_vectors_have_length_one_and_zeros_stay() {
    let mut rows = Rows::new(2);
    rows.push("a".to_owned(), &[3.0, 4.0], Length::Unit, VectorDtype::F32).unwrap();
    rows.push("b".to_owned(), &[0.0, 0.0], Length::Unit, VectorDtype::F32).unwrap();
    assert_eq!(rows.values, [0.6, 0.8, 0.0, 0.0]);
    let error =
        rows.push("c".to_owned(), &[70_000.0, 0.0], Length::Own, VectorDtype::F16).unwrap_err().to_string();
    assert!(error.contains("vector of c holds 70000") && error.contains("`normalize`"), "{error}");
}

#[test]
fn damaged_files_are_errors_of_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = json!({});
    for format in formats() {
        let kind = Kind { format, dtype: VectorDtype::F32, dim: 3, metadata: &metadata };
        let path = dir.path().join(format!("x.{}", format.name()));
        write(&path, &rows(VectorDtype::F32), &kind).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            if let Err(error) = read(&path, format, &mut |_| Ok(())) {
                let error = error.to_string();
                assert!(error.contains("x.") && !error.contains('\n'), "{error}");
            } else {
                assert!(matches!(format, Format::Jsonl | Format::Csv), "{format:?} of {length} bytes");
            }
        }
    }
}
