//! What can be asked, in words, and what the answer is.

use super::arrangement::{Arrangement, COLOURS, SHAPES, Thing};

/// How far two centres must lie apart, in parts of the side, for one to be left of or above the other beyond doubt.
const BESIDE: f32 = 0.1;
/// How many times larger the largest thing must be than the next, and the smallest smaller.
const LARGER: f32 = 1.25;
/// How far from the middle lines a thing must be for its quarter to be beyond doubt.
const OFF_MIDDLE: f32 = 0.06;
/// The most things of a shape or colour that are counted.
pub(super) const MOST: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Left,
    Right,
    Above,
    Below,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extreme {
    Largest,
    Smallest,
}

/// A question. Shapes and colours are indices into [`SHAPES`] and [`COLOURS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    ColourOf(usize),
    ShapeOf(usize),
    ColourBeside(Direction, usize),
    ShapeBeside(Direction, usize),
    ColourBySize(Extreme),
    ShapeBySize(Extreme),
    Quarter(usize),
    Count,
    CountShapes(usize),
    CountColours(usize),
    Exists { colour: usize, shape: usize },
    More(usize, usize),
    Beside(Direction, usize, usize),
    SameColour(usize, usize),
}

pub(super) const NUMBERS: [&str; 7] = ["0", "1", "2", "3", "4", "5", "6"];
/// Upper left, upper right, lower left, lower right.
pub(super) const QUARTERS: [&str; 4] = ["upper left", "upper right", "lower left", "lower right"];
pub(super) const YES_NO: [&str; 2] = ["no", "yes"];

impl Direction {
    fn words(self) -> &'static str {
        match self {
            Self::Left => "left of",
            Self::Right => "right of",
            Self::Above => "above",
            Self::Below => "below",
        }
    }

    /// How far `thing` lies in this direction from `other`, in parts of the side.
    fn distance(self, thing: &Thing, other: &Thing) -> f32 {
        let [x, y] = [0, 1].map(|axis| thing.centre[axis] - other.centre[axis]);
        match self {
            Self::Left => -x,
            Self::Right => x,
            Self::Above => -y,
            Self::Below => y,
        }
    }

    /// Whether it lies there; `None` when that is a matter of opinion.
    fn lies(self, thing: &Thing, other: &Thing) -> Option<bool> {
        let distance = self.distance(thing, other);
        (distance.abs() >= BESIDE).then_some(distance > 0.0)
    }
}

impl Ask {
    /// The question in words.
    pub(super) fn text(self) -> String {
        let (shape, colour) = (|index: usize| SHAPES[index].0, |index: usize| COLOURS[index].0);
        let plural = |index: usize| {
            format!("{}{}", shape(index), if shape(index).ends_with('s') { "es" } else { "s" })
        };
        let size = |extreme| match extreme {
            Extreme::Largest => "largest",
            Extreme::Smallest => "smallest",
        };
        match self {
            Self::ColourOf(a) => format!("What colour is the {}?", shape(a)),
            Self::ShapeOf(a) => format!("What shape is the {} one?", colour(a)),
            Self::ColourBeside(direction, a) => {
                format!("What colour is the shape {} the {}?", direction.words(), shape(a))
            }
            Self::ShapeBeside(direction, a) => {
                format!("What shape is {} the {} one?", direction.words(), colour(a))
            }
            Self::ColourBySize(extreme) => format!("What colour is the {} shape?", size(extreme)),
            Self::ShapeBySize(extreme) => format!("What shape is the {} one?", size(extreme)),
            Self::Quarter(a) => format!("In which quarter is the {}?", shape(a)),
            Self::Count => "How many shapes are there?".to_owned(),
            Self::CountShapes(a) => format!("How many {} are there?", plural(a)),
            Self::CountColours(a) => format!("How many {} shapes are there?", colour(a)),
            Self::Exists { colour: a, shape: b } => format!("Is there a {} {}?", colour(a), shape(b)),
            Self::More(a, b) => format!("Are there more {} than {}?", plural(a), plural(b)),
            Self::Beside(direction, a, b) => {
                format!("Is the {} {} the {}?", shape(a), direction.words(), shape(b))
            }
            Self::SameColour(a, b) => {
                format!("Do the {} and the {} have the same colour?", shape(a), shape(b))
            }
        }
    }

