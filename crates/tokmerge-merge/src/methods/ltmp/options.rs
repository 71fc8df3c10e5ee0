//! How LTMP is written down.

use super::{Limits, Ltmp};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial::rounded;
use crate::methods::option::{
    FromOptions, Opt, Refusal, entries, infos, last, list_text, number_in, positions, prop_attn, protect,
    recheck,
};

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "ltmp",
    summary: "merge all pairs that are similar enough, then drop what gets too little attention",
    source: "LTMP (arXiv:2307.10780); thresholds are learned there and given here",
    example: "ltmp:merge_above=0.9,prune_at=0.001",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Ltmp>] = &[
    Opt::required(
        "merge_above",
        (
            "a number from -1 to 1, or a list such as [1,0.95,0.9] with one per layer",
            "a number from -1 to 1, or a list such as [1,0.95,0.9]",
        ),
        "pairs merge whose cosine is above; 1 merges nothing",
        |method, text| {
            method.merge_above = read(text, |limit| (-1.0..=1.0).contains(limit))?;
            Ok(())
        },
        |method| Some(written(&method.merge_above)),
    ),
    Opt::new(
        "prune_at",
        (
            "no pruning, or a number from 0 to 1, or a list such as [0,0.001,0.002] with one per layer",
            "a number from 0 to 1, or a list such as [0,0.001,0.002]",
        ),
        "tokens are dropped that get at most this much attention, as the mean over heads and queries",
        |method, text| {
            method.prune_at = Some(read(text, |limit| (0.0..=1.0).contains(limit))?);
            Ok(())
        },
        |method| method.prune_at.as_ref().map(written),
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
        Self::new(Limits::Constant(1.0))
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        let _ = facts;
        let given = self.merge_above.smallest();
        // Thresholds all shifted by as much, from the lowest at 1; limits are as given where the thresholds are, below that less
        // is dropped, above it more. Where nothing merges, the limits alone are turned.
        let (merge_above, times) = match given < 1.0 {
            true => {
                let shifted = |limit: f64| rounded((limit + 1.0 - given - at).clamp(0.0, 1.0));
                let kept = |limit: f64| if limit < 1.0 { shifted(limit) } else { limit };
                (self.merge_above.map(kept), at / (1.0 - given))
            }
            false => (self.merge_above.clone(), at / self.prune_at.as_ref().map_or(1.0, Limits::largest)),
        };
        let turned = |limits: &Limits| limits.map(|limit| rounded((limit * times).min(1.0)));
        let prune_at = self.prune_at.as_ref().filter(|_| at > 0.0).map(turned);
        Some(Self { merge_above, prune_at, ..self.clone() })
    }
}
