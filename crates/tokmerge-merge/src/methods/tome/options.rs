//! How token merging is written down.

use super::{Matcher, Tome, Unmerge};
use crate::methods::dial;
use crate::methods::draw::REDRAWS;
use crate::methods::option::{
    CLASS, Choice, FromOptions, KEEP, Opt, PROPORTIONAL, Refusal, SCHEDULE, choice, chosen, infos, joined,
    named, number_in, positions, protect, recheck, schedule, schedule_text, whole,
};
use crate::methods::{MethodInfo, Partition};
use crate::{Combine, HeadAggregation, LastLayer, Metric, ModelFacts, Rounding, Schedule, Similarity};

pub(super) const METRICS: &[Choice<Metric>] = &[
    ("k", Metric::Key),
    ("q", Metric::Query),
    ("v", Metric::Value),
    ("x", Metric::Attended),
    ("x_pre", Metric::BlockInput),
];
pub(super) const HEADS: &[Choice<HeadAggregation>] =
    &[("mean", HeadAggregation::Mean), ("concat", HeadAggregation::Concat)];
pub(super) const SIMILARITIES: &[Choice<Similarity>] = &[
    ("cosine", Similarity::Cosine),
    ("dot", Similarity::Dot),
    ("euclidean", Similarity::Euclidean),
    ("softmax", Similarity::Softmax),
];
pub(super) const COMBINES: &[Choice<Combine>] = &[
    ("weighted", Combine::WeightedAverage),
    ("average", Combine::Average),
    ("max", Combine::Max),
    ("keep", Combine::KeepOne),
];
pub(super) const PARTITIONS: &[Choice<Partition>] = &[
    ("alternating", Partition::Alternating),
    ("sequential", Partition::Sequential),
    ("random", Partition::Random),
];
const UNMERGES: &[Choice<Unmerge>] = &[("off", Unmerge::Off), ("on", Unmerge::On)];
const LAST_LAYERS: &[Choice<LastLayer>] = &[KEEP, CLASS];
const ROUNDINGS: &[Choice<Rounding>] = &[("truncate", Rounding::Truncate), ("exact", Rounding::Exact)];
const DEFAULT_ITERATIONS: usize = 5;
pub(super) const MATCHERS: &[Choice<Matcher>] = &[
    ("bipartite", Matcher::Bipartite),
    ("greedy", Matcher::Greedy),
    ("kmeans", Matcher::KMeans { iterations: DEFAULT_ITERATIONS }),
    ("random_merge", Matcher::RandomMerge),
    ("random_prune", Matcher::RandomPrune),
    ("attention_prune", Matcher::AttentionPrune),
];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "tome",
    summary: "merge the r most similar pairs of tokens in every layer",
    source: "ToMe (arXiv:2210.09461), §3; options from Tables 1 and 2",
    example: "tome:r=8",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Tome>] = &[
    Opt::required(
        "r",
        SCHEDULE,
        "tokens to remove per layer",
        |tome, text| {
            tome.schedule = schedule(text)?;
            Ok(())
        },
        |tome| Some(schedule_text(&tome.schedule)),
    ),
    Opt::new(
        "inflect",
        ("0, or -1 (decreasing) to 1 (increasing)", "a number from -1 (decreasing) to 1 (increasing)"),
        "tilts the schedule around r (eq. 3)",
        read_inflect,
        |tome| match tome.schedule {
            Schedule::Linear { inflect, .. } => Some(inflect.to_string()),
            Schedule::Constant(_) | Schedule::PerLayer(_) | Schedule::Share(_) => None,
        },
    ),
    Opt::new(
        "rounding",
        (joined!(ROUNDINGS), joined!(ROUNDINGS)),
        "fractions of a tilted schedule: cut as published, or carried over so that r * layers go",
        |tome, text| {
            let given = chosen(ROUNDINGS, text)?;
            if let Schedule::Linear { rounding, .. } = &mut tome.schedule {
                *rounding = given;
            }
            Ok(())
        },
        |tome| match &tome.schedule {
            Schedule::Linear { rounding, .. } => named(ROUNDINGS, rounding),
            Schedule::Constant(_) | Schedule::PerLayer(_) | Schedule::Share(_) => None,
        },
    ),
    Opt::new(
        "matcher",
        (joined!(MATCHERS), joined!(MATCHERS)),
        "how the tokens to remove are found (Table 2)",
        |tome, text| {
            tome.matcher = chosen(MATCHERS, text)?;
            Ok(())
        },
        |tome| match tome.matcher {
            Matcher::KMeans { .. } => Some("kmeans".to_owned()),
            matcher => named(MATCHERS, &matcher),
        },
    ),
    Opt::new(
        "iterations",
        ("5", "a whole number from 1 to 1000"),
        "of kmeans (the paper tries 2 and 5)",
        |tome, text| {
            let given = whole(text, 1..=1000)?;
            match &mut tome.matcher {
                Matcher::KMeans { iterations } => *iterations = given,
                _ => {
                    let reason = "iterations belongs to matcher=kmeans; leave it out or choose that matcher";
                    return Err(Refusal::Conflict(reason.to_owned()));
                }
            }
            Ok(())
        },
        |tome| match tome.matcher {
            Matcher::KMeans { iterations } if iterations != DEFAULT_ITERATIONS => {
                Some(iterations.to_string())
            }
            _ => None,
        },
    ),
    choice!("feature", METRICS, metric.of, "what is compared (Table 1a)"),
    choice!("distance", SIMILARITIES, similarity, "how it is compared (Table 1b)"),
    choice!("heads", HEADS, metric.heads, "what becomes of heads (Table 1c)"),
    choice!("combine", COMBINES, combine, "what merged tokens become (Table 1d)"),
    choice!("partition", PARTITIONS, partition, "who proposes to whom (Table 1e)"),
    choice!("unmerge", UNMERGES, unmerge, "all tokens are there again after each block (with feature=x_pre)"),
    choice!(
        "prop_attn",
        PROPORTIONAL,
        common.proportional_attention,
        "attention weighs tokens by size (Table 1f); auto: on, but off for off-the-shelf MAE"
    ),
    choice!(
        "last",
        LAST_LAYERS,
        common.last_layer,
        "what goes through the last MLP: all, or the class token (models that need patches keep them)"
    ),
    recheck(),
    protect(),
    positions(),
    Opt::new(
        "seed",
        ("0", "a whole number"),
        "for everything random",
        |tome, text| {
            tome.seed = number_in(text, |_| true)?;
            Ok(())
        },
        |tome| (tome.seed != 0).then(|| tome.seed.to_string()),
    ),
    choice!("redraw", REDRAWS, redraw, "in training, draw anew whatever is random, for every image and step"),
];

