//! Finds the merging that saves most at a given loss, on the images and the machine that it is for.
//!
//! A [`Tuner`] holds the images to search on and what the unmerged model says about them. [`Tuner::measure`] runs a
//! method on them; [`search`] looks for methods worth measuring and keeps every measurement in a [`Journal`], so
//! that an interrupted search goes on where it stopped. What was chosen is then measured on images that the search
//! never saw.
#![deny(missing_docs)]

mod choose;
pub mod compare;
mod fingerprint;
mod foresight;
mod goal;
mod images;
mod journal;
mod measure;
mod offers;
mod others;
mod outcome;
mod pace;
mod pairs;
mod quality;
mod recording;
pub mod report;
mod search;
mod space;
mod split;
mod walk;

pub use foresight::{Foreseen, ForesightError, foresee};
pub use goal::{Goal, GoalError};
pub use images::Images;
pub use journal::{Fingerprint, Journal, JournalError};
pub use measure::{MeasureError, Point, Raw, Tuner};
pub use outcome::{Choice, Decision, HeldOut, Outcome};
pub use pairs::{PairsOptions, PairsOutcome, TunePairsError, search_pairs};
pub use quality::Shifts;
pub use search::{Search, SearchOptions, TuneError, Watcher, search};
pub use space::Family;
pub use split::{FEWEST_IMAGES, Split, SplitError};
