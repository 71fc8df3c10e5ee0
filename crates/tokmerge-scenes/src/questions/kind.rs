//! The kinds of questions: which there are of each, and which answers they have.

use super::arrangement::{COLOURS, SHAPES, THINGS};
use super::ask::{Ask, Direction, Extreme, MOST, NUMBERS, QUARTERS, YES_NO};

/// The kinds of questions.
pub const KINDS: [&str; Kind::ALL.len()] = {
    let mut names = [""; Kind::ALL.len()];
    let mut kind = 0;
    while kind < names.len() {
        names[kind] = Kind::ALL[kind].name();
        kind += 1;
    }
    names
};

/// All answers, in alphabetical order.
pub const ANSWERS: [&str; 25] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "blue",
    "circle",
    "cross",
    "green",
    "heart",
    "lower left",
    "lower right",
    "no",
    "purple",
    "red",
    "square",
    "star",
    "triangle",
    "upper left",
    "upper right",
    "white",
    "yellow",
    "yes",
];

const DIRECTIONS: [Direction; 4] = [Direction::Left, Direction::Right, Direction::Above, Direction::Below];
const EXTREMES: [Extreme; 2] = [Extreme::Largest, Extreme::Smallest];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Colour,
    Shape,
    ColourBeside,
    ShapeBeside,
    ColourBySize,
    ShapeBySize,
    Quarter,
    Count,
    CountShapes,
    CountColours,
    Exists,
    More,
    Beside,
    SameColour,
}

impl Kind {
    /// In the order of [`KINDS`].
    pub(super) const ALL: [Self; 14] = [
        Self::Colour,
        Self::Shape,
        Self::ColourBeside,
        Self::ShapeBeside,
        Self::ColourBySize,
        Self::ShapeBySize,
        Self::Quarter,
        Self::Count,
        Self::CountShapes,
        Self::CountColours,
        Self::Exists,
        Self::More,
        Self::Beside,
        Self::SameColour,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Colour => "colour",
            Self::Shape => "shape",
            Self::ColourBeside => "colour-beside",
            Self::ShapeBeside => "shape-beside",
            Self::ColourBySize => "colour-by-size",
            Self::ShapeBySize => "shape-by-size",
            Self::Quarter => "quarter",
            Self::Count => "count",
            Self::CountShapes => "count-shapes",
            Self::CountColours => "count-colours",
            Self::Exists => "exists",
            Self::More => "more",
            Self::Beside => "beside",
            Self::SameColour => "same-colour",
        }
    }

    /// Every question of the kind.
    pub(super) fn asks(self) -> Vec<Ask> {
        let (shapes, colours) = (0..SHAPES.len(), 0..COLOURS.len());
        let directed = |ask: fn(Direction, usize) -> Ask, count: usize| -> Vec<Ask> {
            DIRECTIONS.iter().flat_map(|&direction| (0..count).map(move |of| ask(direction, of))).collect()
        };
        // Both orders of two different shapes.
        let pairs = || {
            let pair = |at: usize| (at / SHAPES.len(), at % SHAPES.len());
            (0..SHAPES.len() * SHAPES.len()).map(pair).filter(|(a, b)| a != b)
        };
        match self {
            Self::Colour => shapes.map(Ask::ColourOf).collect(),
            Self::Shape => colours.map(Ask::ShapeOf).collect(),
            Self::ColourBeside => directed(Ask::ColourBeside, SHAPES.len()),
            Self::ShapeBeside => directed(Ask::ShapeBeside, COLOURS.len()),
            Self::ColourBySize => EXTREMES.map(Ask::ColourBySize).to_vec(),
            Self::ShapeBySize => EXTREMES.map(Ask::ShapeBySize).to_vec(),
            Self::Quarter => shapes.map(Ask::Quarter).collect(),
            Self::Count => vec![Ask::Count],
            Self::CountShapes => shapes.map(Ask::CountShapes).collect(),
            Self::CountColours => colours.map(Ask::CountColours).collect(),
            Self::Exists => colours
                .flat_map(|colour| (0..SHAPES.len()).map(move |shape| Ask::Exists { colour, shape }))
                .collect(),
            Self::More => pairs().map(|(a, b)| Ask::More(a, b)).collect(),
            // The other two directions are these with the shapes exchanged.
            Self::Beside => [Direction::Left, Direction::Above]
                .into_iter()
                .flat_map(|direction| pairs().map(move |(a, b)| Ask::Beside(direction, a, b)))
                .collect(),
            Self::SameColour => pairs().filter(|(a, b)| a < b).map(|(a, b)| Ask::SameColour(a, b)).collect(),
        }
    }

    /// The answers that the questions have, all of them to each.
    pub(super) fn answers(self) -> Vec<&'static str> {
        match self {
            Self::Colour | Self::ColourBeside | Self::ColourBySize => COLOURS.map(|(name, _)| name).to_vec(),
            Self::Shape | Self::ShapeBeside | Self::ShapeBySize => SHAPES.map(|(name, _)| name).to_vec(),
            Self::Quarter => QUARTERS.to_vec(),
            Self::Count => NUMBERS[THINGS].to_vec(),
            Self::CountShapes | Self::CountColours => NUMBERS[..=MOST].to_vec(),
            Self::Exists | Self::More | Self::Beside | Self::SameColour => YES_NO.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ANSWERS, Ask, Kind};

    #[test]
    fn texts_differ_and_answers_are_in_the_list() {
        assert!(ANSWERS.is_sorted());
        let mut texts = Vec::new();
        for kind in Kind::ALL {
            texts.extend(kind.asks().into_iter().map(Ask::text));
            assert!(kind.answers().iter().all(|answer| ANSWERS.contains(answer)), "{kind:?}");
        }
        assert_eq!(texts.len(), 6 + 6 + 24 + 24 + 2 + 2 + 6 + 1 + 6 + 6 + 36 + 30 + 60 + 15);
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 224);
        assert!(texts.contains(&"What shape is left of the red one?".to_owned()));
        assert!(texts.contains(&"Are there more crosses than hearts?".to_owned()));
    }
}
