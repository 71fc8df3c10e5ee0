//! What lies in a folder.

use super::{ClassOrder, DatasetError, EXTENSIONS, LeftOut};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Folders that archives, systems and network drives leave behind; their pictures are thumbnails and resource forks.
const LEFTOVERS: [&str; 10] = [
    "__MACOSX",
    "@eaDir",
    "@Recycle",
    "@tmp",
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "__pycache__",
];

/// Longer endings are none.
const ENDING: usize = 10;

/// Folders and images directly in a folder, in no particular order.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) folders: Vec<PathBuf>,
    pub(super) images: Vec<PathBuf>,
}

/// Lists `dir`; symbolic links count as what they lead to. What is left out is noted, except for hidden files.
pub(super) fn list(dir: &Path, left_out: &mut LeftOut) -> Result<Listing, DatasetError> {
    let failed = |source| DatasetError::Io { path: dir.to_path_buf(), source };
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default();
        // A link that leads nowhere, or round in a circle, is neither folder nor image.
        let Ok(found) = std::fs::metadata(&path) else { continue };
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        } else if found.is_dir() {
            if is_leftover(name) {
                left_out.folders.insert(shown(name));
            } else {
                listing.folders.push(path);
            }
        } else if found.is_file() {
            if has_image_ending(&path) || holds_an_image(&path) {
                listing.images.push(path);
            } else {
                *left_out.files.entry(ending(&path)).or_default() += 1;
            }
        }
    }
    Ok(listing)
}

/// Images in `dir` and the folders below it, by name: those of a folder first, then those of its sub-folders.
pub(super) fn images_below(dir: &Path, left_out: &mut LeftOut) -> Result<Vec<PathBuf>, DatasetError> {
    let (mut pending, mut seen, mut found) = (vec![dir.to_path_buf()], HashSet::new(), Vec::new());
    while let Some(folder) = pending.pop() {
        let real = folder.canonicalize();
        let real = real.map_err(|source| DatasetError::Io { path: folder.clone(), source })?;
        if seen.insert(real) {
            let Listing { mut folders, mut images } = list(&folder, left_out)?;
            folders.sort_unstable_by(|a, b| b.cmp(a));
            images.sort_unstable();
            found.extend(images);
            pending.extend(folders);
        }
    }
    Ok(found)
}

/// A name from a file system, in which every byte that is no text shows: two different names stay different.
pub(super) fn shown(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text += chunk.valid();
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// A path in which every byte that is no text shows: two different paths stay different.
#[must_use]
pub fn path_text(path: &Path) -> String {
    shown(path.as_os_str())
}

/// All images in a folder and below it, by name (those of a folder first, then those of its sub-folders), and what was
/// left out.
///
/// # Errors
/// When a folder cannot be listed.
pub fn images_in(dir: &Path) -> Result<(Vec<PathBuf>, LeftOut), DatasetError> {
    let mut left_out = LeftOut::default();
    let images = images_below(dir, &mut left_out)?;
    Ok((images, left_out))
}

/// Images directly in a folder, numbers in their names counting as numbers.
pub(crate) fn frames_in(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut images = list(dir, &mut LeftOut::default())?.images;
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_os_string();
    images.sort_by(|a, b| ClassOrder::Natural.compare(&name(a), &name(b)));
    Ok(images)
}

/// Whether something of that name is hidden, or left behind by an archive, a system or a network drive: it is never looked
/// into.
#[must_use]
pub fn is_left_behind(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || is_leftover(name)
}

fn is_leftover(name: &OsStr) -> bool {
    LEFTOVERS.iter().any(|leftover| name.eq_ignore_ascii_case(leftover))
}

/// Whether the ending is one of [`EXTENSIONS`], in any case.
#[must_use]
pub fn has_image_ending(path: &Path) -> bool {
    let is = |extension: &OsStr| EXTENSIONS.iter().any(|e| extension.eq_ignore_ascii_case(e));
    path.extension().is_some_and(is)
}

/// Bytes of the beginning that [`begins_like_an_image`] looks at.
const START: u64 = 12;

/// Whether a file of another ending holds a JPEG, PNG or WebP (`.jfif`, `.jpe`, none at all).
fn holds_an_image(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(START).read_to_end(&mut start));
    read.is_ok() && begins_like_an_image(&start)
}

/// Whether the first bytes of a file, 12 or more, are those of a JPEG, PNG or WebP.
#[must_use]
pub fn begins_like_an_image(start: &[u8]) -> bool {
    let webp = || start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP");
    start.starts_with(b"\xFF\xD8\xFF") || start.starts_with(b"\x89PNG\r\n\x1A\n") || webp()
}

/// `.tiff`, in lower case.
fn ending(path: &Path) -> String {
    match path.extension().and_then(OsStr::to_str) {
        Some(ending) if ending.len() <= ENDING && ending.chars().all(char::is_alphanumeric) => {
            format!(".{}", ending.to_lowercase())
        }
        _ => "without a known ending".to_owned(),
    }
}
