//! One writer per output: a lock that says who holds it, and that the system takes away from a process that is gone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The right to write to an output, until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct OutputLock {
    _file: File,
}

/// Why an output cannot be written to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process writes to it.
    #[error("{}: another run ({holder}) is writing to it; wait for it, or give another `output`", output.display())]
    Held {
        /// The output.
        output: PathBuf,
        /// Which process, as it says itself.
        holder: String,
    },
    /// The lock cannot be made.
    #[error("{}: cannot be written ({source})", output.display())]
    Io {
        /// The output.
        output: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a holder says of itself is not longer.
const LONGEST: u64 = 100;

/// Locks a file until it is closed; `false` where another process holds it. Where a file system knows no locks, nothing is
/// locked.
///
/// # Errors
/// When the system refuses for another reason.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl OutputLock {
    /// Takes the lock `lock` of `output`. The file stays when the lock is gone: removed, it could not be held.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made. Where a file system knows no locks, nothing is locked.
    pub fn hold(output: &Path, lock: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { output: output.to_owned(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).read(true).write(true).truncate(false).open(lock).map_err(failed)?;
        if !try_lock(&file).map_err(failed)? {
            let mut holder = String::new();
            let _ = (&file).take(LONGEST).read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "it does not say which".to_owned() } else { holder };
            return Err(LockError::Held { output: output.to_owned(), holder: holder.trim().to_owned() });
        }
        // What it says is for people; the lock holds without it.
        let _ = file.set_len(0);
        let _ = file.seek(SeekFrom::Start(0));
        let _ = writeln!(file, "process {}", std::process::id());
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_who_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (output, lock) = (dir.path().join("out"), dir.path().join(".lock"));
        let held = OutputLock::hold(&output, &lock).unwrap();
        let error = OutputLock::hold(&output, &lock).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        assert!(OutputLock::hold(&output, &lock).is_ok());
        assert!(OutputLock::hold(&output, &dir.path().join("no/lock")).is_err());
    }
}
