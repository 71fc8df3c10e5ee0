//! Where to look next.

use crate::choose::{best, shortfall, value};
use crate::measure::MeasureError;
use crate::offers::{movement, offers};
use crate::others::{counted, seeds};
use crate::pace::{Pace, timed};
use crate::recording::{Forecast, Recording};
use crate::search::{SearchOptions, TuneError, Watcher};
use crate::space::{Candidate, Space};
use crate::{Goal, Point, Tuner};
use std::collections::HashMap;
use std::time::Instant;
use tokmerge_merge::Reduction;
use tokmerge_nn::Random;

/// Rounds of forecasts and measurements, and methods measured in each.
const ROUNDS: usize = 16;
const PER_ROUND: usize = 8;
/// Forecasts per round.
const POOL: usize = 120;
/// Methods measured in each round besides, of which no forecast can be made; more of these, and fewer of those, where they lead.
const UNFORESEEN: usize = 4;
/// Methods whose neighbours are tried.
const PARENTS: usize = 5;
/// Images whose keys are recorded.
const RECORDED: usize = 48;

/// Rounds of timing of points that are only shown.
const QUICK: usize = 3;

/// What was measured so far, and until when.
pub(crate) struct Walk {
    pub(crate) points: Vec<Point>,
    pub(crate) deadline: Instant,
    pub(crate) planned: usize,
    pub(crate) cut_short: bool,
    /// What the recorded keys say of methods, by their specs; they say the same in every round.
    forecasts: HashMap<String, Option<Forecast>>,
}

