//! Finds the weights and their configuration in a folder, by the names that timm and Hugging Face use.

use std::path::{Path, PathBuf};

use crate::CheckpointError;
use crate::error::quoted;

/// Conventional weights files, the preferred first. The Hub is asked for the same names in the same order.
pub(crate) const WEIGHTS_NAMES: [&str; 6] = [
    "model.safetensors",
    INDEX_NAME,
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
    "open_clip_model.safetensors",
];
/// The index of sharded weights.
pub(crate) const INDEX_NAME: &str = "model.safetensors.index.json";
const WEIGHTS_ENDINGS: [&str; 4] = [".safetensors", ".pth", ".pth.tar", ".bin"];
pub(crate) const CONFIG_NAME: &str = "config.json";
pub(crate) const PREPROCESSOR_NAME: &str = "preprocessor_config.json";

/// The files of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Files {
    /// What [`Checkpoint::open`](crate::Checkpoint::open) takes: one file, or the index of shards.
    pub weights: PathBuf,
    /// `config.json`, where present.
    pub config: Option<PathBuf>,
    /// `preprocessor_config.json`, where present.
    pub preprocessor: Option<PathBuf>,
}

/// Finds a model's files in `dir`: weights by conventional name (`model.safetensors`,
/// `model.safetensors.index.json`, `pytorch_model.bin`, `pytorch_model.pth`, `model.pth`,
/// `open_clip_model.safetensors`), else by ending (`.safetensors`, `.pth`, `.pth.tar`, `.bin`).
///
/// # Errors
/// When the folder cannot be read, holds no weights, or several files of one ending and none of a conventional name.
pub fn discover(dir: impl AsRef<Path>) -> Result<Files, CheckpointError> {
    let dir = dir.as_ref();
    let present = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
    let weights = match WEIGHTS_NAMES.into_iter().find_map(present) {
        Some(weights) => weights,
        None => by_ending(dir)?,
    };
    Ok(Files { weights, config: present(CONFIG_NAME), preprocessor: present(PREPROCESSOR_NAME) })
}

fn by_ending(dir: &Path) -> Result<PathBuf, CheckpointError> {
    let read_error = |source| CheckpointError::io(dir, "list", source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        // A dot begins the names of files being written, our own among them.
        if let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.'))
            && entry.path().is_file()
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    for ending in WEIGHTS_ENDINGS {
        let candidates: Vec<&String> = names.iter().filter(|name| name.ends_with(ending)).collect();
        match candidates[..] {
            [] => {}
            [only] => return Ok(dir.join(only)),
            _ => {
                let candidates: Vec<String> = candidates.iter().take(10).map(|name| quoted(name)).collect();
                let candidates = candidates.join(", ");
                return Err(CheckpointError::AmbiguousWeights { dir: dir.to_owned(), candidates });
            }
        }
    }
    let looked_for = format!("{}, then *{}", WEIGHTS_NAMES.join(", "), WEIGHTS_ENDINGS.join(", *"));
    Err(CheckpointError::NoWeights { dir: dir.to_owned(), looked_for })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        dir
    }

    fn found(names: &[&str]) -> String {
        let files = discover(folder(names).path()).unwrap();
        files.weights.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn conventional_names_win_in_order() {
        assert_eq!(found(&["model.pth", "pytorch_model.bin", "a.safetensors"]), "pytorch_model.bin");
        assert_eq!(
            found(&["pytorch_model.bin", "model.safetensors.index.json"]),
            "model.safetensors.index.json"
        );
        assert_eq!(found(&["model.safetensors.index.json", "model.safetensors"]), "model.safetensors");
    }

    #[test]
    fn endings_come_second() {
        assert_eq!(found(&["z.safetensors", "a.pth", "b.bin"]), "z.safetensors");
        assert_eq!(found(&["best.pth.tar", "b.bin", ".x.safetensors"]), "best.pth.tar");
    }

    #[test]
    fn configs_are_found_beside_the_weights() {
        let dir = folder(&["model.safetensors", "config.json"]);
        let files = discover(dir.path()).unwrap();
        assert_eq!(files.config, Some(dir.path().join("config.json")));
        assert_eq!(files.preprocessor, None);
    }

    #[test]
    fn errors_list_what_was_looked_for_or_found() {
        let none = discover(folder(&["readme.md"]).path()).unwrap_err().to_string();
        assert!(none.contains("model.safetensors, ") && none.contains("*.pth.tar, *.bin"), "{none}");
        let two = discover(folder(&["b.pth", "a.pth"]).path()).unwrap_err().to_string();
        assert!(two.contains("`a.pth`, `b.pth`; name one of them"), "{two}");
        assert!(discover("/no/such/folder").is_err());
    }
}
