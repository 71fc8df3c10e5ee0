//! Methods worth trying.

use crate::others::{near_diffrate, near_foresight, near_mctf};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use tokmerge_merge::{Atm, LastLayer, Method, ModelFacts, Rounding, Schedule, Threshold, Tome};
use tokmerge_nn::Random;

/// What kind of method a point is, for tables and plots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// The model as it is.
    Unmerged,
    /// ToMe, equally many in every layer.
    TomeConstant,
    /// ToMe, falling linearly to none.
    TomeDecreasing,
    /// ToMe, rising linearly from none.
    TomeIncreasing,
    /// ToMe, a number for each layer.
    TomePerLayer,
    /// ATM, thresholds by its equation 1.
    AtmExponential,
    /// ATM, the same threshold in all layers.
    AtmConstant,
    /// ATM, a threshold for each layer.
    AtmPerLayer,
    /// MCTF, a number or a threshold for each layer.
    Mctf,
    /// DiffRate, what each layer leaves.
    Diffrate,
    /// Agglomerative clusters.
    Atc,
    /// PiToMe.
    Pitome,
    /// Foresight, of which the model has the weights.
    Foresight,
    /// Another method whose weights the model has.
    Trained,
    /// A random schedule of ToMe.
    Random,
    /// Any method, brought to a cost that others are brought to as well.
    Compared,
}

impl Family {
    /// How it is called in tables and legends.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unmerged => "unmerged",
            Self::TomeConstant => "ToMe, constant",
            Self::TomeDecreasing => "ToMe, decreasing",
            Self::TomeIncreasing => "ToMe, increasing",
            Self::TomePerLayer => "ToMe, per layer",
            Self::AtmExponential => "ATM, exponential",
            Self::AtmConstant => "ATM, constant",
            Self::AtmPerLayer => "ATM, per layer",
            Self::Mctf => "MCTF",
            Self::Diffrate => "DiffRate",
            Self::Atc => "ATC",
            Self::Pitome => "PiToMe",
            Self::Foresight => "foresight",
            Self::Trained => "trained with the model",
            Self::Random => "random schedules",
            Self::Compared => "compared",
        }
    }
}

/// A method and its kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) method: Method,
    pub(crate) family: Family,
}

/// Layers, tokens and prefix tokens of the model that is tuned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    pub(crate) depth: usize,
    pub(crate) tokens: usize,
    pub(crate) prefix: usize,
}

impl Space {
    /// Tokens that may merge.
    fn mergeable(self) -> usize {
        self.tokens.saturating_sub(self.prefix)
    }

    /// The largest constant `r` that changes anything in the last layer, and at least 1.
    fn most(self) -> usize {
        (self.mergeable() / self.depth.max(1)).max(1)
    }

    pub(crate) fn constant(self, r: usize) -> Candidate {
        Candidate { method: Method::Tome(Tome::new(r)), family: Family::TomeConstant }
    }

    fn linear(self, r: usize, inflect: f64) -> Candidate {
        let schedule = Schedule::Linear { r, inflect, rounding: Rounding::Truncate };
        let family = if inflect < 0.0 { Family::TomeDecreasing } else { Family::TomeIncreasing };
        Candidate { method: Method::Tome(Tome { schedule, ..Tome::new(r) }), family }
    }

    fn exponential(self, alpha: f64, beta: f64, min: f64) -> Candidate {
        let threshold = Threshold::Exponential { alpha, beta, min };
        Candidate { method: Method::Atm(Atm::new(threshold)), family: Family::AtmExponential }
    }

    /// What merges most: half of the tokens in every layer.
    pub(crate) fn strongest(self) -> Candidate {
        self.constant(self.tokens.saturating_sub(1))
    }

    /// Methods that show where good ones lie: all kinds, from careful to bold. What the head does not read is left
    /// out everywhere, which costs nothing.
    pub(crate) fn seeds(self) -> Vec<Candidate> {
        let most = self.most();
        let at = |share: f64| ((most as f64 * share).round() as usize).max(1);
        let mut seeds = Vec::new();
        for share in [0.125, 0.25, 0.5, 0.8] {
            seeds.push(self.constant(at(share)));
        }
        for share in [0.25, 0.5] {
            seeds.push(self.linear(at(share), -1.0));
            seeds.push(self.linear(at(share), 1.0));
        }
        for (alpha, beta, min) in [
            (0.98, 0.035, 0.93),
            (1.0, 0.02, 0.9),
            (0.985, 0.025, 0.885),
            (0.975, 0.03, 0.86),
            (0.995, 0.045, 0.815),
        ] {
            seeds.push(self.exponential(alpha, beta, min));
        }
        for theta in [0.95, 0.9] {
            let method = Method::Atm(Atm::new(Threshold::Constant(theta)));
            seeds.push(Candidate { method, family: Family::AtmConstant });
        }
        seeds.push(self.constant(0));
        for seed in &mut seeds {
            if let Method::Tome(tome) = &mut seed.method {
                tome.common.last_layer = LastLayer::Prefix;
            }
        }
        seeds.dedup();
        seeds
    }

