//! A comparison for people and other programs: a table, a page of Markdown, CSV, JSON and a chart.

use super::{Comparison, Estimate, Judge, Role, Row, Standing, Table, Target};
use crate::report::Setting;
use serde::Serialize;
use std::fmt::Write;
use tokmerge_eval::Spread;
use tokmerge_models::Convention;
use tokmerge_viz::plot::{Axis, Chart, Mark, Reference, Series};

/// Costs that are missed by more than this part are pointed out.
const MISSED: f64 = super::settle::MISSED;

impl Judge {
    /// How it is called in headings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Top1 => "top-1 %",
            Self::Agreement => "agreement with unmerged %",
            Self::Cosine => "cosine to unmerged",
        }
    }

    /// A value with as many digits as it is worth.
    fn shown(self, value: f64) -> String {
        match self {
            Self::Top1 | Self::Agreement => format!("{value:.1}"),
            Self::Cosine => format!("{value:.4}"),
        }
    }

    fn estimate(self, estimate: Estimate) -> String {
        let [value, low, high] = [estimate.value, estimate.low, estimate.high].map(|x| self.shown(x));
        format!("{value} ({low} to {high})")
    }
}

fn spread(spread: &Spread, digits: usize) -> String {
    let Spread { min, median, max } = spread;
    format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
}

/// A table of one cost, the unmerged model first: headings and rows. The last column is the setting, a spec.
#[must_use]
pub fn table(comparison: &Comparison, table: &Table, setting: &Setting) -> (Vec<String>, Vec<Vec<String>>) {
    let judge = comparison.judged_by;
    let with_agreement = judge == Judge::Top1;
    let mut header = vec!["method".to_owned(), String::new(), format!("{} (95 %)", judge.name())];
    header.extend(with_agreement.then(|| "agreement %".to_owned()));
    header.push(format!("GMACs ({})", setting.convention));
    let ms = format!("ms per {}", comparison.media.word());
    header.extend(["saved %", "tokens left", &ms, "speed", "setting"].map(str::to_owned));
    let row = |(row, standing): (&Row, &str)| {
        let agreement = row.agreement.map_or(f64::NAN, |agreement| agreement.value);
        let mut cells = vec![row.label.clone(), standing.to_owned(), judge.estimate(row.quality(judge))];
        cells.extend(with_agreement.then(|| format!("{agreement:.1}")));
        cells.extend([
            format!("{:.3}", row.gmacs),
            format!("{:.1}", 100.0 * (1.0 - row.gmacs_ratio)),
            format!("{:.1}", row.tokens),
            spread(&row.ms_per_image, 2),
            spread(&row.speedup, 2),
            row.merge.clone(),
        ]);
        cells
    };
    let standing = |row: &Row| match row.standing {
        Standing::Best => "best",
        Standing::WithinNoise => "~ best",
        Standing::Below => "",
    };
    let ranked = table.rows.iter().map(|each| (each, standing(each)));
    (header, std::iter::once((&comparison.unmerged, "")).chain(ranked).map(row).collect())
}

/// What is to be said of a table: which methods miss its cost, and which are not in it and why.
#[must_use]
pub fn notes(table: &Table) -> Vec<String> {
    let missed = table.rows.iter().filter(|row| row.off_by.abs() > MISSED).map(|row| {
        let side = if row.off_by > 0.0 { "above" } else { "below" };
        format!(
            "{}: {:.1} % {side} the cost, the closest it could be brought",
            row.label,
            100.0 * row.off_by.abs()
        )
    });
    let left_out = table.left_out.iter().map(|left| format!("{}: left out; {}", left.label, left.reason));
    missed.chain(left_out).collect()
}

/// Setting and comparison as one JSON object.
///
/// # Errors
/// When the comparison cannot be written as JSON.
pub fn to_json(comparison: &Comparison, setting: &Setting) -> serde_json::Result<serde_json::Value> {
    #[derive(Serialize)]
    struct Both<'a> {
        #[serde(flatten)]
        setting: &'a Setting,
        #[serde(flatten)]
        comparison: &'a Comparison,
    }
    serde_json::to_value(Both { setting, comparison })
}

/// A line of the CSV.
#[derive(Default, Serialize)]
struct Line<'a> {
    at: String,
    method: &'a str,
    role: Option<Role>,
    standing: Option<Standing>,
    merge: &'a str,
    images: Option<usize>,
    top1: Option<f64>,
    top1_low: Option<f64>,
    top1_high: Option<f64>,
    agreement: Option<f64>,
    agreement_low: Option<f64>,
    agreement_high: Option<f64>,
    cosine: Option<f64>,
    cosine_low: Option<f64>,
    cosine_high: Option<f64>,
    gmacs: Option<f64>,
    gmacs_ratio: Option<f64>,
    tokens: Option<f64>,
    ms_per_image: Option<f64>,
    ms_min: Option<f64>,
    ms_max: Option<f64>,
    speedup: Option<f64>,
    speedup_min: Option<f64>,
    speedup_max: Option<f64>,
    off_by: Option<f64>,
    left_out: Option<&'a str>,
    model: &'a str,
    dtype: &'a str,
    convention: Option<Convention>,
}

