//! Results as tables.

use super::axis::{Cost, Quality};
use super::report::{Front, Placed, Report};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Where a page of this program begins, in a comment that is not shown.
const PAGE: &str = "<!-- tokmerge report -->";

/// Whether a text begins as what [`Report::to_markdown`] or [`Curves::to_markdown`](super::Curves::to_markdown) makes.
#[must_use]
pub fn is_page(text: &str) -> bool {
    text.starts_with(PAGE)
}

/// Whether a text begins as what [`Report::to_csv`] or [`Curves::to_csv`](super::Curves::to_csv) makes.
#[must_use]
pub fn is_csv(text: &str) -> bool {
    [&RESULTS[..], &CURVES[..], &SCHEDULES[..]].iter().any(|heading| text.starts_with(&heading.join(",")))
}

const RESULTS: [&str; 5] = ["line", "model", "method", "merge", "front"];
pub(super) const CURVES: [&str; 4] = ["line", "step", "epoch", "measure"];
pub(super) const SCHEDULES: [&str; 4] = ["layer", "merged", "cost", "quality"];

/// A page: its heading, a picture, tables and sentences.
pub(super) fn page(
    title: &str,
    picture: Option<&str>,
    table: (&[String], &[Vec<String>]),
    texts: usize,
) -> String {
    let (header, rows) = table;
    let mut page = format!("{PAGE}\n# {title}\n\n");
    if let Some(picture) = picture {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "![{title}]({})\n", picture.replace(' ', "%20"));
    }
    let rule: Vec<&str> = (0..header.len()).map(|at| if at < texts { "---" } else { "---:" }).collect();
    let _ = writeln!(page, "| {} |\n|{}|", header.join(" | "), rule.join("|"));
    for cells in rows {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    page
}

/// The end of a page.
pub(super) fn ending(page: &mut String, sentences: &[String], command: &str) {
    page.push('\n');
    sentences.iter().for_each(|sentence| page.push_str(&format!("- {sentence}\n")));
    let _ = write!(page, "\n```sh\n{}\n```\n", command.replace('\n', " "));
}

impl Report {
    /// Costs that some result has, the one that is drawn first.
    fn costs(&self) -> Vec<Cost> {
        let known: BTreeSet<Cost> =
            self.placed.iter().flat_map(|placed| placed.point.costs.keys().copied()).collect();
        let others = known.into_iter().filter(|cost| *cost != self.x);
        std::iter::once(self.x).chain(others).collect()
    }

    fn shown(&self, placed: &Placed) -> String {
        let value = self.y.shown(placed.y.value);
        match placed.y.interval {
            Some((low, high)) => format!("{value} ({} to {})", self.y.shown(low), self.y.shown(high)),
            None => value,
        }
    }

    /// Headings and rows, for people.
    #[must_use]
    pub fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let costs = self.costs();
        let has_agreement = self.y != Quality::Agreement
            && self.placed.iter().any(|placed| placed.point.qualities.contains_key(&Quality::Agreement));
        let mut header = vec!["line".to_owned(), "merge".to_owned(), format!("{} (95 %)", self.y.words())];
        header.extend(has_agreement.then(|| "agreement %".to_owned()));
        header.extend(costs.iter().map(|cost| match cost {
            Cost::Gmacs if *cost == self.x => self.x_label(),
            cost => cost.words().to_owned(),
        }));
        header.push("front".to_owned());
        let row = |placed: &Placed| {
            let mut cells = vec![placed.name.clone(), placed.point.merge.clone(), self.shown(placed)];
            let agreement = placed.point.qualities.get(&Quality::Agreement);
            let agreement = agreement.map_or_else(|| "-".to_owned(), |found| format!("{:.1}", found.value));
            cells.extend(has_agreement.then_some(agreement));
            let cost = |cost: &Cost| placed.point.costs.get(cost).map(|value| cost.shown(*value));
            cells.extend(costs.iter().map(|each| cost(each).unwrap_or_else(|| "-".to_owned())));
            cells.push(if placed.on_front { "yes".to_owned() } else { String::new() });
            cells
        };
        (header, self.placed.iter().map(row).collect())
    }

    /// What the figures mean, in sentences.
    #[must_use]
    pub fn reading(&self) -> Vec<String> {
        let front = match self.view.front {
            Front::Overall | Front::None => "of all results",
            Front::Line => "of its own line",
        };
        let mut said = vec![format!(
            "On the front: nothing {front} is better at the same cost or a lower one, as far as these figures go; what lies \
             within the interval of another is not told apart from it."
        )];
        if self.placed.iter().any(|placed| placed.y.interval.is_some()) {
            said.push(
                "In brackets the 95 % interval: Wilson's where items were counted, else as the file has it."
                    .to_owned(),
            );
        }
        said.extend(self.notes.iter().cloned());
        said
    }

    /// The results as one page of Markdown, with the picture that lies beside it and the command that made it.
    #[must_use]
    pub fn to_markdown(&self, title: Option<&str>, picture: Option<&str>, command: &str) -> String {
        let title = title.map_or_else(|| self.title(), str::to_owned);
        let (header, mut rows) = self.cells();
        rows.iter_mut().for_each(|cells| cells[1] = format!("`{}`", cells[1]));
        let mut page = page(&title, picture, (&header, &rows), 2);
        ending(&mut page, &self.reading(), command);
        page
    }

    /// A result as an object of JSON, by the names of the columns.
    #[must_use]
    pub fn json(&self, placed: &Placed) -> Value {
        let point = &placed.point;
        let mut object: Map<String, Value> =
            RESULTS.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        object.insert("line".to_owned(), json!(placed.name));
        object.insert("model".to_owned(), json!(point.model));
        object.insert("method".to_owned(), json!(point.method));
        object.insert("merge".to_owned(), json!(point.merge));
        object.insert("front".to_owned(), json!(placed.on_front));
        object.insert("images".to_owned(), json!(point.items));
        for (quality, found) in &point.qualities {
            object.insert(quality.name().to_owned(), json!(found.value));
            if let Some((low, high)) = found.interval {
                object.insert(format!("{}_low", quality.name()), json!(low));
                object.insert(format!("{}_high", quality.name()), json!(high));
            }
        }
        let costs = point.costs.iter().map(|(cost, value)| (cost.name().to_owned(), json!(value)));
        object.extend(costs);
        object.extend(point.settings.iter().map(|(name, value)| (name.clone(), json!(value))));
        object.insert("convention".to_owned(), json!(point.convention));
        object.insert("source".to_owned(), json!(point.source));
        object
            .into_iter()
            .filter(|(name, value)| !value.is_null() || RESULTS.contains(&name.as_str()))
            .collect::<Map<_, _>>()
            .into()
    }

    /// The results as CSV, which a report can be made of again.
    ///
    /// # Errors
    /// When a row cannot be written as CSV.
    pub fn to_csv(&self) -> Result<Vec<u8>, csv::Error> {
        let objects: Vec<Value> = self.placed.iter().map(|placed| self.json(placed)).collect();
        let mut header: Vec<&str> = RESULTS.to_vec();
        for name in objects.iter().filter_map(Value::as_object).flat_map(Map::keys) {
            if !header.contains(&name.as_str()) {
                header.push(name);
            }
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&header)?;
        for object in &objects {
            let cell = |name: &&str| match &object[*name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            writer.write_record(header.iter().map(cell))?;
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }
}
