//! Finds the entries of a zip file as `torch.save` writes it: stored. Nothing is unpacked.
//!
//! Only the central directory is believed, and only where the local headers agree with it.

use std::collections::HashSet;
use std::ops::Range;

use crate::error::quoted;

const MAX_ENTRIES: usize = 200_000;
const MAX_NAME: usize = 1024;
const END: [u8; 4] = *b"PK\x05\x06";
const END_LEN: usize = 22;
const MAX_COMMENT: usize = 0xFFFF;
const ZIP64_LOCATOR: [u8; 4] = *b"PK\x06\x07";
const ZIP64_LOCATOR_LEN: usize = 20;
const ZIP64_END: [u8; 4] = *b"PK\x06\x06";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const CENTRAL_LEN: usize = 46;
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const LOCAL_LEN: usize = 30;
const ZIP64_EXTRA: u16 = 1;
/// A 32-bit field with this value is continued in the zip64 extra field.
const IN_ZIP64: u64 = 0xFFFF_FFFF;

/// An entry: its name, where its bytes lie in the file, and whether they are the content itself.
pub(super) struct ZipEntry<'a> {
    pub(super) name: &'a str,
    pub(super) data: Range<usize>,
    pub(super) packing: Packing,
}

/// How the content of an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Stored,
    /// As TorchScript keeps its code. Nothing of that kind is read.
    Compressed,
}

impl ZipEntry<'_> {
    /// Where the content lies.
    pub(super) fn stored(&self) -> Result<Range<usize>, String> {
        match self.packing {
            Packing::Stored => Ok(self.data.clone()),
            Packing::Compressed => Err(format!(
                "the zip entry {} is compressed, which torch.save never does; re-save it with torch.save",
                quoted(self.name)
            )),
        }
    }
}

/// All entries, in the directory's order.
pub(super) fn entries(file: &[u8]) -> Result<Vec<ZipEntry<'_>>, String> {
    let directory = Directory::find(file)?;
    let mut reader = Reader { bytes: &file[directory.range.clone()] };
    let mut entries = Vec::with_capacity(directory.count.min(1024));
    let mut names = HashSet::new();
    for _ in 0..directory.count {
        let entry = read_entry(&mut reader, &file[..directory.range.start])?;
        if !names.insert(entry.name) {
            return Err(format!("two entries are named {}", quoted(entry.name)));
        }
        entries.push(entry);
    }
    refuse_overlaps(&entries)?;
    Ok(entries)
}

/// Where the central directory lies.
struct Directory {
    range: Range<usize>,
    count: usize,
}

impl Directory {
    fn find(file: &[u8]) -> Result<Self, String> {
        let truncated = || "the zip's directory at its end is missing; truncated download?".to_owned();
        let earliest = file.len().saturating_sub(END_LEN + MAX_COMMENT);
        let latest = file.len().checked_sub(END_LEN).ok_or_else(truncated)?;
        let ends_here = |at: &usize| {
            let comment = usize::from(u16::from_le_bytes([file[at + 20], file[at + 21]]));
            file[*at..].starts_with(&END) && at + END_LEN + comment == file.len()
        };
        let end = (earliest..=latest).rev().find(ends_here).ok_or_else(truncated)?;

        let mut record = Reader { bytes: &file[end + 4..] };
        let disks = (record.u16()?, record.u16()?);
        let (on_disk, count) = (u64::from(record.u16()?), u64::from(record.u16()?));
        let (len, start) = (u64::from(record.u32()?), u64::from(record.u32()?));
        let (mut count, mut len, mut start, mut limit) = (count, len, start, end);
        if count == 0xFFFF || len == IN_ZIP64 || start == IN_ZIP64 {
            (count, len, start, limit) = Self::zip64(file, end)?;
        } else if disks != (0, 0) || on_disk != count {
            return Err("the zip spans several disks".to_owned());
        }
        let range = checked_range(start, len, limit).ok_or("the zip's directory lies outside the file")?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > MAX_ENTRIES || count > range.len() / CENTRAL_LEN {
            return Err(format!("the zip claims {count} entries in a directory of {} bytes", range.len()));
        }
        Ok(Self { range, count })
    }

