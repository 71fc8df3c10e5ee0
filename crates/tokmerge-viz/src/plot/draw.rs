//! The chart as an SVG document.

use std::fmt::Write;

use super::axis::position;
use super::chart::{Chart, Mark, Note, Scale, Series, Side};
use super::marks::px;
use super::number::short;
use super::page::{EDGE, Entry, LABEL, PLOT, Page, Placed, SAMPLE, SMALL, TITLE, WIDTH};
use super::place::{Area, Drawn, Place};
use super::text::{fit, line, width};
use crate::svg::escape;

const INK: &str = "#1f2933";
const SOFT: &str = "#52606d";
const FRAME: &str = "#9aa5b1";
const GRID: &str = "#e4e7eb";
const FAINT: &str = "#f2f4f6";

/// Lines with more points than this have no markers, and dots beyond `MANY_DOTS` are smaller.
const MANY_MARKERS: usize = 200;
const MANY_DOTS: usize = 1000;

impl Chart {
    /// The chart as the text of an SVG file, 800 pixels wide and about 500 high.
    ///
    /// The same chart always gives the same text. Titles, labels and names are escaped, and shortened
    /// where there is no room. Pointing at a bar or a marker shows its series and values.
    pub fn to_svg(&self) -> String {
        Page::new(self).document()
    }
}

