//! Why a folder is no dataset.

use crate::{Media, MediaError};
use std::path::PathBuf;

/// Why a folder is no dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// Nothing has that name.
    #[error("{}: no such directory; name the folder that holds the class folders or the files", path.display())]
    Missing {
        /// The name.
        path: PathBuf,
    },
    /// It is a file.
    #[error("{}: is a file, and a dataset is a directory; name the folder that holds it", path.display())]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// No file has one of the known extensions.
    #[error(
        "{}: holds no {}; looked in it and below for {} by content, and for files ending in .{} (any case)",
        path.display(), media.words(), media.by_content(), media.extensions().join(", .")
    )]
    Nothing {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        media: Media,
    },
    /// It holds the parts of a data set, not classes.
    #[error(
        "{}: is the root of a data set, whose folders are its parts and not classes; did you mean {}?",
        path.display(),
        parts.iter().map(|part| path.join(part).display().to_string()).collect::<Vec<_>>().join(" or ")
    )]
    SplitRoot {
        /// The folder.
        path: PathBuf,
        /// `train`, `val` and so on.
        parts: Vec<String>,
    },
    /// A folder could not be listed.
    #[error("{}: cannot be listed ({source}); check its permissions", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A split would leave training or validation without files.
    #[error(
        "validation cannot be {validation} of {samples} {}; it lies between 0 and 1 and leaves one for each part, \
         e.g. 0.1 of 100", media.words()
    )]
    Split {
        /// The part asked for.
        validation: f64,
        /// What the folder holds.
        media: Media,
        /// How many of them.
        samples: usize,
    },
    /// A file cannot be decoded, and broken ones were to be refused.
    #[error("{source}; or skip broken files")]
    Broken {
        /// The first of them, with its path.
        source: Box<MediaError>,
    },
    /// A class folder has the name of no class, although others have, or were to have.
    #[error(
        "{}: folder {name} is neither id nor name of a class{}; rename it, give `labels` with \
         index<TAB>wnid<TAB>name lines, or a `class_order` if the sorted folders are the model's classes", path.display(), near.as_ref().map_or(String::new(), |near| format!(" (did you mean {near}?)"))
    )]
    UnknownClass {
        /// The dataset.
        path: PathBuf,
        /// The class folder.
        name: String,
        /// A class with nearly that name.
        near: Option<String>,
    },
    /// A class folder has the name of several classes.
    #[error(
        "{}: folder {name} is the name of classes {} and {}; name it by the id of the one that is meant, or give `labels`",
        path.display(), classes.0, classes.1
    )]
    AmbiguousClass {
        /// The dataset.
        path: PathBuf,
        /// The class folder.
        name: String,
        /// Two of them.
        classes: (usize, usize),
    },
    /// Class folders that cannot be the model's classes.
    #[error(
        "the folder has {folders} classes but the model {classes}: sorted folders would not be the model's classes; \
         name the folders as the model's classes, or give `labels` with index<TAB>wnid<TAB>name lines whose wnids or \
         names are the folders'"
    )]
    ClassCount {
        /// Class folders.
        folders: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// No file can be decoded.
    #[error("none of {count} {} can be decoded; the first: {source}", media.words())]
    AllBroken {
        /// What they are.
        media: Media,
        /// How many there are.
        count: usize,
        /// The first of them, with its path.
        source: Box<MediaError>,
    },
}
