//! What a user may write where a model is asked for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::quoted;

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelSource {
    /// A name of the registry, in timm's form `architecture.tag`: `vit_tiny_patch16_224.augreg_in21k_ft_in1k`.
    Named {
        /// Before the first dot.
        architecture: String,
        /// After it: which weights.
        tag: Option<String>,
    },
    /// `local-dir:PATH`: a folder with weights and, usually, a `config.json`.
    LocalDir(PathBuf),
    /// `hf-hub:org/name` or `hf-hub:org/name@revision`.
    HfHub {
        /// The repository.
        repo: RepoId,
        /// Branch, tag or commit; `main` where none is given.
        revision: Revision,
    },
}

/// Why a model source was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Not a model name.
    #[error(
        "{} is not a model name (letters, digits, `_`, `-`, and dots before the tag); \
         for a folder write local-dir:PATH, for the Hub hf-hub:org/name",
        quoted(.0)
    )]
    Name(String),
    /// A prefix that is not a scheme.
    #[error("{} has the unknown scheme {}; the schemes are hf-hub: and local-dir:", quoted(.input), quoted(.scheme))]
    Scheme {
        /// All that was written.
        input: String,
        /// Before the colon.
        scheme: String,
    },
    /// `local-dir:` with nothing behind it.
    #[error("local-dir: needs a path, as in local-dir:./weights")]
    EmptyPath,
    /// Not a repository of the Hub.
    #[error(
        "{} is not a Hub repository: write org/name, each of letters, digits, `_`, `-`, `.`, \
         neither beginning nor ending with `-` or `.`, without `--` or `..`, 96 characters at most, not ending in .git",
        quoted(.0)
    )]
    Repo(String),
    /// Not a revision.
    #[error(
        "{} is not a revision: a branch, tag or commit of letters, digits, `_`, `-`, `.` and inner `/`, \
         without `..`, 200 characters at most",
        quoted(.0)
    )]
    Revision(String),
}

impl ModelSource {
    /// Reads `hf-hub:org/name[@revision]`, `local-dir:PATH`, or a plain model name.
    ///
    /// # Errors
    /// When the scheme is unknown or what follows it breaks its rule.
    pub fn parse(input: &str) -> Result<Self, SourceError> {
        match input.split_once(':') {
            Some(("hf-hub", rest)) => {
                let (repo, revision) = match rest.split_once('@') {
                    Some((repo, revision)) => (repo, revision.parse()?),
                    None => (rest, Revision::default()),
                };
                Ok(Self::HfHub { repo: repo.parse()?, revision })
            }
            Some(("local-dir", "")) => Err(SourceError::EmptyPath),
            Some(("local-dir", path)) => Ok(Self::LocalDir(path.into())),
            Some((scheme, _)) => {
                Err(SourceError::Scheme { input: input.to_owned(), scheme: scheme.to_owned() })
            }
            None => Self::parse_name(input),
        }
    }

    fn parse_name(input: &str) -> Result<Self, SourceError> {
        const MAX_NAME: usize = 200;
        let (architecture, tag) = match input.split_once('.') {
            Some((architecture, tag)) => (architecture, Some(tag)),
            None => (input, None),
        };
        let word = |text: &str| !text.is_empty() && text.bytes().all(|byte| is_word(byte) || byte == b'-');
        if input.len() > MAX_NAME || !word(architecture) || !tag.is_none_or(|tag| tag.split('.').all(word)) {
            return Err(SourceError::Name(input.to_owned()));
        }
        Ok(Self::Named { architecture: architecture.to_owned(), tag: tag.map(str::to_owned) })
    }
}

impl FromStr for ModelSource {
    type Err = SourceError;

    fn from_str(input: &str) -> Result<Self, SourceError> {
        Self::parse(input)
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { architecture, tag: Some(tag) } => write!(f, "{architecture}.{tag}"),
            Self::Named { architecture, tag: None } => f.write_str(architecture),
            Self::LocalDir(path) => write!(f, "local-dir:{}", path.display()),
            Self::HfHub { repo, revision } if *revision == Revision::default() => write!(f, "hf-hub:{repo}"),
            Self::HfHub { repo, revision } => write!(f, "hf-hub:{repo}@{revision}"),
        }
    }
}

