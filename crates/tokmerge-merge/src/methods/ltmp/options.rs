//! How LTMP is written down.

use super::{Limits, Ltmp, Thresholds};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial::rounded;
use crate::methods::option::{
    FromOptions, Opt, PART, Refusal, entries, infos, last, list_text, number_in, part, percent_text,
    positions, prop_attn, protect, recheck,
};

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "ltmp",
    summary: "merge all pairs that are similar enough, then drop what gets too little attention",
    source: "LTMP (arXiv:2307.10780); thresholds are given, or learned as there",
    example: "ltmp:merge_above=0.9,prune_at=0.001",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

/// Before anything is read.
const NOT_GIVEN: Limits = Limits::PerLayer(Vec::new());

const OPTIONS: &[Opt<Ltmp>] = &[
    Opt::new(
        "merge_above",
        (
            "a number from -1 to 1, or a list such as [1,0.95,0.9] with one per layer",
            "a number from -1 to 1, or a list such as [1,0.95,0.9]",
        ),
        "pairs merge whose cosine is above; 1 merges nothing",
        |method, text| {
            let limits = read(text, |limit| (-1.0..=1.0).contains(limit))?;
            method.thresholds = Thresholds::Given { merge_above: limits, prune_at: None };
            Ok(())
        },
        |method| match &method.thresholds {
            Thresholds::Given { merge_above, .. } => Some(written(merge_above)),
            Thresholds::Learned { .. } => None,
        },
    ),
    Opt::new(
        "prune_at",
        (
            "no pruning, or a number from 0 to 1, or a list such as [0,0.001,0.002] with one per layer",
            "a number from 0 to 1, or a list such as [0,0.001,0.002]",
        ),
        "tokens are dropped that get at most this much attention, as the mean over heads and queries",
        |method, text| {
            let limits = read(text, |limit| (0.0..=1.0).contains(limit))?;
            if let Thresholds::Given { prune_at, .. } = &mut method.thresholds {
                *prune_at = Some(limits);
            }
            Ok(())
        },
        |method| match &method.thresholds {
            Thresholds::Given { prune_at, .. } => prune_at.as_ref().map(written),
            Thresholds::Learned { .. } => None,
        },
    ),
    Opt::new(
        "target",
        PART,
        "cost to learn thresholds for, as a part of that of the blocks (has weights: train it)",
        |method, text| {
            if method.thresholds != (Thresholds::Given { merge_above: NOT_GIVEN, prune_at: None }) {
                return Err(Refusal::Conflict(
                    "target has thresholds learned; give that, or merge_above and prune_at".to_owned(),
                ));
            }
            method.thresholds = Thresholds::Learned { target: part(text)? };
            Ok(())
        },
        |method| method.target().map(percent_text),
    ),
    prop_attn(),
    last(),
    recheck(),
    protect(),
    positions(),
];

fn read(text: &str, allowed: impl Fn(&f64) -> bool) -> Result<Limits, Refusal> {
    let limit = |text: &str| number_in(text, &allowed);
    Ok(match entries(text, limit) {
        Some(list) => Limits::PerLayer(list?),
        None => Limits::Constant(limit(text)?),
    })
}

fn written(limits: &Limits) -> String {
    match limits {
        Limits::Constant(limit) => limit.to_string(),
        Limits::PerLayer(list) => list_text(list),
    }
}

impl FromOptions for Ltmp {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(NOT_GIVEN)
    }

    fn check(&self) -> Result<(), Refusal> {
        match &self.thresholds {
            Thresholds::Given { merge_above, .. } if *merge_above == NOT_GIVEN => {
                Err(Refusal::Missing("merge_above (or target)"))
            }
            Thresholds::Given { .. } | Thresholds::Learned { .. } => Ok(()),
        }
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        let _ = facts;
        let Thresholds::Given { merge_above, prune_at } = &self.thresholds else { return None };
        let given = merge_above.smallest();
        // Thresholds all shifted by as much, from the lowest at 1; limits are as given where the thresholds are, below that less
        // is dropped, above it more. Where nothing merges, the limits alone are turned.
        let (merge_above, times) = match given < 1.0 {
            true => {
                let shifted = |limit: f64| rounded((limit + 1.0 - given - at).clamp(0.0, 1.0));
                let kept = |limit: f64| if limit < 1.0 { shifted(limit) } else { limit };
                (merge_above.map(kept), at / (1.0 - given))
            }
            false => (merge_above.clone(), at / prune_at.as_ref().map_or(1.0, Limits::largest)),
        };
        let turned = |limits: &Limits| limits.map(|limit| rounded((limit * times).min(1.0)));
        let prune_at = prune_at.as_ref().filter(|_| at > 0.0).map(turned);
        Some(Self { thresholds: Thresholds::Given { merge_above, prune_at }, ..self.clone() })
    }
}