impl<'a> Line<'a> {
    /// The same with what was measured with.
    fn set(self, setting: &'a Setting) -> Self {
        let Setting { model, dtype, convention, .. } = setting;
        Self { model, dtype, convention: Some(*convention), ..self }
    }
}

fn line<'a>(comparison: &Comparison, at: String, row: &'a Row) -> Line<'a> {
    let part = |of: Option<Estimate>| (of.map(|e| e.value), of.map(|e| e.low), of.map(|e| e.high));
    let (top1, top1_low, top1_high) = part(row.top1);
    let (agreement, agreement_low, agreement_high) = part(row.agreement);
    let (cosine, cosine_low, cosine_high) = part(row.cosine);
    Line {
        at,
        method: &row.label,
        role: Some(row.role),
        standing: Some(row.standing),
        merge: &row.merge,
        images: Some(comparison.held_out_images),
        top1,
        top1_low,
        top1_high,
        agreement,
        agreement_low,
        agreement_high,
        cosine,
        cosine_low,
        cosine_high,
        gmacs: Some(row.gmacs),
        gmacs_ratio: Some(row.gmacs_ratio),
        tokens: Some(row.tokens),
        ms_per_image: Some(row.ms_per_image.median),
        ms_min: Some(row.ms_per_image.min),
        ms_max: Some(row.ms_per_image.max),
        speedup: Some(row.speedup.median),
        speedup_min: Some(row.speedup.min),
        speedup_max: Some(row.speedup.max),
        off_by: Some(row.off_by),
        ..Line::default()
    }
}

