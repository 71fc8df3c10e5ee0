//! The cache layout that `huggingface_hub` shares among programs:
//! `models--org--name/{blobs/<etag>, refs/<revision>, snapshots/<commit>/<file> → ../../blobs/<etag>}`, and
//! `.no_exist/<commit>/<file>` where the Hub said that a file is not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::HubError;
use crate::atomic_file::{AtomicFile, unused_name};
use crate::bytes::read_text;
use crate::discover::{WEIGHTS_NAMES, is_index};
use crate::sharded::{self, MAX_INDEX};
use crate::{RepoId, Revision};

/// A commit's 40 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit(String);

impl Commit {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 40 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A blob's name: the Hub's entity tag, checked to be a plain file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Etag(String);

impl Etag {
    /// From the header's value: without the weak mark and the quotes.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let name = header.trim().trim_start_matches("W/").trim_matches('"');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (!name.is_empty() && name.len() <= 128 && name.bytes().all(plain)).then(|| Self(name.to_owned()))
    }
}

/// One repository's folder in the cache.
pub(super) struct RepoCache {
    root: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache_dir: &Path, repo: &RepoId) -> Self {
        Self { root: cache_dir.join(format!("models--{}", repo.as_str().replace('/', "--"))) }
    }

    /// The commit that a revision stood for when it was last downloaded.
    pub(super) fn commit_of(&self, revision: &Revision) -> Option<Commit> {
        const MAX_REF: u64 = 64;
        Commit::parse(revision.as_str()).or_else(|| {
            let text = read_text(&self.root.join("refs").join(revision.as_str()), MAX_REF).ok()?;
            Commit::parse(text.trim())
        })
    }

    pub(super) fn remember(&self, revision: &Revision, commit: &Commit) -> Result<(), HubError> {
        if revision.as_str() == commit.as_str() {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision.as_str());
        let write = || {
            make_folder_of(&path)?;
            AtomicFile::replace(&path, commit.as_str())
        };
        write().map_err(|source| HubError::Cache { path: path.clone(), action: "write", source })
    }

    pub(super) fn file(&self, commit: &Commit, name: &str) -> Option<PathBuf> {
        Some(self.snapshot_path(commit, name)).filter(|path| path.is_file())
    }

    /// The first conventional weights file, with all its shards; or what is missing.
    pub(super) fn weights(&self, commit: &Commit) -> Result<PathBuf, String> {
        let found = WEIGHTS_NAMES.into_iter().find_map(|name| Some((name, self.file(commit, name)?)));
        let Some((name, path)) = found else {
            return Err(format!("a weights file ({})", WEIGHTS_NAMES.join(", ")));
        };
        if is_index(name) {
            let index =
                read_text(&path, MAX_INDEX as u64).map_err(|error| format!("a readable {name} ({error})"))?;
            let shards = sharded::shard_names(index.as_bytes())
                .map_err(|reason| format!("a valid {name} ({reason})"))?;
            if let Some(shard) = shards.iter().find(|shard| self.file(commit, shard).is_none()) {
                return Err(shard.clone());
            }
        }
        Ok(path)
    }

    pub(super) fn is_known_absent(&self, commit: &Commit, name: &str) -> bool {
        self.absent_path(commit, name).is_file()
    }

    pub(super) fn remember_absent(&self, commit: &Commit, name: &str) -> Result<(), HubError> {
        let path = self.absent_path(commit, name);
        let write = || {
            make_folder_of(&path)?;
            fs::write(&path, b"")
        };
        write().map_err(|source| HubError::Cache { path: path.clone(), action: "write", source })
    }

    /// Bytes of the blob, if it is there.
    pub(super) fn blob_len(&self, etag: &Etag) -> Option<u64> {
        fs::metadata(self.blob_path(etag)).ok().filter(fs::Metadata::is_file).map(|blob| blob.len())
    }

    /// A file that becomes the blob when finished.
    pub(super) fn new_blob(&self, etag: &Etag) -> Result<AtomicFile, HubError> {
        let path = self.blob_path(etag);
        let create = || {
            make_folder_of(&path)?;
            AtomicFile::create(&path)
        };
        create().map_err(|source| HubError::Cache { path: path.clone(), action: "create", source })
    }

    pub(super) fn blob_path(&self, etag: &Etag) -> PathBuf {
        self.root.join("blobs").join(&etag.0)
    }

    /// Makes the snapshot's file point to the blob; `name` is a plain file name, or one in a folder.
    pub(super) fn link(&self, commit: &Commit, name: &str, etag: &Etag) -> Result<PathBuf, HubError> {
        let path = self.snapshot_path(commit, name);
        let link = || -> io::Result<()> {
            make_folder_of(&path)?;
            let temporary = unused_name(&path);
            let up = "../".repeat(name.split('/').count() - 1);
            let relative = Path::new(&up).join("../../blobs").join(&etag.0);
            if symlink(&relative, &temporary).is_err() {
                // A file system without symbolic links; huggingface_hub stores the file itself there.
                fs::copy(self.blob_path(etag), &temporary)?;
            }
            fs::rename(&temporary, &path).inspect_err(|_| drop(fs::remove_file(&temporary)))
        };
        link().map_err(|source| HubError::Cache { path: path.clone(), action: "link", source })?;
        Ok(path)
    }

    fn snapshot_path(&self, commit: &Commit, name: &str) -> PathBuf {
        self.root.join("snapshots").join(&commit.0).join(name)
    }

    fn absent_path(&self, commit: &Commit, name: &str) -> PathBuf {
        self.root.join(".no_exist").join(&commit.0).join(name)
    }
}

fn make_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_become_plain_file_names_or_nothing() {
        assert_eq!(Etag::parse("W/\"abc-1\"").unwrap().0, "abc-1");
        for header in ["", "\"\"", "../x", "\"a/b\"", "a.b", "a\\b", &"a".repeat(129)] {
            assert_eq!(Etag::parse(header), None, "{header}");
        }
        assert!(Commit::parse(&"0a".repeat(20)).is_some());
        assert!(Commit::parse(&"0A".repeat(20)).is_none() && Commit::parse("main").is_none());
    }
}
