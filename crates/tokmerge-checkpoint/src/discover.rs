//! Finds the weights and their configuration in a folder, by the names that timm and Hugging Face use.

use std::path::{Path, PathBuf};

use crate::CheckpointError;
use crate::error::quoted;

/// Conventional weights files, the preferred first. The Hub is asked for the same names in the same order.
pub(crate) const WEIGHTS_NAMES: [&str; 8] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.pth",
    "model.pth",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
];
/// Endings of weights files of any other name, the preferred first.
const WEIGHTS_ENDINGS: [&str; 7] = [".safetensors", ".pth", ".pth.tar", ".pt", ".torch", ".ckpt", ".bin"];
/// What training leaves beside the weights, under the same endings.
const NOT_WEIGHTS: [&str; 6] =
    ["training_args", "optimizer", "scheduler", "scaler", "rng_state", "random_states"];
/// How open_clip begins the names of its files.
const OPEN_CLIP: &str = "open_clip_";
pub(crate) const CONFIG_NAME: &str = "config.json";
pub(crate) const OPEN_CLIP_CONFIG_NAME: &str = "open_clip_config.json";
pub(crate) const PREPROCESSOR_NAME: &str = "preprocessor_config.json";
/// Where recent versions of transformers put the image processor, beside the tokenizer's settings.
pub(crate) const PROCESSOR_NAME: &str = "processor_config.json";

/// Files of the image processor, the preferred first.
const PROCESSOR_NAMES: [&str; 2] = [PREPROCESSOR_NAME, PROCESSOR_NAME];

/// Whether a weights file is the index of shards.
pub(crate) fn is_index(name: &str) -> bool {
    name.ends_with(".index.json")
}

/// The configurations that may describe these weights, the preferred first: open_clip's files belong together.
pub(crate) fn config_names(weights: &str) -> [&'static str; 2] {
    if weights.starts_with(OPEN_CLIP) {
        [OPEN_CLIP_CONFIG_NAME, CONFIG_NAME]
    } else {
        [CONFIG_NAME, OPEN_CLIP_CONFIG_NAME]
    }
}

/// The files of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Files {
    /// What [`Checkpoint::open`](crate::Checkpoint::open) takes: one file, or the index of shards.
    pub weights: PathBuf,
    /// What [`ModelConfig::read`](crate::ModelConfig::read) takes: `config.json` or `open_clip_config.json`, where
    /// present.
    pub config: Option<PathBuf>,
    /// `preprocessor_config.json`, else `processor_config.json`, where present.
    pub preprocessor: Option<PathBuf>,
}

impl Files {
    /// These weights and what `present` finds to describe them.
    pub(crate) fn around(weights: PathBuf, present: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let name = weights.file_name().unwrap_or_default().to_string_lossy();
        let config = config_names(&name).into_iter().find_map(&present);
        let preprocessor = PROCESSOR_NAMES.into_iter().find_map(&present);
        Self { weights, config, preprocessor }
    }
}

/// Finds a model's files in `dir`: weights by conventional name (`model.safetensors`, `pytorch_model.bin`, each also
/// as `….index.json` with shards, `pytorch_model.pth`, `model.pth`, `open_clip_model.safetensors`,
/// `open_clip_pytorch_model.bin`), else by ending (`.safetensors`, `.pth`, `.pth.tar`, `.pt`, `.torch`, `.ckpt`,
/// `.bin`), and their configuration (`config.json`, `open_clip_config.json`; for open_clip's weights the latter).
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
    Ok(Files::around(weights, present))
}

/// The configuration in a folder that may have no weights: `config.json`, else `open_clip_config.json`.
#[must_use]
pub fn discover_config(dir: impl AsRef<Path>) -> Option<PathBuf> {
    let present = |name: &str| Some(dir.as_ref().join(name)).filter(|path| path.is_file());
    [CONFIG_NAME, OPEN_CLIP_CONFIG_NAME].into_iter().find_map(present)
}

