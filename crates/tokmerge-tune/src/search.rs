//! A search from goal to decision.

use crate::choose::{decide, front};
use crate::measure::MeasureError;
use crate::outcome::Outcome;
use crate::pace::Pace;
use crate::space::Space;
use crate::walk::Walk;
use crate::{Goal, GoalError, Point, Tuner};
use std::time::{Duration, Instant};
use tokmerge_data::Sample;
use tokmerge_eval::{EvalError, EvalOptions, Observer};
use tokmerge_merge::BindError;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Seeds of all kinds, then neighbours of what did best, chosen by what recorded keys forecast.
    Guided,
    /// Random schedules of ToMe (its Figure 2), with the constant and the decreasing ones for reference.
    Random {
        /// How many.
        trials: usize,
    },
    /// All thresholds of equation 1 of ATM in the grid of its appendix D, forecast from recorded keys: measured is what is forecast to
    /// lose least in each of some ranges of cost (its Tables A2 to A5).
    Grid {
        /// How many ranges.
        trials: usize,
    },
}

/// What to search for, and how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchOptions {
    /// What to reach; none for a random search that only looks around.
    pub goal: Option<Goal>,
    /// How to search.
    pub search: Search,
    /// For whatever is random: the same search again, as far as time allows.
    pub seed: u64,
    /// When to stop looking and measure what was found.
    pub time_budget: Duration,
    /// Images per batch when speed is measured.
    pub batch_size: usize,
    /// Whether unclear images may run once more, unmerged.
    pub recheck: bool,
}

/// Receives the events of a search.
pub trait Watcher: Observer {
    /// A measurement is there, the `done`-th of about `planned`.
    fn measured(&mut self, point: &Point, done: usize, planned: usize) {
        let _ = (point, done, planned);
    }

    /// The search goes on to something else.
    fn stage(&mut self, what: &str) {
        let _ = what;
    }
}

impl Watcher for () {}

/// Why a search ended without an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The goal makes no sense.
    #[error(transparent)]
    Goal(#[from] GoalError),
    /// Something could not be measured.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// The choice could not be measured on the held-out images.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// Searches, and measures what it chose on `held_out` images.
///
/// Decisions depend on what merging does to predictions and on multiply-adds, not on the clock, so that a search goes
/// the same way again from its journal; time only says when to stop, and speeds are measured at the end.
///
/// # Errors
/// When the goal is out of reach or out of range, or a measurement fails.
pub fn search(
    tuner: &mut Tuner<'_>,
    held_out: Vec<Sample>,
    eval: EvalOptions,
    options: SearchOptions,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, TuneError> {
    let goal = options.goal.map(Goal::validate).transpose()?;
    if matches!(goal, Some(Goal::MaxDrop(_))) && !tuner.is_labelled() {
        return Err(GoalError::NoLabels.into());
    }
    let deadline = Instant::now() + options.time_budget;
    let facts = tuner.model().facts();
    let space = Space { depth: facts.depth, tokens: facts.tokens, prefix: facts.prefix };
    let pace = Pace::new(tuner, space, options.batch_size);
    if let Some(goal) = goal {
        pace.within_reach(goal, tuner)?;
    }
    let mut walk = Walk::new(deadline);
    match options.search {
        Search::Random { trials } => walk.random(tuner, space, trials, options.seed, watcher)?,
        Search::Grid { trials } => walk.grid(tuner, space, trials, watcher)?,
        Search::Guided => walk.guided(tuner, space, goal, &pace, options, watcher)?,
    }
    let timed = match options.search {
        Search::Random { .. } => (0..walk.points.len()).collect(),
        Search::Guided | Search::Grid { .. } => front(&walk.points),
    };
    walk.time(tuner, &timed, options.batch_size, watcher)?;
    let decision = match goal {
        None => None,
        Some(goal) => Some(decide(tuner, &walk.points, goal, &pace, options, held_out, eval, watcher)?),
    };
    let unmerged = tuner.unmerged().clone();
    let points: Vec<Point> = walk.points.into_iter().map(|point| Point { raw: None, ..point }).collect();
    Ok(Outcome {
        goal,
        search_images: tuner.images().len(),
        front: front(&points),
        unmerged,
        points,
        cut_short: walk.cut_short,
        decision,
    })
}

impl From<BindError> for TuneError {
    fn from(error: BindError) -> Self {
        Self::Measure(error.into())
    }
}
