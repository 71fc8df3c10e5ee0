//! How time follows from multiply-adds on this machine.

use crate::space::Space;
use crate::{Goal, GoalError, Tuner};
use std::time::Instant;
use tokmerge_eval::Spread;
use tokmerge_merge::Reduction;
use tokmerge_models::{Batch, Pass};

/// Rounds of timing that what is reported gets, after one that does not count.
pub(crate) const ROUNDS: usize = 7;

/// How time follows from multiply-adds on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Seconds per batch unmerged.
    unmerged: f64,
    /// Multiply-adds of what merges most, and its seconds per batch.
    least: (f64, f64),
    unmerged_gmacs: f64,
    /// Part of the multiply-adds that a goal of time allows, after some were found to be too slow.
    asked: f64,
}

impl Pace {
    pub(crate) fn new(tuner: &Tuner<'_>, space: Space, batch_size: usize) -> Self {
        let unmerged_gmacs = tuner.unmerged().gmacs;
        let strongest = space.strongest();
        let config = tuner.model().config();
        let bound = tuner.model().bind(&strongest.method);
        let least = bound.ok().and_then(|reduction| {
            let layers = reduction.expected_tokens(config.tokens(), config.depth())?;
            let views = tuner.model().processor().views() as f64;
            Some((views * config.cost().gmacs(&layers, &reduction, tuner.convention()), reduction))
        });
        let none = Reduction::none();
        let Some((least, reduction)) = least else {
            let seconds = timed(tuner, &[&none], batch_size, ROUNDS)[0].median;
            return Self { unmerged: seconds, least: (unmerged_gmacs, seconds), unmerged_gmacs, asked: 1.0 };
        };
        let spreads = timed(tuner, &[&none, &reduction], batch_size, ROUNDS);
        Self { unmerged: spreads[0].median, least: (least, spreads[1].median), unmerged_gmacs, asked: 1.0 }
    }

    /// Refuses goals that even the strongest merging misses.
    pub(crate) fn within_reach(&self, goal: Goal, tuner: &Tuner<'_>) -> Result<(), GoalError> {
        let (low, fast) = self.least;
        let out_of_reach = |asked: String, best: String| Err(GoalError::OutOfReach { asked, best });
        let most = "merging half of all tokens in every layer";
        match goal {
            Goal::Gmacs(ratio) if ratio * self.unmerged_gmacs < low => out_of_reach(
                format!("`gmacs` {ratio}"),
                format!(
                    "{most} leaves {:.2} of the multiply-adds of {}",
                    low / self.unmerged_gmacs,
                    tuner.model().name()
                ),
            ),
            Goal::Speedup(factor) if factor > self.unmerged / fast => out_of_reach(
                format!("`speedup` {factor}"),
                format!(
                    "{most} makes {} {:.1} times as fast on this machine",
                    tuner.model().name(),
                    self.unmerged / fast
                ),
            ),
            Goal::Latency(ms) if ms < 1e3 * fast => out_of_reach(
                format!("`latency` {ms}"),
                format!(
                    "{most}, {} takes {:.1} ms per batch on this machine",
                    tuner.model().name(),
                    1e3 * fast
                ),
            ),
            _ => Ok(()),
        }
    }

    /// Lowers what goals of time allow.
    pub(crate) fn ask_for_less(&mut self, part: f64) {
        self.asked *= part;
    }

    /// The multiply-adds that a goal of cost allows, as far as can be told beforehand.
    pub(crate) fn budget(&self, goal: Goal) -> Option<f64> {
        let seconds = match goal {
            Goal::MaxDrop(_) | Goal::MinAgreement(_) => return None,
            Goal::Gmacs(ratio) => return Some(ratio * self.unmerged_gmacs),
            Goal::Latency(ms) => ms / 1e3,
            Goal::Speedup(factor) => self.unmerged / factor,
        };
        let (low, fast) = self.least;
        let span = (self.unmerged - fast).max(f64::MIN_POSITIVE);
        let gmacs = low + (seconds - fast) / span * (self.unmerged_gmacs - low);
        Some(self.asked * gmacs.min(self.unmerged_gmacs))
    }
}

/// Seconds per batch of several reductions in turn, on images of the search.
pub(crate) fn timed(
    tuner: &Tuner<'_>,
    reductions: &[&Reduction],
    batch_size: usize,
    rounds: usize,
) -> Vec<Spread> {
    times(tuner, reductions, batch_size, rounds).iter().map(|each| Spread::of(each)).collect()
}

/// The same, round by round for each of them.
pub(crate) fn times(
    tuner: &Tuner<'_>,
    reductions: &[&Reduction],
    batch_size: usize,
    rounds: usize,
) -> Vec<Vec<f64>> {
    let shape = tuner.model().input();
    let all = tuner.images().batches();
    // Another part of the images in every round: images differ in how much they merge.
    let images: Vec<(&Batch, usize)> =
        all.iter().flat_map(|batch| (0..batch.items(&shape)).map(move |item| (batch, item))).collect();
    let mut times = vec![Vec::new(); reductions.len()];
    for round in 0..=rounds {
        let pick = |index: usize| images[(round * batch_size + index) % images.len()];
        let mut picked = Batch::default();
        for (batch, item) in (0..batch_size.min(images.len())).map(pick) {
            picked.append(batch.select(&[item], &shape));
        }
        for (reduction, times) in reductions.iter().zip(&mut times) {
            let input = picked.clone();
            let start = Instant::now();
            let _ = tuner.model().run(input, Pass::head(reduction)).logits.into_data();
            if round > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    times
}