#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Page<'_> {
    fn document(&self) -> String {
        let mut out = String::new();
        let (page_width, height) = (WIDTH, self.height.ceil());
        let title = escape(&line(&self.chart.title));
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{page_width}" height="{height}" viewBox="0 0 {page_width} {height}" role="img" font-family="system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif">"#
        );
        if !title.is_empty() {
            let _ = writeln!(out, "<title>{title}</title>");
        }
        let _ = writeln!(out, r##"<rect width="100%" height="100%" fill="#fff"/>"##);
        for (row, text) in self.title.iter().enumerate() {
            let y = EDGE + TITLE * (0.9 + 1.35 * row as f64);
            let text = escape(text);
            let _ = writeln!(
                out,
                r#"<text x="{EDGE}" y="{}" font-size="{TITLE}" font-weight="600" fill="{INK}">{text}</text>"#,
                px(y)
            );
        }
        self.write_legend(&mut out);
        self.write_grid(&mut out);
        self.write_axes(&mut out);
        self.write_labels(&mut out);
        if self.has_data() {
            self.write_data(&mut out);
        }
        out.push_str("</svg>\n");
        out
    }

    fn write_legend(&self, out: &mut String) {
        for Entry { index, x, y, name } in &self.legend {
            let Placed { series, pen, .. } = &self.series[*index];
            let (middle, color) = ((x + 10.0, y - 4.0), &pen.color);
            let bar = || {
                format!(
                    r#"<rect x="{}" y="{}" width="12" height="12" fill="{color}"/>"#,
                    px(x + 4.0),
                    px(y - 10.0)
                )
            };
            let line = || format!(r#"<path d="M{} {}h20" {}/>"#, px(*x), px(middle.1), pen.stroke(2.0));
            let sample = match series.mark {
                Mark::Bars => bar(),
                Mark::Dots => format!(
                    r#"<circle cx="{}" cy="{}" r="3.5" fill="{color}" fill-opacity="0.6"/>"#,
                    px(middle.0),
                    px(middle.1)
                ),
                Mark::Step => line(),
                Mark::Line if series.points.len() > MANY_MARKERS => line(),
                Mark::Line => line() + &pen.marker(middle, 4.0, ""),
                Mark::Markers => pen.marker(middle, 5.5, ""),
            };
            let _ = writeln!(out, "{sample}");
            write_text(out, (x + SAMPLE, *y), Anchor::Start, SMALL, INK, name);
        }
    }

    fn write_grid(&self, out: &mut String) {
        let Area { left, right, top, bottom } = self.area;
        let across = |out: &mut String, color: &str, at: f64| {
            let _ = writeln!(out, r#"<path d="M{} {}H{}" stroke="{color}"/>"#, px(left), px(at), px(right));
        };
        let down = |out: &mut String, color: &str, at: f64| {
            let _ = writeln!(out, r#"<path d="M{} {}V{}" stroke="{color}"/>"#, px(at), px(top), px(bottom));
        };
        // Bars mark their places themselves.
        let bars = self.series.iter().any(|placed| placed.series.mark == Mark::Bars);
        if !self.has_data() {
            return;
        }
        self.left.ticks.minor.iter().for_each(|&at| across(out, FAINT, self.y_at(&self.left.span, at)));
        if !bars {
            self.x_ticks.minor.iter().for_each(|&at| down(out, FAINT, self.x_at(at)));
            self.x_ticks.major.iter().for_each(|tick| down(out, GRID, self.x_at(tick.at)));
        }
        self.left.ticks.major.iter().for_each(|tick| across(out, GRID, self.y_at(&self.left.span, tick.at)));
    }

    fn write_axes(&self, out: &mut String) {
        let Area { left, right, top, bottom } = self.area;
        let mut frame = format!("M{} {}V{}H{}", px(left), px(top), px(bottom), px(right));
        if self.right.is_some() {
            let _ = write!(frame, "V{}", px(top));
        }
        if self.has_data() {
            for tick in &self.x_ticks.major {
                let x = self.x_at(tick.at);
                let _ = write!(frame, "M{} {}v5", px(x), px(bottom));
                write_text(out, (x, bottom + 18.0), Anchor::Middle, SMALL, SOFT, &tick.label);
            }
            let sides = [
                (Some(&self.left), left, -1.0, Anchor::End),
                (self.right.as_ref(), right, 1.0, Anchor::Start),
            ];
            for (upright, x, away, anchor) in sides {
                let Some(upright) = upright else { continue };
                for tick in &upright.ticks.major {
                    let y = self.y_at(&upright.span, tick.at);
                    let _ = write!(frame, "M{} {}h{}", px(x), px(y), 5.0 * away);
                    let color = upright.color.as_deref().unwrap_or(SOFT);
                    write_text(out, (x + 9.0 * away, y + SMALL * 0.35), anchor, SMALL, color, &tick.label);
                }
            }
        }
        let _ = writeln!(out, r#"<path d="{frame}" fill="none" stroke="{FRAME}"/>"#);
    }

    fn write_labels(&self, out: &mut String) {
        let Area { left, right, top, bottom } = self.area;
        let (middle, center) = ((top + bottom) / 2.0, (left + right) / 2.0);
        let x_label = fit(&line(&self.chart.x.label), LABEL, right - left);
        write_text(out, (center, bottom + 22.0 + LABEL * 1.35), Anchor::Middle, LABEL, INK, &x_label);
        let sides =
            [(Some(&self.left), EDGE + LABEL * 0.6), (self.right.as_ref(), WIDTH - EDGE + LABEL * 0.1)];
        for (upright, x) in sides {
            let Some(upright) = upright else { continue };
            let label = escape(&fit(&line(&upright.axis.label), LABEL, PLOT));
            if label.is_empty() {
                continue;
            }
            let (x, y, color) = (px(x), px(middle), upright.color.as_deref().unwrap_or(INK));
            let _ = writeln!(
                out,
                r#"<text transform="translate({x} {y}) rotate(-90)" text-anchor="middle" font-size="{LABEL}" fill="{color}">{label}</text>"#
            );
        }
        for (row, text) in self.omitted.iter().rev().enumerate() {
            let y = self.height - EDGE * 0.7 - 18.0 * row as f64;
            write_text(out, (right, y), Anchor::End, 11.0, SOFT, text);
        }
        if !self.has_data() {
            write_text(out, (center, middle), Anchor::Middle, 15.0, SOFT, "no data");
        }
    }

    fn write_data(&self, out: &mut String) {
        let mut drawn = Drawn::default();
        let Area { left, right, .. } = self.area;
        let (mut bars, mut lines, mut markers) = (String::new(), String::new(), String::new());
        let mut dots = String::new();
        let mut bar_series = 0;
        for placed in &self.series {
            self.write_intervals(&mut lines, &mut drawn, placed);
            match placed.series.mark {
                Mark::Bars => {
                    self.write_bars(&mut bars, &mut drawn, placed, bar_series);
                    bar_series += 1;
                }
                Mark::Dots => self.write_dots(&mut dots, &mut drawn, placed),
                Mark::Line => {
                    self.write_line(&mut lines, &mut drawn, placed);
                    if placed.points.len() <= MANY_MARKERS {
                        self.write_markers(&mut markers, &mut drawn, placed, 4.0);
                    }
                }
                Mark::Step => self.write_line(&mut lines, &mut drawn, placed),
                Mark::Markers => self.write_markers(&mut markers, &mut drawn, placed, 5.5),
            }
        }
        out.push_str(&bars);
        out.push_str(&dots);
        let references: Vec<_> = self
            .chart
            .references
            .iter()
            .filter_map(|reference| {
                let at = position(self.chart.y.scale, reference.value)?;
                self.left.span.contains(at).then(|| (self.y_at(&self.left.span, at), reference))
            })
            .collect();
        for &(y, _) in &references {
            let _ = writeln!(
                out,
                r#"<path d="M{} {}H{}" stroke="{SOFT}" stroke-width="1.5" stroke-dasharray="6 4"/>"#,
                px(left),
                px(y),
                px(right)
            );
        }
        out.push_str(&lines);
        out.push_str(&markers);
        for (y, reference) in references {
            self.write_reference_label(out, &mut drawn, y, &reference.label);
        }
        for note in &self.chart.notes {
            self.write_note(out, &mut drawn, note);
        }
    }

    fn write_bars(&self, out: &mut String, drawn: &mut Drawn, placed: &Placed<'_>, nth: usize) {
        let span = self.span(placed.series.side);
        let zero = match span.scale {
            Scale::Log => span.low,
            Scale::Linear | Scale::Whole => 0.0,
        };
        let area = &self.area;
        let base = self.y_at(span, zero).clamp(area.top, area.bottom);
        let groups = self.series.iter().filter(|placed| placed.series.mark == Mark::Bars).count();
        let shift = (nth as f64 - groups as f64 / 2.0) * self.bar;
        for (&point, &values) in placed.points.iter().zip(&placed.series.points) {
            let Some((x, y)) = point else { continue };
            let (x, y) = (self.x_at(x) + shift, self.y_at(span, y).clamp(area.top, area.bottom));
            // Neighbours in a group are kept apart by a sliver of the bar's own width.
            let (from, to) = (x + self.bar * 0.02, (x + self.bar * 0.98).max(x + 0.5));
            let (from, to) = (from.max(area.left), to.min(area.right));
            if from >= to {
                continue;
            }
            drawn.segment([(from, y), (to, y)]);
            let _ = writeln!(
                out,
                r#"<rect x="{}" y="{}" width="{}" height="{}" fill="{}">{}</rect>"#,
                px(from),
                px(y.min(base)),
                px(to - from),
                px((y - base).abs()),
                placed.pen.color,
                self.tooltip(placed.series, values)
            );
        }
        let _ = writeln!(
            out,
            r#"<path d="M{} {}H{}" stroke="{FRAME}"/>"#,
            px(area.left),
            px(base),
            px(area.right)
        );
    }

    fn write_dots(&self, out: &mut String, drawn: &mut Drawn, placed: &Placed<'_>) {
        let (radius, opacity) = if placed.points.len() > MANY_DOTS { (1.8, 0.3) } else { (2.6, 0.5) };
        let _ = writeln!(out, r#"<g fill="{}" fill-opacity="{opacity}">"#, placed.pen.color);
        for (x, y) in self.visible(placed).map(|(at, _)| at) {
            drawn.dot((x, y));
            let _ = writeln!(out, r#"<circle cx="{}" cy="{}" r="{radius}"/>"#, px(x), px(y));
        }
        out.push_str("</g>\n");
    }

    fn write_line(&self, out: &mut String, drawn: &mut Drawn, placed: &Placed<'_>) {
        let span = self.span(placed.series.side);
        let mut path = String::new();
        let mut last: Option<(f64, f64)> = None;
        let mut pen_at = None;
        for &point in &placed.points {
            let at = point.map(|(x, y)| (self.x_at(x), self.y_at(span, y)));
            if let (Some(from), Some(to)) = (last, at) {
                let corner = if placed.series.mark == Mark::Step { (to.0, from.1) } else { from };
                for [from, to] in [[from, corner], [corner, to]] {
                    let Some([from, to]) = self.area.clip(from, to).filter(|[from, to]| from != to) else {
                        continue;
                    };
                    if pen_at != Some(from) {
                        let _ = write!(path, "M{} {}", px(from.0), px(from.1));
                    }
                    let _ = write!(path, "L{} {}", px(to.0), px(to.1));
                    pen_at = Some(to);
                    drawn.segment([from, to]);
                }
            }
            last = at;
        }
        if !path.is_empty() {
            let _ = writeln!(out, r#"<path d="{path}" {}/>"#, placed.pen.stroke(2.0));
        }
    }

    fn write_intervals(&self, out: &mut String, drawn: &mut Drawn, placed: &Placed<'_>) {
        const CAP: f64 = 4.0;
        let span = self.span(placed.series.side);
        let mut path = String::new();
        for &(x, ends) in placed.intervals.iter().filter(|(x, _)| self.x.contains(*x)) {
            let x = self.x_at(x);
            let [from, to] = ends.map(|end| (x, self.y_at(span, end)));
            let Some([from, to]) = self.area.clip(from, to) else { continue };
            let _ = write!(path, "M{} {}V{}", px(x), px(from.1), px(to.1));
            // An end that is cut off has no cap.
            for y in [from.1, to.1].into_iter().filter(|y| *y > self.area.top && *y < self.area.bottom) {
                let _ = write!(path, "M{} {}h{}", px(x - CAP), px(y), px(2.0 * CAP));
            }
            drawn.segment([from, to]);
        }
        if !path.is_empty() {
            let color = &placed.pen.color;
            let _ = writeln!(out, r#"<path d="{path}" fill="none" stroke="{color}" stroke-opacity="0.6"/>"#);
        }
    }

    fn write_markers(&self, out: &mut String, drawn: &mut Drawn, placed: &Placed<'_>, radius: f64) {
        for (at, values) in self.visible(placed) {
            drawn.marker(at);
            let _ = writeln!(out, "{}", placed.pen.marker(at, radius, &self.tooltip(placed.series, values)));
        }
    }

    fn write_reference_label(&self, out: &mut String, drawn: &mut Drawn, y: f64, label: &str) {
        let Area { left, right, .. } = self.area;
        let label = fit(&line(label), SMALL, (right - left) / 2.0);
        if label.is_empty() {
            return;
        }
        let length = width(&label, SMALL);
        let ends = [(right - 8.0, Anchor::End), (left + 8.0, Anchor::Start)];
        let texts = [-5.0, 14.0].iter().flat_map(|down| ends.map(|(x, anchor)| (x, y + down, anchor)));
        let texts: Vec<_> = texts.collect();
        let place = |&(x, y, anchor): &(f64, f64, Anchor)| {
            let start = x - length * anchor.before();
            let area = Area { left: start, right: start + length, top: y - 11.0, bottom: y + 3.0 };
            Place { area, leader: None }
        };
        let places: Vec<_> = texts.iter().map(place).collect();
        if let Some(best) = drawn.place(&self.area, &places) {
            let (x, y, anchor) = texts[best];
            write_haloed(out, (x, y), anchor, &label);
        }
    }

    fn write_note(&self, out: &mut String, drawn: &mut Drawn, note: &Note) {
        let upright = match (note.side, &self.right) {
            (Side::Right, Some(right)) => right,
            (Side::Left, _) | (Side::Right, None) => &self.left,
        };
        let x = position(self.chart.x.scale, note.at.0).filter(|&x| self.x.contains(x));
        let y = position(upright.axis.scale, note.at.1).filter(|&y| upright.span.contains(y));
        let label = fit(&line(&note.text), SMALL, 300.0);
        let (Some(x), Some(y), false) = (x, y, label.is_empty()) else { return };
        let (x, y) = (self.x_at(x), self.y_at(&upright.span, y));
        let length = width(&label, SMALL);
        let (mut places, mut texts) = (Vec::new(), Vec::new());
        // Beside the point first; farther away, a thin line leads back to it.
        for far in [9.0, 22.0, 40.0] {
            let slant = far * 0.75;
            for (right, down, anchor) in [
                (far, 0.0, Anchor::Start),
                (0.0, -far - 4.0, Anchor::Middle),
                (slant, -slant - 3.0, Anchor::Start),
                (slant, slant + 3.0, Anchor::Start),
                (-far, 0.0, Anchor::End),
                (0.0, far + 4.0, Anchor::Middle),
                (-slant, -slant - 3.0, Anchor::End),
                (-slant, slant + 3.0, Anchor::End),
            ] {
                let start = x + right - length * anchor.before();
                let (top, bottom) = (y + down - 7.0, y + down + 7.0);
                let area = Area { left: start, right: start + length, top, bottom };
                let leader = (far > 10.0).then_some([(x, y), (x + right * 0.85, y + down * 0.85)]);
                places.push(Place { area, leader });
                texts.push((x + right, y + down + SMALL * 0.35, anchor));
            }
        }
        let Some(best) = drawn.place(&self.area, &places) else { return };
        if let Some([from, to]) = places[best].leader {
            let [from, to] = [from, to].map(|(x, y)| (px(x), px(y)));
            let _ = writeln!(out, r#"<path d="M{} {}L{} {}" stroke="{SOFT}"/>"#, from.0, from.1, to.0, to.1);
        }
        let (x, y, anchor) = texts[best];
        write_haloed(out, (x, y), anchor, &label);
    }

    fn tooltip(&self, series: &Series, (x, y): (f64, f64)) -> String {
        let name = line(&series.name);
        let name = if name.is_empty() { name } else { format!("{name}: ") };
        let axis = line(&self.chart.x.label);
        let axis = if axis.is_empty() { axis } else { format!("{axis} ") };
        format!("<title>{}</title>", escape(&format!("{name}{} at {axis}{}", short(y), short(x))))
    }
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }

    /// The part of the text before its anchor.
    fn before(self) -> f64 {
        match self {
            Self::Start => 0.0,
            Self::Middle => 0.5,
            Self::End => 1.0,
        }
    }
}

fn write_text(out: &mut String, (x, y): (f64, f64), anchor: Anchor, size: f64, color: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    let (x, y, anchor, text) = (px(x), px(y), anchor.name(), escape(text));
    let _ = writeln!(
        out,
        r#"<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{color}">{text}</text>"#
    );
}

/// Text that stays readable over marks. Two elements, since not every viewer knows `paint-order`.
fn write_haloed(out: &mut String, (x, y): (f64, f64), anchor: Anchor, text: &str) {
    let (at_x, at_y, name, halo) = (px(x), px(y), anchor.name(), escape(text));
    let _ = writeln!(
        out,
        r##"<text x="{at_x}" y="{at_y}" text-anchor="{name}" font-size="{SMALL}" fill="#fff" stroke="#fff" stroke-width="4" stroke-linejoin="round" stroke-opacity="0.85" aria-hidden="true">{halo}</text>"##
    );
    write_text(out, (x, y), anchor, SMALL, INK, text);
}
