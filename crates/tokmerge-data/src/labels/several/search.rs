//! Finding the files of a list.

use crate::sound::EXTENSIONS;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The folder that a list lies in.
pub(super) struct Folder {
    path: PathBuf,
    /// Sounds by their names without endings, and the place of each ending in [`EXTENSIONS`]. Two million rows with
    /// dozens of possible names each are looked up here, not in the file system.
    sounds: HashMap<String, (usize, PathBuf)>,
}

impl Folder {
    /// Lists a folder; none at all is the one that the program runs in.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let mut sounds = HashMap::new();
        let listed = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        for entry in std::fs::read_dir(listed)? {
            let name = PathBuf::from(entry?.file_name());
            let Some((stem, place)) = sound(&name) else { continue };
            let found = (place, name);
            let kept = sounds.entry(stem).or_insert_with(|| found.clone());
            if found < *kept {
                *kept = found;
            }
        }
        Ok(Self { path: path.to_owned(), sounds })
    }

    /// The file of a path in a table.
    pub(super) fn file(&self, path: &str) -> Option<PathBuf> {
        let path = self.path.join(path);
        path.is_file().then_some(path)
    }

    /// The file of a part of a video, from and to a time in seconds.
    pub(super) fn segment(&self, id: &str, start: f64, end: f64) -> Option<PathBuf> {
        let milliseconds = |time: f64| (time * 1000.0).round();
        let names = [
            id.to_owned(),
            format!("{id}_{start}_{end}"),
            format!("{id}_{start:.3}_{end:.3}"),
            format!("{id}_{}_{}", milliseconds(start), milliseconds(end)),
        ];
        let with_y = names.iter().map(|name| format!("Y{name}"));
        let mut found = names.iter().cloned().chain(with_y).filter_map(|name| self.sounds.get(&name));
        found.find_map(|(_, name)| self.file(name.to_str()?))
    }
}

/// A sound's name without its ending, and the place of the ending.
fn sound(name: &Path) -> Option<(String, usize)> {
    let ending = name.extension().and_then(OsStr::to_str)?;
    let place = EXTENSIONS.iter().position(|known| ending.eq_ignore_ascii_case(known))?;
    Some((name.file_stem()?.to_str()?.to_owned(), place))
}
