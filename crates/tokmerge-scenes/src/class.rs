//! The classes and their figures.

use crate::fill::Pattern;
use crate::geometry::{Place, Point};
use crate::random::Random;
use crate::shape::Shape;

/// Names of the classes, in alphabetical order, so that folders of these names give the same indices.
pub const CLASSES: [&str; 24] = [
    "arrow", "bricks", "checker", "circle", "crescent", "cross", "digit-2", "digit-5", "digit-7", "dots",
    "grid", "heart", "hexagon", "letter-a", "letter-e", "letter-h", "letter-k", "letter-r", "ring", "square",
    "star", "stripes", "triangle", "zigzag",
];

/// What makes a class what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    /// An outline, turned at will.
    Outline(Outline),
    /// Lines, nearly upright.
    Glyph(Glyph),
    /// A texture in an outline that says nothing.
    Texture(Pattern),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Outline {
    Arrow,
    Circle,
    Crescent,
    Cross,
    Heart,
    Hexagon,
    Ring,
    Square,
    Star,
    Triangle,
}

/// Lines through points, each within 0.6 to the sides and 0.85 up and down.
pub(crate) type Glyph = &'static [&'static [Point]];

const FIGURES: [Figure; CLASSES.len()] = {
    use Figure::{Glyph, Outline as Shape, Texture};
    [
        Shape(Outline::Arrow),
        Texture(Pattern::Bricks),
        Texture(Pattern::Checker),
        Shape(Outline::Circle),
        Shape(Outline::Crescent),
        Shape(Outline::Cross),
        Glyph(TWO),
        Glyph(FIVE),
        Glyph(SEVEN),
        Texture(Pattern::Dots),
        Texture(Pattern::Grid),
        Shape(Outline::Heart),
        Shape(Outline::Hexagon),
        Glyph(A),
        Glyph(E),
        Glyph(H),
        Glyph(K),
        Glyph(R),
        Shape(Outline::Ring),
        Shape(Outline::Square),
        Shape(Outline::Star),
        Texture(Pattern::Stripes),
        Shape(Outline::Triangle),
        Texture(Pattern::Zigzag),
    ]
};

/// The figure of a class below `CLASSES.len()`.
pub(crate) fn figure(class: usize) -> Figure {
    FIGURES[class]
}

impl Outline {
    /// The outline at a place. `random` varies widths, never the kind.
    pub(crate) fn shape(self, place: &Place, random: &mut Random) -> Shape {
        let part = random.between(0.0, 1.0);
        match self {
            Self::Circle => Shape::disc(place, [0.0, 0.0], 0.95),
            Self::Ring => {
                let half_width = (0.12 + 0.1 * part) * place.radius;
                Shape::Ring { centre: place.centre, radius: 0.97 * place.radius - half_width, half_width }
            }
            Self::Crescent => {
                let whole = Shape::disc(place, [0.0, 0.0], 0.97);
                let cut = Shape::disc(place, [0.36 + 0.12 * part, 0.0], 0.78);
                Shape::Difference(Box::new([whole, cut]))
            }
            Self::Heart => {
                // A square on its corner, and discs over its upper sides.
                let (low, half) = (0.9, 0.76);
                let corners = [[0.0, low], [half, low - half], [0.0, low - 2.0 * half], [-half, low - half]];
                let lobe = |x: f32| Shape::disc(place, [x, low - 1.5 * half], half * HALF_ROOT);
                let lobes = [lobe(half * 0.5), lobe(-half * 0.5)];
                Shape::Union([Shape::polygon(place, &corners)].into_iter().chain(lobes).collect())
            }
            Self::Square => {
                Shape::polygon(place, &[[-0.74, -0.74], [0.74, -0.74], [0.74, 0.74], [-0.74, 0.74]])
            }
            Self::Triangle => Shape::polygon(place, &[[0.0, -1.0], [0.866_025_4, 0.5], [-0.866_025_4, 0.5]]),
            Self::Hexagon => {
                let (x, y) = (0.5, 0.866_025_4);
                Shape::polygon(place, &[[1.0, 0.0], [x, y], [-x, y], [-1.0, 0.0], [-x, -y], [x, -y]])
            }
            Self::Star => {
                let inner = 0.38 + 0.12 * part;
                let corner = |i: usize| {
                    let reach = if i.is_multiple_of(2) { 1.0 } else { inner };
                    TENTHS[i].map(|v| v * reach)
                };
                Shape::polygon(place, &std::array::from_fn::<_, 10, _>(corner))
            }
            Self::Cross => {
                let (a, b) = (0.22 + 0.1 * part, 0.95);
                let quarter = [[a, -b], [a, -a], [b, -a]];
                let corner = |i: usize| (0..i / 3).fold(quarter[i % 3], |[x, y], _| [-y, x]);
                Shape::polygon(place, &std::array::from_fn::<_, 12, _>(corner))
            }
            Self::Arrow => {
                let (shaft, neck) = (0.17 + 0.1 * part, 0.05 + 0.15 * part);
                let upper = [[-1.0, -shaft], [neck, -shaft], [neck, -0.72]];
                let lower = [[neck, 0.72], [neck, shaft], [-1.0, shaft]];
                Shape::polygon(place, &[upper.as_slice(), &[[1.0, 0.0]], &lower].concat())
            }
        }
    }
}

