//! Which of the measured methods serves a goal best.

use crate::measure::MeasureError;
use crate::offers::{Offer, offers};
use crate::outcome::{Choice, Decision, HeldOut};
use crate::pace::{Pace, ROUNDS, timed};
use crate::search::{SearchOptions, TuneError, Watcher};
use crate::{Goal, Point, Tuner};
use tokmerge_data::Sample;
use tokmerge_eval::{Better, EvalOptions, Labels, Observer, Spread, evaluate, pareto_front, wilson};
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::Model;

/// A speed-up that is worth the trouble.
const WORTHWHILE: f64 = 1.02;

/// What a choice may do to expected losses before it is believed: on 256 images or fewer the best of hundreds looks
/// twice as good as it is. The excess falls with the root of the number of images, as errors do.
fn caution(images: usize) -> f64 {
    1.0 + (256.0 / images.max(1) as f64).sqrt().min(1.0)
}

/// Points of accuracy that an expected drop may lie above the goal: accuracies are compared to half a point, and
/// some loss is always expected, so that a goal of 0 could never be met otherwise.
const TOLERANCE: f64 = 0.25;

/// Lower is better: cost for a goal of quality, loss for a goal of cost.
pub(crate) fn value(offer: &Offer, goal: Goal) -> f64 {
    match goal {
        Goal::MaxDrop(_) | Goal::MinAgreement(_) => offer.point.gmacs,
        Goal::Gmacs(_) | Goal::Latency(_) | Goal::Speedup(_) => offer.doubt(),
    }
}

/// How far an offer is from its goal.
pub(crate) fn shortfall(offer: &Offer, goal: Goal, pace: &Pace) -> f64 {
    match goal {
        Goal::MaxDrop(points) => offer.drop().unwrap_or(100.0) - points - TOLERANCE,
        Goal::MinAgreement(percent) => caution(offer.point.images) * offer.doubt() - (100.0 - percent),
        _ => offer.point.gmacs - pace.budget(goal).unwrap_or(0.0),
    }
}

/// Whether an offer can be expected to keep a promise on images that nobody has seen. The best of many looks better
/// than it is: agreement must be kept counted, and with up to double the expected loss. A drop of accuracy must be kept
/// counted, and expected with a small tolerance.
pub(crate) fn keeps(offer: &Offer, goal: Goal, unmerged: &Point, pace: &Pace) -> bool {
    let point = &offer.point;
    match goal {
        Goal::MinAgreement(percent) => {
            caution(offer.point.images) * offer.doubt() <= 100.0 - percent + 1e-9
                && point.agreement >= percent
        }
        Goal::MaxDrop(points) => match (offer.drop(), point.top1, unmerged.top1) {
            (Some(drop), Some(top1), Some(before)) => {
                drop <= points + TOLERANCE && before - top1 <= points + 1e-9
            }
            _ => false,
        },
        Goal::Gmacs(_) | Goal::Latency(_) | Goal::Speedup(_) => {
            pace.budget(goal).is_some_and(|budget| point.gmacs <= budget)
        }
    }
}

/// The offer that serves a goal best, of those that keep it.
pub(crate) fn best<'a>(
    offers: impl Iterator<Item = &'a Offer>,
    goal: Goal,
    unmerged: &Point,
    pace: &Pace,
) -> Option<&'a Offer> {
    offers
        .filter(|offer| keeps(offer, goal, unmerged, pace))
        .min_by(|a, b| value(a, goal).total_cmp(&value(b, goal)))
}

/// Indices of the points that none beats in both multiply-adds and expected agreement, the cheapest first.
pub(crate) fn front(points: &[Point]) -> Vec<usize> {
    let places: Vec<_> = points.iter().map(|point| (point.gmacs, point.expected_agreement)).collect();
    pareto_front(&places, Better::Less)
}

