//! Everything measured before anything is drawn: which axes, how wide the legend, where the data lies.

use super::axis::{Margin, Span, Ticks, position};
use super::chart::{Axis, Chart, Mark, Palette, Scale, Series, Side, Tone};
use super::marks::{Pen, pens};
use super::place::Area;
use super::text::{fit, line, width, wrap};

pub(super) const WIDTH: f64 = 800.0;
/// Height of the area inside the axes. The document grows with its title and legend, the area does not shrink.
pub(super) const PLOT: f64 = 350.0;
pub(super) const EDGE: f64 = 18.0;
pub(super) const TITLE: f64 = 17.0;
/// How much wider bold text is.
const BOLD: f64 = 1.15;
pub(super) const LABEL: f64 = 13.0;
pub(super) const SMALL: f64 = 12.0;
/// Distance of the lines of the legend.
const ROW: f64 = 20.0;
/// Width of the sample before a name in the legend, and the space after it.
pub(super) const SAMPLE: f64 = 26.0;

/// A series with the positions of its points; `None` for those without a place.
pub(super) struct Placed<'a> {
    pub(super) series: &'a Series,
    pub(super) pen: Pen,
    pub(super) points: Vec<Option<(f64, f64)>>,
    /// The same of the ends of its intervals: where they stand, and from where to where.
    pub(super) intervals: Vec<(f64, [f64; 2])>,
}

/// A vertical axis: its ends, its ticks and the colour of its text if it has one of its own.
pub(super) struct Upright<'a> {
    pub(super) axis: &'a Axis,
    pub(super) span: Span,
    pub(super) ticks: Ticks,
    pub(super) color: Option<String>,
}

/// Everything measured, nothing drawn.
pub(super) struct Page<'a> {
    pub(super) chart: &'a Chart,
    pub(super) series: Vec<Placed<'a>>,
    pub(super) title: Vec<String>,
    pub(super) legend: Vec<Entry>,
    pub(super) x: Span,
    pub(super) x_ticks: Ticks,
    pub(super) left: Upright<'a>,
    pub(super) right: Option<Upright<'a>>,
    pub(super) area: Area,
    /// Width of a bar, in pixels.
    pub(super) bar: f64,
    pub(super) height: f64,
    pub(super) omitted: Vec<String>,
}

/// A name in the legend and where it is.
pub(super) struct Entry {
    pub(super) index: usize,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) name: String,
}

impl<'a> Page<'a> {
    pub(super) fn new(chart: &'a Chart) -> Self {
        let series = placed(chart);
        let (x, room) = x_span(chart, &series);
        let left = upright(&chart.y, Side::Left, chart, &series);
        let right = series
            .iter()
            .any(|placed| placed.series.side == Side::Right)
            .then(|| upright(&chart.right, Side::Right, chart, &series));

        let title = wrap(&line(&chart.title), TITLE, (WIDTH - 2.0 * EDGE) / BOLD);
        let legend_top = EDGE + title.len() as f64 * TITLE * 1.35;
        let (legend, top) = legend(&series, legend_top);
        let area = Area {
            left: EDGE + gutter(&left),
            right: WIDTH - EDGE - right.as_ref().map_or(8.0, gutter),
            top: top + 12.0,
            bottom: top + 12.0 + PLOT,
        };
        let omitted = omitted(&series, &x, &left, right.as_ref());
        let x_label = if line(&chart.x.label).is_empty() { 0.0 } else { LABEL * 1.7 };
        let height = area.bottom + 22.0 + x_label + omitted.len() as f64 * 18.0 + EDGE * 0.7;
        let x_ticks = x.ticks(x_tick_count(&x, &area));
        let groups = series.iter().filter(|placed| placed.series.mark == Mark::Bars).count().max(1);
        let slot = room.unwrap_or(0.5) * 2.0 / (x.high - x.low) * (area.right - area.left);
        let bar = (slot * 0.74).min(90.0) / groups as f64;
        Self { chart, series, title, legend, x, x_ticks, left, right, area, bar, height, omitted }
    }

