//! Curves of training: the loss, or what validations measured, over steps or epochs.

use super::axis::{Curve, Progress};
use super::error::RunsError;
use super::page::{CURVES, ending, page};
use super::training::TrainingRun;
use tokmerge_train::LoggedValidation;
use tokmerge_viz::plot::{Axis, Chart, Mark, Series};

/// Curves of some runs.
#[derive(Clone, Debug)]
pub struct Curves {
    /// What they are drawn over.
    pub x: Progress,
    /// What they show.
    pub y: Curve,
    /// Steps of which each point of a loss is the mean.
    pub smooth: usize,
    /// A curve for each run, way of merging and kind of weights.
    pub lines: Vec<CurveLine>,
}

/// What becomes of the curves of runs that differ in nothing but their seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seeds {
    /// Each is a curve.
    #[default]
    Apart,
    /// They are one curve, their mean, as far as all of them go.
    Mean,
}

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct CurveLine {
    /// What it is called.
    pub name: String,
    /// Step, epoch and value.
    pub points: Vec<(usize, f64, f64)>,
}

/// A chart is 800 pixels wide: more points than this make a band of a line.
const POINTS: usize = 200;

impl Curves {
    /// Curves of runs. A loss over steps is the mean of `smooth` steps, without one of as many as leave two hundred points;
    /// over epochs it is the mean of each. `seeds` says what becomes of runs of one recipe.
    ///
    /// # Errors
    /// When no run has such a curve.
    pub fn new(
        runs: &[TrainingRun],
        x: Progress,
        y: Curve,
        smooth: Option<usize>,
        seeds: Seeds,
    ) -> Result<Self, RunsError> {
        let longest = runs.iter().map(|run| run.history.steps.len()).max().unwrap_or(0);
        let smooth = smooth.unwrap_or_else(|| longest.div_ceil(POINTS)).max(1);
        let of = |run| match y {
            Curve::Loss => vec![loss(run, x, smooth)],
            Curve::Quality(_) => validations(run, y),
        };
        let of_runs: Vec<Vec<CurveLine>> = runs.iter().map(of).collect();
        let lines: Vec<CurveLine> = match seeds {
            Seeds::Apart => of_runs.into_iter().flatten().collect(),
            Seeds::Mean => {
                same_but_for_seeds(runs).into_iter().flat_map(|same| means(&same, runs, &of_runs)).collect()
            }
        };
        let lines: Vec<CurveLine> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
        if lines.is_empty() {
            return Err(RunsError::no_curve(y));
        }
        Ok(Self { x, y, smooth, lines })
    }

    /// The curves as a chart.
    #[must_use]
    pub fn chart(&self, title: Option<&str>, log: bool) -> Chart {
        let series = self.lines.iter().map(|line| {
            let points = line.points.iter().map(|point| (self.at(point), point.2)).collect();
            Series::new(line.name.as_str(), Mark::Line, points)
        });
        let y = self.y_label();
        let x = match self.x {
            Progress::Step => Axis::linear("step"),
            Progress::Epoch => Axis::linear("epoch"),
        };
        Chart {
            title: title.map_or_else(|| self.title(), str::to_owned),
            x,
            y: if log { Axis::log(y) } else { Axis::linear(y) },
            series: series.collect(),
            ..Chart::default()
        }
    }

    fn title(&self) -> String {
        match self.y {
            Curve::Loss => "Training loss".to_owned(),
            Curve::Quality(quality) => format!("{} in training", quality.words()),
        }
    }

    fn y_label(&self) -> String {
        match (self.y, self.x) {
            (Curve::Quality(quality), _) => quality.words().to_owned(),
            (Curve::Loss, Progress::Epoch) => "training loss, mean of the epoch".to_owned(),
            (Curve::Loss, Progress::Step) if self.smooth > 1 => {
                format!("training loss, means of {} steps", self.smooth)
            }
            (Curve::Loss, Progress::Step) => "training loss".to_owned(),
        }
    }

    fn at(&self, (step, epoch, _): &(usize, f64, f64)) -> f64 {
        match self.x {
            Progress::Step => *step as f64,
            Progress::Epoch => *epoch,
        }
    }

