//! Results of this program side by side: what `eval`, `bench`, `compare`, `tune`, `few-shot`, `train` and `sweep` write, as
//! points of quality over cost, with Pareto fronts, and as curves of training.
//!
//! ```no_run
//! use tokmerge::runs::{Cost, Front, Lines, Report, Results, View};
//!
//! let mut results = Results::default();
//! results.read(None, "vit-s.csv".as_ref())?;
//! results.read(Some("ViT-B"), "vit-b.csv".as_ref())?;
//! let view = View { x: Cost::Gmacs, y: None, lines: Lines::Each, front: Front::Overall };
//! let report = Report::new(results, view)?;
//! std::fs::write("front.svg", report.chart(None, false).to_svg())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod asked;
mod axis;
mod chart;
mod curves;
mod error;
mod labels;
mod methods;
mod page;
mod point;
mod read;
mod record;
mod report;
mod schedules;
mod speeds;
mod training;

pub use asked::{UnknownAxis, X, Y};
pub use axis::{Cost, Curve, Progress, Quality};
pub use curves::{CurveLine, Curves, Seeds};
pub use error::RunsError;
pub use page::{is_csv, is_page};
pub use point::{Estimate, Point};
pub use read::Results;
pub use report::{Front, Lines, Placed, Report, View};
pub use schedules::{ScheduleRange, Schedules, Selection};
pub use training::TrainingRun;

/// Reads results from a text, as [`Results::read`] does from a file; for whoever has it in memory.
///
/// # Errors
/// When it holds no results.
pub fn read_text(text: &str, name: &str) -> Result<Results, RunsError> {
    let mut results = Results::default();
    results.read_from(None, std::path::Path::new(name), text)?;
    Ok(results)
}

#[cfg(test)]
mod tests;
