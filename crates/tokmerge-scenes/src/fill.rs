//! Colours, and what a shape is filled with.

use crate::canvas::coverage;
use crate::geometry::{Place, Point, dot, minus};
use crate::random::Random;

/// Red, green and blue from 0 to 255.
pub(crate) type Colour = [f32; 3];

/// The share `part` of `b` in `a`.
pub(crate) fn mix(a: Colour, b: Colour, part: f32) -> Colour {
    [a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part, a[2] + (b[2] - a[2]) * part]
}

/// How bright a colour may be, 0 to 255.
pub(crate) type Values = [f32; 2];

/// What lies behind is dark, as if the light were on the object.
pub(crate) const GROUND: Values = [15.0, 120.0];
pub(crate) const SMALL_THINGS: Values = [60.0, 190.0];
pub(crate) const OBJECT: Values = [150.0, 255.0];

/// Any hue, from gray to strong.
pub(crate) fn random_colour(random: &mut Random, values: Values) -> Colour {
    let (hue, saturation) = (random.between(0.0, 6.0), random.between(0.0, 0.95));
    let value = random.between(values[0], values[1]);
    // Distance of the hue from red, green and blue around a circle of six.
    [0.0, 2.0, 4.0].map(|centre| {
        let apart = (hue - centre).abs();
        let apart = apart.min(6.0 - apart);
        value * (1.0 - saturation * (apart - 1.0).clamp(0.0, 1.0))
    })
}

/// A colour at least `contrast` from all the others, or the furthest of several tries.
pub(crate) fn contrasting(random: &mut Random, values: Values, others: &[Colour], contrast: f32) -> Colour {
    let mut best = ([0.0; 3], -1.0);
    for _ in 0..16 {
        let colour = random_colour(random, values);
        let nearest = others.iter().map(|&other| difference(colour, other)).fold(f32::MAX, f32::min);
        if nearest > best.1 {
            best = (colour, nearest);
        }
        if nearest >= contrast {
            break;
        }
    }
    best.0
}

/// How different two colours look, 0 to 255: green counts more than red, and red more than blue.
fn difference(a: Colour, b: Colour) -> f32 {
    let square = |channel: usize| (a[channel] - b[channel]) * (a[channel] - b[channel]);
    (0.3 * square(0) + 0.59 * square(1) + 0.11 * square(2)).sqrt()
}

#[derive(Clone, Debug)]
pub(crate) enum Fill {
    Plain(Colour),
    /// From one colour to another, along `across` (pixels to the power of -1), halfway at `middle`.
    Gradient {
        colours: [Colour; 2],
        middle: Point,
        across: Point,
    },
    Texture {
        pattern: Pattern,
        colours: [Colour; 2],
        place: Place,
        /// Pixels after which the pattern repeats.
        period: f32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Bricks,
    Checker,
    Dots,
    Grid,
    Stripes,
    Zigzag,
}

impl Fill {
    pub(crate) fn at(&self, p: Point, soft: f32) -> Colour {
        match self {
            Self::Plain(colour) => *colour,
            Self::Gradient { colours: [a, b], middle, across } => {
                mix(*a, *b, (dot(minus(p, *middle), *across) + 0.5).clamp(0.0, 1.0))
            }
            Self::Texture { pattern, colours: [a, b], place, period } => {
                let [u, v] = place.turn.undo(minus(p, place.centre));
                mix(*a, *b, pattern.at([u / period, v / period], soft / period))
            }
        }
    }
}

impl Pattern {
    /// Periods of finely divided patterns are longer, so that their parts can be told apart.
    pub(crate) fn coarseness(self) -> f32 {
        match self {
            Self::Bricks => 1.6,
            Self::Checker | Self::Zigzag => 1.2,
            Self::Dots | Self::Grid | Self::Stripes => 1.0,
        }
    }

    /// How much of the second colour there is at a point, in periods; edges fade over `soft` periods.
    fn at(self, [u, v]: Point, soft: f32) -> f32 {
        match self {
            Self::Stripes => coverage(wave(u) - 0.25, soft),
            Self::Checker => {
                // A pattern repeats after two fields.
                let side = |x: f32| 2.0 * coverage(wave(x) - 0.25, soft) - 1.0;
                0.5 + 0.5 * side(u) * side(v)
            }
            Self::Dots => {
                let (x, y) = (wave(u), wave(v));
                coverage((x * x + y * y).sqrt() - 0.3, soft)
            }
            Self::Grid => coverage(wave(u).min(wave(v)) - 0.11, soft),
            Self::Zigzag => {
                // Slopes of one: distances across are shorter by the root of two.
                let bent = v * 0.9 + wave(u * 0.5) * 1.8;
                coverage((wave(bent) - 0.25) * 0.75, soft)
            }
            Self::Bricks => {
                let (row, rows) = (v * 2.0, (v * 2.0).floor());
                let shift = if rows * 0.5 == (rows * 0.5).floor() { 0.0 } else { 0.5 };
                let joint = (wave(row) * 0.5).min(wave(u + shift));
                coverage(0.075 - joint, soft)
            }
        }
    }
}

/// Distance to the nearest whole number: 0 to 0.5.
fn wave(x: f32) -> f32 {
    (x - (x + 0.5).floor()).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_contrast_as_asked() {
        let mut random = Random::for_image(5, 6);
        let others = [[200.0, 180.0, 150.0], [150.0, 120.0, 160.0]];
        for _ in 0..500 {
            let colour = contrasting(&mut random, [35.0, 255.0], &others, 50.0);
            assert!(colour.iter().all(|v| (0.0..=255.0).contains(v)));
            assert!(others.iter().all(|&other| difference(colour, other) >= 50.0));
        }
    }

    #[test]
    fn every_pattern_shows_both_colours() {
        use Pattern::{Bricks, Checker, Dots, Grid, Stripes, Zigzag};
        for pattern in [Bricks, Checker, Dots, Grid, Stripes, Zigzag] {
            let points = (0..1600).map(|i| [(i % 40) as f32 / 20.0, (i / 40) as f32 / 20.0]);
            let share = points.map(|p| pattern.at(p, 0.05)).sum::<f32>() / 1600.0;
            assert!((0.2..0.8).contains(&share), "{pattern:?} {share}");
        }
    }
}
