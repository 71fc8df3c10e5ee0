//! How CubistMerge is written down.

use super::{Cubistmerge, LAYER, SharedDestination};
use crate::methods::MethodInfo;
use crate::methods::option::{
    Choice, FromOptions, Opt, PROPORTIONAL_OFF, choice, infos, last, recheck, whole,
};
use crate::{ModelFacts, Similarity};

const NUMBER: (&str, &str) = ("a whole number", "a whole number from 0 to 4096");
const DISTANCES: &[Choice<Similarity>] =
    &[("cosine", Similarity::Cosine), ("euclidean", Similarity::Euclidean)];
const SHARED: &[Choice<SharedDestination>] =
    &[("code", SharedDestination::LastCounts), ("paper", SharedDestination::BothCount)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "cubistmerge",
    summary: "merge neighbours in the rows and columns of the grid of patches, so that a smaller grid is left",
    source: "CubistMerge (arXiv:2509.21764)",
    example: "cubistmerge:rows=2,columns=2",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Cubistmerge>] = &[
    Opt::required(
        "rows",
        NUMBER,
        "rows of patches to remove, at most half",
        |method, text| {
            method.rows = whole(text, 0..=4096)?;
            Ok(())
        },
        |method| Some(method.rows.to_string()),
    ),
    Opt::required(
        "columns",
        NUMBER,
        "columns of patches to remove, at most half",
        |method, text| {
            method.columns = whole(text, 0..=4096)?;
            Ok(())
        },
        |method| Some(method.columns.to_string()),
    ),
    Opt::new(
        "layer",
        ("2, or a layer", "a whole number from 1 to 4096"),
        "the layer before which that happens, counted from 1",
        |method, text| {
            method.layer = whole(text, 1..=4096)?;
            Ok(())
        },
        |method| Some(method.layer).filter(|layer| *layer != LAYER).map(|layer| layer.to_string()),
    ),
    choice!("distance", DISTANCES, similarity, "how neighbours are compared"),
    choice!(
        "combine",
        SHARED,
        shared,
        "of two patches that merge into the one between them, the later counts as in the published code, or both as in the paper"
    ),
    choice!(
        "prop_attn",
        PROPORTIONAL_OFF,
        common.proportional_attention,
        "attention weighs tokens by size; the published code does not"
    ),
    last(),
    recheck(),
];

impl FromOptions for Cubistmerge {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(0, 0)
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        // A column and a row in turn, up to half of both.
        // What does not fit says why when it is bound.
        let Some((rows, columns)) = facts.grid else { return Some(self.clone()) };
        let steps = (at * (rows / 2 + columns / 2) as f64).round() as usize;
        let rows = (steps / 2).max(steps.saturating_sub(columns / 2)).min(rows / 2);
        Some(Self { rows, columns: steps - rows, ..self.clone() })
    }
}
