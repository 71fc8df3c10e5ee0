//! Methods beside ToMe and ATM that a search tries, and methods like them.

use crate::space::Candidate;
use crate::{Family, Tuner};
use tokmerge_merge::foresight::Foresight;
use tokmerge_merge::{CompressionRates, Diffrate, Limits, Mctf, Method, ModelFacts, Removal};
use tokmerge_nn::Random;

/// What is brought to several costs at first: those that did best at equal cost off the shelf (docs/methods.md). Last what takes
/// part where the model has the weights (`tokmerge calibrate`).
const SHAPES: [(&str, Family); 6] = [
    ("mctf:r=13", Family::Mctf),
    ("mctf:above=0.85", Family::Mctf),
    ("diffrate:schedule=resampled", Family::Diffrate),
    ("atc:r=8", Family::Atc),
    ("pitome:r=8", Family::Pitome),
    ("foresight:limit=0.05", Family::Foresight),
];

/// Parts of the unmerged model's multiply-adds.
const COSTS: [f64; 3] = [0.85, 0.75, 0.65];

/// Where the dial stands of what has no cost before images are looked at.
const DIALS: [f64; 3] = [0.1, 0.13, 0.16];

/// The same for [`Foresight`]: limits of 0.02 to 0.9, which save 10 to 65 % of the real ViT-Ti.
const LIMITS: [f64; 5] = [0.12, 0.15, 0.18, 0.235, 0.31];

/// Steps of a bisection, and how near to a cost is near enough to be told apart from another.
const STEPS: usize = 20;
const NEAR: f64 = 0.05;

/// Billions of multiply-adds, where they are known without an image.
pub(crate) fn counted(tuner: &Tuner<'_>, method: &Method) -> Option<f64> {
    let reduction = tuner.model().bind(method).ok()?;
    tuner.counted(&reduction).map(|(gmacs, _)| gmacs)
}

/// Those that fit the model, each at a few costs.
pub(crate) fn seeds(tuner: &Tuner<'_>) -> Vec<Candidate> {
    let facts = tuner.model().facts();
    let unmerged = counted(tuner, &Method::None);
    let mut seeds: Vec<Candidate> = Vec::new();
    for (shape, family) in shapes(tuner) {
        let at = |dials: &[f64]| dials.iter().map(|dial| shape.at_dial(*dial, &facts)).collect::<Vec<_>>();
        let found = match (unmerged, counted(tuner, &shape)) {
            _ if family == Family::Foresight => at(&LIMITS),
            (Some(unmerged), Some(_)) => {
                COSTS.iter().map(|cost| at_cost(tuner, &shape, cost * unmerged)).collect()
            }
            _ => at(&DIALS),
        };
        for found in found {
            let known = |method: &Method| seeds.iter().any(|seed| seed.method == *method);
            if let Some(method) = found.filter(|method| !known(method)) {
                seeds.push(Candidate { method, family });
            }
        }
    }
    seeds
}

/// What fits the model, weights included: the usual ones, and what the model was trained with.
fn shapes(tuner: &Tuner<'_>) -> Vec<(Method, Family)> {
    let model = tuner.model();
    let mut shapes: Vec<(Method, Family)> =
        SHAPES.iter().filter_map(|(shape, family)| Some((shape.parse().ok()?, *family))).collect();
    let own = model.trained_with();
    if own.has_weights() && !matches!(own, Method::Foresight(_)) {
        shapes.push((own.clone().with_recheck(None), Family::Trained));
    }
    shapes.retain(|(shape, _)| model.bind(shape).is_ok() && !model.has_fresh_weights(shape));
    shapes
}

/// The method at the dial at which it costs as much; `None` where it cannot.
fn at_cost(tuner: &Tuner<'_>, shape: &Method, cost: f64) -> Option<Method> {
    let facts = tuner.model().facts();
    let (mut low, mut high) = (0.0, 1.0);
    let mut nearest: Option<(f64, Method)> = None;
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        let method = shape.at_dial(middle, &facts)?;
        let costs = counted(tuner, &method)?;
        let miss = (costs / cost - 1.0).abs();
        if nearest.as_ref().is_none_or(|(before, _)| miss < *before) {
            nearest = Some((miss, method));
        }
        if costs > cost {
            low = middle;
        } else {
            high = middle;
        }
    }
    nearest.filter(|(miss, _)| *miss < NEAR).map(|(_, method)| method)
}

