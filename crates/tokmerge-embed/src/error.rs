//! What goes wrong.

use std::io;
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::{LockError, shortened};
use tokmerge_data::text::TextError;
use tokmerge_data::{DatasetError, Media};
use tokmerge_models::NotFinite;

/// Why images were not embedded, or vectors not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// A source that is not there.
    #[error("{}: there is no such file or folder; check the path", path.display())]
    Missing {
        /// The source.
        path: PathBuf,
    },
    /// Text, where the model takes images.
    #[error(
        "{}: is text, and the model takes {}; for a list of paths, one a line, give it as `files`",
        path.display(),
        media.words()
    )]
    Text {
        /// The source.
        path: PathBuf,
        /// What the model takes.
        media: Media,
    },
    /// A folder, where texts are lines of files.
    #[error("{}: is a folder, and the model takes texts; give files with one text a line", path.display())]
    NoLines {
        /// The source.
        path: PathBuf,
    },
    /// A file of something else, where the model takes texts.
    #[error("{}: {source}", path.display())]
    NoTexts {
        /// The source.
        path: PathBuf,
        /// What tells it from texts.
        source: TextError,
    },
    /// A compressed archive.
    #[error("{}: is a compressed archive, and a member can only be found in a plain one; unpack it to .tar first", path.display())]
    Compressed {
        /// The source.
        path: PathBuf,
    },
    /// There is nothing to embed.
    #[error("{sources}: no {} there; {}", media.words(), looked_for(*media))]
    Empty {
        /// What was looked for.
        media: Media,
        /// The sources.
        sources: String,
    },
    /// A folder cannot be listed.
    #[error(transparent)]
    Folder(#[from] DatasetError),
    /// A file cannot be read.
    #[error("{}: cannot be read ({reason})", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system or its reader said.
        reason: String,
    },
    /// A table has no column of images.
    #[error("{}: has no column of images{}; name one by `column`: there are {}", path.display(), asked.as_ref().map_or(String::new(), |name| format!(" called {name}")), columns.join(", "))]
    Column {
        /// The table.
        path: PathBuf,
        /// The column asked for.
        asked: Option<String>,
        /// The columns that there are.
        columns: Vec<String>,
    },
    /// This build reads and writes no tables.
    #[error("{}: this build has no Parquet; build it with the feature `parquet`", path.display())]
    NoParquet {
        /// The table.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written ({source})", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else writes to the output.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The output was begun in another way.
    #[error("{}: was begun with `{setting}` {there}, and this run has {here}; give the same, or another `output`", path.display())]
    OtherSettings {
        /// The output.
        path: PathBuf,
        /// The first setting that differs.
        setting: String,
        /// Its value there.
        there: String,
        /// Its value now.
        here: String,
    },
    /// The output is not one of ours.
    #[error("{}: exists, and no run of these settings has written it; remove it, or give another `output`", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// An ending that is no format.
    #[error("{}: vectors are written as .parquet, .npy, .jsonl or .csv; name it so, or end it with / for a folder of parts", path.display())]
    Ending {
        /// The output.
        path: PathBuf,
    },
    /// A number of a setting that is not allowed.
    #[error("`{setting}` {value} is not allowed; {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// An embedding is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// A number is too large for half precision.
    #[error(
        "the vector of {} holds {value}, beyond the largest f16, 65504; take f32 for `vector_dtype`, or `normalize`",
        shortened(key)
    )]
    TooLargeForF16 {
        /// Whose vector.
        key: String,
        /// The number.
        value: f32,
    },
    /// Features of patches cannot be told.
    #[error("`dense` is not possible: {reason}")]
    Dense {
        /// Why.
        reason: String,
    },
    /// A file of vectors that cannot be understood.
    #[error("{}: {reason}", path.display())]
    Vectors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The query does not fit the file.
    #[error("the query has {query} numbers, and the vectors of {} have {file}; embed it with the model that they are from", path.display())]
    Dimension {
        /// The file.
        path: PathBuf,
        /// Numbers of its vectors.
        file: usize,
        /// Numbers of the query.
        query: usize,
    },
    /// No vector has that key.
    #[error("{}: holds no vector with the key {}", path.display(), shortened(key))]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread ({0}); take fewer `workers`")]
    Thread(io::Error),
}

impl EmbedError {
    /// A file that cannot be read.
    pub(crate) fn read(path: &Path, reason: impl ToString) -> Self {
        Self::Read { path: path.to_owned(), reason: one_line(&reason.to_string()) }
    }

    /// A file that cannot be written.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Write { path, source }
    }

    /// Vectors that cannot be understood.
    pub(crate) fn vectors(path: &Path, reason: impl ToString) -> Self {
        Self::Vectors { path: path.to_owned(), reason: one_line(&reason.to_string()) }
    }
}

/// Where something would have been found.
fn looked_for(media: Media) -> String {
    match media {
        Media::Text => "write one a line".to_owned(),
        _ => format!("looked for files ending in .{}; give others", media.extensions().join(", .")),
    }
}

/// What others say, in one line that can be shown.
pub(crate) fn one_line(text: &str) -> String {
    shortened(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}
