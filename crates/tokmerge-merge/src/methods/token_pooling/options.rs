//! How Token Pooling is written down.

use super::{Clustering, ITERATIONS, MedoidUpdate, PooledTo, TokenPooling};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial;
use crate::methods::layers::{self, layers};
use crate::methods::option::{
    Choice, FromOptions, ONE_OR_LIST, Opt, PROPORTIONAL_OFF, Refusal, choice, infos, last, one_or_list,
    one_or_list_text, percent, percent_text, positions, protect, recheck, whole,
};

const CLUSTERINGS: &[Choice<Clustering>] = &[
    ("kmedoids", Clustering::Medoids),
    ("kmeans", Clustering::Means),
    ("dpc_knn", Clustering::DensityPeaks),
];
const UPDATES: &[Choice<MedoidUpdate>] = &[("code", MedoidUpdate::Published), ("paper", MedoidUpdate::Paper)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "token_pooling",
    summary: "cluster the patches before some blocks, and let one token stand for each cluster",
    source: "Token Pooling (arXiv:2110.03860)",
    example: "token_pooling:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<TokenPooling>] = &[
    Opt::new(
        "keep",
        ("a share such as 70%, above 0%", "a share above 0% and up to 100% such as 70%"),
        "clusters left of the patches: that share before the first of its layers, that share of it before the second, and so on",
        |method, text| {
            let keep = percent(text, 100.0)?;
            method.pooled_to = PooledTo::Share(keep);
            if keep > 0.0 { Ok(()) } else { Err(Refusal::Value) }
        },
        |method| match &method.pooled_to {
            PooledTo::Share(share) => Some(percent_text(*share)),
            PooledTo::Counts(_) => None,
        },
    ),
    Opt::new(
        "tokens",
        ("a list such as [137,96,67] with one per layer", ONE_OR_LIST),
        "the same as numbers of clusters, one for each of its layers in their order",
        |method, text| match method.pooled_to {
            PooledTo::Share(_) => {
                Err(Refusal::Conflict("keep and tokens both say how much is left; give one".to_owned()))
            }
            PooledTo::Counts(_) => {
                method.pooled_to = PooledTo::Counts(one_or_list(text)?);
                Ok(())
            }
        },
        |method| match &method.pooled_to {
            PooledTo::Share(_) => None,
            PooledTo::Counts(counts) => Some(one_or_list_text(counts)),
        },
    ),
    layers!(
        layers,
        "[4,7,10] of 12 layers, or a layer, or a list",
        "the layers before which that happens, counted from 1; by default after each quarter of the model"
    ),
    choice!(
        "cluster",
        CLUSTERINGS,
        clustering,
        "clusters become their medoid, their mean weighted by attention, or, by density peaks, their plain mean"
    ),
    choice!(
        "weights",
        UPDATES,
        update,
        "how attention weighs in finding medoids: as in the published code, or as the paper's loss asks"
    ),
    Opt::new(
        "iterations",
        ("5, or a whole number", "a whole number from 0 to 1000"),
        "rounds of finding new medoids or means, at most",
        |method, text| {
            method.iterations = whole(text, 0..=1000)?;
            Ok(())
        },
        |method| {
            Some(method.iterations).filter(|rounds| *rounds != ITERATIONS).map(|rounds| rounds.to_string())
        },
    ),
    choice!(
        "prop_attn",
        PROPORTIONAL_OFF,
        common.proportional_attention,
        "attention weighs tokens by size; the published code does not"
    ),
    last(),
    protect(),
    positions(),
    recheck(),
];

impl TokenPooling {
    /// Whether as many numbers are listed as layers.
    fn check_counts(&self) -> Result<(), Refusal> {
        let layers = self.layers.as_ref().map_or(layers::QUARTERS, Vec::len);
        match &self.pooled_to {
            PooledTo::Counts(counts) if counts.is_empty() => Err(Refusal::Missing("keep or tokens")),
            PooledTo::Counts(counts) if counts.len() != layers => Err(Refusal::Conflict(format!(
                "tokens={} needs as many numbers as there are layers, which are {layers}",
                one_or_list_text(counts)
            ))),
            PooledTo::Counts(_) | PooledTo::Share(_) => Ok(()),
        }
    }
}

impl FromOptions for TokenPooling {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(PooledTo::Counts(Vec::new()))
    }

    fn check(&self) -> Result<(), Refusal> {
        let Self { clustering, update, iterations, .. } = self;
        if *update == MedoidUpdate::Paper && *clustering != Clustering::Medoids {
            return Err(Refusal::Conflict("weights=paper is for cluster=kmedoids".to_owned()));
        }
        if *iterations != ITERATIONS && *clustering == Clustering::DensityPeaks {
            return Err(Refusal::Conflict("cluster=dpc_knn has no iterations".to_owned()));
        }
        layers::check(&self.layers)?;
        self.check_counts()
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        let _ = facts;
        Some(Self { pooled_to: PooledTo::Share(dial::kept(at)), ..self.clone() })
    }
}
