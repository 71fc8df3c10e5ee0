//! The output: parts that are written aside and renamed, a manifest that says what they are, one writer at a time.
//!
//! A part is done when its `part-NNNNN.json` is there, which is written last, and its files have the sizes that it says.

use crate::output::{self, Kind};
use crate::target::beside;
use crate::{EmbedError, Format, Shard, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokmerge_checkpoint::{AtomicFile, LockError, OutputLock, read_text};

const MANIFEST: &str = "manifest.json";
/// Lists images that could not be read.
pub(crate) const ERRORS: &str = "errors.jsonl";
const LOCK: &str = ".lock";

/// A manifest and what is known of a part are not longer, in bytes.
const LONGEST: u64 = 1 << 30;

/// The others of several processes hold the lock for the time of a look, or of joining all parts.
const PATIENCE: Duration = Duration::from_secs(120);

/// An image that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its place among all images, from 0.
    pub index: usize,
    /// Its path or key.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What is known of a part that is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) rows: usize,
    /// Its files and their sizes.
    pub(crate) files: BTreeMap<String, u64>,
    pub(crate) errors: Vec<Failure>,
}

/// What an output holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Vectors.
    pub rows: usize,
    /// Images that could not be read.
    pub errors: usize,
    /// The first of them.
    pub first_error: Option<String>,
    /// Parts that are there.
    pub parts_done: usize,
    /// Parts in all.
    pub parts: usize,
}

impl Summary {
    /// Whether nothing is left to do, in this process or another.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parts_done == self.parts
    }
}

/// An output that this process may write to.
pub(crate) struct Store<'a> {
    target: &'a Target,
    folder: PathBuf,
    /// `{"tokmerge": version, "settings": {...}}`.
    pub(crate) made_with: Value,
    shard: Shard,
    parts: usize,
    _lock: OutputLock,
}

/// How an output was found.
pub(crate) enum Opened<'a> {
    /// It is whole already.
    Finished(Summary),
    /// There may be something to do.
    Begun(Store<'a>),
}