impl Walk {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { points: Vec::new(), deadline, planned: 0, cut_short: false, forecasts: HashMap::new() }
    }

    /// False where time has run out.
    fn measure(
        &mut self,
        tuner: &mut Tuner<'_>,
        candidate: &Candidate,
        watcher: &mut dyn Watcher,
    ) -> Result<bool, TuneError> {
        // What the journal knows costs no time.
        if Instant::now() >= self.deadline && !tuner.knows(&candidate.method) {
            self.cut_short = true;
            return Ok(false);
        }
        let spec = candidate.method.to_string();
        if self.points.iter().any(|point| point.merge == spec) {
            return Ok(true);
        }
        let point = match tuner.measure(&candidate.method, candidate.family) {
            Ok(point) => point,
            // That speaks against this method alone.
            Err(MeasureError::NotFinite(_)) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        self.points.push(point);
        watcher.measured(&self.points[self.points.len() - 1], self.points.len(), self.planned);
        Ok(true)
    }

    pub(crate) fn random(
        &mut self,
        tuner: &mut Tuner<'_>,
        space: Space,
        trials: usize,
        seed: u64,
        watcher: &mut dyn Watcher,
    ) -> Result<(), TuneError> {
        let references = space.references();
        self.planned = trials + references.len();
        watcher.stage("constant and decreasing schedules");
        for candidate in references {
            if !self.measure(tuner, &candidate, watcher)? {
                return Ok(());
            }
        }
        watcher.stage("random schedules");
        let mut random = Random::new(seed);
        for _ in 0..trials {
            if !self.measure(tuner, &space.random_schedule(&mut random), watcher)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Times points in turn with the unmerged model: the times of the search itself are those of a machine that
    /// did other things in between.
    pub(crate) fn time(
        &mut self,
        tuner: &Tuner<'_>,
        points: &[usize],
        batch_size: usize,
        watcher: &mut dyn Watcher,
    ) -> Result<(), TuneError> {
        watcher.stage("speeds");
        let images = batch_size.min(tuner.images().len()).max(1) as f64;
        for &index in points {
            let point = &mut self.points[index];
            let Ok(method) = point.merge.parse() else { continue };
            let reduction = tuner.model().bind(&method)?;
            let spreads = timed(tuner, &[&Reduction::none(), &reduction], batch_size, QUICK);
            (point.unmerged_seconds, point.seconds) =
                (spreads[0].median / images, spreads[1].median / images);
        }
        Ok(())
    }

    pub(crate) fn guided(
        &mut self,
        tuner: &mut Tuner<'_>,
        space: Space,
        goal: Option<Goal>,
        pace: &Pace,
        options: SearchOptions,
        watcher: &mut dyn Watcher,
    ) -> Result<(), TuneError> {
        let others = seeds(tuner);
        let seeds: Vec<Candidate> = space.seeds().into_iter().chain(others).collect();
        self.planned = seeds.len() + ROUNDS * (PER_ROUND + UNFORESEEN);
        watcher.stage("seeds");
        for candidate in &seeds {
            if !self.measure(tuner, candidate, watcher)? {
                return Ok(());
            }
        }
        let recording = Recording::new(tuner, RECORDED);
        let goal = goal.unwrap_or(Goal::MinAgreement(99.0));
        for round in 0..ROUNDS {
            watcher.stage(&format!("round {} of {ROUNDS}", round + 1));
            let mut random = Random::new(options.seed.wrapping_add(1 + round as u64));
            let chosen = self.promising(tuner, &recording, space, goal, pace, options, &mut random);
            if chosen.is_empty() {
                self.cut_short |= Instant::now() >= self.deadline;
                return Ok(());
            }
            for candidate in &chosen {
                if !self.measure(tuner, candidate, watcher)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// What an error in each layer does to predictions, by all that was measured.
    fn weights(&mut self, tuner: &Tuner<'_>, recording: &Recording) -> Vec<f64> {
        let Self { points, forecasts, .. } = self;
        let known: Vec<(Forecast, f64)> = points
            .iter()
            .filter_map(|point| {
                let forecast = || recording.forecast(tuner, &point.merge.parse().ok()?);
                let forecast = forecasts.entry(point.merge.clone()).or_insert_with(forecast).clone()?;
                Some((forecast, movement(point)))
            })
            .collect();
        fit(&known)
    }

    /// ATM's grid: forecasts of all of it, and measurements of what should lose least in each of `trials` ranges of cost.
    pub(crate) fn grid(
        &mut self,
        tuner: &mut Tuner<'_>,
        space: Space,
        trials: usize,
        watcher: &mut dyn Watcher,
    ) -> Result<(), TuneError> {
        let seeds = space.seeds();
        self.planned = seeds.len() + trials;
        watcher.stage("seeds");
        for candidate in &seeds {
            if !self.measure(tuner, candidate, watcher)? {
                return Ok(());
            }
        }
        let recording = Recording::new(tuner, RECORDED);
        let weights = self.weights(tuner, &recording);
        watcher.stage("forecasts of the grid");
        let mut pool: Vec<Forecasted> = Vec::new();
        for candidate in space.grid() {
            if Instant::now() >= self.deadline {
                self.cut_short = true;
                return Ok(());
            }
            if let Some(Forecast { gmacs, errors }) = recording.forecast(tuner, &candidate.method) {
                pool.push(Forecasted { candidate, gmacs, loss: weighted(&weights, &errors) });
            }
        }
        let costs = || pool.iter().map(|one| one.gmacs);
        let (low, high) = (costs().fold(f64::INFINITY, f64::min), costs().fold(0.0, f64::max));
        watcher.stage("the best of the grid");
        for candidate in least_in_each(&pool, low, high, trials) {
            if !self.measure(tuner, &candidate, watcher)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// New methods that the recorded keys speak for.
    #[expect(clippy::too_many_arguments, reason = "one caller, all of it needed")]
    fn promising(
        &mut self,
        tuner: &Tuner<'_>,
        recording: &Recording,
        space: Space,
        goal: Goal,
        pace: &Pace,
        options: SearchOptions,
        random: &mut Random,
    ) -> Vec<Candidate> {
        let weights = self.weights(tuner, recording);
        let parents = self.parents(tuner, goal, pace, options);
        let Some(first) = parents.first() else { return Vec::new() };
        let facts = tuner.model().facts();
        let mut pool: Vec<Forecasted> = Vec::new();
        let mut unforeseen: Vec<Candidate> = Vec::new();
        let open = open_slots(
            parents
                .iter()
                .map(|parent| self.forecasts.get(&parent.merge).is_some_and(|forecast| forecast.is_none())),
        );
        for index in 0..POOL {
            if Instant::now() >= self.deadline {
                break;
            }
            let candidate = if index % 4 == 0 {
                space.random_exponential(random)
            } else {
                let parent = &parents[random.below(parents.len())];
                match parent.merge.parse().ok().and_then(|method| space.neighbour(&method, &facts, random)) {
                    Some(candidate) => candidate,
                    None => continue,
                }
            };
            if tuner.knows(&candidate.method)
                && self.points.iter().any(|p| p.merge == candidate.method.to_string())
            {
                continue;
            }
            let forecast = || recording.forecast(tuner, &candidate.method);
            match self.forecasts.entry(candidate.method.to_string()).or_insert_with(forecast) {
                Some(forecast) => {
                    let loss = weighted(&weights, &forecast.errors);
                    pool.push(Forecasted { candidate, gmacs: forecast.gmacs, loss });
                }
                None => unforeseen.push(candidate),
            }
        }
        // Around the cost of the best so far, a little dearer to much cheaper: the least loss in each slice.
        let plain = first.raw.as_ref().map_or(first.gmacs, |raw| raw.gmacs);
        let unmerged = tuner.unmerged().gmacs;
        let (low, high) = (plain - 0.10 * unmerged, plain + 0.04 * unmerged);
        let mut chosen = least_in_each(&pool, low, high, PER_ROUND + UNFORESEEN - open);
        // Keys do not speak for methods that go by something else: some of their neighbours are tried; where their cost is known,
        // only those that cost about as much.
        let costs_as_much = |candidate: &Candidate| {
            counted(tuner, &candidate.method).is_none_or(|gmacs| (low..high).contains(&gmacs))
        };
        chosen.extend(unforeseen.into_iter().filter(costs_as_much).take(open));
        chosen
    }

    /// The best measured so far, the best first.
    fn parents(&self, tuner: &Tuner<'_>, goal: Goal, pace: &Pace, options: SearchOptions) -> Vec<Point> {
        let offers = offers(tuner, &self.points, options.recheck);
        let rank = |of: usize| {
            let own = || offers.iter().filter(move |offer| offer.of == of);
            match best(own(), goal, tuner.unmerged(), pace) {
                Some(offer) => value(offer, goal),
                // What misses the goal ranks last, the nearer the better.
                None => 1e3 + own().map(|offer| shortfall(offer, goal, pace)).fold(f64::INFINITY, f64::min),
            }
        };
        let mut ranked: Vec<(f64, &Point)> =
            self.points.iter().enumerate().map(|(of, point)| (rank(of), point)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked.into_iter().take(PARENTS).map(|(_, point)| point.clone()).collect()
    }
}

/// A method, what it is forecast to cost in billions of multiply-adds, and to lose.
struct Forecasted {
    candidate: Candidate,
    gmacs: f64,
    loss: f64,
}

/// Of each of so many ranges of cost, the dearest among them included, what is forecast to lose least.
fn least_in_each(pool: &[Forecasted], low: f64, high: f64, ranges: usize) -> Vec<Candidate> {
    let slice = (high - low) / ranges as f64;
    let least = |index: usize| {
        let last = index + 1 == ranges;
        let from = low + slice * index as f64;
        let inside = |gmacs: f64| gmacs >= from && (gmacs < from + slice || last && gmacs <= high);
        let within = pool.iter().filter(|one| inside(one.gmacs));
        within.min_by(|a, b| a.loss.total_cmp(&b.loss)).map(|one| one.candidate.clone())
    };
    (0..ranges).filter_map(least).collect()
}

/// How many of a round's measurements go to methods of which no forecast can be made: their part of the best so far, but some to
/// both kinds.
fn open_slots(unforeseen: impl ExactSizeIterator<Item = bool>) -> usize {
    let all = unforeseen.len().max(1);
    let part = unforeseen.filter(|is| *is).count();
    ((PER_ROUND + UNFORESEEN) * part / all).clamp(UNFORESEEN, PER_ROUND)
}

/// Weights of the layers, none negative, with which their errors explain the movements best, relative to each.
fn fit(known: &[(Forecast, f64)]) -> Vec<f64> {
    let depth = known.first().map_or(0, |(forecast, _)| forecast.errors.len());
    let useful: Vec<&(Forecast, f64)> = known.iter().filter(|(_, movement)| *movement > 1e-9).collect();
    let total: f64 = useful.iter().map(|(forecast, _)| forecast.errors.iter().sum::<f64>()).sum();
    let even = useful.iter().map(|(_, movement)| movement).sum::<f64>() / total.max(f64::MIN_POSITIVE);
    let mut weights = vec![even; depth];
    // Coordinate descent on squared relative errors, held towards even weights where the data say little.
    for _ in 0..200 {
        for layer in 0..depth {
            let (mut upper, mut lower) = (0.0, 0.0);
            for (forecast, movement) in &useful {
                let x = forecast.errors[layer] / movement;
                let others = weighted(&weights, &forecast.errors) / movement - weights[layer] * x;
                upper += x * (1.0 - others);
                lower += x * x;
            }
            let hold = 0.02 * lower;
            weights[layer] = ((upper + hold * even) / (lower + hold).max(f64::MIN_POSITIVE)).max(0.0);
        }
    }
    weights
}

fn weighted(weights: &[f64], errors: &[f64]) -> f64 {
    weights.iter().zip(errors).map(|(weight, error)| weight * error).sum()
}