    /// Every constant and every decreasing schedule that differs, for reference beside random ones.
    pub(crate) fn references(self) -> Vec<Candidate> {
        let constant = (1..=self.most()).map(|r| self.constant(r));
        let decreasing = (1..=self.most()).map(|r| self.linear(r, -1.0));
        constant.chain(decreasing).collect()
    }

    /// A random schedule of ToMe: a total from none to all tokens, spread over the layers by random shares.
    pub(crate) fn random_schedule(self, random: &mut Random) -> Candidate {
        let total = random.unit() * self.mergeable() as f64;
        // Exponential numbers, normalised: every division of the total is equally likely.
        let shares: Vec<f64> = (0..self.depth).map(|_| -random.unit().max(1e-12).ln()).collect();
        let sum: f64 = shares.iter().sum();
        let schedule = shares.iter().map(|share| (share / sum * total).round() as usize).collect();
        let method = Method::Tome(Tome { schedule: Schedule::PerLayer(schedule), ..Tome::new(0) });
        Candidate { method, family: Family::Random }
    }

    /// A random neighbour of a method.
    pub(crate) fn neighbour(self, of: &Method, facts: &ModelFacts, random: &mut Random) -> Option<Candidate> {
        match of {
            Method::Mctf(mctf) => near_mctf(mctf, facts, random),
            Method::Diffrate(diffrate) => Some(near_diffrate(diffrate, facts, random)),
            Method::Foresight(foresight) => Some(near_foresight(foresight, facts, random)),
            Method::Tome(tome) => {
                let schedule = match tome.schedule {
                    Schedule::Share(share) => {
                        Schedule::Share((share + (0.01 + 0.25 * share) * random.normal()).clamp(0.0, 0.5))
                    }
                    _ => {
                        let amounts = tome.schedule.per_layer(self.depth).ok()?;
                        let moved = amounts.into_iter().map(|amount| {
                            let r = amount.of(usize::MAX, 0).unwrap_or(0) as f64;
                            let moved = r + 0.25 * (r + 2.0) * random.normal();
                            moved.round().clamp(0.0, (self.tokens / 2) as f64) as usize
                        });
                        Schedule::PerLayer(moved.collect())
                    }
                };
                let method = Method::Tome(Tome { schedule, ..tome.clone() });
                Some(Candidate { method, family: Family::TomePerLayer })
            }
            Method::Atm(atm) => {
                let thresholds = atm.threshold.per_layer(self.depth).ok()?;
                // All layers together, and each by itself; the last never merges.
                let (shared, own) = (0.012 * random.normal(), 0.004 + 0.012 * random.unit());
                let moved = thresholds[..self.depth.saturating_sub(1)].iter().map(|threshold| {
                    let moved = threshold + shared + own * random.normal();
                    (moved.clamp(0.0, 1.0) * 1e4).round() / 1e4
                });
                let threshold = Threshold::PerLayer(moved.collect());
                let split = match random.below(4) {
                    0 => Some(self.depth),
                    1 => Some(self.depth / 2 + random.below(self.depth.div_ceil(2)).min(self.depth / 2)),
                    _ => atm.split,
                };
                let method = Method::Atm(Atm { threshold, split, ..atm.clone() });
                Some(Candidate { method, family: Family::AtmPerLayer })
            }
            // Nothing to vary, or weights that were trained for one setting.
            _ => None,
        }
    }

    /// Equation 1 with random parameters from the ranges of the paper's sweep (appendix D), in its steps.
    pub(crate) fn random_exponential(self, random: &mut Random) -> Candidate {
        let mut step = |steps: &RangeInclusive<usize>| steps.start() + random.below(steps.clone().count());
        self.in_grid(step(&ALPHA), step(&BETA), step(&MIN))
    }

    /// Equation 1 with every combination of that sweep.
    pub(crate) fn grid(self) -> impl Iterator<Item = Candidate> {
        let two = ALPHA.flat_map(|alpha| BETA.map(move |beta| (alpha, beta)));
        two.flat_map(move |(alpha, beta)| MIN.map(move |min| self.in_grid(alpha, beta, min)))
    }

    fn in_grid(self, alpha: usize, beta: usize, min: usize) -> Candidate {
        let [alpha, beta, min] = [alpha, beta, min].map(|steps| round(steps as f64 * STEP));
        self.exponential(alpha, beta, min)
    }
}

/// Steps of the sweep of ATM's appendix D, and in these its ranges: 0.945 to 1, 0.015 to 0.05, and 0.8 to 0.945.
const STEP: f64 = 0.005;
const ALPHA: RangeInclusive<usize> = 189..=200;
const BETA: RangeInclusive<usize> = 3..=10;
const MIN: RangeInclusive<usize> = 160..=189;

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
