//! From random numbers to a scene: background, small things lying about, the object, light.

use crate::canvas::{Canvas, Light};
use crate::class::{CLASSES, Figure, figure, strokes};
use crate::fill::{Colour, Fill, GROUND, OBJECT, SMALL_THINGS, contrasting, mix, random_colour};
use crate::geometry::{Place, Point, Turn};
use crate::random::Random;
use crate::shape::Shape;

/// Draws the scene of an object of class `class` into `out`, `[side, side, 3]` bytes.
pub(crate) fn compose(random: &mut Random, class: usize, side: usize, out: &mut [u8]) {
    let mut painter = Painter::new(random, side);
    let ground = painter.background(random, &ANY_GROUND);
    let size = match figure(class) {
        Figure::Texture(_) => random.between(0.4, 0.8),
        _ => random.between(0.35, 0.75),
    };
    if random.chance(50) {
        for _ in 0..=random.below(7) {
            painter.distractor(random, class, size);
        }
    }
    painter.object(random, class, size, ground);
    if random.chance(15) {
        for _ in 0..=random.below(2) {
            painter.line(random, [0.008, 0.02], |random| random_colour(random, SMALL_THINGS));
        }
    }
    let light = random_light(random);
    painter.canvas.expose(&light, random, out);
}

/// Light from anywhere, and mostly little noise.
pub(crate) fn random_light(random: &mut Random) -> Light {
    let growth = [random.between(-0.2, 0.2), random.between(-0.2, 0.2)];
    // The square favours little noise.
    let noise = random.between(0.0, 1.0);
    Light { middle: random.between(0.85, 1.1), growth, noise: 12.0 * noise * noise }
}

/// How often a background is plain, fades along a line or from a point, has clouds, patches, or lines.
pub(crate) type Grounds = [usize; 6];

/// Anything from a plain wall to clutter.
pub(crate) const ANY_GROUND: Grounds = [18, 14, 10, 24, 18, 16];
/// Nothing that could be taken for an object.
pub(crate) const CALM_GROUND: Grounds = [18, 14, 10, 24, 0, 0];

/// A canvas, its side in pixels, and over how many pixels edges fade.
pub(crate) struct Painter {
    pub(crate) canvas: Canvas,
    pub(crate) side: f32,
    pub(crate) soft: f32,
}

impl Painter {
    /// An empty picture, out of focus by up to 1.5 pixels of the default side.
    pub(crate) fn new(random: &mut Random, side: usize) -> Self {
        let soft = (random.between(0.9, 2.4) * side as f32 / 96.0).max(1.0);
        Self { canvas: Canvas::new(side), side: side as f32, soft }
    }

    /// Paints a background and returns the two colours that it lies between.
    pub(crate) fn background(&mut self, random: &mut Random, grounds: &Grounds) -> [Colour; 2] {
        let a = random_colour(random, GROUND);
        let other = random_colour(random, GROUND);
        let b = mix(a, other, random.between(0.15, 0.7));
        match random.weighted(grounds) {
            0 => self.canvas.set(|_| a),
            1 => {
                let direction = random.turn().apply([0.8 / self.side, 0.0]);
                let fill =
                    Fill::Gradient { colours: [a, b], middle: [self.side * 0.5; 2], across: direction };
                self.canvas.set(|p| fill.at(p, 1.0));
            }
            2 => {
                let centre = self.anywhere(random);
                let scale = 1.0 / (self.side * self.side * random.between(0.3, 1.0));
                self.canvas.set(|[x, y]| {
                    let (dx, dy) = (x - centre[0], y - centre[1]);
                    mix(a, b, ((dx * dx + dy * dy) * scale).min(1.0))
                });
            }
            3 => self.clouds(random, [a, b]),
            4 => {
                self.canvas.set(|_| a);
                for _ in 0..8 + random.below(16) {
                    let colour = mix(a, b, random.between(0.0, 1.0));
                    let place = self.place(random, 0.5, [0.1, 0.35]);
                    let shape = match random.below(3) {
                        0 => Shape::disc(&place, [0.0, 0.0], 1.0),
                        1 => Shape::polygon(&place, &[[-1.0, -0.6], [1.0, -0.6], [1.0, 0.6], [-1.0, 0.6]]),
                        _ => blob(random, &place),
                    };
                    self.canvas.paint(&shape, &Fill::Plain(colour), self.soft, 1.0);
                }
            }
            _ => {
                self.canvas.set(|_| a);
                for _ in 0..6 + random.below(14) {
                    self.line(random, [0.01, 0.06], |random| mix(a, b, random.between(0.2, 1.0)));
                }
            }
        }
        [a, b]
    }