/// Every method at every cost as CSV, the unmerged model first; a method that was left out has the reason alone.
///
/// # Errors
/// When a line cannot be written as CSV.
pub fn to_csv(comparison: &Comparison, setting: &Setting) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |line: Line<'_>| writer.serialize(line.set(setting));
    write(Line { standing: None, ..line(comparison, String::new(), &comparison.unmerged) })?;
    for table in &comparison.tables {
        for row in &table.rows {
            write(line(comparison, table.at.to_string(), row))?;
        }
        for left in &table.left_out {
            let left_out = Some(left.reason.as_str());
            write(Line { at: table.at.to_string(), method: &left.label, left_out, ..Line::default() })?;
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// What was compared on what and where, in a sentence or two.
#[must_use]
pub fn setting_line(comparison: &Comparison, setting: &Setting) -> String {
    let Setting { model, weights, img_size, dtype, .. } = setting;
    let size = img_size.map_or_else(String::new, |(height, width)| format!(", {height}x{width}"));
    format!(
        "{model} (weights: {weights}){size}, {dtype}; {}, batch {}. Brought to the cost on {} {}, measured on {} others; seed {}.",
        setting.machine(),
        comparison.batch_size,
        comparison.search_images,
        comparison.media.words(),
        comparison.held_out_images,
        setting.seed,
    )
}

/// How a page begins.
const PAGE: &str = "# Methods at the same cost";

/// How the title of a chart ends.
const TITLE: &str = ": methods at the same cost";

/// Whether a text begins as what [`to_markdown`] makes of some comparison.
#[must_use]
pub fn is_page(text: &str) -> bool {
    text.starts_with(PAGE)
}

/// Whether a text begins as what [`to_csv`] makes of some comparison.
#[must_use]
pub fn is_csv(text: &str) -> bool {
    text.starts_with("at,method,role,standing,merge,")
}

/// Whether a text begins as the SVG of a [`chart`] of some comparison.
#[must_use]
pub fn is_chart(text: &str) -> bool {
    text.starts_with("<svg") && text.contains(TITLE)
}

/// The comparison as one page of Markdown, with the command that made it.
#[must_use]
pub fn to_markdown(comparison: &Comparison, setting: &Setting, command: &str) -> String {
    let mut page = format!("{PAGE}: {}\n\n", setting.model);
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{}", setting_line(comparison, setting));
    for of_cost in &comparison.tables {
        let _ = writeln!(page, "\n## `{}`: {}\n", of_cost.at, of_cost.cost);
        let (header, rows) = table(comparison, of_cost, setting);
        let _ = writeln!(page, "| {} |", header.join(" | "));
        let rule: Vec<&str> = (0..header.len()).map(|at| if at < 2 { "---" } else { "---:" }).collect();
        let _ = writeln!(page, "|{}|", rule.join("|"));
        for mut cells in rows {
            cells.iter_mut().for_each(|cell| *cell = cell.replace('|', "\\|"));
            cells.iter_mut().last().into_iter().for_each(|spec| *spec = format!("`{spec}`"));
            let _ = writeln!(page, "| {} |", cells.join(" | "));
        }
        let notes = notes(of_cost);
        if !notes.is_empty() {
            page.push('\n');
        }
        notes.iter().for_each(|note| page.push_str(&format!("- {note}\n")));
    }
    page.push_str("\n## What is noise\n\n");
    reading(comparison).iter().for_each(|sentence| page.push_str(&format!("- {sentence}\n")));
    let _ = write!(page, "\n```sh\n{}\n```\n", command.replace('\n', " "));
    page
}

/// How sure the figures are, in sentences.
#[must_use]
pub fn reading(comparison: &Comparison) -> Vec<String> {
    let Comparison { judged_by, unmerged, held_out_images, rounds, .. } = comparison;
    let words = comparison.media.words();
    let interval = match judged_by {
        Judge::Top1 | Judge::Agreement => "Wilson's 95 % interval of a share",
        Judge::Cosine => "the 95 % interval of a mean",
    };
    let Spread { min, median, max } = unmerged.ms_per_image;
    vec![
        format!(
            "In brackets after the quality: {interval}, of {held_out_images} {words}. `~ best` lies within the interval of \
             the best, so that these {words} do not tell the two apart."
        ),
        format!(
            "Times are medians of {rounds} rounds in which every method runs once, in brackets the least and the most. The \
             unmerged model itself varied by {:.0} %: smaller differences of time mean nothing.",
            100.0 * (max - min) / median
        ),
        "`random merge` and `random prune` are chance at the same cost. What is no better has found nothing; how far above \
         them a method lies is what it is worth."
            .to_owned(),
    ]
}

/// All methods as a chart: quality over multiply-adds, or over speed where all costs are speeds, a series per method.
#[must_use]
pub fn chart(comparison: &Comparison, setting: &Setting) -> Chart {
    let judge = comparison.judged_by;
    let by_speed = comparison.tables.iter().all(|table| matches!(table.at, Target::Speedup(_)));
    let x_of = |row: &Row| if by_speed { row.speedup.median } else { row.gmacs };
    let rows = || comparison.tables.iter().flat_map(|table| &table.rows);
    let mut labels: Vec<&str> = Vec::new();
    // Chance comes last.
    for role in [Role::Method, Role::Control] {
        for row in rows().filter(|row| row.role == role) {
            if !labels.contains(&row.label.as_str()) {
                labels.push(&row.label);
            }
        }
    }
    let places = || rows().chain([&comparison.unmerged]).map(x_of);
    let extent = places().fold(f64::NEG_INFINITY, f64::max) - places().fold(f64::INFINITY, f64::min);
    // What costs the same stands side by side, or one would hide the other; lines are told apart, and stay where they are.
    let side_by_side = !by_speed && comparison.tables.len() == 1;
    let shift = |index: usize| match side_by_side {
        false => 0.0,
        true => (index as f64 - (labels.len() as f64 - 1.0) / 2.0) * SIDE_BY_SIDE * extent,
    };
    let series = labels.iter().enumerate().map(|(index, label)| {
        let mut of_label: Vec<&Row> = rows().filter(|row| row.label == *label).collect();
        of_label.sort_by(|a, b| x_of(a).total_cmp(&x_of(b)));
        let qualities = || of_label.iter().map(|row| (x_of(row), row.quality(judge)));
        let points = qualities().map(|(x, quality)| (x + shift(index), quality.value)).collect();
        let intervals = qualities().map(|(_, quality)| (quality.low, quality.high)).collect();
        let mark = if comparison.tables.len() > 1 { Mark::Line } else { Mark::Markers };
        Series::new(*label, mark, points).with_intervals(intervals)
    });
    let unmerged = comparison.unmerged.quality(judge).value;
    let whole = Series::new("unmerged", Mark::Markers, vec![(x_of(&comparison.unmerged), unmerged)]).muted();
    Chart {
        title: format!("{}{TITLE}", setting.model),
        x: Axis::linear(match by_speed {
            true => format!("speed over unmerged ({})", setting.machine()),
            false => {
                let note = if side_by_side { "; methods of one cost stand side by side" } else { "" };
                format!("GMACs per {} ({}){note}", comparison.media.word(), setting.convention)
            }
        }),
        y: Axis::linear(format!(
            "{}, {} {}",
            judge.name(),
            comparison.held_out_images,
            comparison.media.words()
        )),
        series: series.chain([whole]).collect(),
        references: vec![Reference::new(format!("unmerged {}", judge.shown(unmerged)), unmerged)],
        ..Chart::default()
    }
}

/// How far apart, as a part of the axis, methods of one cost are drawn.
const SIDE_BY_SIDE: f64 = 0.011;

#[cfg(test)]
mod tests;
