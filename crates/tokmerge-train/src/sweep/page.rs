//! The table of a sweep for people and other programs: cells, a page of Markdown, CSV.

use super::shown;
use super::table::{SweepRow, SweepTable};
use std::fmt::Write;
use tokmerge_eval::Repeated;

/// How a page begins.
const PAGE: &str = "# Sweep of ";

/// Whether a text begins as what [`SweepTable::to_markdown`] makes of some sweep.
#[must_use]
pub fn is_page(text: &str) -> bool {
    text.starts_with(PAGE)
}

/// Whether a text begins as what [`SweepTable::to_csv`] makes of some sweep.
#[must_use]
pub fn is_csv(text: &str) -> bool {
    text.starts_with("trained,merge,weights,runs,diverged,")
}

/// What a quality is called in headings.
fn heading(quality: &str) -> &str {
    match quality {
        "top1" => "top-1 %",
        "top5" => "top-5 %",
        "map" => "mAP %",
        "accuracy" => "accuracy %",
        "bleu" => "BLEU",
        "exact" => "exact %",
        other => other,
    }
}

/// `80.12 ± 0.31`, and how many where they are not all.
fn estimate(found: &Repeated, digits: usize) -> String {
    match found.deviation {
        Some(deviation) => format!("{:.digits$} ± {deviation:.digits$}", found.mean),
        None => format!("{:.digits$}", found.mean),
    }
}

impl SweepTable {
    /// Qualities that some row has, in their order.
    fn qualities(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.rows.iter().flat_map(|row| &row.qualities) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Headings and rows, for people.
    #[must_use]
    pub fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let names = self.qualities();
        // The grid says how a run was trained where merging is part of it.
        let trained = !self.keys.iter().any(|key| key == "merge");
        let averaged = self.rows.iter().any(|row| row.weights == "ema");
        let mut header = self.keys.clone();
        header.extend(trained.then(|| "trained with".to_owned()));
        header.push("validated with".to_owned());
        header.extend(averaged.then(|| "weights".to_owned()));
        header.push("runs".to_owned());
        header.extend(names.iter().map(|name| heading(name).to_owned()));
        header.extend(["GMACs", "tokens left", "loss", "seconds"].map(str::to_owned));
        let row = |row: &SweepRow| {
            let mut cells = row.values.clone();
            cells.extend(trained.then(|| row.trained.clone()));
            cells.push(row.merge.clone());
            cells.extend(averaged.then(|| row.weights.clone()));
            cells.push(match row.diverged {
                0 => row.runs.to_string(),
                diverged => format!("{}, {diverged} diverged", row.runs),
            });
            let found = |name: &&str| row.qualities.iter().find(|(of, _)| of == name);
            let shown = |name| found(name).map_or_else(|| "-".to_owned(), |(_, found)| estimate(found, 2));
            cells.extend(names.iter().map(shown));
            let number = |value: Option<f64>, digits: usize| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let digits = if row.gmacs.is_some_and(|gmacs| gmacs < 0.1) { 5 } else { 3 };
            cells.extend([number(row.gmacs, digits), number(row.mean_tokens, 1)]);
            cells.push(row.loss.as_ref().map_or_else(|| "-".to_owned(), |loss| estimate(loss, 4)));
            cells.push(number(row.seconds, 1));
            cells
        };
        (header, self.rows.iter().map(row).collect())
    }

    /// What the figures mean, in sentences.
    #[must_use]
    pub fn reading(&self) -> Vec<String> {
        let mut said = vec![match self.seeds {
            1 => "Figures are those of the last validation, of one seed each, so that nothing is known of chance; give more \
                  seeds to know."
                .to_owned(),
            seeds => format!(
                "Figures are those of the last validation: means over {seeds} seeds, and after ± their standard deviation (that \
                 of a sample). Differences that are not larger than that are noise."
            ),
        }];
        if let Some(best) = self.best()
            && let Some((name, found)) = best.qualities.first()
        {
            let settings: Vec<(String, String)> =
                self.keys.iter().cloned().zip(best.values.clone()).collect();
            let settings = shown(&settings);
            let joint = if settings.is_empty() { "" } else { ", " };
            said.push(format!(
                "Best in {}: {settings}{joint}merging {} ({}).",
                heading(name),
                best.merge,
                estimate(found, 2)
            ));
        }
        said
    }

    /// The table as a page of Markdown, with the command that made it.
    #[must_use]
    pub fn to_markdown(&self, recipe: &str, command: &str) -> String {
        let (header, rows) = self.cells();
        let mut page = format!("{PAGE}{recipe}\n\n");
        let texts = self.keys.len() + 1;
        let rule: Vec<&str> = (0..header.len()).map(|at| if at < texts { "---" } else { "---:" }).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| {} |\n|{}|", header.join(" | "), rule.join("|"));
        for cells in rows {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            let _ = writeln!(page, "| {} |", cells.join(" | "));
        }
        page.push('\n');
        self.reading().iter().for_each(|sentence| page.push_str(&format!("{sentence}\n")));
        let _ = write!(page, "\n```sh\n{}\n```\n", command.replace('\n', " "));
        page
    }

    /// The table as CSV: of every quality its mean, its deviation and the 95 % interval of the mean (Student's).
    ///
    /// # Errors
    /// When a row cannot be written as CSV.
    pub fn to_csv(&self) -> Result<Vec<u8>, csv::Error> {
        let names = self.qualities();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let fixed = ["trained", "merge", "weights", "runs", "diverged", "images"];
        let mut header: Vec<String> = fixed.map(str::to_owned).to_vec();
        header.extend(self.keys.iter().map(|key| format!("grid.{key}")));
        let all = names.iter().copied().chain(["loss"]);
        header.extend(
            all.flat_map(|name| ["", "_deviation", "_low", "_high"].map(|part| format!("{name}{part}"))),
        );
        header.extend(["gmacs", "mean_tokens", "train_seconds", "convention"].map(str::to_owned));
        writer.write_record(header)?;
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        for row in &self.rows {
            let mut cells = vec![row.trained.clone(), row.merge.clone(), row.weights.clone()];
            cells.extend([row.runs, row.diverged, row.items].map(|count| count.to_string()));
            cells.extend(row.values.iter().cloned());
            let found =
                |name: &&str| row.qualities.iter().find(|(of, _)| of == name).map(|(_, found)| *found);
            // Whatever is measured goes from 0 to 100.
            let measured = names.iter().map(|name| (found(name), (0.0, 100.0)));
            for (found, (least, most)) in measured.chain([(row.loss, (0.0, f64::INFINITY))]) {
                let interval = found.and_then(|found| found.interval());
                cells.extend([
                    number(found.map(|found| found.mean)),
                    number(found.and_then(|found| found.deviation)),
                    number(interval.map(|(low, _)| low.max(least))),
                    number(interval.map(|(_, high)| high.min(most))),
                ]);
            }
            cells.extend([number(row.gmacs), number(row.mean_tokens), number(row.seconds)]);
            cells.push("fvcore".to_owned());
            writer.write_record(cells)?;
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }
}