    /// The answer about an arrangement; `None` where the question has none beyond doubt.
    pub(super) fn answer(self, about: &Arrangement) -> Option<&'static str> {
        let things = about.0.as_slice();
        let the_shape = |shape: usize| only(things, |thing| thing.shape == shape);
        let the_colour = |colour: usize| only(things, |thing| thing.colour == colour);
        let shapes = |shape: usize| things.iter().filter(|thing| thing.shape == shape).count();
        let colours = |colour: usize| things.iter().filter(|thing| thing.colour == colour).count();
        let colour_of = |thing: &Thing| COLOURS[thing.colour].0;
        let shape_of = |thing: &Thing| SHAPES[thing.shape].0;
        let yes = |yes: bool| YES_NO[usize::from(yes)];
        match self {
            Self::ColourOf(a) => the_shape(a).map(colour_of),
            Self::ShapeOf(a) => the_colour(a).map(shape_of),
            Self::ColourBeside(direction, a) => beside(things, direction, the_shape(a)?).map(colour_of),
            Self::ShapeBeside(direction, a) => beside(things, direction, the_colour(a)?).map(shape_of),
            Self::ColourBySize(extreme) => extreme.of(things).map(colour_of),
            Self::ShapeBySize(extreme) => extreme.of(things).map(shape_of),
            Self::Quarter(a) => {
                let [x, y] = the_shape(a)?.centre.map(|v| v - 0.5);
                let clear = x.abs().min(y.abs()) >= OFF_MIDDLE;
                clear.then_some(QUARTERS[2 * usize::from(y > 0.0) + usize::from(x > 0.0)])
            }
            Self::Count => Some(NUMBERS[things.len()]),
            Self::CountShapes(a) => NUMBERS[..=MOST].get(shapes(a)).copied(),
            Self::CountColours(a) => NUMBERS[..=MOST].get(colours(a)).copied(),
            Self::Exists { colour, shape } => {
                // Both are there in any case, so that it takes more than looking for one of them.
                let both = shapes(shape) > 0 && colours(colour) > 0;
                both.then(|| yes(things.iter().any(|thing| (thing.shape, thing.colour) == (shape, colour))))
            }
            Self::More(a, b) => (shapes(a) > 0 && shapes(b) > 0).then(|| yes(shapes(a) > shapes(b))),
            Self::Beside(direction, a, b) => direction.lies(the_shape(a)?, the_shape(b)?).map(yes),
            Self::SameColour(a, b) => Some(yes(the_shape(a)?.colour == the_shape(b)?.colour)),
        }
    }
}

/// The only thing of which something is true.
fn only(things: &[Thing], is: impl Fn(&Thing) -> bool) -> Option<&Thing> {
    let mut found = things.iter().filter(|thing| is(thing));
    found.next().filter(|_| found.next().is_none())
}

/// The only thing in a direction from another, when all others clearly are not.
fn beside<'a>(things: &'a [Thing], direction: Direction, from: &Thing) -> Option<&'a Thing> {
    let others = things.iter().filter(|thing| *thing != from);
    others.clone().try_for_each(|thing| direction.lies(thing, from).map(|_| ()))?;
    only(things, |thing| direction.distance(thing, from) >= BESIDE)
}

