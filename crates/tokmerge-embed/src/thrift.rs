//! The sizes that Thrift's compact protocol claims, checked before a reader believes them: Parquet's footer and the headers
//! of its pages. The reader of `parquet` takes memory for as many elements as a list claims, and counts through them,
//! whatever there is in the file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Deeper structures are none of Parquet's.
const DEEPEST: usize = 32;

/// A footer is no longer, in bytes.
const LONGEST_FOOTER: u64 = 1 << 30;

/// A page's header is no longer, in bytes: it may hold the least and the largest value.
const LONGEST_HEADER: usize = 1 << 22;

/// A page may be so many times as large as it is compressed, and so many bytes beyond that.
const LARGEST_RATIO: i64 = 512;
const LARGEST_PAGE: i64 = 4 << 20;

/// Why bytes are no structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// They end within it.
    Ends,
    /// They claim what cannot be.
    Claims,
}

/// Bytes that are being read.
struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
}

/// Numbers of the fields of the outermost structure, and their values where they are whole numbers.
type Numbers = Vec<(i16, i64)>;

impl Bytes<'_> {
    fn byte(&mut self) -> Result<u8, Wrong> {
        let byte = *self.all.get(self.at).ok_or(Wrong::Ends)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: u64) -> Result<(), Wrong> {
        let left = (self.all.len() - self.at) as u64;
        if count > left {
            return Err(Wrong::Ends);
        }
        self.at += count as usize;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Wrong> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Wrong::Claims)
    }

    fn zigzag(&mut self) -> Result<i64, Wrong> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A value of a type; its number where it is a whole one. `whole` says that these bytes are all there will be, so that
    /// more elements than bytes are a lie.
    fn value(&mut self, kind: u8, depth: usize) -> Result<Option<i64>, Wrong> {
        if depth > DEEPEST {
            return Err(Wrong::Claims);
        }
        match kind {
            // Of a field, a boolean is in its type.
            1 | 2 => {}
            3 => self.skip(1)?,
            4..=6 => return self.zigzag().map(Some),
            7 => self.skip(8)?,
            8 => {
                let length = self.varint()?;
                self.skip(length)?;
            }
            9 | 10 => {
                let header = self.byte()?;
                let (short, kind) = (header >> 4, header & 15);
                let count = if short == 15 { self.varint()? } else { u64::from(short) };
                // The footer and the headers have no lists of booleans; every other element is a byte or more.
                if matches!(kind, 0..=2) && count > 0 {
                    return Err(Wrong::Claims);
                }
                if count > (self.all.len() - self.at) as u64 {
                    return Err(Wrong::Ends);
                }
                for _ in 0..count {
                    self.value(kind, depth + 1)?;
                }
            }
            12 => {
                self.structure(depth + 1)?;
            }
            // Parquet has no maps.
            _ => return Err(Wrong::Claims),
        }
        Ok(None)
    }

    fn structure(&mut self, depth: usize) -> Result<Numbers, Wrong> {
        let (mut field, mut numbers) = (0_i16, Vec::new());
        loop {
            let header = self.byte()?;
            let (step, kind) = (header >> 4, header & 15);
            if kind == 0 {
                return Ok(numbers);
            }
            field = match step {
                0 => i16::try_from(self.zigzag()?).map_err(|_| Wrong::Claims)?,
                step => field.checked_add(i16::from(step)).ok_or(Wrong::Claims)?,
            };
            if let Some(number) = self.value(kind, depth)? {
                numbers.push((field, number));
            }
        }
    }
}

/// Refuses a footer that claims more than there is.
///
/// # Errors
/// In one line, when it does, or the file cannot be read.
pub(crate) fn check_footer(mut file: &File) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let length = file.metadata().map_err(failed)?.len();
    let damaged = || "its footer is damaged".to_owned();
    let mut end = [0; 8];
    file.seek(SeekFrom::Start(length.checked_sub(8).ok_or_else(damaged)?)).map_err(failed)?;
    file.read_exact(&mut end).map_err(failed)?;
    let size = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if &end[4..] != b"PAR1" || size > LONGEST_FOOTER || size > length - 8 {
        return Err(damaged());
    }
    let mut footer = vec![0; size as usize];
    file.seek(SeekFrom::Start(length - 8 - size)).map_err(failed)?;
    file.read_exact(&mut footer).map_err(failed)?;
    Bytes { all: &footer, at: 0 }.structure(0).map(|_| ()).map_err(|_| damaged())
}