/// How images are prepared, in a folder of transformers: `preprocessor_config.json`, else `processor_config.json`.
#[must_use]
pub fn discover_processor(dir: impl AsRef<Path>) -> Option<PathBuf> {
    let present = |name: &str| Some(dir.as_ref().join(name)).filter(|path| path.is_file());
    PROCESSOR_NAMES.into_iter().find_map(present)
}

fn by_ending(dir: &Path) -> Result<PathBuf, CheckpointError> {
    let read_error = |source| CheckpointError::io(dir, "list", source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        // A dot begins the names of files being written, our own among them.
        if let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.'))
            && !NOT_WEIGHTS.iter().any(|other| name.starts_with(other))
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
        for name in ["ViT-B-16.pt", "vit_b16.torch", "last.ckpt", "weights.bin"] {
            assert_eq!(found(&["training_args.bin", "optimizer.pt", "rng_state_0.pth", name]), name);
        }
    }

    #[test]
    fn configs_are_found_beside_the_weights() {
        let dir = folder(&["model.safetensors", "config.json"]);
        let files = discover(dir.path()).unwrap();
        assert_eq!(files.config, Some(dir.path().join("config.json")));
        assert_eq!(files.preprocessor, None);
    }

    #[test]
    fn shards_of_both_formats_are_found_by_their_index() {
        assert_eq!(
            found(&[
                "pytorch_model-00001-of-00002.bin",
                "pytorch_model-00002-of-00002.bin",
                "pytorch_model.bin.index.json"
            ]),
            "pytorch_model.bin.index.json"
        );
        let message = discover(folder(&["m-00001-of-00002.bin", "m-00002-of-00002.bin"]).path())
            .unwrap_err()
            .to_string();
        assert!(message.contains("`m-00001-of-00002.bin`, `m-00002-of-00002.bin`"), "{message}");
    }

    #[test]
    fn open_clips_files_belong_together() {
        let configs = |names: &[&str]| {
            let dir = folder(names);
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            let files = discover(dir.path()).unwrap();
            (name(files.weights), files.config.map(name))
        };
        let both = ["config.json", "open_clip_config.json", "open_clip_pytorch_model.bin"];
        assert_eq!(configs(&both), (both[2].to_owned(), Some(both[1].to_owned())));
        assert_eq!(configs(&[both[0], both[2]]), (both[2].to_owned(), Some(both[0].to_owned())));
        let hugging_face =
            ["config.json", "model.safetensors", "open_clip_config.json", "open_clip_model.safetensors"];
        assert_eq!(configs(&hugging_face), (hugging_face[1].to_owned(), Some(hugging_face[0].to_owned())));
        assert_eq!(discover_config(folder(&both[1..]).path()).unwrap().file_name().unwrap(), both[1]);
        assert_eq!(discover_config(folder(&["model.safetensors"]).path()), None);
    }

    #[test]
    fn the_preprocessor_of_either_name_is_found() {
        let found = |names: &[&str]| {
            let files = discover(folder(names).path()).unwrap();
            files.preprocessor.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        let names = ["model.safetensors", "processor_config.json", "preprocessor_config.json"];
        assert_eq!(found(&names).as_deref(), Some(names[2]));
        assert_eq!(found(&names[..2]).as_deref(), Some(names[1]));
    }

    #[test]
    fn errors_list_what_was_looked_for_or_found() {
        let none = discover(folder(&["readme.md"]).path()).unwrap_err().to_string();
        assert!(none.contains("model.safetensors, ") && none.contains("*.ckpt, *.bin"), "{none}");
        let two = discover(folder(&["b.pth", "a.pth"]).path()).unwrap_err().to_string();
        assert!(two.contains("`a.pth`, `b.pth`; name one of them"), "{two}");
        assert!(discover("/no/such/folder").is_err());
    }
}
