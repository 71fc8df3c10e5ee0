//! A row of a table or an object of JSON: values by name, and the point that they make.

use super::axis::{Cost, Quality};
use super::error::RunsError;
use super::point::{Estimate, Point};
use serde_json::{Map, Value};
use std::path::Path;
use tokmerge_checkpoint::is_obeyed;

/// Values by name.
pub(super) struct Record<'a> {
    pub(super) values: Map<String, Value>,
    pub(super) path: &'a Path,
    /// Which of its file, from 1.
    pub(super) row: usize,
}

/// What is set beside the merging, with the names that files have for it.
const SETTINGS: [(&str, &[&str]); 8] = [
    ("dtype", &["dtype"]),
    ("img_size", &["img_size", "infer_img_size"]),
    ("clips", &["clips"]),
    ("shots", &["shots"]),
    ("weights", &["weights_kind"]),
    ("batch_size", &["batch_size", "infer_batch_size"]),
    ("threads", &["threads"]),
    ("device", &["device"]),
];

/// How columns of a sweep's settings begin.
pub(super) const GRID: &str = "grid.";

/// Numbers of items, by what they are.
const ITEMS: [&str; 5] = ["images", "questions", "texts", "pairs", "held_out_images"];

/// Columns of speeds, by what is counted in a second.
const PER_SECOND: [&str; 6] = [
    "images_per_second",
    "model_images_per_second",
    "infer_samples_per_sec",
    "model_questions_per_second",
    "texts_per_second",
    "sentences_per_second",
];

