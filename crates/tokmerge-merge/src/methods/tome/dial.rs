//! ToMe at another strength.

use super::{Tome, Unmerge};
use crate::methods::dial::{rounded_share, spread};
use crate::{ModelFacts, Schedule};

/// What no layer can exceed: half of its tokens.
const HALF: f64 = 0.5;

/// The schedule in its shape: at most half of the tokens that may merge on average in every layer, as a list; a share stays
/// one.
pub(super) fn turned(tome: &Tome, dial: f64, facts: &ModelFacts) -> Tome {
    let schedule = match (&tome.schedule, tome.unmerge) {
        // Tokens that come back are there for the next layer, so that nothing carries over.
        (Schedule::Share(_), _) | (_, Unmerge::On) => Schedule::Share(rounded_share(HALF * dial)),
        (schedule, Unmerge::Off) => {
            let most = HALF * facts.tokens.saturating_sub(facts.prefix) as f64;
            let weights = weights(schedule, facts.depth);
            Schedule::PerLayer(spread(most * dial, &weights, facts.tokens, facts.prefix))
        }
    };
    Tome { schedule, ..tome.clone() }
}

/// What layers remove, relative to each other.
fn weights(schedule: &Schedule, depth: usize) -> Vec<f64> {
    match schedule {
        Schedule::Constant(_) | Schedule::Share(_) => vec![1.0; depth],
        Schedule::Linear { inflect, .. } => {
            let last = depth.saturating_sub(1).max(1) as f64;
            (0..depth).map(|layer| 1.0 - inflect + 2.0 * inflect * layer as f64 / last).collect()
        }
        Schedule::PerLayer(list) if list.iter().take(depth).all(|count| *count == 0) => vec![1.0; depth],
        Schedule::PerLayer(list) => {
            (0..depth).map(|layer| list.get(layer).map_or(0.0, |count| *count as f64)).collect()
        }
    }
}