impl<'a> Store<'a> {
    /// Takes an output, or finds that it is whole.
    pub(crate) fn open(
        target: &'a Target,
        settings: &Map<String, Value>,
        shard: Shard,
        parts: usize,
    ) -> Result<Opened<'a>, EmbedError> {
        let folder = target.parts();
        let made_with = json!({"tokmerge": env!("CARGO_PKG_VERSION"), "settings": settings});
        if let Target::File(file) = target
            && file.exists()
        {
            let summary = finished(target, file, settings)?;
            // A run that was killed between its last two steps.
            let _ = std::fs::remove_dir_all(&folder);
            return Ok(Opened::Finished(summary));
        }
        match target {
            Target::Folder(_) => std::fs::create_dir_all(&folder),
            Target::File(_) => std::fs::create_dir(&folder).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            }),
        }
        .map_err(EmbedError::write(target.path()))?;
        let gate = gate(target, &folder, shard)?;
        let lock = if shard == Shard::WHOLE {
            for other in shard_locks(&folder)? {
                OutputLock::hold(target.path(), &other)?;
            }
            gate
        } else {
            for other in shard_locks(&folder)? {
                if !other.to_string_lossy().ends_with(&format!("-of-{}", shard.count)) {
                    OutputLock::hold(target.path(), &other)?;
                }
            }
            OutputLock::hold(
                target.path(),
                &folder.join(format!("{LOCK}-{}-of-{}", shard.index, shard.count)),
            )?
        };
        let manifest = folder.join(MANIFEST);
        match read_text(&manifest, LONGEST) {
            Ok(text) => check(target, &text, settings)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if folder.join(part_name(0, "json")).exists() {
                    return Err(EmbedError::Exists { path: target.path().to_owned() });
                }
                let mut begun = made_with.clone();
                begun["complete"] = json!(false);
                replace(&manifest, &format!("{begun:#}\n"))?;
            }
            Err(error) => return Err(EmbedError::read(&manifest, error)),
        }
        let store = Self { target, folder, made_with, shard, parts, _lock: lock };
        store.clear_leftovers();
        Ok(Opened::Begun(store))
    }

    /// A file of a part.
    pub(crate) fn path(&self, part: usize, ending: &str) -> PathBuf {
        self.folder.join(part_name(part, ending))
    }

    /// What is known of a part, if it is done.
    pub(crate) fn done(&self, part: usize) -> Option<Part> {
        let text = read_text(&self.path(part, "json"), LONGEST).ok()?;
        let found: Part = serde_json::from_str(&text).ok()?;
        let whole = |(name, size): (&String, &u64)| {
            std::fs::metadata(self.folder.join(name)).is_ok_and(|file| file.len() == *size)
        };
        found.files.iter().all(whole).then_some(found)
    }

    /// Notes that the files of a part are in their places: from here on it is done.
    pub(crate) fn finish_part(
        &self,
        part: usize,
        endings: &[&str],
        rows: usize,
        errors: Vec<Failure>,
    ) -> Result<(), EmbedError> {
        let mut files = BTreeMap::new();
        for ending in endings {
            let path = self.path(part, ending);
            let size = std::fs::metadata(&path).map_err(EmbedError::write(&path))?.len();
            files.insert(part_name(part, ending), size);
        }
        let part_done = Part { rows, files, errors };
        let text = serde_json::to_string(&part_done).map_err(io::Error::from);
        let path = self.path(part, "json");
        replace(&path, &text.map_err(EmbedError::write(&path))?)
    }

    /// Says in the manifest what is there and which images could not be read; where all parts are there and the output is
    /// one file, joins them.
    pub(crate) fn finish(
        self,
        kind: &Kind<'_>,
        dense: Option<[usize; 2]>,
        settings: &Map<String, Value>,
    ) -> Result<Summary, EmbedError> {
        let _gate = match self.shard {
            Shard::WHOLE => None,
            _ => match gate(self.target, &self.folder, self.shard) {
                Ok(gate) => Some(gate),
                // Another process has joined all parts meanwhile.
                Err(_) if self.target.path().is_file() => {
                    return finished(self.target, self.target.path(), settings);
                }
                Err(error) => return Err(error),
            },
        };
        if let Target::File(file) = self.target
            && file.exists()
        {
            let summary = finished(self.target, file, settings)?;
            // Another process has joined the parts, and the folder was made again by waiting for it.
            let _ = std::fs::remove_dir_all(&self.folder);
            return Ok(summary);
        }
        let (mut summary, mut listed, mut errors) = (Summary::default(), Vec::new(), Vec::new());
        summary.parts = self.parts;
        for part in 0..self.parts {
            let Some(found) = self.done(part) else { continue };
            summary.parts_done += 1;
            summary.rows += found.rows;
            listed.push(json!({"part": part, "rows": found.rows, "errors": found.errors.len()}));
            errors.extend(found.errors);
        }
        summary.errors = errors.len();
        summary.first_error = errors.first().map(|failure| failure.reason.clone());
        let joined = matches!(self.target, Target::File(_)) && summary.is_complete();
        if !errors.is_empty() {
            let path = self.target.errors(&summary);
            let lines: String = errors.iter().map(|failure| format!("{}\n", json!(failure))).collect();
            replace(&path, &lines)?;
        }
        let mut manifest = self.made_with.clone();
        manifest["complete"] = json!(summary.is_complete());
        manifest["summary"] = json!(summary);
        manifest["parts"] = Value::Array(listed);
        if let Target::File(file) = self.target
            && joined
        {
            self.join(file, summary.rows, kind, dense, &format!("{manifest:#}\n"))?;
        } else {
            replace(&self.folder.join(MANIFEST), &format!("{manifest:#}\n"))?;
        }
        Ok(summary)
    }

    /// One file of all parts. It is put in its place last: what is there is whole.
    fn join(
        &self,
        file: &Path,
        rows: usize,
        kind: &Kind<'_>,
        dense: Option<[usize; 2]>,
        manifest: &str,
    ) -> Result<(), EmbedError> {
        let parts = |ending: &str| (0..self.parts).map(|part| self.path(part, ending)).collect::<Vec<_>>();
        if let Some([patches, channels]) = dense {
            let path = file.with_extension("dense.npy");
            output::join_arrays(&path, &parts("dense.npy"), &[rows, patches, channels], kind.dtype)?;
        }
        replace(&beside(file, MANIFEST), manifest)?;
        output::join(file, &parts(kind.format.name()), rows, kind)?;
        // What is left of them is removed by the next run.
        let _ = std::fs::remove_dir_all(&self.folder);
        Ok(())
    }

    /// Removes what runs have left that were killed while they wrote.
    fn clear_leftovers(&self) {
        let remove = |folder: &Path, ours: &dyn Fn(&str) -> bool| {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(".incomplete") && ours(&name) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        };
        // What concerns all parts is written by who holds the gate, as this run does.
        let of_all = [format!(".{ERRORS}."), format!(".{MANIFEST}.")];
        let own = |name: &str| {
            let part = name.strip_prefix(".part-").and_then(|rest| rest.split('.').next()?.parse().ok());
            part.is_some_and(|part: usize| self.shard.has(part))
                || of_all.iter().any(|start| name.starts_with(start))
        };
        remove(&self.folder, &own);
        if let Target::File(file) = self.target
            && self.shard == Shard::WHOLE
        {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let starts = [format!(".{name}."), format!(".{stem}.dense.npy.")];
            remove(file.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new(".")), &|name| {
                starts.iter().any(|start| name.starts_with(start))
            });
        }
    }
}