/// A random neighbour of MCTF: each layer by itself.
pub(crate) fn near_mctf(mctf: &Mctf, facts: &ModelFacts, random: &mut Random) -> Option<Candidate> {
    let works = |layer: usize| match &mctf.layers {
        Some(layers) => layers.contains(&(layer + 1)),
        None => layer > 0,
    };
    let removal = match &mctf.removal {
        Removal::Share(_) => return None,
        Removal::Above(_) | Removal::AbovePerLayer(_) => {
            let (shared, own) = (0.008 * random.normal(), 0.004 + 0.01 * random.unit());
            let limit = |layer: usize| match &mctf.removal {
                Removal::AbovePerLayer(limits) => limits.get(layer).copied(),
                Removal::Above(limit) if works(layer) => Some(*limit),
                _ => None,
            };
            let moved = (0..facts.depth).map(|layer| match limit(layer).filter(|limit| *limit < 1.0) {
                Some(limit) => {
                    let moved = limit + shared + own * random.normal();
                    (moved.clamp(0.0, 1.0) * 1e4).round() / 1e4
                }
                None => 1.0,
            });
            Removal::AbovePerLayer(moved.collect())
        }
        Removal::Tokens(_) | Removal::PerLayer(_) => {
            let removed = |layer: usize| match &mctf.removal {
                Removal::PerLayer(list) => list.get(layer).copied().unwrap_or(0),
                Removal::Tokens(r) if works(layer) => *r,
                _ => 0,
            };
            let moved = (0..facts.depth).map(|layer| {
                let r = removed(layer) as f64;
                (r + 0.25 * (r + 2.0) * random.normal()).round().clamp(0.0, (facts.tokens / 2) as f64)
                    as usize
            });
            Removal::PerLayer(moved.collect())
        }
    };
    // Lists say themselves in which layers.
    let layers = mctf.layers.clone().filter(|_| !matches!(removal, Removal::PerLayer(_)));
    Some(Candidate { method: Method::Mctf(Mctf { removal, layers, ..mctf.clone() }), family: Family::Mctf })
}

/// A random neighbour of DiffRate: what each layer leaves, by itself.
pub(crate) fn near_diffrate(diffrate: &Diffrate, facts: &ModelFacts, random: &mut Random) -> Candidate {
    let [prune, merge] = diffrate.rates.for_model(facts).map(|list| {
        let moved = list.iter().map(|left| {
            let gone = facts.tokens.saturating_sub(*left) as f64;
            let moved = gone + 0.1 * (gone + 4.0) * random.normal();
            facts.tokens.saturating_sub(moved.round().max(0.0) as usize).clamp(2, facts.tokens.max(2))
        });
        moved.collect()
    });
    let rates = CompressionRates::Listed { prune, merge };
    let method = Method::Diffrate(Diffrate { rates, ..diffrate.clone() });
    Candidate { method, family: Family::Diffrate }
}

/// A random neighbour of foresight: all limits together, and each by itself; some leave the first layers alone, where a merge costs
/// most and matching saves least.
pub(crate) fn near_foresight(foresight: &Foresight, facts: &ModelFacts, random: &mut Random) -> Candidate {
    let (shared, own) = (0.35 * random.normal(), 0.1 + 0.3 * random.unit());
    let first = if random.below(2) == 0 { random.below(facts.depth / 3 + 1) } else { 0 };
    // Nothing follows the last layer, and nothing merges there.
    let moved = (0..facts.depth.saturating_sub(1)).map(|layer| {
        let limit = foresight.limit.of(layer).filter(|_| layer >= first).map_or(0.0, f64::from);
        let moved = limit * (shared + own * random.normal()).exp();
        (moved.min(MOST) * 1e5).round() / 1e5
    });
    let limit = Limits::PerLayer(moved.collect());
    Candidate {
        method: Method::Foresight(Foresight { limit, ..foresight.clone() }),
        family: Family::Foresight,
    }
}

/// The largest limit that is tried: twice what merges nearly everything.
const MOST: f64 = 200.0;

#[cfg(test)]
mod tests {
    use super::{SHAPES, near_diffrate, near_foresight, near_mctf};
    use tokmerge_merge::{Method, ModelFacts, Reduction};
    use tokmerge_nn::Random;

    #[test]
    fn neighbours_fit_the_model_and_read_back() {
        let facts = ModelFacts::new(12, 197, 1);
        let mut random = Random::new(5);
        let mut different = 0;
        for (shape, _) in SHAPES {
            let mut method: Method = shape.parse().expect("a spec");
            for _ in 0..20 {
                let near = match &method {
                    Method::Mctf(mctf) => near_mctf(mctf, &facts, &mut random),
                    Method::Diffrate(diffrate) => Some(near_diffrate(diffrate, &facts, &mut random)),
                    Method::Foresight(foresight) => Some(near_foresight(foresight, &facts, &mut random)),
                    _ => None,
                };
                let Some(near) = near else { break };
                Reduction::bind(near.method.clone(), &facts).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(near.method.to_string().parse(), Ok(near.method.clone()));
                different += usize::from(near.method != method);
                method = near.method;
            }
        }
        assert!(different > 50, "{different}");
    }
}
