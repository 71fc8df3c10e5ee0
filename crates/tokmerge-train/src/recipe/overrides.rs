//! Changes such as `train.epochs=5`, and what two recipes do not have in common.

use super::{Recipe, RecipeError};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Keys that change how a run is watched or how fast it is, not what it learns.
const HARMLESS: [&str; 8] = [
    "data.workers",
    "train.threads",
    "train.recompute",
    "train.checkpoint_epochs",
    "train.checkpoint_steps",
    "train.validate_epochs",
    "train.validate",
    // Where images lie does not matter as long as there are as many, which is checked.
    "data.val",
];

pub(super) fn apply(mut table: Table, changes: &[String]) -> Result<Table, RecipeError> {
    for change in changes {
        let wrong = || RecipeError::Override(change.clone());
        let (key, value) = change.split_once('=').ok_or_else(wrong)?;
        let keys: Vec<&str> = key.trim().split('.').collect();
        let (last, path) = keys.split_last().ok_or_else(wrong)?;
        if keys.iter().any(|key| key.is_empty()) {
            return Err(wrong());
        }
        let mut place = &mut table;
        for key in path {
            let entry = place.entry((*key).to_owned()).or_insert_with(|| Value::Table(Table::new()));
            place = entry.as_table_mut().ok_or_else(wrong)?;
        }
        let value = read(value.trim()).ok_or_else(|| RecipeError::TooLarge(change.clone()))?;
        place.insert((*last).to_owned(), value);
    }
    Ok(table)
}

/// The same with the name of the default optimiser where a section changes its settings alone.
pub(super) fn with_optimizer(mut table: Table) -> Table {
    if let Some(Value::Table(section)) = table.get_mut("optimizer") {
        section.entry("name").or_insert_with(|| Value::String("adamw".to_owned()));
    }
    table
}

/// A value as TOML has it; whatever is none is a text, so that paths and specs need no quotes. `None` for whole numbers that
/// are too large.
pub(crate) fn read(text: &str) -> Option<Value> {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    match parsed.ok().and_then(|mut table| table.remove("value")) {
        Some(value) => Some(value),
        None if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => None,
        None => Some(Value::String(text.to_owned())),
    }
}

fn flatten(recipe: &Recipe) -> BTreeMap<String, String> {
    fn collect(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Table(table) => {
                for (key, value) in table {
                    let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    collect(&path, value, into);
                }
            }
            value => {
                into.insert(prefix.to_owned(), value.to_string());
            }
        }
    }
    let mut flat = BTreeMap::new();
    // Routers learn as V-MoE's did whether that is written out or not.
    let mut recipe = recipe.clone();
    recipe.routing.get_or_insert_default();
    // And a teacher has its part of the target.
    if let Some(distill) = &mut recipe.distill {
        distill.weight = Some(distill.weight());
    }
    if let Ok(value) = Value::try_from(&recipe) {
        collect("", &value, &mut flat);
    }
    flat
}

pub(super) fn differences(one: &Recipe, other: &Recipe) -> Vec<(String, String, String)> {
    let (one, other) = (flatten(one), flatten(other));
    let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
    keys.sort();
    keys.dedup();
    let shown =
        |of: &BTreeMap<String, String>, key: &String| of.get(key).map_or("not set", |text| text).to_owned();
    keys.into_iter()
        .filter(|key| !HARMLESS.contains(&key.as_str()) && one.get(*key) != other.get(*key))
        .map(|key| (key.clone(), shown(&one, key), shown(&other, key)))
        .collect()
}