/// Files of vectors of an output, in order, and what they were made with.
pub(crate) fn vectors_of(path: &Path) -> Result<(Vec<PathBuf>, Format, Option<Value>), EmbedError> {
    let parse = |text: &str, at: &Path| {
        serde_json::from_str::<Value>(text).map_err(|error| EmbedError::vectors(at, error))
    };
    if !path.is_dir() {
        let format = Format::of(path).ok_or_else(|| EmbedError::Ending { path: path.to_owned() })?;
        let text = match format {
            Format::Parquet => output::table_metadata(path)?,
            _ => read_text(&beside(path, MANIFEST), LONGEST).ok(),
        };
        return Ok((vec![path.to_owned()], format, text.map(|text| parse(&text, path)).transpose()?));
    }
    let manifest = path.join(MANIFEST);
    let text = read_text(&manifest, LONGEST).map_err(|error| EmbedError::read(&manifest, error))?;
    let made_with = parse(&text, &manifest)?;
    let format = made_with["settings"]["format"].as_str();
    let format = Format::ALL.into_iter().find(|known| Some(known.name()) == format);
    let format = format.ok_or_else(|| EmbedError::vectors(&manifest, "names no format of vectors"))?;
    let parts = made_with["parts"].as_array().into_iter().flatten().filter_map(|part| part["part"].as_u64());
    let parts = parts.map(|part| path.join(part_name(part as usize, format.name()))).collect();
    Ok((parts, format, Some(made_with)))
}

fn part_name(part: usize, ending: &str) -> String {
    format!("part-{part:05}.{ending}")
}

fn replace(path: &Path, content: &str) -> Result<(), EmbedError> {
    let written = || {
        let mut file = AtomicFile::create(path)?;
        file.write_all(content.as_bytes())?;
        file.finish()
    };
    written().map_err(EmbedError::write(path))
}

/// The right to look at the output and to change what all its parts share.
fn gate(target: &Target, folder: &Path, shard: Shard) -> Result<OutputLock, EmbedError> {
    let begun = Instant::now();
    loop {
        match OutputLock::hold(target.path(), &folder.join(LOCK)) {
            Err(LockError::Held { .. }) if shard != Shard::WHOLE && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            held => return Ok(held?),
        }
    }
}

fn shard_locks(folder: &Path) -> Result<Vec<PathBuf>, EmbedError> {
    let entries = std::fs::read_dir(folder).map_err(|error| EmbedError::read(folder, error))?;
    let is_lock =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".lock-"));
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_lock).collect())
}

/// What is known of a joined file that is there.
fn finished(target: &Target, file: &Path, settings: &Map<String, Value>) -> Result<Summary, EmbedError> {
    let exists = || EmbedError::Exists { path: file.to_owned() };
    let text = read_text(&beside(file, MANIFEST), LONGEST).map_err(|_| exists())?;
    check(target, &text, settings)?;
    let manifest: Value = serde_json::from_str(&text).map_err(|_| exists())?;
    serde_json::from_value(manifest["summary"].clone()).map_err(|_| exists())
}

/// Refuses a manifest of other settings, naming the first that differs.
fn check(target: &Target, manifest: &str, settings: &Map<String, Value>) -> Result<(), EmbedError> {
    let path = target.path();
    let there: Value = serde_json::from_str(manifest).map_err(|error| EmbedError::vectors(path, error))?;
    // Read like the other, so that numbers are rounded alike.
    let here: Value = serde_json::from_str(&json!(settings).to_string())
        .map_err(|error| EmbedError::vectors(path, error))?;
    for (setting, here) in here.as_object().into_iter().flatten() {
        let there = &there["settings"][setting];
        if there != here {
            let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return Err(EmbedError::OtherSettings {
                path: path.to_owned(),
                setting: setting.clone(),
                there: shown(there),
                here: shown(here),
            });
        }
    }
    Ok(())
}
