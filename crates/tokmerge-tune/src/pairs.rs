//! Which merging of texts is worth it: the most that is saved while sentence vectors still say which sentences mean the same.

use crate::GoalError;
use crate::space::Space;
use std::time::{Duration, Instant};
use tokmerge_eval::{PairsAccuracy, PairsError, SentencePair, evaluate_pairs};
use tokmerge_merge::{BindError, Method, Reduction};
use tokmerge_models::{Convention, Model};
use tokmerge_nn::Random;

/// What to search for, and how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairsOptions {
    /// Spearman's rank correlation, times 100, that must be left: from -100 to 100.
    pub min_spearman: f64,
    /// When to stop looking.
    pub time_budget: Duration,
    /// Which pairs are searched on, and whatever else is random.
    pub seed: u64,
    /// Texts per forward pass.
    pub batch_size: usize,
    /// How operations are counted.
    pub convention: Convention,
}

impl PairsOptions {
    /// Refuses a correlation that is none.
    ///
    /// # Errors
    /// When it is outside its range.
    pub fn validate(&self) -> Result<(), GoalError> {
        let value = self.min_spearman;
        match (-100.0..=100.0).contains(&value) {
            true => Ok(()),
            false => Err(GoalError::Range {
                setting: "min_spearman",
                value,
                allowed: "a rank correlation times 100, from -100 to 100, e.g. 80",
            }),
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct PairsOutcome {
    /// Spearman's rank correlation, times 100, that was asked for.
    pub min_spearman: f64,
    /// Everything that was measured on the pairs of the search, the unmerged model first.
    pub measured: Vec<PairsAccuracy>,
    /// The cheapest that reaches the goal there; `None` if none is cheaper than not to merge.
    pub choice: Option<Method>,
    /// The unmerged model and the choice on the pairs that nothing was chosen on.
    pub held_out: Vec<PairsAccuracy>,
}

/// Why a search of pairs ended without an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunePairsError {
    /// A goal that makes no sense.
    #[error(transparent)]
    Goal(#[from] GoalError),
    /// Something could not be measured.
    #[error(transparent)]
    Pairs(#[from] PairsError),
    /// The model merges nothing.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Too few pairs for two halves.
    #[error("there are {0} pairs, and at least 20 are needed, since half of them are held out; give more")]
    Few(usize),
    /// The unmerged model is worse already.
    #[error(
        "`min_spearman` is {goal}, and the unmerged model reaches {unmerged:.2} on the pairs to search on; give less"
    )]
    OutOfReach {
        /// What was asked for.
        goal: f64,
        /// What there is.
        unmerged: f64,
    },
}

/// Shares of ToMe and thresholds of ATM that a search begins with.
const SHARES: [&str; 10] = ["2", "3", "4", "5", "6", "8", "10", "12", "15", "20"];
const THRESHOLDS: [&str; 10] = ["0.95", "0.9", "0.85", "0.8", "0.75", "0.7", "0.65", "0.6", "0.5", "0.4"];

/// Searches on half of the pairs, and measures what it chose on the others. `watch` sees every measurement.
///
/// # Errors
/// When there are too few pairs, the goal is none or out of reach, or a measurement fails.
pub fn search_pairs(
    model: &Model,
    mut pairs: Vec<SentencePair>,
    options: PairsOptions,
    watch: &mut dyn FnMut(&PairsAccuracy),
) -> Result<PairsOutcome, TunePairsError> {
    const FEWEST: usize = 20;
    options.validate()?;
    if pairs.len() < FEWEST {
        return Err(TunePairsError::Few(pairs.len()));
    }
    let deadline = Instant::now() + options.time_budget;
    let mut random = Random::new(options.seed);
    random.shuffle(&mut pairs);
    let held_out = pairs.split_off(pairs.len() / 2);
    let PairsOptions { min_spearman, batch_size, convention, .. } = options;
    let measure =
        |methods: &[&Method], pairs: &[SentencePair]| -> Result<Vec<PairsAccuracy>, TunePairsError> {
            let bound: Vec<Reduction> =
                methods.iter().map(|method| model.bind(method)).collect::<Result<_, _>>()?;
            Ok(evaluate_pairs(model, &bound, pairs, batch_size, convention, &mut |_| ())?)
        };
    let none = Method::None;
    let unmerged = measure(&[&none], &pairs)?.remove(0);
    watch(&unmerged);
    if unmerged.spearman < min_spearman {
        return Err(TunePairsError::OutOfReach { goal: min_spearman, unmerged: unmerged.spearman });
    }
    let seeds = SHARES.map(|share| format!("tome:r={share}%"));
    let seeds = seeds.into_iter().chain(THRESHOLDS.map(|theta| format!("atm:theta={theta}")));
    let mut waiting: Vec<Method> = seeds.filter_map(|spec| spec.parse().ok()).collect();
    waiting.reverse();
    let facts = model.facts();
    let space = Space { depth: facts.depth, tokens: facts.tokens, prefix: facts.prefix };
    let mut tried: Vec<(Method, PairsAccuracy)> = Vec::new();
    while Instant::now() < deadline {
        let method = match waiting.pop() {
            Some(method) => method,
            None => {
                // Beside the cheapest that reach the goal, now and then beside one that nearly does.
                let slack = if random.unit() < 0.3 { 0.5 } else { 0.0 };
                let mut near: Vec<&(Method, PairsAccuracy)> =
                    tried.iter().filter(|(_, found)| found.spearman >= min_spearman - slack).collect();
                near.sort_by(|a, b| a.1.gmacs.total_cmp(&b.1.gmacs));
                near.truncate(4);
                let Some(from) = near.get(random.below(near.len().max(1))) else { break };
                match space.neighbour(&from.0, &facts, &mut random) {
                    Some(candidate) => candidate.method,
                    None => break,
                }
            }
        };
        let found = measure(&[&method], &pairs)?.remove(0);
        watch(&found);
        tried.push((method, found));
    }
    let reached =
        tried.iter().filter(|(_, found)| found.spearman >= min_spearman && found.gmacs < unmerged.gmacs);
    let choice = reached.min_by(|a, b| a.1.gmacs.total_cmp(&b.1.gmacs)).map(|(method, _)| method.clone());
    let held_out = match &choice {
        Some(method) => measure(&[&none, method], &held_out)?,
        None => measure(&[&none], &held_out)?,
    };
    let measured = std::iter::once(unmerged).chain(tried.into_iter().map(|(_, found)| found)).collect();
    Ok(PairsOutcome { min_spearman, measured, choice, held_out })
}

#[cfg(test)]
mod tests {
    use super::PairsOptions;
    use std::time::Duration;
    use tokmerge_models::Convention;

    #[test]
    fn a_goal_that_is_no_correlation_is_refused_with_the_rule() {
        let validate = |min_spearman| {
            let options = PairsOptions {
                min_spearman,
                time_budget: Duration::from_secs(1),
                seed: 0,
                batch_size: 8,
                convention: Convention::Fvcore,
            };
            options.validate().map_err(|error| error.to_string())
        };
        for value in [f64::NAN, 100.5, -101.0, f64::INFINITY] {
            let error = validate(value).unwrap_err();
            assert!(error.contains("`min_spearman`") && error.contains("from -100 to 100"), "{error}");
        }
        assert_eq!((validate(80.0), validate(-100.0)), (Ok(()), Ok(())));
    }
}
