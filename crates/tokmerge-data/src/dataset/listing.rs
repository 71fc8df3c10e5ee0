//! What lies in a folder.

use super::{ClassOrder, DatasetError, LeftOut};
use crate::Media;
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

/// Folders and files of a kind directly in a folder, in no particular order.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) folders: Vec<PathBuf>,
    pub(super) files: Vec<PathBuf>,
}

/// Lists `dir`; symbolic links count as what they lead to. What is left out is noted, except for hidden files.
pub(super) fn list(dir: &Path, left_out: &mut LeftOut) -> Result<Listing, DatasetError> {
    let failed = |source| DatasetError::Io { path: dir.to_path_buf(), source };
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default();
        // A link that leads nowhere, or round in a circle, is neither folder nor file.
        let Ok(found) = std::fs::metadata(&path) else { continue };
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        } else if found.is_dir() {
            if is_leftover(name) {
                left_out.folders.insert(shown(name));
            } else if left_out.media == Media::Clip && holds_frames(&path)? {
                listing.files.push(path);
            } else {
                listing.folders.push(path);
            }
        } else if found.is_file() {
            if left_out.media.has_ending(&path) || holds(left_out.media, &path) {
                listing.files.push(path);
            } else {
                *left_out.files.entry(ending(&path)).or_default() += 1;
            }
        }
    }
    Ok(listing)
}

/// Files of a kind in `dir` and the folders below it, by name: those of a folder first, then those of its sub-folders.
pub(super) fn files_below(dir: &Path, left_out: &mut LeftOut) -> Result<Vec<PathBuf>, DatasetError> {
    let (mut pending, mut seen, mut found) = (vec![dir.to_path_buf()], HashSet::new(), Vec::new());
    while let Some(folder) = pending.pop() {
        let real = folder.canonicalize();
        let real = real.map_err(|source| DatasetError::Io { path: folder.clone(), source })?;
        if seen.insert(real) {
            let Listing { mut folders, mut files } = list(&folder, left_out)?;
            folders.sort_unstable_by(|a, b| b.cmp(a));
            files.sort_unstable();
            found.extend(files);
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

/// All files of a kind in a folder and below it, by name (those of a folder first, then those of its sub-folders), and what
/// was left out.
///
/// # Errors
/// When a folder cannot be listed.
pub fn files_in(dir: &Path, media: Media) -> Result<(Vec<PathBuf>, LeftOut), DatasetError> {
    let mut left_out = LeftOut::of(media);
    let files = files_below(dir, &mut left_out)?;
    Ok((files, left_out))
}

/// Images directly in a folder, numbers in their names counting as numbers.
pub(crate) fn frames_in(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut images = list(dir, &mut LeftOut::of(Media::Image))?.files;
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

/// Bytes of the beginning that [`Media::begins`] looks at.
const START: u64 = 12;

/// Whether a file of another ending holds something of a kind (`.jfif`, `.jpe`, none at all).
fn holds(media: Media, path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(START).read_to_end(&mut start));
    read.is_ok() && media.begins(&start)
}

/// Whether a folder is a clip itself: it holds images, and no folder.
///
/// # Errors
/// When it cannot be listed.
pub fn holds_frames(dir: &Path) -> Result<bool, DatasetError> {
    let Listing { folders, files } = list(dir, &mut LeftOut::of(Media::Image))?;
    Ok(folders.is_empty() && !files.is_empty())
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