/// A Hub repository `org/name`, checked: safe as a path component and in a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoId(String);

impl RepoId {
    /// The id as written: `org/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoId {
    type Err = SourceError;

    fn from_str(input: &str) -> Result<Self, SourceError> {
        const MAX_REPO: usize = 96;
        let part = |text: &str| {
            let edge = |byte: Option<&u8>| byte.is_some_and(|byte| is_word(*byte));
            let bytes = text.as_bytes();
            edge(bytes.first())
                && edge(bytes.last())
                && bytes.iter().all(|&b| is_word(b) || matches!(b, b'-' | b'.'))
        };
        let valid = input.len() <= MAX_REPO
            && input.split_once('/').is_some_and(|(org, name)| part(org) && part(name))
            && !input.contains("--")
            && !input.contains("..")
            && !input.ends_with(".git");
        if valid { Ok(Self(input.to_owned())) } else { Err(SourceError::Repo(input.to_owned())) }
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A branch, tag or commit of a Hub repository, checked: safe as a relative path. `main` by default.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(String);

impl Revision {
    /// The revision as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl FromStr for Revision {
    type Err = SourceError;

    fn from_str(input: &str) -> Result<Self, SourceError> {
        const MAX_REVISION: usize = 200;
        let part = |text: &str| {
            text.bytes().all(|byte| is_word(byte) || matches!(byte, b'-' | b'.'))
                && !text.is_empty()
                && !text.starts_with(['-', '.'])
                && !text.contains("..")
        };
        if input.len() <= MAX_REVISION && input.split('/').all(part) {
            Ok(Self(input.to_owned()))
        } else {
            Err(SourceError::Revision(input.to_owned()))
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_a_round_trip() {
        for text in [
            "vit_tiny_patch16_224",
            "vit_base_patch16_224.augreg_in21k_ft_in1k",
            "local-dir:./some dir/x",
            "hf-hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            "hf-hub:google/vit-base-patch16-224@refs/pr/1",
        ] {
            assert_eq!(ModelSource::parse(text).unwrap().to_string(), text);
        }
        let main = ModelSource::parse("hf-hub:a/b@main").unwrap();
        assert_eq!(main, ModelSource::parse("hf-hub:a/b").unwrap());
    }

    #[test]
    fn the_tag_is_what_follows_the_first_dot() {
        let expected = ModelSource::Named { architecture: "deit_tiny".into(), tag: Some("fb.in1k".into()) };
        assert_eq!(ModelSource::parse("deit_tiny.fb.in1k"), Ok(expected));
    }

    #[test]
    fn hub_ids_cannot_leave_the_cache() {
        for repo in [
            "", "name", "a/b/c", "../b", "a/..", "a/.b", "/b", "a/", "a/b..c", "a/b--c", "a/b.git", "a\\b/c",
            "-a/b", "a/b-", "a/b c", "a/b%2f", "ä/b", "a/b\n", "a/b?x", "a/b#x",
        ] {
            assert!(repo.parse::<RepoId>().is_err(), "{repo:?}");
        }
        assert!(format!("a/{}", "b".repeat(95)).parse::<RepoId>().is_err());
        for revision in ["", "..", "a/../b", "/a", "a//b", "a/", ".hidden", "-x", "a b", "a@b", "a:b", "a\\b"]
        {
            assert!(revision.parse::<Revision>().is_err(), "{revision:?}");
        }
    }

    #[test]
    fn errors_say_the_way_out() {
        let path = ModelSource::parse("./weights/vit").unwrap_err().to_string();
        assert!(path.contains("local-dir:PATH"), "{path}");
        let scheme = ModelSource::parse("https://huggingface.co/a/b").unwrap_err().to_string();
        assert!(scheme.contains("unknown scheme `https`"), "{scheme}");
        assert_eq!(ModelSource::parse("local-dir:"), Err(SourceError::EmptyPath));
        for name in ["", ".tag", "arch.", "arch..tag", "../x"] {
            assert!(ModelSource::parse(name).is_err(), "{name:?}");
        }
    }
}
