//! Where vectors go.

use crate::store::ERRORS;
use crate::{EmbedError, Format, Summary};
use std::path::{Path, PathBuf};

/// Where vectors go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A folder of parts.
    Folder(PathBuf),
    /// One file, of parts that lie in a folder beside it until it is whole.
    File(PathBuf),
}

impl Target {
    /// A folder if the path ends with `/` or there is one; else a file, whose ending says its format.
    ///
    /// # Errors
    /// When the ending is that of no format.
    pub fn of(path: &Path) -> Result<Self, EmbedError> {
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir() {
            Ok(Self::Folder(path.to_owned()))
        } else if Format::of(path).is_some() {
            Ok(Self::File(path.to_owned()))
        } else {
            Err(EmbedError::Ending { path: path.to_owned() })
        }
    }

    /// The folder, or the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::File(path) => path,
        }
    }

    /// The format that the ending of a file says.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::Folder(_) => None,
            Self::File(path) => Format::of(path),
        }
    }

    /// The file that lists images that could not be read, if there are any; beside a file once that is whole.
    #[must_use]
    pub fn errors(&self, summary: &Summary) -> PathBuf {
        match self {
            Self::File(path) if summary.is_complete() => beside(path, ERRORS),
            _ => self.parts().join(ERRORS),
        }
    }

    /// The folder of the parts.
    pub(crate) fn parts(&self) -> PathBuf {
        match self {
            Self::Folder(path) => path.clone(),
            Self::File(path) => beside(path, "parts"),
        }
    }
}

/// `vectors.parquet.manifest.json` of `vectors.parquet`.
pub(crate) fn beside(file: &Path, name: &str) -> PathBuf {
    let mut joined = file.file_name().unwrap_or_default().to_os_string();
    joined.push(".");
    joined.push(name);
    file.with_file_name(joined)
}