    /// Count, length and start from the zip64 records before the ordinary end record, and where those begin.
    fn zip64(file: &[u8], end: usize) -> Result<(u64, u64, u64, usize), String> {
        let broken = || "the zip64 end record is missing or broken".to_owned();
        let locator = end.checked_sub(ZIP64_LOCATOR_LEN).ok_or_else(broken)?;
        let mut reader = Reader { bytes: &file[locator..end] };
        if reader.take(4)? != ZIP64_LOCATOR {
            return Err(broken());
        }
        let _disk = reader.u32()?;
        let at = usize::try_from(reader.u64()?).ok().filter(|at| *at < locator).ok_or_else(broken)?;
        let mut reader = Reader { bytes: &file[at..locator] };
        if reader.take(4)? != ZIP64_END {
            return Err(broken());
        }
        // Record length, versions and disk numbers.
        reader.take(8 + 2 + 2 + 4 + 4)?;
        let (_on_disk, count) = (reader.u64()?, reader.u64()?);
        Ok((count, reader.u64()?, reader.u64()?, at))
    }
}

/// Reads one directory record and checks the local header in `data`, the part of the file before the directory.
fn read_entry<'a>(reader: &mut Reader<'a>, data: &[u8]) -> Result<ZipEntry<'a>, String> {
    if reader.take(4)? != CENTRAL {
        return Err("the zip's directory is broken".to_owned());
    }
    reader.take(4)?;
    let (flags, method) = (reader.u16()?, reader.u16()?);
    reader.take(8)?;
    let (mut compressed, mut size) = (u64::from(reader.u32()?), u64::from(reader.u32()?));
    let (name_len, extra_len, comment_len) = (reader.u16()?, reader.u16()?, reader.u16()?);
    reader.take(8)?;
    let mut offset = u64::from(reader.u32()?);
    let name = reader.take(usize::from(name_len))?;
    let name = str::from_utf8(name).ok().filter(|name| name.len() <= MAX_NAME);
    let name = name.ok_or("an entry's name in the zip is not UTF-8 or too long")?;
    let extra = reader.take(usize::from(extra_len))?;
    reader.take(usize::from(comment_len))?;

    let at_fault = |reason: &str| format!("the zip entry {} {reason}", quoted(name));
    read_zip64_extra(extra, [&mut size, &mut compressed, &mut offset]).map_err(|reason| at_fault(&reason))?;
    if flags & 1 != 0 {
        return Err(at_fault("is encrypted"));
    }
    let packing = if method == 0 && compressed == size { Packing::Stored } else { Packing::Compressed };
    let local = checked_range(offset, LOCAL_LEN as u64, data.len())
        .ok_or_else(|| at_fault("lies outside the file"))?;
    let header = &data[local.clone()];
    let after = local.end + usize::from(u16::from_le_bytes([header[26], header[27]]));
    if !header.starts_with(&LOCAL) || data.get(local.end..after) != Some(name.as_bytes()) {
        return Err(at_fault("has a local header that disagrees with the directory"));
    }
    let start = after + usize::from(u16::from_le_bytes([header[28], header[29]]));
    let data = checked_range(start as u64, compressed, data.len())
        .ok_or_else(|| at_fault("lies outside the file"))?;
    Ok(ZipEntry { name, data, packing })
}

/// Replaces the saturated fields, in the order the format gives them: size, compressed size, offset.
fn read_zip64_extra(extra: &[u8], fields: [&mut u64; 3]) -> Result<(), String> {
    if fields.iter().all(|field| **field != IN_ZIP64) {
        return Ok(());
    }
    let mut reader = Reader { bytes: extra };
    while !reader.bytes.is_empty() {
        let (id, len) = (reader.u16()?, reader.u16()?);
        let mut body = Reader { bytes: reader.take(usize::from(len))? };
        if id == ZIP64_EXTRA {
            for field in fields {
                if *field == IN_ZIP64 {
                    *field = body.u64()?;
                }
            }
            return Ok(());
        }
    }
    Err("lacks its zip64 sizes".to_owned())
}

/// Entries sharing bytes are how a small zip pretends to be a large one.
fn refuse_overlaps(entries: &[ZipEntry<'_>]) -> Result<(), String> {
    let mut ranges: Vec<_> = entries.iter().filter(|entry| !entry.data.is_empty()).collect();
    ranges.sort_by_key(|entry| entry.data.start);
    match ranges.windows(2).find(|pair| pair[0].data.end > pair[1].data.start) {
        Some(pair) => {
            Err(format!("the zip entries {} and {} overlap", quoted(pair[0].name), quoted(pair[1].name)))
        }
        None => Ok(()),
    }
}

fn checked_range(start: u64, len: u64, limit: usize) -> Option<Range<usize>> {
    let end = usize::try_from(start.checked_add(len)?).ok()?;
    (end <= limit).then_some(end - usize::try_from(len).ok()?..end)
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or("the zip's directory is cut short")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or("the zip's directory is cut short")?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }
}
