//! A file written beside its destination and renamed when complete: readers see the old file or the new one, never
//! half of one.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A path beside `target` that no other writer of this machine uses.
pub(crate) fn unused_name(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!(".{name}.{}-{serial}.incomplete", std::process::id()))
}

/// A temporary file that becomes its target on [`AtomicFile::finish`], with the content on disk before the name
/// changes, and disappears if dropped before.
///
/// ```
/// use tokmerge_checkpoint::AtomicFile;
/// # let target = std::env::temp_dir().join(format!("tokmerge-atomic-{}", std::process::id()));
/// AtomicFile::replace(&target, "whole\n")?;
/// assert_eq!(std::fs::read_to_string(&target)?, "whole\n");
/// # std::fs::remove_file(&target)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    temporary: PathBuf,
    target: PathBuf,
    file: File,
    state: State,
}

#[derive(Debug, PartialEq)]
enum State {
    Incomplete,
    Renamed,
}

impl AtomicFile {
    /// Opens the temporary file, in the folder of `target`.
    ///
    /// # Errors
    /// When no file can be created there.
    pub fn create(target: impl AsRef<Path>) -> io::Result<Self> {
        let target = target.as_ref().to_owned();
        let temporary = unused_name(&target);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        Ok(Self { temporary, target, file, state: State::Incomplete })
    }

    /// Makes the temporary file the target, in place of what was there.
    ///
    /// # Errors
    /// When the content cannot be brought to disk or the file not be renamed; the target is as it was then.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.target)?;
        self.state = State::Renamed;
        Ok(())
    }

    /// Writes a whole file, in place of what was there.
    ///
    /// # Errors
    /// When it cannot be created, written or renamed; the target is as it was then.
    pub fn replace(target: impl AsRef<Path>, content: impl AsRef<[u8]>) -> io::Result<()> {
        let mut file = Self::create(target)?;
        file.write_all(content.as_ref())?;
        file.finish()
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.state == State::Incomplete {
            // Nothing better to do: the error that led here is already on its way.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_changes_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x.json");
        AtomicFile::replace(&target, "old").unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "old");
        drop(file);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "old");
        AtomicFile::replace(&target, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(AtomicFile::create(dir.path().join("no/such/folder")).is_err());
    }
}