fn read_inflect(tome: &mut Tome, text: &str) -> Result<(), Refusal> {
    let inflect = number_in(text, |inflect: &f64| (-1.0..=1.0).contains(inflect))?;
    match tome.schedule {
        Schedule::Constant(r) if inflect != 0.0 => {
            tome.schedule = Schedule::Linear { r, inflect, rounding: Rounding::default() };
        }
        Schedule::PerLayer(_) | Schedule::Share(_) => {
            let reason =
                "inflect tilts a single r; a list or a share already says how many each layer removes";
            return Err(Refusal::Conflict(reason.to_owned()));
        }
        Schedule::Constant(_) | Schedule::Linear { .. } => {}
    }
    Ok(())
}

impl FromOptions for Tome {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(0)
    }

    fn check(&self) -> Result<(), Refusal> {
        let conflict = |reason: &str| Err(Refusal::Conflict(reason.to_owned()));
        match (self.metric.of, self.matcher, self.unmerge) {
            (Metric::BlockInput, Matcher::AttentionPrune, _) => conflict(
                "feature=x_pre merges before attention, when matcher=attention_prune knows nothing yet; leave feature out",
            ),
            (Metric::Attended | Metric::Query | Metric::Key | Metric::Value, _, Unmerge::On) => conflict(
                "unmerge=on works around a whole block, so tokens must merge before it; add feature=x_pre",
            ),
            _ => Ok(()),
        }
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        // Tokens that come back are there for the next layer, so that nothing carries over.
        let schedule = match self.unmerge {
            Unmerge::On => dial::half_of_all(at),
            Unmerge::Off => dial::schedule(&self.schedule, at, facts),
        };
        Some(Self { schedule, ..self.clone() })
    }

    fn in_part(&self, part: f64) -> Option<Self> {
        Some(Self { schedule: self.schedule.in_part(part), ..self.clone() })
    }
}
