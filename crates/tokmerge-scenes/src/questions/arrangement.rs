//! Several things side by side: what questions are asked about.

use crate::class::Outline;
use crate::compose::{CALM_GROUND, Painter, random_light, shaded};
use crate::fill::Colour;
use crate::geometry::{Place, Point, Turn, length, minus};
use crate::random::Random;

/// The shapes, in alphabetical order.
pub(super) const SHAPES: [(&str, Outline); 6] = [
    ("circle", Outline::Circle),
    ("cross", Outline::Cross),
    ("heart", Outline::Heart),
    ("square", Outline::Square),
    ("star", Outline::Star),
    ("triangle", Outline::Triangle),
];

/// The colours, in alphabetical order: as far apart as six can be in front of something dark.
pub(super) const COLOURS: [(&str, Colour); 6] = [
    ("blue", [45.0, 95.0, 245.0]),
    ("green", [40.0, 175.0, 55.0]),
    ("purple", [165.0, 55.0, 205.0]),
    ("red", [225.0, 35.0, 35.0]),
    ("white", [240.0, 240.0, 240.0]),
    ("yellow", [245.0, 215.0, 40.0]),
];

/// Numbers of things in a picture.
pub(super) const THINGS: std::ops::RangeInclusive<usize> = 2..=6;

/// Bounds of the radius of small, middling and large things, in parts of the side.
const RADII: [[f32; 2]; 3] = [[0.072, 0.08], [0.102, 0.112], [0.144, 0.158]];

/// What stays free between two things, and between a thing and the edge.
const GAP: f32 = 0.02;

/// One thing; lengths are parts of the side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Thing {
    /// Index into [`SHAPES`].
    pub(super) shape: usize,
    /// Index into [`COLOURS`].
    pub(super) colour: usize,
    pub(super) centre: Point,
    pub(super) radius: f32,
}

/// Things that do not touch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arrangement(pub(super) Vec<Thing>);

impl Arrangement {
    /// Any of them. No shape, colour, size or place is likelier than another, and things are often alike.
    pub(super) fn random(random: &mut Random) -> Self {
        loop {
            let count = THINGS.start() + random.below(THINGS.end() - THINGS.start() + 1);
            let mut things: Vec<Thing> = Vec::with_capacity(count);
            while things.len() < count {
                let Some(thing) = Thing::beside(random, &things) else { break };
                things.push(thing);
            }
            if things.len() == count {
                return Self(things);
            }
        }
    }

    /// Draws the things into `out`, `[side, side, 3]` bytes, in front of a calm background.
    pub(super) fn paint(&self, random: &mut Random, side: usize, out: &mut [u8]) {
        let mut painter = Painter::new(random, side);
        painter.background(random, &CALM_GROUND);
        for thing in &self.0 {
            // So little that a square does not become a diamond.
            let turn = Turn::by_half_tangent(random.between(-0.15, 0.15));
            let centre = thing.centre.map(|v| v * painter.side);
            let place = Place { centre, radius: thing.radius * painter.side, turn, stretch: 1.0, slant: 0.0 };
            let fill = shaded(random, COLOURS[thing.colour].1, &place);
            let shape = SHAPES[thing.shape].1.shape(&place, random);
            painter.canvas.paint(&shape, &fill, painter.soft, 1.0);
        }
        let light = random_light(random);
        painter.canvas.expose(&light, random, out);
    }
}

impl Thing {
    /// A thing where there is room for it, if some tries find any.
    fn beside(random: &mut Random, others: &[Self]) -> Option<Self> {
        // Every third is like another, so that there is something to count.
        let like = |random: &mut Random| {
            (!others.is_empty() && random.chance(35)).then(|| others[random.below(others.len())])
        };
        let shape = like(random).map_or_else(|| random.below(SHAPES.len()), |other| other.shape);
        let colour = like(random).map_or_else(|| random.below(COLOURS.len()), |other| other.colour);
        let [low, high] = RADII[random.below(RADII.len())];
        let radius = random.between(low, high);
        let edge = radius + GAP;
        let mut centre = || [random.between(edge, 1.0 - edge), random.between(edge, 1.0 - edge)];
        let free = |at: &Point| {
            others.iter().all(|other| length(minus(*at, other.centre)) >= radius + other.radius + GAP)
        };
        let centre = (0..12).map(|_| centre()).find(free)?;
        Some(Self { shape, colour, centre, radius })
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrangement, COLOURS, SHAPES};
    use crate::random::Random;

    #[test]
    fn a_thing_shows_the_colour_of_its_name() {
        let side = 96;
        let mut pixels = vec![0; side * side * 3];
        let mut wrong = 0;
        for index in 0..300 {
            let mut random = Random::for_question(1, index);
            let arrangement = Arrangement::random(&mut random);
            arrangement.paint(&mut random, side, &mut pixels);
            for thing in &arrangement.0 {
                let [x, y] = thing.centre.map(|v| (v * side as f32) as usize);
                let seen: Vec<f32> =
                    pixels[(y * side + x) * 3..][..3].iter().map(|&v| f32::from(v)).collect();
                // Light changes all channels alike: what counts is their share.
                let share = |pixel: &[f32], channel: usize| pixel[channel] / pixel.iter().sum::<f32>();
                let apart = |colour: usize| {
                    (0..3).map(|c| (share(&seen, c) - share(&COLOURS[colour].1, c)).powi(2)).sum::<f32>()
                };
                let nearest = (0..COLOURS.len()).min_by(|&a, &b| apart(a).total_cmp(&apart(b)));
                wrong += usize::from(nearest != Some(thing.colour));
            }
        }
        assert!(wrong < 5, "{wrong}");
    }

    #[test]
    fn shapes_colours_and_numbers_are_equally_likely() {
        let (mut shapes, mut colours, mut numbers) = ([0_usize; 6], [0_usize; 6], [0_usize; 7]);
        for index in 0..6000 {
            let things = Arrangement::random(&mut Random::for_question(2, index)).0;
            shapes[things[0].shape] += 1;
            colours[things[things.len() - 1].colour] += 1;
            numbers[things.len()] += 1;
        }
        assert!(
            shapes.iter().chain(&colours).all(|count| (860..1140).contains(count)),
            "{shapes:?} {colours:?}"
        );
        // Crowded pictures are given up more often.
        assert!(numbers[2..].iter().all(|count| (700..1500).contains(count)), "{numbers:?}");
    }

    #[test]
    fn names_are_sorted() {
        assert!(SHAPES.is_sorted_by_key(|(name, _)| name) && COLOURS.is_sorted_by_key(|(name, _)| name));
    }
}
