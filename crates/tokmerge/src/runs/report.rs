//! Results, placed on two axes.

use super::axis::{Cost, Quality};
use super::error::RunsError;
use super::labels::Grouped;
use super::point::{Estimate, Point};
use super::read::Results;
use super::speeds;
use std::collections::BTreeSet;
use tokmerge_eval::pareto_front;

/// What makes a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lines {
    /// Every method on every model, from the unmerged model on.
    #[default]
    Each,
    /// Every model, whatever the method.
    Model,
    /// Every method, whatever the model.
    Method,
}

/// Which Pareto front is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Front {
    /// One of all results.
    #[default]
    Overall,
    /// One of every line.
    Line,
    /// None.
    None,
}

/// What is drawn over what, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The cost.
    pub x: Cost,
    /// The quality; without one the first that all results have.
    pub y: Option<Quality>,
    /// What makes a line.
    pub lines: Lines,
    /// Which front is drawn.
    pub front: Front,
}

/// A result in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The result.
    pub point: Point,
    /// What it costs.
    pub x: f64,
    /// How good it is.
    pub y: Estimate,
    /// What it is called, beside its spec.
    pub name: String,
    /// The lines that it is on; an unmerged model begins all lines of its model.
    pub lines: Vec<usize>,
    /// Whether no other result is as cheap and better.
    pub on_front: bool,
}

/// Results on two axes.
#[derive(Clone, Debug)]
pub struct Report {
    /// The horizontal axis.
    pub x: Cost,
    /// The vertical axis.
    pub y: Quality,
    /// How it is drawn.
    pub view: View,
    /// Names of the lines.
    pub lines: Vec<String>,
    /// The results by their cost, the cheapest first.
    pub placed: Vec<Placed>,
    /// What counts as an operation, where that is known.
    pub convention: Option<String>,
    /// What the user should know, a line each.
    pub notes: Vec<String>,
}

impl Report {
    /// Places results on axes.
    ///
    /// # Errors
    /// When none has the cost or the quality, or their operations were counted in different ways.
    pub fn new(results: Results, view: View) -> Result<Self, RunsError> {
        let Results { mut points, speeds: measured, mut notes, .. } = results;
        let x = view.x;
        if points.is_empty() && !measured.is_empty() {
            return Err(RunsError::speeds_alone());
        }
        if x.is_speed() {
            let (joined, without) = speeds::joined(points, &measured);
            points = joined;
            if without > 0 {
                notes.push(format!(
                    "{without} results are left out: the files of bench have no speed of their model at their merging"
                ));
            }
        } else if !measured.is_empty() && !points.is_empty() {
            notes.push(format!(
                "{} speeds say nothing of quality and are left out; they are used with images_per_second, ms or speedup as `x`",
                measured.len()
            ));
        }
        speeds::compared(&mut points);
        let y = quality(&points, view)?;
        let count = points.len();
        let has = |point: &Point| Some((*point.costs.get(&x)?, *point.qualities.get(&y)?));
        let kept: Vec<(Point, f64, Estimate)> =
            points.into_iter().filter_map(|point| has(&point).map(|(x, y)| (point, x, y))).collect();
        match count - kept.len() {
            0 => {}
            without => notes.push(format!(
                "{without} results are left out: they have no {} or no {}",
                y.name(),
                x.name()
            )),
        }
        let convention = match x {
            Cost::Gmacs => convention(kept.iter().map(|(point, ..)| point), &mut notes)?,
            _ => None,
        };
        let mut report = Self { x, y, view, lines: Vec::new(), placed: Vec::new(), convention, notes };
        report.place(kept);
        Ok(report)
    }

    fn place(&mut self, kept: Vec<(Point, f64, Estimate)>) {
        let points: Vec<Point> = kept.iter().map(|(point, ..)| point.clone()).collect();
        let grouped = Grouped::new(&points, self.view.lines, self.x);
        let rest = grouped.named.into_iter().zip(grouped.lines_of);
        self.placed = kept
            .into_iter()
            .zip(rest)
            .map(|((point, x, y), (name, lines))| Placed { point, x, y, name, lines, on_front: false })
            .collect();
        self.placed
            .sort_by(|one, other| one.x.total_cmp(&other.x).then(one.y.value.total_cmp(&other.y.value)));
        self.lines = grouped.names;
        let fronts: Vec<usize> = match self.view.front {
            Front::Overall | Front::None => self.front(|_| true),
            Front::Line => (0..self.lines.len()).flat_map(|line| self.front_of(line)).collect(),
        };
        fronts.into_iter().for_each(|index| self.placed[index].on_front = true);
    }

    /// Indices of the results on the front of some of them, the cheapest first.
    fn front(&self, among: impl Fn(&Placed) -> bool) -> Vec<usize> {
        let some: Vec<usize> = (0..self.placed.len()).filter(|index| among(&self.placed[*index])).collect();
        let places: Vec<(f64, f64)> =
            some.iter().map(|index| (self.placed[*index].x, self.placed[*index].y.value)).collect();
        pareto_front(&places, self.x.better()).into_iter().map(|at| some[at]).collect()
    }

    /// The front of all.
    pub(super) fn overall(&self) -> Vec<usize> {
        self.front(|_| true)
    }

    /// The front of a line.
    pub(super) fn front_of(&self, line: usize) -> Vec<usize> {
        self.front(|placed| placed.lines.contains(&line))
    }
}

/// What is drawn of the points that have the cost: the quality that was asked for, or the first that all of them have.
fn quality(points: &[Point], view: View) -> Result<Quality, RunsError> {
    let drawn: Vec<&Point> = points.iter().filter(|point| point.costs.contains_key(&view.x)).collect();
    if drawn.is_empty() {
        return Err(RunsError::no_cost(view.x));
    }
    let some = |quality: &Quality| drawn.iter().any(|point| point.qualities.contains_key(quality));
    let all = |quality: &Quality| drawn.iter().all(|point| point.qualities.contains_key(quality));
    let known = || Quality::ALL.into_iter().filter(some).map(Quality::name).collect::<Vec<_>>().join(", ");
    match view.y {
        Some(y) if some(&y) => Ok(y),
        Some(y) => Err(RunsError::no_quality(y, &known())),
        None => Quality::ALL.into_iter().find(all).ok_or_else(|| RunsError::Uncommon(known())),
    }
}

/// The convention of all points that say it.
fn convention<'p>(
    points: impl Iterator<Item = &'p Point>,
    notes: &mut Vec<String>,
) -> Result<Option<String>, RunsError> {
    let (mut known, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for point in points {
        match &point.convention {
            Some(convention) => drop(known.insert(convention.clone())),
            None => drop(silent.insert(point.source.clone())),
        }
    }
    let mut known = known.into_iter();
    let first = known.next();
    if let (Some(first), Some(second)) = (&first, known.next()) {
        return Err(RunsError::Conventions(first.clone(), second));
    }
    if let Some(convention) = &first {
        notes.extend(silent.into_iter().map(|source| {
            format!("{source} does not say how its operations are counted; {convention} is assumed, as in the others")
        }));
    }
    Ok(first)
}
