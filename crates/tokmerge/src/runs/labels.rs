//! Which points make a line, and what it is called.

use super::axis::Cost;
use super::methods;
use super::point::Point;
use super::record::GRID;
use super::report::Lines;
use std::collections::BTreeSet;

/// Settings that change speeds alone.
const OF_SPEED: [&str; 3] = ["batch_size", "threads", "device"];

/// Settings that say something by not being there.
const OFTEN_ABSENT: [&str; 2] = ["trained", "weights"];

/// What points of a line have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    model: Option<String>,
    method: Option<String>,
    settings: Vec<String>,
}

/// The lines of some points.
pub(super) struct Grouped {
    pub(super) names: Vec<String>,
    /// The lines that each point is on: one, or where nothing merges all that begin with it.
    pub(super) lines_of: Vec<Vec<usize>>,
    /// What each point is called beside its spec.
    pub(super) named: Vec<String>,
}

/// The method of each point, as lines are called by it.
fn methods_of(points: &[Point]) -> Vec<String> {
    let specs: Vec<&str> = points.iter().map(|point| point.merge.as_str()).collect();
    let named = methods::names(&specs).into_iter().zip(points);
    let name = |(named, point): (String, &Point)| match point.is_unmerged() {
        true => UNMERGED.to_owned(),
        false => point.method.clone().unwrap_or(named),
    };
    named.map(name).collect()
}

const UNMERGED: &str = "unmerged";

/// Settings that are not the same everywhere.
fn varying(points: &[Point], x: Cost) -> Vec<String> {
    let keys: BTreeSet<&String> = points.iter().flat_map(|point| point.settings.keys()).collect();
    let differs = |key: &&&String| {
        let values: BTreeSet<Option<&String>> =
            points.iter().map(|point| point.settings.get(**key)).collect();
        let absent = values.contains(&None) && !OFTEN_ABSENT.contains(&key.as_str());
        values.len() - usize::from(absent) > 1
    };
    let counts = |key: &&&String| x.is_speed() || !OF_SPEED.contains(&key.as_str());
    keys.iter().filter(counts).filter(differs).map(|key| (*key).clone()).collect()
}

/// A setting in words.
fn shown(key: &str, value: &str) -> String {
    match key {
        "dtype" | "device" => value.to_owned(),
        "img_size" => format!("{value} px"),
        "clips" | "threads" if value == "1" => format!("1 {}", key.trim_end_matches('s')),
        "clips" => format!("{value} clips"),
        "shots" => format!("{value}-shot"),
        "threads" => format!("{value} threads"),
        "batch_size" => format!("batch {value}"),
        "weights" => "averaged weights".to_owned(),
        "trained" => format!("trained with {value}"),
        key => format!("{}={value}", key.strip_prefix(GRID).unwrap_or(key)),
    }
}

impl Grouped {
    pub(super) fn new(points: &[Point], lines: Lines, x: Cost) -> Self {
        let methods = methods_of(points);
        let varying = varying(points, x);
        let key = |(point, method): (&Point, &String)| {
            let each = lines != Lines::Method;
            let settings = varying.iter().filter_map(|key| Some(shown(key, point.settings.get(key)?)));
            Key {
                model: each.then(|| point.model.clone()),
                method: (lines != Lines::Model).then(|| method.clone()),
                settings: if each { settings.collect() } else { Vec::new() },
            }
        };
        let keys: Vec<Key> = points.iter().zip(&methods).map(key).collect();
        let begins = |index: usize| lines == Lines::Each && points[index].is_unmerged();
        let mut found: Vec<Key> = Vec::new();
        let mut index_of = |key: &Key| {
            found.iter().position(|known| known == key).unwrap_or_else(|| {
                found.push(key.clone());
                found.len() - 1
            })
        };
        let mut lines_of: Vec<Vec<usize>> = keys
            .iter()
            .enumerate()
            .map(|(index, key)| if begins(index) { Vec::new() } else { vec![index_of(key)] })
            .collect();
        for (index, lines) in lines_of.iter_mut().enumerate().filter(|(_, lines)| lines.is_empty()) {
            let starts = |known: &Key| {
                known.model == keys[index].model
                    && known.settings == keys[index].settings
                    && known.method.as_deref() != Some(UNMERGED)
            };
            lines.extend((0..found.len()).filter(|at| starts(&found[*at])));
            if lines.is_empty() {
                let known = found.iter().position(|known| *known == keys[index]);
                lines.push(known.unwrap_or(found.len()));
                if known.is_none() {
                    found.push(keys[index].clone());
                }
            }
        }
        let name = Namer::new(&found);
        Self {
            names: found.iter().map(|key| name.of(key)).collect(),
            lines_of,
            named: keys.iter().map(|key| name.of(key)).collect(),
        }
    }
}

/// Leaves out what all lines have in common.
struct Namer {
    models: usize,
    methods: usize,
}

impl Namer {
    fn new(keys: &[Key]) -> Self {
        let count = |of: fn(&Key) -> &Option<String>| keys.iter().map(of).collect::<BTreeSet<_>>().len();
        Self { models: count(|key| &key.model), methods: count(|key| &key.method) }
    }

    fn of(&self, key: &Key) -> String {
        let is_unmerged = key.method.as_deref() == Some(UNMERGED);
        let model = key.model.clone().filter(|_| self.models > 1 || key.method.is_none());
        let method = key.method.clone().filter(|_| self.methods > 1 || self.models == 1 || is_unmerged);
        let parts: Vec<String> = model.into_iter().chain(method).chain(key.settings.clone()).collect();
        parts.join(", ")
    }
}
