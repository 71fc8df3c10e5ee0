//! Results as a chart.

use super::report::{Front, Lines, Placed, Report};
use tokmerge_viz::plot::{Axis, Chart, Mark, Reference, Series};

/// Lines with more points than this are clouds.
const CROWD: usize = 40;

impl Report {
    /// Quality over cost: a line for each of [`lines`](Self::lines) with its intervals, and the Pareto front as steps.
    #[must_use]
    pub fn chart(&self, title: Option<&str>, log: bool) -> Chart {
        let x = self.x_label();
        let title = title.map_or_else(|| self.title(), str::to_owned);
        let mut series = Vec::new();
        if self.view.front == Front::Overall && self.placed.len() > 1 {
            let front = self.places(self.overall());
            series.push(Series::new("Pareto front", Mark::Step, front).muted());
        }
        for (line, name) in self.lines.iter().enumerate() {
            series.extend(self.series(line, name));
        }
        series.extend(self.unmerged());
        Chart {
            title,
            x: if log { Axis::log(x) } else { Axis::linear(x) },
            y: Axis::linear(self.y_label()),
            series,
            references: self.reference().into_iter().collect(),
            ..Chart::default()
        }
    }

    /// What the chart and the page are called where nothing is asked for.
    pub(super) fn title(&self) -> String {
        let mut models: Vec<&str> = self.placed.iter().map(|placed| placed.point.model.as_str()).collect();
        models.sort_unstable();
        models.dedup();
        let of = match models[..] {
            [model] => format!("{model}: "),
            _ => String::new(),
        };
        let quality = self.y.words().trim_end_matches(" %");
        format!("{of}{quality} over {}", self.x.words())
    }

    pub(super) fn x_label(&self) -> String {
        match &self.convention {
            Some(convention) => format!("{} ({convention})", self.x.words()),
            None => self.x.words().to_owned(),
        }
    }

    fn y_label(&self) -> String {
        let mut items: Vec<Option<usize>> = self.placed.iter().map(|placed| placed.point.items).collect();
        items.sort_unstable();
        items.dedup();
        match items[..] {
            [Some(items)] => format!("{}, {items} items", self.y.words()),
            _ => self.y.words().to_owned(),
        }
    }

    fn places(&self, indices: Vec<usize>) -> Vec<(f64, f64)> {
        indices.into_iter().map(|index| (self.placed[index].x, self.placed[index].y.value)).collect()
    }

    /// A line, and its front where every line has one.
    fn series(&self, line: usize, name: &str) -> Vec<Series> {
        let on_it: Vec<&Placed> = self.placed.iter().filter(|placed| placed.lines.contains(&line)).collect();
        let points: Vec<(f64, f64)> = on_it.iter().map(|placed| (placed.x, placed.y.value)).collect();
        let is_joined = self.view.front != Front::Line && self.view.lines != Lines::Method;
        let mark = match points.len() {
            count if count > CROWD => Mark::Dots,
            count if count > 1 && is_joined => Mark::Line,
            _ => Mark::Markers,
        };
        let ends = |placed: &&Placed| placed.y.interval.unwrap_or((placed.y.value, placed.y.value));
        let has_intervals = on_it.iter().any(|placed| placed.y.interval.is_some());
        let intervals = if has_intervals { on_it.iter().map(ends).collect() } else { Vec::new() };
        let mut series = vec![Series::new(name, mark, points).with_intervals(intervals)];
        if self.view.front == Front::Line && on_it.len() > 1 {
            let front = self.places(self.front_of(line));
            series.push(Series::new("", Mark::Step, front).as_before());
        }
        series
    }

    /// Unmerged models once more, in front of the lines that begin with them.
    fn unmerged(&self) -> Option<Series> {
        let shared = self.placed.iter().filter(|placed| placed.point.is_unmerged());
        let points: Vec<(f64, f64)> = shared.map(|placed| (placed.x, placed.y.value)).collect();
        let begins = self.view.lines == Lines::Each && !points.is_empty();
        begins.then(|| Series::new("unmerged", Mark::Markers, points).muted())
    }

    /// The level of the unmerged model, where there is one.
    fn reference(&self) -> Option<Reference> {
        let mut unmerged = self.placed.iter().filter(|placed| placed.point.is_unmerged());
        let level = unmerged.next()?.y.value;
        unmerged.next().is_none().then(|| Reference::new(format!("unmerged {}", self.y.shown(level)), level))
    }
}
