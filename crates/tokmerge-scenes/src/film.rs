//! From random numbers to a clip: a scene that stays, an object that moves in it, and light.

use crate::canvas::{Canvas, Light};
use crate::class::{CLASSES, Figure, figure, strokes};
use crate::compose::{ANY_GROUND, Painter, blob, moved, random_light};
use crate::fill::{Colour, Fill, GROUND, OBJECT, SMALL_THINGS, contrasting, random_colour};
use crate::geometry::{Place, Point, Turn, length, minus};
use crate::motion::Motion;
use crate::random::Random;
use crate::shape::Shape;

/// A clip of which any frame can be drawn.
pub(crate) struct Film {
    /// All that stays, behind the object.
    behind: Painter,
    object: Object,
    motion: Motion,
    /// Lines in front of the object.
    front: Vec<(Shape, Fill)>,
    light: Light,
    noise: u64,
}

/// What an object looks like, wherever it is.
struct Object {
    /// Index into [`CLASSES`].
    kind: usize,
    /// Two light colours, or a light and a dark one where the object is a texture.
    colours: [Colour; 2],
    /// The direction from one colour to the other, and how quickly it is gone, in the object's own units.
    across: Point,
    turn: Turn,
    stretch: f32,
    slant: f32,
    /// How far away and how strong the shadow is, if there is one; the length is a part of the side.
    shadow: Option<(Point, f32)>,
    /// The numbers that its outline is drawn from.
    shape: Random,
}

impl Film {
    /// The clip in which an object moves in the way of class `class`.
    pub(crate) fn new(random: &mut Random, class: usize, side: usize) -> Self {
        let mut behind = Painter::new(random, side);
        let ground = behind.background(random, &ANY_GROUND);
        let motion = Motion::random(random, class);
        let object = Object::random(random, ground);
        if random.chance(40) {
            for _ in 0..=random.below(4) {
                behind.distractor(random, object.kind, 0.3);
            }
        }
        // Objects come and go beside others: a frame that shows one object, or two, is one of any class.
        if random.chance(50) || motion.comes_or_goes() {
            let other = Object::random(random, ground);
            let stays = beside(random, &motion);
            let side = behind.side;
            other.paint(&mut behind.canvas, &stays, 0.0, side, behind.soft);
        }
        let mut front = Vec::new();
        if random.chance(15) {
            for _ in 0..=random.below(2) {
                let lines = vec![[behind.anywhere(random), behind.anywhere(random)]];
                let half_width = random.between(0.008, 0.02) * behind.side;
                let colour = random_colour(random, SMALL_THINGS);
                front.push((Shape::Strokes { lines, half_width }, Fill::Plain(colour)));
            }
        }
        let light = random_light(random);
        Self { behind, object, motion, front, light, noise: random.bits() }
    }

    /// Draws frame `frame` of `frames`, which are spread evenly over the time, into `[side, side, 3]` bytes.
    pub(crate) fn frame(&self, frame: usize, frames: usize, out: &mut [u8]) {
        let Painter { canvas, side, soft } = &self.behind;
        let mut canvas = Canvas { side: canvas.side, pixels: canvas.pixels.clone() };
        let time = frame as f32 / (frames - 1) as f32;
        self.object.paint(&mut canvas, &self.motion, time, *side, *soft);
        for (shape, fill) in &self.front {
            canvas.paint(shape, fill, *soft, 1.0);
        }
        canvas.expose(&self.light, &mut Random::for_image(self.noise, frame as u64), out);
    }
}

/// A place and a size for an object that stays, as far from the way of another as some tries give.
fn beside(random: &mut Random, motion: &Motion) -> Motion {
    let apart = |still: &Motion| {
        let there = still.at(0.0);
        let gap = |step: u8| {
            let passing = motion.at(f32::from(step) / 8.0);
            length(minus(passing.centre, there.centre)) - passing.radius - there.radius
        };
        (0..=8).map(gap).fold(f32::MAX, f32::min)
    };
    let mut best = Motion::still(random);
    for _ in 0..12 {
        let other = Motion::still(random);
        if apart(&other) > apart(&best) {
            best = other;
        }
    }
    best
}

impl Object {
    fn random(random: &mut Random, ground: [Colour; 2]) -> Self {
        let kind = random.below(CLASSES.len());
        let contrast = random.between(70.0, 140.0);
        let light = contrasting(random, OBJECT, &ground, contrast);
        let colours = match figure(kind) {
            Figure::Texture(_) => [light, contrasting(random, GROUND, &[light], contrast)],
            // Two colours, so that discs and rings can be seen to turn.
            _ => [light, contrasting(random, OBJECT, &[light, ground[0], ground[1]], 90.0)],
        };
        let across = random.turn().apply([random.between(0.7, 2.0), 0.0]);
        let shadow = random
            .chance(30)
            .then(|| (random.turn().apply([random.between(0.02, 0.04), 0.0]), random.between(0.2, 0.5)));
        let (turn, stretch) = (random.turn(), random.between(0.85, 1.15));
        let slant = random.between(-0.15, 0.15);
        Self {
            kind,
            colours,
            across,
            turn,
            stretch,
            slant,
            shadow,
            shape: Random::for_image(random.bits(), 0),
        }
    }

    /// Paints the object as it is at a time of its motion, `side` pixels being the picture's side.
    fn paint(&self, canvas: &mut Canvas, motion: &Motion, time: f32, side: f32, soft: f32) {
        let state = motion.at(time);
        if state.opacity <= 0.0 {
            return;
        }
        let place = Place {
            centre: state.centre.map(|v| (0.5 + v) * side),
            radius: state.radius * side,
            turn: state.turn.and(self.turn),
            stretch: self.stretch,
            slant: self.slant,
        };
        let (shape, fill) = self.at(place);
        if let Some((lift, strength)) = self.shadow {
            let shadow = moved(&shape, lift.map(|v| v * side));
            canvas.paint(&shadow, &Fill::Plain([0.0; 3]), soft + 0.03 * side, strength * state.opacity);
        }
        canvas.paint(&shape, &fill, soft, state.opacity);
    }

    /// Outline and colours at a place; the same object at all of them.
    fn at(&self, place: Place) -> (Shape, Fill) {
        let mut random = self.shape.clone();
        let colours = self.colours;
        let gradient = || {
            let across = place.turn.apply(self.across.map(|v| v / place.radius));
            Fill::Gradient { colours, middle: place.centre, across }
        };
        match figure(self.kind) {
            Figure::Outline(outline) => (outline.shape(&place, &mut random), gradient()),
            Figure::Glyph(glyph) => (strokes(glyph, &place, random.between(0.14, 0.22)), gradient()),
            Figure::Texture(pattern) => {
                let period = random.between(0.45, 0.75) * place.radius * pattern.coarseness();
                (blob(&mut random, &place), Fill::Texture { pattern, colours, place, period })
            }
        }
    }
}
