//! The environment contract of Hugging Face's own client, as a value.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HubError;
use crate::bytes::read_text;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const MAX_TOKEN_FILE: u64 = 4096;

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connectivity {
    /// Downloads what the cache lacks.
    #[default]
    Online,
    /// Uses the cache only.
    Offline,
}

/// Where the Hub and its cache are, and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// The folder that holds `models--org--name`.
    pub cache_dir: PathBuf,
    /// `https://huggingface.co` or a mirror, without a slash at its end.
    pub endpoint: String,
    /// Sent to the endpoint's own host only.
    pub token: Option<Token>,
    /// Whether to download.
    pub connectivity: Connectivity,
    /// Limit for the connection, name lookup and TLS included.
    pub connect_timeout: Duration,
    /// Limit for each wait: for the answer to begin, and for the next data. A download as a whole has none.
    pub read_timeout: Duration,
}

impl HubConfig {
    /// Online, with this cache and no token.
    #[must_use]
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            connectivity: Connectivity::Online,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
        }
    }

    /// From the environment: `HF_HUB_CACHE` (else `HF_HOME/hub`, else `XDG_CACHE_HOME/huggingface/hub`, else
    /// `~/.cache/huggingface/hub`), `HF_ENDPOINT`, `HF_TOKEN` (else the file `HF_TOKEN_PATH`, else `HF_HOME/token`),
    /// and `HF_HUB_OFFLINE` (offline for 1, ON, YES, TRUE in any case).
    ///
    /// # Errors
    /// When a variable is unusable, or no home folder is known.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_vars(|name| env::var_os(name))
    }

    /// As [`HubConfig::from_env`], from any source of variables.
    ///
    /// # Errors
    /// As [`HubConfig::from_env`].
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let user_home = path("HOME").or_else(|| path("USERPROFILE"));
        let expand = |path: PathBuf| match (path.strip_prefix("~"), &user_home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path,
        };
        let default_home = || {
            let cache = path("XDG_CACHE_HOME").or_else(|| Some(user_home.as_ref()?.join(".cache")))?;
            Some(cache.join("huggingface"))
        };
        let home = path("HF_HOME").map(expand).or_else(default_home);
        let cache_dir = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).map(expand);
        let cache_dir =
            cache_dir.or_else(|| Some(home.as_ref()?.join("hub"))).ok_or_else(|| HubError::Setting {
                setting: "HF_HOME",
                reason: "is not set and no home folder is known; set it to a folder for the cache".to_owned(),
            })?;

        let mut config = Self::new(cache_dir);
        if let Some(endpoint) = set("HF_ENDPOINT") {
            config.endpoint = endpoint.to_string_lossy().trim_end_matches('/').to_owned();
        }
        if set("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value.to_string_lossy())) {
            config.connectivity = Connectivity::Offline;
        }
        config.token = match set("HF_TOKEN") {
            Some(token) => Some(Token::new(&token.to_string_lossy())?),
            None => {
                let file = path("HF_TOKEN_PATH").map(expand).or_else(|| Some(home?.join("token")));
                file.map(|file| Token::from_file(&file)).transpose()?.flatten()
            }
        };
        Ok(config)
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// A secret for the Hub. Shown as `Token(…)` wherever it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token, without the white space around it.
    ///
    /// # Errors
    /// When it is empty or holds what cannot stand in an HTTP header. The error does not repeat it.
    pub fn new(secret: &str) -> Result<Self, HubError> {
        let secret = secret.trim();
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason = "is not a token: printable ASCII without spaces is expected".to_owned();
            return Err(HubError::Setting { setting: "HF_TOKEN", reason });
        }
        Ok(Self(secret.to_owned()))
    }

    /// `None` where there is no file, or an empty one.
    fn from_file(path: &Path) -> Result<Option<Self>, HubError> {
        match read_text(path, MAX_TOKEN_FILE) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Self::new(&text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => {
                Err(HubError::Cache { path: path.to_owned(), action: "read the token file", source })
            }
        }
    }

    pub(super) fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)]) -> Result<HubConfig, HubError> {
        HubConfig::from_vars(|name| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn the_cache_is_found_as_huggingface_hub_finds_it() {
        let cache = |vars: &[(&str, &str)]| from(vars).unwrap().cache_dir;
        let home = ("HOME", "/nowhere/home");
        assert_eq!(cache(&[home]), Path::new("/nowhere/home/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/nowhere/x")]), Path::new("/nowhere/x/huggingface/hub"));
        assert_eq!(cache(&[home, ("HF_HOME", "/nowhere/hf")]), Path::new("/nowhere/hf/hub"));
        assert_eq!(cache(&[home, ("HF_HOME", "~/hf")]), Path::new("/nowhere/home/hf/hub"));
        assert_eq!(
            cache(&[("HF_HOME", "/nowhere/hf"), ("HF_HUB_CACHE", "/nowhere/c")]),
            Path::new("/nowhere/c")
        );
        assert!(from(&[]).unwrap_err().to_string().starts_with("HF_HOME is not set"));
    }

    #[test]
    fn offline_has_four_spellings() {
        let connectivity =
            |value| from(&[("HF_HOME", "/nowhere"), ("HF_HUB_OFFLINE", value)]).unwrap().connectivity;
        for value in ["1", "on", "YES", "True"] {
            assert_eq!(connectivity(value), Connectivity::Offline, "{value}");
        }
        for value in ["", "0", "off", "2"] {
            assert_eq!(connectivity(value), Connectivity::Online, "{value}");
        }
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_file_and_is_never_shown() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "hf_from_file\n").unwrap();
        let home = home.path().to_str().unwrap();
        let config = from(&[("HF_HOME", home)]).unwrap();
        assert_eq!(config.token.as_ref().unwrap().authorization(), "Bearer hf_from_file");
        assert!(!format!("{config:?}").contains("hf_from_file"));

        let config = from(&[("HF_HOME", home), ("HF_TOKEN", "hf_from_env")]).unwrap();
        assert_eq!(config.token.unwrap().authorization(), "Bearer hf_from_env");
        let error = from(&[("HF_HOME", home), ("HF_TOKEN", "hf_bad\r\nX: y")]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hf_bad"));
        assert_eq!(from(&[("HF_HOME", "/nowhere")]).unwrap().token, None);
    }
}
