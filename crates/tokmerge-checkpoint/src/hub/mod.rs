//! The Hugging Face Hub: its shared cache first, the network for what is missing.
//!
//! `config.rs` is the environment contract, `cache.rs` the folder layout, `http.rs` one request; this file decides
//! what to ask for.

mod cache;
mod config;
mod error;
mod http;

use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::bytes::read_text;
use crate::discover::{
    CONFIG_NAME, Files, OPEN_CLIP_CONFIG_NAME, PREPROCESSOR_NAME, PROCESSOR_NAME, WEIGHTS_NAMES,
    config_names, is_index,
};
use crate::sharded::{self, MAX_INDEX};
use crate::{RepoId, Revision};
use cache::{Commit, RepoCache};
pub use config::{Connectivity, HubConfig, Token};
pub use error::HubError;
use http::{Client, Found, Reply, Wanted};

/// No file of a Vision Transformer comes near; guards the disk against an endless answer.
const MAX_WEIGHTS: u64 = 128 << 30;
const MAX_JSON: u64 = MAX_INDEX as u64;
const CHUNK: usize = 1 << 18;

/// How far the download of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downloaded<'a> {
    /// The file's name in the repository.
    pub file: &'a str,
    /// Bytes received.
    pub received: u64,
    /// Bytes in all, where the Hub tells.
    pub total: Option<u64>,
}

/// Is told how far downloads are: [`Silent`], or any `Fn(Downloaded<'_>)`.
///
/// A call comes with every piece that arrives, on the thread that downloads, so it should return at once.
pub trait Progress: Send + Sync {
    /// A piece of a file has arrived.
    fn downloaded(&self, so_far: Downloaded<'_>);
}

/// Progress that nobody wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silent;

impl Progress for Silent {
    fn downloaded(&self, _so_far: Downloaded<'_>) {}
}

impl<F: Fn(Downloaded<'_>) + Send + Sync> Progress for F {
    fn downloaded(&self, so_far: Downloaded<'_>) {
        self(so_far);
    }
}

/// A client of the Hub and its cache.
pub struct Hub {
    client: Client,
}

impl Hub {
    /// Makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// When the endpoint is not an `http` or `https` address.
    pub fn new(config: HubConfig) -> Result<Self, HubError> {
        Ok(Self { client: Client::new(config)? })
    }

    /// The files of a model: the first conventional weights file (with its shards), `config.json` (else
    /// `open_clip_config.json`) and `preprocessor_config.json` (else `processor_config.json`); of a model with a vocabulary,
    /// or a tower with one, also its tokenizer, and what sentence-transformers says of it.
    ///
    /// Weights in the cache are used without asking the Hub whether the revision has moved on. Configuration files
    /// missing beside them are asked for; where the Hub cannot be reached then, they count as absent.
    ///
    /// # Errors
    /// When the model is not in the cache and cannot be downloaded, or must not be.
    pub fn fetch(&self, repo: &RepoId, revision: &Revision) -> Result<Files, HubError> {
        self.fetch_with_progress(repo, revision, &Silent)
    }

    /// As [`Hub::fetch`], telling how far each download is.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn fetch_with_progress(
        &self,
        repo: &RepoId,
        revision: &Revision,
        progress: &dyn Progress,
    ) -> Result<Files, HubError> {
        let config = self.client.config();
        let cache = RepoCache::new(&config.cache_dir, repo);
        let cached = match cache.commit_of(revision) {
            Some(commit) => cache.weights(&commit).map(|weights| (commit, weights)),
            None => Err(format!("the revision {revision}")),
        };
        let mut download = Download {
            client: &self.client,
            cache: &cache,
            repo,
            at: revision.to_string(),
            commit: None,
            progress,
        };
        match (cached, config.connectivity) {
            (Ok((commit, weights)), connectivity) => {
                if connectivity == Connectivity::Online {
                    download.complete(&commit, &weights);
                }
                Ok(Files::around(weights, |name| cache.file(&commit, name)))
            }
            (Err(missing), Connectivity::Offline) => Err(HubError::Offline {
                repo: repo.clone(),
                revision: revision.clone(),
                missing,
                cache_dir: config.cache_dir.clone(),
            }),
            (Err(_), Connectivity::Online) => download.all(revision),
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(self.client.config()).finish()
    }
}

/// One model on its way into the cache.
struct Download<'a> {
    client: &'a Client,
    cache: &'a RepoCache,
    repo: &'a RepoId,
    /// The revision to ask for: the commit, once it is known, so that all files are of one commit.
    at: String,
    commit: Option<Commit>,
    progress: &'a dyn Progress,
}

impl Download<'_> {
    fn all(mut self, revision: &Revision) -> Result<Files, HubError> {
        let mut described = Vec::new();
        for names in [[CONFIG_NAME, OPEN_CLIP_CONFIG_NAME], [PREPROCESSOR_NAME, PROCESSOR_NAME]] {
            for name in names {
                if let Some(path) = self.file(name, MAX_JSON)? {
                    described.push((name, path));
                    break;
                }
            }
        }
        if described.iter().any(|(name, path)| *name == CONFIG_NAME && has_vocabulary(path)) {
            for name in TEXT_NAMES {
                self.file(name, MAX_TOKENIZER)?;
            }
        }
        let weights = self.weights()?.ok_or_else(|| HubError::NoWeights {
            repo: self.repo.clone(),
            revision: revision.clone(),
            looked_for: WEIGHTS_NAMES.join(", "),
        })?;
        let [preferred, _] = config_names(&file_name(&weights));
        if described.iter().all(|(name, _)| *name != preferred)
            && preferred == OPEN_CLIP_CONFIG_NAME
            && let Some(path) = self.file(preferred, MAX_JSON)?
        {
            described.push((preferred, path));
        }
        if let Some(commit) = &self.commit {
            // Last, so that a revision never points to a snapshot without weights.
            self.cache.remember(revision, commit)?;
        }
        Ok(Files::around(weights, |wanted| {
            described.iter().find(|(name, _)| *name == wanted).map(|(_, path)| path.clone())
        }))
    }