/// Lines of a glyph at a place; `weight` is half the width of a line in units of the place.
pub(crate) fn strokes(glyph: Glyph, place: &Place, weight: f32) -> Shape {
    let line = |points: &&[Point]| -> Vec<[Point; 2]> {
        points.windows(2).map(|pair| [place.at(pair[0]), place.at(pair[1])]).collect()
    };
    Shape::Strokes { lines: glyph.iter().flat_map(line).collect(), half_width: weight * place.radius }
}

const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Ten points around the unit circle, from the top.
const TENTHS: [Point; 10] = {
    let (a, b, c, d) = (0.587_785_25, 0.809_017, 0.951_056_5, 0.309_017);
    [[0.0, -1.0], [a, -b], [c, -d], [c, d], [a, b], [0.0, 1.0], [-a, b], [-c, d], [-c, -d], [-a, -b]]
};

const A: Glyph = &[&[[-0.6, 0.85], [0.0, -0.85], [0.6, 0.85]], &[[-0.38, 0.25], [0.38, 0.25]]];
const E: Glyph = &[&[[0.55, -0.85], [-0.5, -0.85], [-0.5, 0.85], [0.55, 0.85]], &[[-0.5, 0.0], [0.4, 0.0]]];
const H: Glyph =
    &[&[[-0.55, -0.85], [-0.55, 0.85]], &[[0.55, -0.85], [0.55, 0.85]], &[[-0.55, 0.0], [0.55, 0.0]]];
const K: Glyph =
    &[&[[-0.5, -0.85], [-0.5, 0.85]], &[[0.55, -0.85], [-0.5, 0.15]], &[[-0.15, -0.18], [0.6, 0.85]]];
const R: Glyph = &[
    &[
        [-0.5, 0.85],
        [-0.5, -0.85],
        [0.1, -0.85],
        [0.42, -0.72],
        [0.55, -0.43],
        [0.42, -0.13],
        [0.1, 0.0],
        [-0.5, 0.0],
    ],
    &[[0.05, 0.0], [0.58, 0.85]],
];
const TWO: Glyph = &[&[
    [-0.52, -0.45],
    [-0.42, -0.72],
    [-0.15, -0.85],
    [0.15, -0.85],
    [0.42, -0.72],
    [0.52, -0.45],
    [0.42, -0.15],
    [-0.55, 0.85],
    [0.58, 0.85],
]];
const FIVE: Glyph = &[&[
    [0.5, -0.85],
    [-0.42, -0.85],
    [-0.5, -0.08],
    [-0.2, -0.22],
    [0.12, -0.22],
    [0.42, -0.05],
    [0.54, 0.3],
    [0.42, 0.65],
    [0.12, 0.85],
    [-0.2, 0.85],
    [-0.5, 0.68],
]];
const SEVEN: Glyph = &[&[[-0.55, -0.85], [0.55, -0.85], [-0.15, 0.85]]];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_fit_for_folders() {
        assert!(CLASSES.is_sorted_by(|a, b| a < b));
        assert!(
            CLASSES
                .iter()
                .all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
        );
    }
}
