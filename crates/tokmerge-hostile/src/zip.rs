//! A zip of stored entries, as `torch.save` writes it.

/// A zip of these entries.
pub(crate) fn stored(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let offset = word(file.len());
        let sizes = [word(data.len()), word(data.len())].concat();
        let name_len = (name.len() as u16).to_le_bytes();
        // Version, flags, method, time, date and the checksum, which nobody reads.
        let common = [&[20, 0][..], &[0; 12], &sizes, &name_len, &[0, 0]].concat();
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), data].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &offset, name.as_bytes()].concat());
    }
    let (start, len) = (word(file.len()), word(directory.len()));
    let count = (entries.len() as u16).to_le_bytes();
    file.extend(directory);
    file.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &len, &start, &[0, 0]].concat());
    file
}

fn word(number: usize) -> [u8; 4] {
    (number as u32).to_le_bytes()
}

/// What the entries of this name hold, as far as signatures show it: enough for files that PyTorch wrote.
pub(crate) fn contents<'a>(file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let find = |what: &[u8], from: usize| {
        Some(from + file.get(from..)?.windows(what.len()).position(|at| at == what)?)
    };
    let after = find(name.as_bytes(), 0)? + name.len();
    let start = find(&[0x80], after)?;
    let end = find(b"PK", start)?;
    let last = file[start..end].iter().rposition(|byte| *byte == b'.')?;
    Some(&file[start..=start + last])
}
