//! A file written beside its destination and renamed when complete: readers see the old file or the new one, never
//! half of one.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A path beside `target` that no other writer of this machine uses.
pub(crate) fn unused_name(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!(".{name}.{}-{serial}.incomplete", std::process::id()))
}

/// A temporary file that becomes `target` on [`Aside::finish`] and disappears if dropped before.
pub(crate) struct Aside {
    temporary: PathBuf,
    target: PathBuf,
    file: File,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Incomplete,
    Renamed,
}

impl Aside {
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let temporary = unused_name(target);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        Ok(Self { temporary, target: target.to_owned(), file, state: State::Incomplete })
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.target)?;
        self.state = State::Renamed;
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.state == State::Incomplete {
            // Nothing better to do: the error that led here is already on its way.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