impl Extreme {
    /// The thing that clearly is the largest or the smallest.
    fn of(self, things: &[Thing]) -> Option<&Thing> {
        let larger = |a: &Thing, b: &Thing| match self {
            Self::Largest => a.radius >= LARGER * b.radius,
            Self::Smallest => b.radius >= LARGER * a.radius,
        };
        things.iter().find(|thing| things.iter().all(|other| *thing == other || larger(thing, other)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Direction, Extreme};
    use crate::questions::arrangement::{Arrangement, COLOURS, SHAPES, Thing};

    fn shape(name: &str) -> usize {
        SHAPES.iter().position(|(shape, _)| *shape == name).unwrap()
    }

    fn colour(name: &str) -> usize {
        COLOURS.iter().position(|(colour, _)| *colour == name).unwrap()
    }

    fn thing(described: &str, centre: [f32; 2], radius: f32) -> Thing {
        let (a, b) = described.split_once(' ').unwrap();
        Thing { shape: shape(b), colour: colour(a), centre, radius }
    }

    /// ```text
    /// red circle          blue square
    ///          green circle
    /// white star          red heart
    /// ```
    fn arrangement() -> Arrangement {
        Arrangement(vec![
            thing("red circle", [0.2, 0.2], 0.1),
            thing("blue square", [0.8, 0.2], 0.1),
            thing("green circle", [0.5, 0.5], 0.15),
            thing("white star", [0.2, 0.8], 0.07),
            thing("red heart", [0.8, 0.8], 0.1),
        ])
    }

    #[test]
    fn answers_are_those_that_the_picture_gives() {
        use Ask::*;
        let about = arrangement();
        for (ask, expected) in [
            (ColourOf(shape("star")), Some("white")),
            (ColourOf(shape("circle")), None),
            (ColourOf(shape("cross")), None),
            (ShapeOf(colour("blue")), Some("square")),
            (ShapeOf(colour("red")), None),
            // Of two that are left of it none is the one, and the circle is as far down as it.
            (ColourBeside(Direction::Left, shape("square")), None),
            (ColourBySize(Extreme::Largest), Some("green")),
            (ShapeBySize(Extreme::Smallest), Some("star")),
            (Quarter(shape("star")), Some("lower left")),
            (Quarter(shape("square")), Some("upper right")),
            (Count, Some("5")),
            (CountShapes(shape("circle")), Some("2")),
            (CountShapes(shape("cross")), Some("0")),
            (CountColours(colour("red")), Some("2")),
            (Exists { colour: colour("red"), shape: shape("circle") }, Some("yes")),
            (Exists { colour: colour("red"), shape: shape("star") }, Some("no")),
            (Exists { colour: colour("red"), shape: shape("cross") }, None),
            (More(shape("circle"), shape("star")), Some("yes")),
            (More(shape("star"), shape("circle")), Some("no")),
            (More(shape("star"), shape("heart")), Some("no")),
            (More(shape("star"), shape("cross")), None),
            (Beside(Direction::Above, shape("square"), shape("star")), Some("yes")),
            (Beside(Direction::Right, shape("star"), shape("square")), Some("no")),
            (Beside(Direction::Left, shape("square"), shape("heart")), None),
            (Beside(Direction::Left, shape("circle"), shape("heart")), None),
            (SameColour(shape("star"), shape("heart")), Some("no")),
        ] {
            assert_eq!(ask.answer(&about), expected, "{}", ask.text());
        }
    }

    #[test]
    fn one_thing_alone_lies_in_the_direction_that_is_asked_for() {
        let about = |x: f32| {
            Arrangement(vec![
                thing("red circle", [x, 0.2], 0.1),
                thing("blue square", [0.5, 0.5], 0.1),
                thing("white star", [0.7, 0.8], 0.1),
            ])
        };
        let (colour_beside, shape_beside) = (
            Ask::ColourBeside(Direction::Left, shape("square")),
            Ask::ShapeBeside(Direction::Right, colour("blue")),
        );
        let answers = |x| (colour_beside.answer(&about(x)), shape_beside.answer(&about(x)));
        assert_eq!(answers(0.3), (Some("red"), Some("star")));
        // Straight above, more or less.
        assert_eq!(answers(0.45), (None, None));
        // Nothing to the left, two things to the right.
        assert_eq!(answers(0.6), (None, None));
        let above = Ask::ShapeBeside(Direction::Above, colour("blue"));
        let below = Ask::ShapeBeside(Direction::Below, colour("blue"));
        assert_eq!((above.answer(&about(0.3)), below.answer(&about(0.3))), (Some("circle"), Some("star")));
    }

    #[test]
    fn sizes_that_hardly_differ_have_no_extreme() {
        let mut about = arrangement();
        about.0[0].radius = 0.13;
        assert_eq!(Ask::ColourBySize(Extreme::Largest).answer(&about), None);
        about.0[0].radius = 0.08;
        assert_eq!(Ask::ColourBySize(Extreme::Smallest).answer(&about), None);
    }
}