    /// Pixels and values of the points inside the axes.
    pub(super) fn visible<'p>(
        &'p self,
        placed: &'p Placed<'_>,
    ) -> impl Iterator<Item = ((f64, f64), (f64, f64))> {
        let span = self.span(placed.series.side);
        let inside = move |&(x, y): &(f64, f64)| self.x.contains(x) && span.contains(y);
        placed.points.iter().zip(&placed.series.points).filter_map(move |(point, &values)| {
            point.filter(inside).map(|(x, y)| ((self.x_at(x), self.y_at(span, y)), values))
        })
    }

    pub(super) fn span(&self, side: Side) -> &Span {
        match (side, &self.right) {
            (Side::Right, Some(right)) => &right.span,
            (Side::Left, _) | (Side::Right, None) => &self.left.span,
        }
    }

    pub(super) fn x_at(&self, at: f64) -> f64 {
        self.area.left + near(self.x.part(at)) * (self.area.right - self.area.left)
    }

    pub(super) fn y_at(&self, span: &Span, at: f64) -> f64 {
        self.area.bottom - near(span.part(at)) * (self.area.bottom - self.area.top)
    }

    pub(super) fn has_data(&self) -> bool {
        self.series.iter().any(|placed| placed.points.iter().any(Option::is_some))
    }
}

/// A part of an axis, or not too far beyond its ends.
fn near(part: f64) -> f64 {
    part.clamp(-1e6, 1e6)
}

fn placed(chart: &Chart) -> Vec<Placed<'_>> {
    let pens = pens(&chart.series, chart.palette);
    chart
        .series
        .iter()
        .zip(pens)
        .map(|(series, pen)| {
            let points = positions(chart, series);
            let intervals = intervals(chart, series, &points);
            Placed { series, points, intervals, pen }
        })
        .collect()
}

fn y_scale(chart: &Chart, series: &Series) -> Scale {
    match series.side {
        Side::Left => chart.y.scale,
        Side::Right => chart.right.scale,
    }
}

/// The positions of a series' points on its axes.
fn positions(chart: &Chart, series: &Series) -> Vec<Option<(f64, f64)>> {
    let y_scale = y_scale(chart, series);
    let at = |&(x, y): &(f64, f64)| Some((position(chart.x.scale, x)?, position(y_scale, y)?));
    series.points.iter().map(at).collect()
}

/// The positions of intervals whose points and ends have a place. Bars, dots and steps have none.
fn intervals(chart: &Chart, series: &Series, points: &[Option<(f64, f64)>]) -> Vec<(f64, [f64; 2])> {
    let y_scale = y_scale(chart, series);
    let at = |(point, (low, high)): (&Option<(f64, f64)>, &(f64, f64))| {
        Some(((*point)?.0, [position(y_scale, *low)?, position(y_scale, *high)?]))
    };
    match series.mark {
        Mark::Line | Mark::Markers => points.iter().zip(&series.intervals).filter_map(at).collect(),
        Mark::Bars | Mark::Dots | Mark::Step => Vec::new(),
    }
}