    /// Smooth noise between two colours, of one to three sizes at once.
    fn clouds(&mut self, random: &mut Random, colours: [Colour; 2]) {
        let finest = 3 + random.below(4);
        let octaves = 1 + random.below(3).min(finest - 1);
        let gain = random.between(0.9, 1.8);
        let mut amounts = vec![0.5_f32; self.canvas.pixels.len()];
        for octave in 0..octaves {
            // 4 to 64 cells along the picture, each octave half as fine as the one before.
            let cells = 1 << (finest - octave);
            let weight = gain / octaves as f32;
            add_noise(random, &mut amounts, self.canvas.side, cells, weight);
        }
        for (pixel, amount) in self.canvas.pixels.iter_mut().zip(amounts) {
            *pixel = mix(colours[0], colours[1], amount.clamp(0.0, 1.0));
        }
    }

    /// A line from anywhere to anywhere, its half width between two parts of the side.
    fn line(&mut self, random: &mut Random, widths: [f32; 2], colour: impl Fn(&mut Random) -> Colour) {
        let lines = vec![[self.anywhere(random), self.anywhere(random)]];
        let half_width = random.between(widths[0], widths[1]) * self.side;
        let fill = Fill::Plain(colour(random));
        self.canvas.paint(&Shape::Strokes { lines, half_width }, &fill, self.soft, 1.0);
    }

    /// A small thing of another class than `class`, far smaller than an object of `size` parts of the side.
    pub(crate) fn distractor(&mut self, random: &mut Random, class: usize, size: f32) {
        let other = (class + 1 + random.below(CLASSES.len() - 1)) % CLASSES.len();
        let largest = 0.45 * size;
        let place = self.place(random, 0.5, [0.03, 0.03 + 0.5 * (largest.min(0.17) - 0.06)]);
        let colour = random_colour(random, SMALL_THINGS);
        match figure(other) {
            Figure::Outline(outline) => {
                let shape = outline.shape(&place, random);
                self.canvas.paint(&shape, &Fill::Plain(colour), self.soft, 1.0);
            }
            Figure::Glyph(glyph) => {
                self.canvas.paint(&strokes(glyph, &place, 0.15), &Fill::Plain(colour), self.soft, 1.0);
            }
            Figure::Texture(pattern) => {
                let colours = [colour, random_colour(random, GROUND)];
                let fill = Fill::Texture { pattern, colours, place, period: place.radius * 0.8 };
                self.canvas.paint(&blob(random, &place), &fill, self.soft, 1.0);
            }
        }
    }

    /// The object that names the scene, in front of a ground of two colours.
    fn object(&mut self, random: &mut Random, class: usize, size: f32, ground: [Colour; 2]) {
        let radius = 0.5 * size;
        let mut place = self.place(random, 0.5 - 0.9 * radius, [radius, radius]);
        let contrast = random.between(70.0, 140.0);
        let colour = contrasting(random, OBJECT, &ground, contrast);
        let (shape, fill) = match figure(class) {
            Figure::Outline(outline) => {
                place.stretch = random.between(0.88, 1.12);
                place.slant = random.between(-0.1, 0.1);
                (outline.shape(&place, random), shaded(random, colour, &place))
            }
            Figure::Glyph(glyph) => {
                place.turn = Turn::by_half_tangent(random.between(-0.16, 0.16));
                place.stretch = random.between(0.8, 1.2);
                place.slant = random.between(-0.2, 0.2);
                let shape = strokes(glyph, &place, random.between(0.1, 0.19));
                (shape, shaded(random, colour, &place))
            }
            Figure::Texture(pattern) => {
                let colours = [colour, contrasting(random, GROUND, &[colour], contrast)];
                // At least some 5.5 pixels of the default side, else a pattern is a blur.
                let period = (random.between(0.15, 0.3) * size).max(0.06) * self.side * pattern.coarseness();
                (blob(random, &place), Fill::Texture { pattern, colours, place, period })
            }
        };
        if random.chance(30) {
            let lift = random.turn().apply([random.between(0.02, 0.06) * self.side, 0.0]);
            let blur = self.soft + random.between(0.02, 0.06) * self.side;
            let shadow = moved(&shape, lift);
            self.canvas.paint(&shadow, &Fill::Plain([0.0; 3]), blur, random.between(0.2, 0.5));
        }
        self.canvas.paint(&shape, &fill, self.soft, 1.0);
    }