/// Refuses pages that claim more than there is, in `length` bytes of a file from `start` on.
///
/// # Errors
/// In one line, when one does, or the file cannot be read.
pub(crate) fn check_pages(mut file: &File, start: u64, length: u64) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let damaged = || "the header of a page is damaged".to_owned();
    let beyond = || "a column ends beyond the file".to_owned();
    let whole = file.metadata().map_err(failed)?.len();
    let end = start.checked_add(length).filter(|end| *end <= whole).ok_or_else(beyond)?;
    let mut at = start;
    let mut buffer = Vec::new();
    while at < end {
        let (mut wanted, left) = (1 << 10, end - at);
        let (size, numbers) = loop {
            let part = left.min(wanted as u64) as usize;
            buffer.resize(part, 0);
            file.seek(SeekFrom::Start(at)).map_err(failed)?;
            file.read_exact(&mut buffer).map_err(failed)?;
            let mut bytes = Bytes { all: &buffer, at: 0 };
            match bytes.structure(0) {
                Ok(numbers) => break (bytes.at as u64, numbers),
                Err(Wrong::Ends) if (part as u64) < left && wanted < LONGEST_HEADER => wanted *= 8,
                Err(_) => return Err(damaged()),
            }
        };
        let number =
            |field: i16| numbers.iter().find(|(found, _)| *found == field).map(|(_, number)| *number);
        // uncompressed_page_size and compressed_page_size.
        let (Some(large), Some(small)) = (number(2), number(3)) else { return Err(damaged()) };
        if large < 0 || small < 0 || large > small.saturating_mul(LARGEST_RATIO).saturating_add(LARGEST_PAGE)
        {
            return Err(format!("a page of {small} bytes claims to be {large} when it is decompressed"));
        }
        at = at.saturating_add(size).saturating_add(small as u64);
    }
    // Old writers leave the dictionary's header out of the length of a column.
    if at <= whole { Ok(()) } else { Err(beyond()) }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Wrong, check_footer, check_pages};
    use std::io::Write;

    fn structure(all: &[u8]) -> Result<(usize, Vec<(i16, i64)>), Wrong> {
        let mut bytes = Bytes { all, at: 0 };
        let numbers = bytes.structure(0)?;
        Ok((bytes.at, numbers))
    }

    fn file(bytes: &[u8]) -> std::fs::File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn fields_are_read_and_what_is_behind_them_is_left() {
        // i32 5 as field 1, a boolean, a text as field 3, i64 -1 as field 100.
        let bytes = [0x15, 10, 0x11, 0x18, 2, b'a', b'b', 0x06, 200, 1, 1, 0, 99];
        assert_eq!(structure(&bytes), Ok((12, vec![(1, 5), (100, -1)])));
        assert_eq!(structure(&bytes[..11]), Err(Wrong::Ends));
        assert_eq!(structure(&[]), Err(Wrong::Ends));
    }

    #[test]
    fn claims_of_more_than_there_is_are_refused() {
        // A list of 2^31 integers, a text of as many bytes, a list of booleans, which take no room.
        for bytes in [&[0x19, 0xF5, 255, 255, 255, 255, 7, 0][..], &[0x18, 255, 255, 255, 255, 7, 0]] {
            assert_eq!(structure(bytes), Err(Wrong::Ends));
        }
        assert_eq!(structure(&[0x19, 0xF1, 255, 255, 255, 255, 7, 0]), Err(Wrong::Claims));
        let nested = [0x1C; 100];
        assert_eq!(structure(&nested), Err(Wrong::Claims));
        assert!(check_footer(&file(b"PAR1\xFF\xFF\xFF\xFFPAR1")).is_err());
        assert!(check_footer(&file(b"PAR1")).is_err());
        assert!(check_footer(&file(b"\0\x01\0\0\0PAR1")).is_ok());
    }

    #[test]
    fn pages_are_followed_through_their_column() {
        // Two pages of 2 and 3 bytes, which are 200 and 3 when decompressed.
        let pages = [0x15, 0, 0x15, 144, 3, 0x15, 4, 0, 1, 2, 0x15, 0, 0x15, 6, 0x15, 6, 0, 1, 2, 3];
        let check = |length: u64| check_pages(&file(&pages), 0, length);
        assert_eq!(check(pages.len() as u64), Ok(()));
        assert!(check(pages.len() as u64 + 1).is_err());
        assert!(check_pages(&file(&pages[..pages.len() - 1]), 0, 15).is_err(), "the last page is cut");
        let bomb = [0x15, 0, 0x15, 254, 255, 255, 255, 15, 0x15, 4, 0, 1, 2];
        let error = check_pages(&file(&bomb), 0, bomb.len() as u64).unwrap_err();
        assert!(error.contains("a page of 2 bytes claims to be 2147483647"), "{error}");
    }
}
