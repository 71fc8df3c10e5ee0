//! Colours, dashes and marker shapes of the series.

use std::fmt::Write;

use super::chart::{Mark, Palette, Series, Tone};
use crate::svg::hex;

/// Okabe and Ito's colours without the yellow, which a white ground swallows, and with a softer black.
const DISTINCT: [[u8; 3]; 7] = [
    [0x00, 0x72, 0xb2],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0xe6, 0x9f, 0x00],
    [0x56, 0xb4, 0xe9],
    [0x3d, 0x3d, 0x3d],
];
/// Five equidistant colours of matplotlib's viridis (public domain, CC0).
const ORDERED: [[u8; 3]; 5] =
    [[0x44, 0x01, 0x54], [0x3b, 0x52, 0x8b], [0x21, 0x91, 0x8c], [0x5e, 0xc9, 0x62], [0xfd, 0xe7, 0x25]];
/// The light end of viridis is too pale on white.
const LIGHTEST: f64 = 0.88;
const MUTED_LINE: [u8; 3] = [0x7b, 0x87, 0x94];
const MUTED_AREA: [u8; 3] = [0xcb, 0xd2, 0xd9];
const DASHES: [&str; 3] = ["", "7 4", "2 3"];
const SHAPES: [Shape; 5] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Inverted];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Inverted,
}

/// What a series is drawn with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pen {
    pub(super) color: String,
    dash: &'static str,
    shape: Shape,
}

/// One pen per series.
pub(super) fn pens(series: &[Series], palette: Palette) -> Vec<Pen> {
    let colored = series.iter().filter(|series| series.tone == Tone::Color).count();
    let mut next = 0;
    let muted = |series: &Series| {
        let color = if series.mark == Mark::Bars { MUTED_AREA } else { MUTED_LINE };
        Pen { color: hex(color), dash: "", shape: Shape::Circle }
    };
    let mut pen = |series: &Series, before: Option<&Pen>| match series.tone {
        Tone::Muted => muted(series),
        Tone::Same => before.cloned().unwrap_or_else(|| muted(series)),
        Tone::Color => {
            let at = next;
            next += 1;
            let (color, round) = match palette {
                Palette::Distinct => (DISTINCT[at % DISTINCT.len()], at / DISTINCT.len()),
                Palette::Ordered => (ordered(at as f64 / (colored - 1).max(1) as f64), 0),
            };
            let color = if series.mark == Mark::Bars { color.map(lighter) } else { color };
            Pen { color: hex(color), dash: DASHES[round % DASHES.len()], shape: SHAPES[at % SHAPES.len()] }
        }
    };
    series.iter().fold(Vec::with_capacity(series.len()), |mut pens, series| {
        let pen = pen(series, pens.last());
        pens.push(pen);
        pens
    })
}

/// Large areas need less colour than lines, and lines must be seen on them.
fn lighter(channel: u8) -> u8 {
    channel + (255 - channel) / 10 * 3
}

fn ordered(part: f64) -> [u8; 3] {
    let at = part * LIGHTEST * (ORDERED.len() - 1) as f64;
    let below = (at as usize).min(ORDERED.len() - 2);
    let mix =
        |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * (at - below as f64)) as u8;
    std::array::from_fn(|i| mix(ORDERED[below][i], ORDERED[below + 1][i]))
}

/// Pixels with one decimal, and no negative zero.
pub(super) fn px(value: f64) -> f64 {
    (value * 10.0).round() / 10.0 + 0.0
}

impl Pen {
    /// Attributes of a line in this pen.
    pub(super) fn stroke(&self, width: f64) -> String {
        let mut out =
            format!(r#"fill="none" stroke="{}" stroke-width="{width}" stroke-linejoin="round""#, self.color);
        if !self.dash.is_empty() {
            let _ = write!(out, r#" stroke-dasharray="{}""#, self.dash);
        }
        out
    }

    /// A filled marker with a white rim; `inside` is its content, such as a tooltip.
    pub(super) fn marker(&self, (x, y): (f64, f64), radius: f64, inside: &str) -> String {
        let (at_x, at_y) = (px(x), px(y));
        let (element, data) = match self.shape {
            Shape::Circle => ("circle", format!(r#"cx="{at_x}" cy="{at_y}" r="{radius}""#)),
            // Scaled for areas that look alike.
            Shape::Square => {
                let half = radius * 0.88;
                let side = px(2.0 * half);
                (
                    "rect",
                    format!(r#"x="{}" y="{}" width="{side}" height="{side}""#, px(x - half), px(y - half)),
                )
            }
            Shape::Triangle => ("path", triangle((x, y), radius * 1.2)),
            Shape::Inverted => ("path", triangle((x, y), radius * -1.2)),
            Shape::Diamond => {
                let half = px(radius * 1.25);
                (
                    "path",
                    format!(r#"d="M{at_x} {}l{half} {half}l-{half} {half}l-{half} -{half}z""#, px(y - half)),
                )
            }
        };
        let color = &self.color;
        format!(r##"<{element} {data} fill="{color}" stroke="#fff">{inside}</{element}>"##)
    }
}

/// Upright for a positive size, on its point for a negative one.
fn triangle((x, y): (f64, f64), size: f64) -> String {
    let half = px(size * 0.95);
    format!(r#"d="M{} {}L{} {}H{}z""#, px(x), px(y - size), px(x + half), px(y + size * 0.7), px(x - half))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn series(count: usize) -> Vec<Series> {
        vec![Series::new("", Mark::Line, Vec::new()); count]
    }

    #[test]
    fn pens_are_told_apart() {
        for palette in [Palette::Distinct, Palette::Ordered] {
            let pens = pens(&series(20), palette);
            assert_eq!(pens.iter().map(|pen| format!("{pen:?}")).collect::<HashSet<_>>().len(), 20);
        }
    }

    #[test]
    fn muted_series_use_up_no_colour() {
        let mut series = series(2);
        series.insert(0, series[0].clone().muted());
        let pens = pens(&series, Palette::Distinct);
        assert_eq!(pens[1].color, "#0072b2");
        assert_eq!(pens[0].color, hex(MUTED_LINE));
    }

    #[test]
    fn a_series_in_the_pen_of_the_one_before_uses_up_no_colour() {
        let mut series = series(3);
        series[1] = series[1].clone().as_before();
        let found = pens(&series, Palette::Distinct);
        assert_eq!((&found[0], found[2].color.as_str()), (&found[1], "#d55e00"));
        series[0] = series[0].clone().as_before();
        assert_eq!(pens(&series, Palette::Distinct)[0].color, hex(MUTED_LINE));
    }

    #[test]
    fn ordered_colours_go_from_dark_to_light() {
        assert_eq!(ordered(0.0), ORDERED[0]);
        let light = |part: f64| ordered(part).iter().map(|&c| u32::from(c)).sum::<u32>();
        assert!(light(0.0) < light(0.5) && light(0.5) < light(1.0));
        assert_eq!(pens(&series(1), Palette::Ordered)[0].color, "#440154");
    }
}