    pub(crate) fn anywhere(&self, random: &mut Random) -> Point {
        [random.between(0.0, self.side), random.between(0.0, self.side)]
    }

    /// A place up to `spread` from the middle and a radius between two bounds, all in parts of the side.
    fn place(&self, random: &mut Random, spread: f32, radii: [f32; 2]) -> Place {
        let mut along = || self.side * random.between(0.5 - spread, 0.5 + spread);
        let centre = [along(), along()];
        let radius = self.side * random.between(radii[0], radii[1]);
        Place { centre, radius, turn: random.turn(), stretch: 1.0, slant: 0.0 }
    }
}

/// A plain colour, or one that changes a little across the object.
pub(crate) fn shaded(random: &mut Random, colour: Colour, place: &Place) -> Fill {
    if random.chance(50) {
        return Fill::Plain(colour);
    }
    let end = if random.chance(50) { [255.0; 3] } else { [0.0; 3] };
    let colours = [colour, mix(colour, end, random.between(0.1, 0.35))];
    let across = random.turn().apply([0.5 / place.radius, 0.0]);
    Fill::Gradient { colours, middle: place.centre, across }
}

/// Three to five discs that flow into one, roughly within the unit circle of a place.
pub(crate) fn blob(random: &mut Random, place: &Place) -> Shape {
    let disc = |random: &mut Random| {
        let centre = [random.between(-0.45, 0.45), random.between(-0.45, 0.45)];
        (place.at(centre), random.between(0.5, 0.7) * place.radius)
    };
    let discs = (0..3 + random.below(3)).map(|_| disc(random)).collect();
    Shape::Blob { discs, blend: 0.3 * place.radius }
}

pub(crate) fn moved(shape: &Shape, by: Point) -> Shape {
    let step = |p: &Point| [p[0] + by[0], p[1] + by[1]];
    match shape {
        Shape::Disc { centre, radius } => Shape::Disc { centre: step(centre), radius: *radius },
        Shape::Ring { centre, radius, half_width } => {
            Shape::Ring { centre: step(centre), radius: *radius, half_width: *half_width }
        }
        Shape::Polygon(corners) => Shape::Polygon(corners.iter().map(step).collect()),
        Shape::Strokes { lines, half_width } => {
            let lines = lines.iter().map(|[from, to]| [step(from), step(to)]).collect();
            Shape::Strokes { lines, half_width: *half_width }
        }
        Shape::Union(shapes) => Shape::Union(shapes.iter().map(|shape| moved(shape, by)).collect()),
        Shape::Difference(shapes) => {
            Shape::Difference(Box::new([moved(&shapes[0], by), moved(&shapes[1], by)]))
        }
        Shape::Blob { discs, blend } => {
            let discs = discs.iter().map(|(centre, radius)| (step(centre), *radius)).collect();
            Shape::Blob { discs, blend: *blend }
        }
    }
}

/// Adds noise from `-weight / 2` to `weight / 2` with `cells` knots along each side, smooth between them.
fn add_noise(random: &mut Random, amounts: &mut [f32], side: usize, cells: usize, weight: f32) {
    let knots: Vec<f32> =
        (0..(cells + 1) * (cells + 1)).map(|_| random.between(-0.5 * weight, 0.5 * weight)).collect();
    let scale = cells as f32 / side as f32;
    // The cell of each pixel along a side, and how far through it the pixel is, eased.
    let ways: Vec<(usize, f32)> = (0..side)
        .map(|x| {
            let at = (x as f32 + 0.5) * scale;
            let cell = (at as usize).min(cells - 1);
            let part = at - cell as f32;
            (cell, part * part * (3.0 - 2.0 * part))
        })
        .collect();
    let mut row_knots = vec![0.0; cells + 1];
    for (row, &(cell, part)) in amounts.chunks_exact_mut(side).zip(&ways) {
        let (upper, lower) = knots[cell * (cells + 1)..][..2 * (cells + 1)].split_at(cells + 1);
        for (knot, (a, b)) in row_knots.iter_mut().zip(upper.iter().zip(lower)) {
            *knot = a + (b - a) * part;
        }
        for (amount, &(cell, part)) in row.iter_mut().zip(&ways) {
            *amount += row_knots[cell] + (row_knots[cell + 1] - row_knots[cell]) * part;
        }
    }
}
