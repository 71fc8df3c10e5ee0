//! Outlines as distance functions.
//!
//! A distance is negative inside, in pixels, and never changes faster than the point moves. So the value at the
//! middle of a tile of pixels says whether the outline can pass through the tile at all.

use crate::geometry::{Place, Point, dot, length, minus};

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Disc {
        centre: Point,
        radius: f32,
    },
    Ring {
        centre: Point,
        radius: f32,
        half_width: f32,
    },
    /// Corners in order.
    Polygon(Vec<Point>),
    /// Lines with round ends.
    Strokes {
        lines: Vec<[Point; 2]>,
        half_width: f32,
    },
    Union(Vec<Shape>),
    /// The first without the second.
    Difference(Box<[Shape; 2]>),
    /// Discs that flow into each other over a distance of `blend`.
    Blob {
        discs: Vec<(Point, f32)>,
        blend: f32,
    },
}

/// Upper left and lower right corner.
pub(crate) type Bounds = [Point; 2];

impl Shape {
    pub(crate) fn polygon(place: &Place, corners: &[Point]) -> Self {
        Self::Polygon(corners.iter().map(|&corner| place.at(corner)).collect())
    }

    pub(crate) fn disc(place: &Place, centre: Point, radius: f32) -> Self {
        Self::Disc { centre: place.at(centre), radius: radius * place.radius }
    }

    /// How far `p` is from the outline, or less where that is costly; negative inside.
    pub(crate) fn distance(&self, p: Point) -> f32 {
        match self {
            Self::Disc { centre, radius } => length(minus(p, *centre)) - radius,
            Self::Ring { centre, radius, half_width } => {
                (length(minus(p, *centre)) - radius).abs() - half_width
            }
            Self::Polygon(corners) => polygon(corners, p),
            Self::Strokes { lines, half_width } => {
                let nearest = lines.iter().map(|&line| square_to_line(line, p)).fold(f32::MAX, f32::min);
                nearest.sqrt() - half_width
            }
            Self::Union(shapes) => shapes.iter().map(|shape| shape.distance(p)).fold(f32::MAX, f32::min),
            Self::Difference(shapes) => shapes[0].distance(p).max(-shapes[1].distance(p)),
            Self::Blob { discs, blend } => {
                let distances = discs.iter().map(|&(centre, radius)| length(minus(p, centre)) - radius);
                distances.fold(f32::MAX, |a, b| flowing_minimum(a, b, *blend))
            }
        }
    }

    /// A box that holds the shape.
    pub(crate) fn bounds(&self) -> Bounds {
        let disc = |[x, y]: Point, r: f32| [[x - r, y - r], [x + r, y + r]];
        match self {
            Self::Disc { centre, radius } => disc(*centre, *radius),
            Self::Ring { centre, radius, half_width } => disc(*centre, radius + half_width),
            Self::Polygon(corners) => around(corners.iter().map(|&corner| disc(corner, 0.0))),
            Self::Strokes { lines, half_width } => {
                around(lines.as_flattened().iter().map(|&end| disc(end, *half_width)))
            }
            Self::Union(shapes) => around(shapes.iter().map(Self::bounds)),
            Self::Difference(shapes) => shapes[0].bounds(),
            // Where all discs flow together at once, the outline lies up to a quarter of `blend` for each further out.
            Self::Blob { discs, blend } => {
                let grown = blend * 0.25 * discs.len() as f32;
                around(discs.iter().map(|&(centre, radius)| disc(centre, radius + grown)))
            }
        }
    }
}

fn around(boxes: impl Iterator<Item = Bounds>) -> Bounds {
    let nothing = [[f32::MAX; 2], [f32::MIN; 2]];
    boxes.fold(nothing, |[low, high], [a, b]| {
        [[low[0].min(a[0]), low[1].min(a[1])], [high[0].max(b[0]), high[1].max(b[1])]]
    })
}

/// The square of the distance from `p` to a line of two ends.
fn square_to_line([from, to]: [Point; 2], p: Point) -> f32 {
    let (line, way) = (minus(to, from), minus(p, from));
    // A line of no length is a point, and anything divided by more than nothing will do.
    let along = (dot(way, line) / dot(line, line).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
    let off = [way[0] - along * line[0], way[1] - along * line[1]];
    dot(off, off)
}

fn polygon(corners: &[Point], p: Point) -> f32 {
    let (mut nearest, mut sign) = (f32::MAX, 1.0);
    let mut from = corners[corners.len() - 1];
    for &to in corners {
        nearest = nearest.min(square_to_line([from, to], p));
        // A ray to the right changes sides with every edge that it crosses.
        if (from[1] > p[1]) != (to[1] > p[1]) {
            let at = from[0] + (p[1] - from[1]) * (to[0] - from[0]) / (to[1] - from[1]);
            if p[0] < at {
                sign = -sign;
            }
        }
        from = to;
    }
    sign * nearest.sqrt()
}

/// The smaller of two, rounded off where they are closer than `blend`.
fn flowing_minimum(a: f32, b: f32, blend: f32) -> f32 {
    let near = (blend - (a - b).abs()).max(0.0);
    a.min(b) - near * near / (4.0 * blend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Turn;

    fn place() -> Place {
        let turn = Turn::by_half_tangent(0.0);
        Place { centre: [10.0, 20.0], radius: 4.0, turn, stretch: 1.0, slant: 0.0 }
    }

    #[test]
    fn distances_of_simple_shapes() {
        let square = Shape::polygon(&place(), &[[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]);
        assert_eq!(square.distance([10.0, 20.0]), -4.0);
        assert_eq!(square.distance([17.0, 20.0]), 3.0);
        assert_eq!(square.distance([17.0, 28.0]), 5.0);
        assert_eq!(square.bounds(), [[6.0, 16.0], [14.0, 24.0]]);
        let disc = Shape::disc(&place(), [0.0, 0.0], 0.5);
        assert_eq!(disc.distance([13.0, 24.0]), 3.0);
        let hollow = Shape::Difference(Box::new([square, disc]));
        assert_eq!((hollow.distance([10.0, 20.0]), hollow.distance([10.0, 23.0])), (2.0, -1.0));
        let strokes = Shape::Strokes { lines: vec![[[0.0, 0.0], [8.0, 0.0]]], half_width: 1.0 };
        assert_eq!((strokes.distance([4.0, 3.0]), strokes.distance([12.0, 3.0])), (2.0, 4.0));
        let dot = Shape::Strokes { lines: vec![[[1.0, 1.0], [1.0, 1.0]]], half_width: 1.0 };
        assert_eq!(dot.distance([4.0, 5.0]), 4.0);
    }

    #[test]
    fn a_blob_joins_its_discs_and_stays_within_its_bounds() {
        let discs = vec![([0.0, 0.0], 4.0), ([9.0, 0.0], 4.0), ([4.0, 7.0], 4.0)];
        let blob = Shape::Blob { discs, blend: 6.0 };
        assert!(blob.distance([4.5, 0.0]) < 0.0, "between two discs");
        let [low, high] = blob.bounds();
        for step in 0..400 {
            let along = step as f32 / 400.0;
            let (x, y) = (low[0] + along * (high[0] - low[0]), low[1] + along * (high[1] - low[1]));
            for edge in [[x, low[1]], [x, high[1]], [low[0], y], [high[0], y]] {
                assert!(blob.distance(edge) >= 0.0, "{edge:?}");
            }
        }
    }
}
