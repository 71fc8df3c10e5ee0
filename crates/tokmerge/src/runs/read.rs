//! From files and folders to points.

use super::error::RunsError;
use super::point::Point;
use super::record::Record;
use super::training::TrainingRun;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::read_text;
use tokmerge_train::History;

/// Results are lines; a search at random has some thousands of them.
const MAX_FILE: u64 = 16 << 20;
const MOST_RESULTS: usize = 20_000;

/// What a sweep writes into its folder.
const SWEEP: &str = "sweep.csv";

/// Results of some files and folders.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Those that say how good a model is.
    pub points: Vec<Point>,
    /// Those that say how fast it is, and no more.
    pub speeds: Vec<Point>,
    /// Runs of training, for curves.
    pub runs: Vec<TrainingRun>,
    /// What the user should know, a line each.
    pub notes: Vec<String>,
}

impl Results {
    /// Reads a file of results, or the folder of a run or a sweep. A label takes the place of the model's name.
    ///
    /// # Errors
    /// When it cannot be read or holds no results.
    pub fn read(&mut self, label: Option<&str>, path: &Path) -> Result<(), RunsError> {
        if path.is_dir() {
            return self.read_folder(label, path);
        }
        let text =
            read_text(path, MAX_FILE).map_err(|source| RunsError::Io { path: path.to_owned(), source })?;
        self.read_from(label, path, &text)
    }

    fn read_folder(&mut self, label: Option<&str>, dir: &Path) -> Result<(), RunsError> {
        let name =
            || dir.canonicalize().ok().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
        let name = label.map(str::to_owned).or_else(name).unwrap_or_else(|| dir.display().to_string());
        if History::is_run(dir) {
            let run = TrainingRun::open(&name, dir)?;
            self.points.extend(run.points());
            self.runs.push(run);
            return self.check_count();
        }
        let sweep = dir.join(SWEEP);
        if !sweep.is_file() {
            let reason = format!("holds no run of training (steps.csv, recipe.toml) and no sweep ({SWEEP})");
            return Err(RunsError::Foreign { path: dir.to_owned(), reason });
        }
        self.read(label.or(Some(&name)), &sweep)?;
        for folder in folders(dir).into_iter().filter(|folder| History::is_run(folder)) {
            let of = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let of = label.map_or_else(|| of.clone(), |label| format!("{label}, {of}"));
            self.runs.push(TrainingRun::open(&of, &folder)?);
        }
        Ok(())
    }

    /// Reads a text that lies at a path.
    pub(super) fn read_from(
        &mut self,
        label: Option<&str>,
        path: &Path,
        text: &str,
    ) -> Result<(), RunsError> {
        let foreign = |reason: String| RunsError::Foreign { path: path.to_owned(), reason };
        let records: Box<dyn Iterator<Item = Result<Map<String, Value>, String>>> =
            match text.trim_start().chars().next() {
                Some('{' | '[') => Box::new(objects(text).map_err(foreign)?.into_iter().map(Ok)),
                Some(_) => Box::new(rows(text).map_err(foreign)?),
                None => return Err(foreign("it is empty".to_owned())),
            };
        let fallback = path.file_stem().unwrap_or_default().to_string_lossy();
        let (mut left_out, mut training) = (0, 0);
        for (index, values) in records.enumerate() {
            let record = Record { values: values.map_err(foreign)?, path, row: index + 1 };
            if record.text("left_out").is_some() || record.text("runs").is_some_and(|runs| runs == "0") {
                left_out += 1;
                continue;
            }
            if record.text("train").is_some_and(|train| train == "true") {
                training += 1;
                continue;
            }
            let point = record.point(label, &fallback)?;
            match (point.qualities.is_empty(), point.costs.is_empty()) {
                (false, _) => self.points.push(point),
                (true, false) => self.speeds.push(point),
                (true, true) => {
                    return Err(foreign(format!("result {} has neither a quality nor a cost", index + 1)));
                }
            }
            self.check_count()?;
        }
        let shown = path.display();
        if left_out > 0 {
            self.notes.push(format!("{shown}: {left_out} of its rows have no result and are left out"));
        }
        if training > 0 {
            self.notes
                .push(format!("{shown}: {training} of its rows are speeds of training and are left out"));
        }
        Ok(())
    }

    fn check_count(&self) -> Result<(), RunsError> {
        match self.points.len() + self.speeds.len() {
            count if count > MOST_RESULTS => Err(RunsError::TooMany(MOST_RESULTS)),
            _ => Ok(()),
        }
    }
}

/// Folders in a folder, in the order of their names.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// The rows of a table, by the names of its columns.
fn rows(text: &str) -> Result<impl Iterator<Item = Result<Map<String, Value>, String>>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heading = reader.headers().map_err(|error| error.to_string())?.clone();
    if !heading.iter().any(|name| name == "merge") {
        return Err("its first line names no column merge".to_owned());
    }
    let row = move |row: Result<csv::StringRecord, csv::Error>| {
        let row = row.map_err(|error| error.to_string())?;
        let cells = heading.iter().zip(&row).filter(|(_, cell)| !cell.is_empty());
        let cells = cells.map(|(name, cell)| (name.to_owned(), Value::String(cell.to_owned())));
        let mut values: Map<String, Value> = cells.collect();
        // In folders of models weights are files, in tables of training a kind.
        if let Some(kind) = values.remove("weights").filter(|kind| kind == "ema") {
            values.insert("weights_kind".to_owned(), kind);
        }
        Ok(values)
    };
    Ok(reader.into_records().map(row))
}

/// The objects of a text: one after another, or in a list; a comparison or a search has its results inside.
fn objects(text: &str) -> Result<Vec<Map<String, Value>>, String> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match value.map_err(|error| error.to_string())? {
            Value::Array(values) => values.into_iter().try_for_each(|value| collect(value, &mut found))?,
            value => collect(value, &mut found)?,
        }
    }
    Ok(found)
}

/// What of a comparison or a search belongs to each of its results.
const SHARED: [&str; 7] =
    ["model", "img_size", "dtype", "device", "threads", "convention", "held_out_images"];

fn collect(value: Value, into: &mut Vec<Map<String, Value>>) -> Result<(), String> {
    let Value::Object(mut object) = value else { return Err("it holds JSON that is no object".to_owned()) };
    let Some(unmerged) = object.remove("unmerged") else {
        into.push(object);
        return Ok(());
    };
    let list = |value: Option<Value>| match value {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    };
    let mut results = vec![unmerged];
    results.extend(list(object.remove("points")));
    for table in list(object.remove("tables")) {
        if let Value::Object(mut table) = table {
            results.extend(list(table.remove("rows")));
        }
    }
    let shared = SHARED.iter().filter_map(|name| Some(((*name).to_owned(), object.get(*name)?.clone())));
    let shared: Map<String, Value> = shared.collect();
    for result in results {
        let Value::Object(result) = result else { return Err("one of its results is no object".to_owned()) };
        let mut whole = shared.clone();
        whole.extend(result);
        into.push(whole);
    }
    Ok(())
}