#[expect(clippy::too_many_arguments, reason = "one caller, all of it needed")]
pub(crate) fn decide(
    tuner: &Tuner<'_>,
    points: &[Point],
    goal: Goal,
    pace: &Pace,
    options: SearchOptions,
    held_out: Vec<Sample>,
    eval: EvalOptions,
    watcher: &mut dyn Watcher,
) -> Result<Decision, TuneError> {
    let offers = offers(tuner, points, options.recheck);
    let mut pace = *pace;
    // Where the goal is time, the first choice may miss it by a little: then the next is asked for less.
    for _ in 0..6 {
        let Some(best) = best(offers.iter(), goal, tuner.unmerged(), &pace) else { break };
        let best = best.point.clone();
        watcher.stage("speed of the choice");
        let method: Method = best.merge.parse().unwrap_or(Method::None);
        let reduction = tuner.model().bind(&method).map_err(MeasureError::from)?;
        let none = Reduction::none();
        let spreads = timed(tuner, &[&none, &reduction], options.batch_size, ROUNDS);
        let speedup = Spread {
            min: spreads[0].min / spreads[1].max,
            median: spreads[0].median / spreads[1].median,
            max: spreads[0].max / spreads[1].min,
        };
        let missed = match goal {
            Goal::Latency(ms) => 1e3 * spreads[1].median / ms,
            Goal::Speedup(factor) => factor / speedup.median,
            _ => 1.0,
        };
        if missed > 1.0 {
            pace.ask_for_less(1.0 - (missed - 1.0).min(0.2) - 0.01);
            continue;
        }
        if speedup.median < WORTHWHILE {
            return Ok(Decision::DoNotMerge {
                reason: format!(
                    "{} keeps the budget ({goal}) but makes this machine only {:.2} times as fast",
                    best.merge, speedup.median
                ),
            });
        }
        let milli = |spread: Spread| Spread {
            min: 1e3 * spread.min,
            median: 1e3 * spread.median,
            max: 1e3 * spread.max,
        };
        let held_out =
            measure_held_out(tuner.model(), &method, held_out, tuner.is_labelled(), eval, watcher)?;
        return Ok(Decision::Merge(Box::new(Choice {
            method,
            search: best,
            held_out,
            speedup,
            ms_per_batch: milli(spreads[1]),
            batch_size: options.batch_size.min(tuner.images().len()),
        })));
    }
    let nearest = offers
        .iter()
        .min_by(|a, b| shortfall(a, goal, &pace).total_cmp(&shortfall(b, goal, &pace)))
        .map_or_else(String::new, |offer| {
            format!(
                "; the nearest of {} is {} with {:.1} % agreement at {:.2} of the multiply-adds",
                points.len(),
                offer.point.merge,
                offer.point.expected_agreement,
                offer.point.gmacs / tuner.unmerged().gmacs
            )
        });
    Ok(Decision::DoNotMerge {
        reason: format!("nothing that was measured keeps the budget ({goal}){nearest}"),
    })
}

fn measure_held_out(
    model: &Model,
    method: &Method,
    samples: Vec<Sample>,
    labelled: bool,
    eval: EvalOptions,
    watcher: &mut dyn Watcher,
) -> Result<Option<HeldOut>, TuneError> {
    if samples.is_empty() {
        return Ok(None);
    }
    watcher.stage("held-out images");
    let labels = if labelled { Labels::Trusted } else { Labels::Ignored };
    let observer: &mut dyn Observer = watcher;
    let reductions = model.bind_all(&[Method::None, method.clone()])?;
    let mut results = evaluate(model, &reductions, samples, labels, eval, observer)?;
    let (Some(merged), Some(unmerged)) = (results.pop(), results.pop()) else { return Ok(None) };
    let hits = (merged.agreement * merged.images as f64 / 100.0).round() as usize;
    let agreement_interval = wilson(hits, merged.images);
    Ok(Some(HeldOut { merged, unmerged, agreement_interval }))
}