impl Record<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    fn refuse(&self, column: &str, value: &Value, rule: &'static str) -> RunsError {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        RunsError::Value { path: self.path.to_owned(), row: self.row, column: column.to_owned(), value, rule }
    }

    /// A text in one line, as tables and charts need it.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = match self.value(name)? {
            Value::String(text) => text.clone(),
            Value::Array(values) => sides(values),
            value => value.to_string(),
        };
        Some(one_line(&text))
    }

    /// The first of some numbers that there is: a number, a text of one, or the middle of several measurements.
    pub(super) fn number(&self, names: &[&str]) -> Result<Option<f64>, RunsError> {
        let found = names.iter().find_map(|name| Some((*name, self.value(name)?)));
        let Some((name, value)) = found else { return Ok(None) };
        let middle = match value {
            Value::Object(parts) => parts.get("value").or_else(|| parts.get("median")).unwrap_or(value),
            value => value,
        };
        let number = match middle {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_f64(),
        };
        match number {
            Some(number) if f64::is_finite(number) => Ok(Some(number)),
            _ => Err(self.refuse(name, value, "a finite number")),
        }
    }

    /// A pair that is the interval of a quality: an array, or its parts.
    fn interval(&self, name: &str) -> Result<Option<(f64, f64)>, RunsError> {
        let keys = ["interval".to_owned(), format!("{name}_interval")];
        for key in &keys[usize::from(name != Quality::Accuracy.name())..] {
            if let Some(Value::Array(ends)) = self.value(key) {
                let ends: Vec<f64> = ends.iter().filter_map(Value::as_f64).collect();
                return Ok(if let [low, high] = ends[..] { Some((low, high)) } else { None });
            }
        }
        if let Some(Value::Object(parts)) = self.value(name) {
            let end = |name: &str| parts.get(name).and_then(Value::as_f64);
            return Ok(end("low").zip(end("high")));
        }
        let (low, high) = (format!("{name}_low"), format!("{name}_high"));
        Ok(self.number(&[&low])?.zip(self.number(&[&high])?))
    }

    /// A quality with its interval: that of the file, or where items were counted Wilson's.
    fn quality(&self, quality: Quality, items: Option<usize>) -> Result<Option<Estimate>, RunsError> {
        let name = quality.name();
        let names: &[&str] = if quality == Quality::Cosine { &["cosine", "mean_cosine"] } else { &[name] };
        let Some(value) = self.number(names)? else { return Ok(None) };
        let found = names.iter().find(|name| self.value(name).is_some()).unwrap_or(&name);
        if quality.is_share() && !(-1e-9..=100.0 + 1e-9).contains(&value) {
            let value = value.into();
            return Err(self.refuse(found, &value, "a percentage"));
        }
        if let Some(interval) = self.interval(found)? {
            return Ok(Some(Estimate { value, interval: Some(interval) }));
        }
        // A mean over choices of examples says nothing about its items, one over seeds has an interval of its own.
        let is_mean = self.value("seeds").is_some() || self.value("runs").is_some_and(|runs| runs != "1");
        Ok(Some(match items.filter(|_| quality.is_share() && !is_mean) {
            Some(items) => Estimate::counted(value, items),
            None => Estimate { value, interval: None },
        }))
    }

    fn costs(&self, point: &mut Point) -> Result<(), RunsError> {
        let mut set = |cost: Cost, value: Option<f64>| point.costs.extend(value.map(|value| (cost, value)));
        set(Cost::Gmacs, self.number(&["gmacs", "infer_gmacs"])?);
        set(Cost::Tokens, self.number(&["mean_tokens", "tokens"])?);
        let batch = self.number(&["batch_size", "infer_batch_size"])?.filter(|batch| *batch > 0.0);
        let per_batch = self.number(&["ms_per_batch", "infer_step_time"])?;
        let per_second = self.number(&PER_SECOND)?.filter(|rate| *rate > 0.0);
        let ms = self.number(&["ms_per_image", "ms"])?;
        let ms = ms.or_else(|| Some(per_batch? / batch?)).or_else(|| Some(1e3 / per_second?));
        set(Cost::Ms, ms);
        set(Cost::ImagesPerSecond, per_second.or_else(|| Some(1e3 / ms.filter(|ms| *ms > 0.0)?)));
        let seconds = self.number(&["seconds"])?.filter(|seconds| *seconds > 0.0);
        let unmerged = self.number(&["unmerged_seconds"])?;
        let speedup = self.number(&["speedup"])?;
        set(Cost::Speedup, speedup.or_else(|| Some(unmerged? / seconds?)));
        let hours = self.number(&["hours"])?;
        set(Cost::Hours, hours.or(self.number(&["train_seconds"])?.map(|seconds| seconds / 3600.0)));
        set(Cost::Exaflops, self.number(&["exaflops"])?);
        Ok(())
    }

    fn settings(&self, point: &mut Point) {
        for (setting, names) in SETTINGS {
            let found = names.iter().find_map(|name| self.text(name));
            point.settings.extend(found.map(|value| (setting.to_owned(), value)));
        }
        // What a sweep combined; its merging is that of training, which the next says.
        for name in self.values.keys().filter(|name| name.starts_with(GRID) && *name != "grid.merge") {
            point.settings.extend(self.text(name).map(|value| (one_line(name), value)));
        }
        let trained = self.text("trained").filter(|trained| *trained != point.merge);
        point.settings.extend(trained.map(|trained| ("trained".to_owned(), trained)));
    }

    /// The point that the values make.
    pub(super) fn point(&self, label: Option<&str>, fallback: &str) -> Result<Point, RunsError> {
        let Some(merge) = self.text("merge") else {
            let reason = format!("result {} does not say how it merges", self.row);
            return Err(RunsError::Foreign { path: self.path.to_owned(), reason });
        };
        let named = self.text("model").unwrap_or_else(|| fallback.to_owned());
        let items = self.number(&ITEMS)?.map(|items| items.max(0.0) as usize);
        let method = ["method", "label", "family"].iter().find_map(|name| self.text(name));
        let mut point = Point {
            source: self.path.display().to_string(),
            model: label.map_or_else(|| named.clone(), str::to_owned),
            named,
            method: method.filter(|method| method != "unmerged"),
            merge,
            convention: self.text("convention"),
            items,
            ..Point::default()
        };
        self.costs(&mut point)?;
        self.settings(&mut point);
        for quality in Quality::ALL {
            let found = self.quality(quality, items)?;
            point.qualities.extend(found.map(|found| (quality, found)));
        }
        Ok(point)
    }
}

/// A text without what terminals and tables obey.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).collect()
}

/// Height and width, once where they are the same.
fn sides(values: &[Value]) -> String {
    match values {
        [height, width] if height == width => height.to_string(),
        values => values.iter().map(ToString::to_string).collect::<Vec<_>>().join("x"),
    }
}