/// The x axis and, if there are bars, half the distance between them, in positions.
fn x_span(chart: &Chart, series: &[Placed<'_>]) -> (Span, Option<f64>) {
    let all = || series.iter().flat_map(|placed| placed.points.iter().flatten().map(|&(x, _)| x));
    let bars = series.iter().filter(|placed| placed.series.mark == Mark::Bars);
    let mut places: Vec<f64> =
        bars.flat_map(|placed| placed.points.iter().flatten().map(|&(x, _)| x)).collect();
    if places.is_empty() {
        return (Span::new(&chart.x, all(), Margin::Part(0.03)), None);
    }
    places.sort_by(f64::total_cmp);
    let extent = places[places.len() - 1] - places[0];
    let gaps = places.windows(2).map(|pair| pair[1] - pair[0]).filter(|&gap| gap > extent * 1e-6);
    let least = gaps.fold(f64::INFINITY, f64::min);
    let room = if least.is_finite() { least / 2.0 } else { 0.5 };
    (Span::new(&chart.x, all(), Margin::Room(room)), Some(room))
}

fn upright<'a>(axis: &'a Axis, side: Side, chart: &Chart, series: &[Placed<'_>]) -> Upright<'a> {
    let on_it: Vec<_> = series.iter().filter(|placed| placed.series.side == side).collect();
    let values = on_it.iter().flat_map(|placed| {
        let points = placed.points.iter().flatten().map(|&(_, y)| y);
        points.chain(placed.intervals.iter().flat_map(|(_, ends)| *ends))
    });
    let references = chart.references.iter().filter(|_| side == Side::Left);
    let references = references.filter_map(|reference| position(axis.scale, reference.value));
    let bars = on_it.iter().any(|placed| placed.series.mark == Mark::Bars);
    let margin = if bars { Margin::Base(0.06) } else { Margin::Part(0.06) };
    let span = Span::new(axis, values.chain(references), margin);
    // An axis with a single series of its own wears its colour, if that makes a readable text.
    let color = match (side, chart.palette, on_it.as_slice()) {
        (Side::Right, Palette::Distinct, [only])
            if only.series.tone == Tone::Color && only.series.mark != Mark::Bars =>
        {
            Some(only.pen.color.clone())
        }
        _ => None,
    };
    Upright { axis, span, ticks: span.ticks((PLOT / 38.0) as usize), color }
}

/// Width of ticks and label beside a vertical axis.
fn gutter(upright: &Upright<'_>) -> f64 {
    let widest = upright.ticks.major.iter().map(|tick| width(&tick.label, SMALL)).fold(0.0, f64::max);
    let label = if line(&upright.axis.label).is_empty() { 0.0 } else { LABEL * 1.4 };
    widest + 12.0 + label
}

/// As many ticks as their labels leave room for.
fn x_tick_count(x: &Span, area: &Area) -> usize {
    let room = area.right - area.left;
    let widest = |most: usize| {
        let ticks = x.ticks(most);
        ticks.major.iter().map(|tick| width(&tick.label, SMALL)).fold(0.0, f64::max)
    };
    let most = match x.scale {
        Scale::Whole => 26,
        Scale::Linear | Scale::Log => 10,
    };
    (2..=most).rev().find(|&count| count as f64 * (widest(count) + 14.0) <= room).unwrap_or(2)
}

/// Entries from the left in as many rows as they need, and where the last row ends.
fn legend(series: &[Placed<'_>], top: f64) -> (Vec<Entry>, f64) {
    let mut entries = Vec::new();
    let (mut x, mut y) = (EDGE, top + 14.0);
    for (index, placed) in series.iter().enumerate() {
        let name = fit(&line(&placed.series.name), SMALL, WIDTH - 2.0 * EDGE - SAMPLE);
        if name.is_empty() {
            continue;
        }
        let entry = SAMPLE + width(&name, SMALL);
        if x > EDGE && x + entry > WIDTH - EDGE {
            (x, y) = (EDGE, y + ROW);
        }
        entries.push(Entry { index, x, y, name });
        x += entry + 16.0;
    }
    let bottom = if entries.is_empty() { top } else { y + 6.0 };
    (entries, bottom)
}

/// What the reader should know about points that are not drawn.
fn omitted(series: &[Placed<'_>], x: &Span, left: &Upright<'_>, right: Option<&Upright<'_>>) -> Vec<String> {
    let (mut nowhere, mut outside) = (0, 0);
    for placed in series {
        let span = match (placed.series.side, right) {
            (Side::Right, Some(right)) => right.span,
            (Side::Left, _) | (Side::Right, None) => left.span,
        };
        for point in &placed.points {
            match point {
                None => nowhere += 1,
                Some((at_x, at_y)) if !x.contains(*at_x) || !span.contains(*at_y) => outside += 1,
                Some(_) => {}
            }
        }
    }
    let log = [x.scale, left.span.scale].into_iter().chain(right.map(|right| right.span.scale));
    let why = if log.into_iter().any(|scale| scale == Scale::Log) {
        "not finite, or not above zero on a logarithmic axis"
    } else {
        "not finite"
    };
    let points = |count: usize| if count == 1 { "1 point".to_owned() } else { format!("{count} points") };
    let mut out = Vec::new();
    if nowhere > 0 {
        out.push(format!("{} left out: {why}", points(nowhere)));
    }
    if outside > 0 {
        out.push(format!("{} outside the axes", points(outside)));
    }
    out
}
