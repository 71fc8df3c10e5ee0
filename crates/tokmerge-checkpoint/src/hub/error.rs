//! What can go wrong between here and the Hub, each in one line. Never holds the token or a signed address.

use std::io;
use std::path::PathBuf;

use crate::{RepoId, Revision};

/// Why a model could not be had from the Hugging Face Hub or its cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A setting, usually an environment variable, is unusable.
    #[error("{setting} {reason}")]
    Setting {
        /// `HF_ENDPOINT`, `HF_TOKEN`, ….
        setting: &'static str,
        /// The rule and, except for secrets, the value.
        reason: String,
    },
    /// Working offline, and the cache lacks something.
    #[error(
        "{repo}@{revision}: {missing} is not in the cache {}, and HF_HUB_OFFLINE forbids to download it; \
         unset HF_HUB_OFFLINE, or fetch it where there is a network: huggingface-cli download {repo}",
        cache_dir.display()
    )]
    Offline {
        /// The repository.
        repo: RepoId,
        /// The revision.
        revision: Revision,
        /// The file, or what kind of file.
        missing: String,
        /// Where it was looked for.
        cache_dir: PathBuf,
    },
    /// The Hub refused.
    #[error("{repo}: the Hub answered {status} for {file}: {reason}")]
    Status {
        /// The repository.
        repo: RepoId,
        /// The file asked for.
        file: String,
        /// The HTTP status.
        status: u16,
        /// What it usually means, and the way out.
        reason: String,
    },
    /// No answer, or no more data, in time.
    #[error(
        "{repo}: no answer for {file} within {seconds} s ({phase}); check the network, a proxy, or HF_ENDPOINT"
    )]
    Timeout {
        /// The repository.
        repo: RepoId,
        /// The file asked for.
        file: String,
        /// The limit.
        seconds: u64,
        /// `connecting` or `waiting for data`.
        phase: &'static str,
    },
    /// No connection.
    #[error("{repo}: cannot download {file}: {reason}")]
    Network {
        /// The repository.
        repo: RepoId,
        /// The file asked for.
        file: String,
        /// What failed.
        reason: String,
    },
    /// An answer that a Hub does not give.
    #[error("{repo}: the answer for {file} is unusable: {reason}")]
    Answer {
        /// The repository.
        repo: RepoId,
        /// The file asked for.
        file: String,
        /// The rule that was broken.
        reason: String,
    },
    /// The repository has none of the conventional weights files.
    #[error(
        "{repo}@{revision} holds no weights; looked for {looked_for}; \
         if the repository or revision is misspelt, correct it"
    )]
    NoWeights {
        /// The repository.
        repo: RepoId,
        /// The revision.
        revision: Revision,
        /// File names in the order tried.
        looked_for: String,
    },
    /// The cache cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}
