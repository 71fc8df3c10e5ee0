//! Questions about pictures of several things: visual question answering that needs no download.
//!
//! ```
//! use tokmerge_scenes::Split;
//! use tokmerge_scenes::questions::{ANSWERS, KINDS, Questions};
//!
//! let questions = Questions::of(Split::Train);
//! let question = questions.question(3);
//! assert_eq!((question.pixels.len(), KINDS[question.kind]), (96 * 96 * 3, "shape-beside"));
//! println!("{} {}.", question.text, ANSWERS[question.answer]);
//! assert_eq!(questions.question(3), question);
//! ```

mod arrangement;
mod ask;
mod kind;

use crate::random::Random;
use crate::{DEFAULT_SIDE, SIDES, SceneError, Split};

use arrangement::Arrangement;
use ask::Ask;
use kind::Kind;
pub use kind::{ANSWERS, KINDS};

/// A question, without its picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Index into [`KINDS`].
    pub kind: usize,
    /// The question in words, one of [`texts`].
    pub text: String,
    /// Index into [`ANSWERS`].
    pub answer: usize,
}

/// A question and the picture that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Width and height of the picture in pixels.
    pub side: usize,
    /// `[side, side, 3]`: rows from the top, red, green, blue.
    pub pixels: Vec<u8>,
    /// Index into [`KINDS`].
    pub kind: usize,
    /// The question in words, one of [`texts`].
    pub text: String,
    /// Index into [`ANSWERS`].
    pub answer: usize,
}

/// The questions of a seed, each about a picture of its own with two to six things in six shapes, six colours and
/// three sizes; any number of them, at any index.
///
/// Kinds take turns. Within a kind every text is asked as often with each of the kind's answers, in an order that follows from
/// the seed, before any of them comes again: who does not look at the picture cannot do better than chance, which is one
/// over the number of [`answers`]. The picture is then drawn to fit: nobody could dispute the answer, since things that a
/// question names are there once and what it compares differs clearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Questions {
    seed: u64,
    side: usize,
}

impl Questions {
    /// The questions of a seed, about pictures [`DEFAULT_SIDE`] pixels wide and high.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, side: DEFAULT_SIDE }
    }

    /// The questions of a split.
    #[must_use]
    pub fn of(split: Split) -> Self {
        Self::new(split.seed())
    }

    /// The same questions about the same pictures, `side` pixels wide and high. Below some 48 pixels small things are hard
    /// to tell apart.
    ///
    /// # Errors
    /// When `side` is not one of [`SIDES`].
    pub fn with_side(self, side: usize) -> Result<Self, SceneError> {
        if SIDES.contains(&side) { Ok(Self { side, ..self }) } else { Err(SceneError::Side { side }) }
    }

    /// Width and height of the pictures in pixels.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// Question `index` without its picture, which takes no time to speak of.
    #[must_use]
    pub fn asked(&self, index: u64) -> Asked {
        let (kind, ask, answer) = self.choose(index);
        Asked { kind, text: ask.text(), answer: place_of(answer) }
    }

    /// Question `index` with its picture.
    #[must_use]
    pub fn question(&self, index: u64) -> Question {
        let mut pixels = vec![0; self.side * self.side * 3];
        let Asked { kind, text, answer } = self.draw_into(index, &mut pixels);
        Question { side: self.side, pixels, kind, text, answer }
    }

    /// Draws the picture of question `index` into `[side, side, 3]` bytes and returns the question.
    ///
    /// # Panics
    /// When `pixels` has another length.
    pub fn draw_into(&self, index: u64, pixels: &mut [u8]) -> Asked {
        assert_eq!(pixels.len(), self.side * self.side * 3, "a picture has side * side * 3 bytes");
        let (kind, ask, answer) = self.choose(index);
        let mut random = Random::for_question(self.seed, index);
        Self::arrange(&mut random, ask, answer).paint(&mut random, self.side, pixels);
        Asked { kind, text: ask.text(), answer: place_of(answer) }
    }

    /// Kind, question and answer of an index.
    fn choose(&self, index: u64) -> (usize, Ask, &'static str) {
        let kinds = KINDS.len() as u64;
        let (kind, turn) = ((index % kinds) as usize, index / kinds);
        let (asks, answers) = (Kind::ALL[kind].asks(), Kind::ALL[kind].answers());
        let count = asks.len() * answers.len();
        let (round, at) = (turn / count as u64, (turn % count as u64) as usize);
        let mut order: Vec<usize> = (0..count).collect();
        Random::for_round(self.seed, kind, round).shuffle(&mut order);
        (kind, asks[order[at] / answers.len()], answers[order[at] % answers.len()])
    }

    /// An arrangement of which the answer is true.
    fn arrange(random: &mut Random, ask: Ask, answer: &str) -> Arrangement {
        loop {
            let arrangement = Arrangement::random(random);
            if ask.answer(&arrangement) == Some(answer) {
                return arrangement;
            }
        }
    }
}

/// The answers that questions of a kind have, as indices into [`ANSWERS`]: each of them to every question, equally often.
///
/// # Panics
/// When `kind` is no index into [`KINDS`].
#[must_use]
pub fn answers(kind: usize) -> Vec<usize> {
    Kind::ALL[kind].answers().into_iter().map(place_of).collect()
}

/// Every question that is ever asked, in a fixed order: what a vocabulary must hold.
#[must_use]
pub fn texts() -> Vec<String> {
    Kind::ALL.into_iter().flat_map(Kind::asks).map(Ask::text).collect()
}

fn place_of(answer: &str) -> usize {
    ANSWERS.iter().position(|known| *known == answer).expect("the answers of all kinds are in the list")
}

#[cfg(test)]
mod tests {
    use super::{Kind, Questions};
    use crate::random::Random;

    #[test]
    fn every_question_has_a_picture_for_each_answer() {
        for kind in Kind::ALL {
            for ask in kind.asks() {
                for answer in kind.answers() {
                    let arrangement = Questions::arrange(&mut Random::for_question(3, 4), ask, answer);
                    assert_eq!(ask.answer(&arrangement), Some(answer), "{}", ask.text());
                }
            }
        }
    }
}