    /// Headings and rows: how each curve begins and ends, and its best value.
    #[must_use]
    pub fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let best = if self.y == Curve::Loss { "lowest" } else { "highest" };
        let header = ["line", "points", "first", "last", best, "at step"].map(str::to_owned).to_vec();
        let shown =
            |value: f64| if self.y == Curve::Loss { format!("{value:.4}") } else { format!("{value:.2}") };
        let row = |line: &CurveLine| {
            let better = |value: f64| if self.y == Curve::Loss { -value } else { value };
            let best = line.points.iter().max_by(|a, b| better(a.2).total_cmp(&better(b.2)));
            let ends = [line.points.first(), line.points.last(), best];
            let mut cells = vec![line.name.clone(), line.points.len().to_string()];
            cells.extend(ends.map(|point| point.map_or_else(String::new, |point| shown(point.2))));
            cells.push(best.map_or_else(String::new, |point| point.0.to_string()));
            cells
        };
        (header, self.lines.iter().map(row).collect())
    }

    /// The curves as a page of Markdown.
    #[must_use]
    pub fn to_markdown(&self, title: Option<&str>, picture: Option<&str>, command: &str) -> String {
        let title = title.map_or_else(|| self.title(), str::to_owned);
        let (header, rows) = self.cells();
        let mut page = page(&title, picture, (&header, &rows), 1);
        ending(&mut page, &[format!("{}.", self.y_label())], command);
        page
    }

    /// Every point of every curve as CSV.
    ///
    /// # Errors
    /// When a row cannot be written as CSV.
    pub fn to_csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(CURVES.into_iter().chain(["value"]))?;
        for line in &self.lines {
            for (step, epoch, value) in &line.points {
                let numbers =
                    [step.to_string(), epoch.to_string(), self.y.name().to_owned(), value.to_string()];
                writer.write_record(std::iter::once(line.name.clone()).chain(numbers))?;
            }
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }
}

/// Indices of runs of the same recipe, in the order of their first ones.
fn same_but_for_seeds(runs: &[TrainingRun]) -> Vec<Vec<usize>> {
    let recipe = |run: &TrainingRun| {
        let mut recipe = run.history.recipe.clone();
        recipe.train.seed = 0;
        recipe
    };
    let recipes: Vec<_> = runs.iter().map(recipe).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in 0..runs.len() {
        match groups.iter_mut().find(|group| recipes[group[0]] == recipes[index]) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// The means of the curves of the same runs, as many as the first has.
fn means(same: &[usize], runs: &[TrainingRun], of_runs: &[Vec<CurveLine>]) -> Vec<CurveLine> {
    let [first, ..] = same else { return Vec::new() };
    let part = |run: usize, line: &CurveLine| line.name[runs[run].name.len()..].to_owned();
    let mean = |line: &CurveLine| {
        let wanted = part(*first, line);
        let lines =
            same.iter().filter_map(|run| of_runs[*run].iter().find(|line| part(*run, line) == wanted));
        let lines: Vec<&CurveLine> = lines.collect();
        let length = lines.iter().map(|line| line.points.len()).min().unwrap_or(0);
        let point = |index: usize| {
            let (step, epoch, _) = line.points[index];
            let sum: f64 = lines.iter().map(|line| line.points[index].2).sum();
            (step, epoch, sum / lines.len() as f64)
        };
        let name = match lines.len() {
            1 => line.name.clone(),
            seeds => format!("{}, mean of {seeds} seeds", line.name),
        };
        CurveLine { name, points: (0..length).map(point).collect() }
    };
    of_runs[*first].iter().map(mean).collect()
}

/// The loss of a run.
fn loss(run: &TrainingRun, x: Progress, smooth: usize) -> CurveLine {
    let steps = &run.history.steps;
    let mean = |steps: &[tokmerge_train::LoggedStep]| {
        let last = steps.last()?;
        let sum: f64 = steps.iter().map(|step| step.loss).sum();
        Some((last.step, last.epoch as f64, sum / steps.len() as f64))
    };
    let points = match x {
        Progress::Epoch => steps.chunk_by(|one, next| one.epoch == next.epoch).filter_map(mean).collect(),
        Progress::Step => steps.chunks(smooth).filter_map(mean).collect(),
    };
    CurveLine { name: run.name.clone(), points }
}

/// What validations of a run measured, a curve for every way of merging and kind of weights.
fn validations(run: &TrainingRun, y: Curve) -> Vec<CurveLine> {
    let Curve::Quality(quality) = y else { return Vec::new() };
    let mut lines: Vec<CurveLine> = Vec::new();
    let several = |of: fn(&LoggedValidation) -> &String| {
        run.history.last().map(of).collect::<std::collections::BTreeSet<_>>().len() > 1
    };
    let (merges, weights) = (several(|found| &found.merge), several(|found| &found.weights));
    for validation in &run.history.validations {
        let Some(value) = run.value(validation, quality) else { continue };
        let parts =
            [Some(&run.name), merges.then_some(&validation.merge), weights.then_some(&validation.weights)];
        let name = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
        let point = (validation.step, validation.epoch as f64, value);
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(CurveLine { name, points: vec![point] }),
        }
    }
    lines
}