    fn weights(&mut self) -> Result<Option<PathBuf>, HubError> {
        for name in WEIGHTS_NAMES {
            let limit = if is_index(name) { MAX_JSON } else { MAX_WEIGHTS };
            let Some(path) = self.file(name, limit)? else { continue };
            if is_index(name) {
                let unusable =
                    |reason| Wanted { repo: self.repo, revision: &self.at, file: name }.unusable(reason);
                let index = read_text(&path, MAX_JSON).map_err(|error| unusable(error.to_string()))?;
                for shard in sharded::shard_names(index.as_bytes()).map_err(unusable)? {
                    if self.file(&shard, MAX_WEIGHTS)?.is_none() {
                        let reason = format!("it names {shard}, which the repository does not hold");
                        return Err(
                            Wanted { repo: self.repo, revision: &self.at, file: name }.unusable(reason)
                        );
                    }
                }
            }
            return Ok(Some(path));
        }
        Ok(None)
    }

    /// Asks for configuration files that are neither cached nor known to be absent, until one attempt fails: the
    /// weights are there, and a machine without a network should run.
    fn complete(&mut self, commit: &Commit, weights: &Path) {
        self.at = commit.as_str().to_owned();
        self.commit = Some(commit.clone());
        for names in [config_names(&file_name(weights)), [PREPROCESSOR_NAME, PROCESSOR_NAME]] {
            for name in names {
                if self.cache.file(commit, name).is_some() {
                    break;
                }
                if self.cache.is_known_absent(commit, name) {
                    continue;
                }
                match self.file(name, MAX_JSON) {
                    Ok(Some(_)) => break,
                    Ok(None) => {}
                    Err(_) => return,
                }
            }
        }
        if self.cache.file(commit, CONFIG_NAME).is_some_and(|config| has_vocabulary(&config)) {
            for name in TEXT_NAMES {
                let settled =
                    self.cache.file(commit, name).is_some() || self.cache.is_known_absent(commit, name);
                if !settled && self.file(name, MAX_TOKENIZER).is_err() {
                    return;
                }
            }
        }
    }

    /// One file into the cache; `None` where the repository has none of that name.
    fn file(&mut self, name: &str, limit: u64) -> Result<Option<PathBuf>, HubError> {
        let at = self.at.clone();
        let wanted = Wanted { repo: self.repo, revision: &at, file: name };
        match self.client.get(&wanted)? {
            Reply::Missing { commit } => {
                if let Some(commit) = commit {
                    self.settle_on(&commit, &wanted)?;
                }
                if let Some(commit) = &self.commit {
                    self.cache.remember_absent(commit, name)?;
                }
                Ok(None)
            }
            Reply::Found(found) => {
                self.settle_on(&found.commit, &wanted)?;
                let (commit, etag) = (found.commit.clone(), found.etag.clone());
                self.store(found, &wanted, limit)?;
                self.cache.link(&commit, name, &etag).map(Some)
            }
        }
    }

    fn settle_on(&mut self, commit: &Commit, wanted: &Wanted<'_>) -> Result<(), HubError> {
        match &self.commit {
            Some(known) if known != commit => {
                Err(wanted.unusable(format!("it is of commit {}, not {}", commit.as_str(), known.as_str())))
            }
            _ => {
                self.at = commit.as_str().to_owned();
                self.commit = Some(commit.clone());
                Ok(())
            }
        }
    }

    /// Streams the body into its blob, unless the blob is there.
    fn store(&mut self, found: Found, wanted: &Wanted<'_>, limit: u64) -> Result<(), HubError> {
        let Found { etag, size, mut body, .. } = found;
        if let Some(size) = size.filter(|size| *size > limit) {
            return Err(wanted.unusable(format!("it has {size} bytes; at most {limit} are downloaded")));
        }
        if self.cache.blob_len(&etag).is_some_and(|len| size.is_none_or(|size| size == len)) {
            return Ok(());
        }
        let path = self.cache.blob_path(&etag);
        let write_error = |source| HubError::Cache { path: path.clone(), action: "write", source };
        let mut blob = self.cache.new_blob(&etag)?;
        // One byte more than allowed, to tell a full body from an endless one.
        let mut reader = body.with_config().limit(u64::MAX).reader().take(limit + 1);
        let mut buffer = vec![0; CHUNK];
        let mut received = 0;
        loop {
            let count = reader.read(&mut buffer).map_err(|error| self.client.body_error(error, wanted))?;
            if count == 0 {
                break;
            }
            blob.write_all(&buffer[..count]).map_err(write_error)?;
            received += count as u64;
            self.progress.downloaded(Downloaded { file: wanted.file, received, total: size });
        }
        if received > limit || size.is_some_and(|size| size != received) {
            let announced = size.map_or_else(|| format!("at most {limit}"), |size| size.to_string());
            return Err(
                wanted.unusable(format!("{received} bytes came where {announced} were expected; try again"))
            );
        }
        blob.finish().map_err(write_error)
    }
}

/// What a model of texts has beside its weights: its tokenizer, and what sentence-transformers says of it.
const TEXT_NAMES: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
];

/// A tokenizer has some megabytes.
const MAX_TOKENIZER: u64 = 64 << 20;

/// Whether a configuration is that of a model of texts, or of one with a tower of texts.
fn has_vocabulary(config: &Path) -> bool {
    let text = read_text(config, MAX_JSON).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    ["vocab_size", "text_config"].iter().any(|field| config.get(field).is_some())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
