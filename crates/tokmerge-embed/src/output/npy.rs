//! NumPy's arrays: a header of text, then the numbers, little-endian, row by row.

use super::Rows;
use crate::{EmbedError, VectorDtype};
use half::f16;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

/// Bytes of every header that is written here.
pub(crate) const HEADER: usize = 128;

/// Rows that are read at a time.
const ROWS: usize = 1024;

/// A header is not longer.
const LONGEST: usize = 1 << 16;

/// Numbers of a vector, at most; no model has as many.
const MOST_COLUMNS: usize = 1 << 20;

const MAGIC: &[u8] = b"\x93NUMPY";

/// The header of an array, always [`HEADER`] bytes.
pub(crate) fn header(shape: &[usize], dtype: VectorDtype) -> Vec<u8> {
    let kind = match dtype {
        VectorDtype::F32 => "<f4",
        VectorDtype::F16 => "<f2",
    };
    let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let text =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}{comma}), }}", shape.join(", "));
    let mut bytes = [MAGIC, &[1, 0], &((HEADER - 10) as u16).to_le_bytes(), text.as_bytes()].concat();
    bytes.resize(HEADER - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// Writes numbers.
pub(crate) fn write_values(out: &mut impl Write, values: &[f32], dtype: VectorDtype) -> io::Result<()> {
    for value in values {
        match dtype {
            VectorDtype::F32 => out.write_all(&value.to_le_bytes())?,
            VectorDtype::F16 => out.write_all(&f16::from_f32(*value).to_le_bytes())?,
        }
    }
    Ok(())
}

/// What a header says.
struct Header {
    rows: usize,
    dim: usize,
    dtype: VectorDtype,
}

impl Header {
    fn read(input: &mut impl Read) -> Result<Self, String> {
        let cut = |_| "ends in its header".to_owned();
        let mut start = [0; 8];
        input.read_exact(&mut start).map_err(cut)?;
        if !start.starts_with(MAGIC) {
            return Err("is no .npy array".to_owned());
        }
        let mut length = [0; 4];
        let width = if start[6] == 1 { 2 } else { 4 };
        input.read_exact(&mut length[..width]).map_err(cut)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(format!("has a header of {length} bytes, and at most {LONGEST} are read"));
        }
        let mut text = vec![0; length];
        input.read_exact(&mut text).map_err(cut)?;
        Self::parse(&String::from_utf8_lossy(&text))
            .ok_or_else(|| "is not a 2-dimensional array of f32 or f16, little-endian, row by row, with at most 2^20 columns".to_owned())
    }

    fn parse(text: &str) -> Option<Self> {
        let after = |name: &str| text.split_once(&format!("'{name}':")).map(|(_, rest)| rest.trim_start());
        let dtype = match after("descr")? {
            rest if rest.starts_with("'<f4'") => VectorDtype::F32,
            rest if rest.starts_with("'<f2'") => VectorDtype::F16,
            _ => return None,
        };
        if !after("fortran_order")?.starts_with("False") {
            return None;
        }
        let (shape, _) = after("shape")?.strip_prefix('(')?.split_once(')')?;
        let mut sides = shape.split(',').map(str::trim).filter(|side| !side.is_empty());
        let (rows, dim): (_, usize) = (sides.next()?.parse().ok()?, sides.next()?.parse().ok()?);
        // Longer vectors than any model's are no vectors.
        let allowed = sides.next().is_none() && (1..=MOST_COLUMNS).contains(&dim);
        allowed.then_some(Self { rows, dim, dtype })
    }
}

/// Reads an array with its keys; where there are none, rows are called by their number.
pub(super) fn read(
    path: &Path,
    keys: &Path,
    each: &mut dyn FnMut(Rows) -> Result<(), EmbedError>,
) -> Result<(), EmbedError> {
    let file = File::open(path).map_err(|error| EmbedError::read(path, error))?;
    let mut input = BufReader::new(file);
    let header = Header::read(&mut input).map_err(|reason| EmbedError::vectors(path, reason))?;
    let mut lines = match File::open(keys) {
        Ok(file) => Some(BufReader::new(file).lines()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(EmbedError::read(keys, error)),
    };
    let mut done = 0;
    while done < header.rows {
        let count = ROWS.min(header.rows - done);
        let mut rows = Rows::new(header.dim);
        rows.values = values(&mut input, count * header.dim, header.dtype)
            .map_err(|error| EmbedError::vectors(path, format!("ends before its last row ({error})")))?;
        for row in done..done + count {
            rows.keys.push(match &mut lines {
                None => row.to_string(),
                Some(lines) => match lines.next() {
                    Some(line) => line.map_err(|error| EmbedError::read(keys, error))?,
                    None => {
                        return Err(EmbedError::vectors(
                            keys,
                            format!("has fewer lines than the {} rows of {}", header.rows, path.display()),
                        ));
                    }
                },
            });
        }
        done += count;
        each(rows)?;
    }
    Ok(())
}

fn values(input: &mut impl Read, count: usize, dtype: VectorDtype) -> io::Result<Vec<f32>> {
    let mut bytes = Vec::new();
    let wanted = count * dtype.bytes();
    input.take(wanted as u64).read_to_end(&mut bytes)?;
    if bytes.len() < wanted {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(match dtype {
        VectorDtype::F32 => bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        VectorDtype::F16 => {
            bytes.as_chunks::<2>().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_whatever_the_size() {
        for (rows, dim) in [(0, 1), (3, 192), (usize::MAX, 1 << 20)] {
            let bytes = header(&[rows, dim], VectorDtype::F16);
            assert_eq!(bytes.len(), HEADER);
            let header = Header::read(&mut bytes.as_slice()).unwrap();
            assert_eq!((header.rows, header.dim, header.dtype), (rows, dim, VectorDtype::F16));
        }
        assert_eq!(header(&[usize::MAX; 3], VectorDtype::F32).len(), HEADER);
    }

    #[test]
    fn other_arrays_are_refused() {
        let wrong = |text: &str| Header::parse(text).is_none();
        assert!(wrong("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }"));
        assert!(wrong("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }"));
        assert!(wrong("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"));
        assert!(wrong("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1), }"));
        assert!(Header::read(&mut [0; 20].as_slice()).is_err());
    }
}
