//! Token Pooling (Marin et al., 2021, arXiv:2110.03860): before some blocks the patches are clustered, and every cluster
//! becomes one token.
//!
//! The paper asks for the clusters that lose least, `Σ w_i min_j |f_i - c_j|²` over all patches, `w` being the attention that
//! a patch has received from all tokens in the block before. Clustering begins with the patches of most attention, and goes
//! on for 5 rounds (`iterations`) at most; clusters go on in the order in which they began. There is no code of the authors.
//! What is described here as published code is that of Haurum et al. (2023, arXiv:2308.04657), who compared the method with
//! others:
//!
//! - `cluster=kmedoids` (default): of every cluster the patch in its middle goes on as it is, the others are gone. Patches join
//!   the nearest medoid, ties going to the one that began earlier; then each cluster finds a new one. By `weights=code`
//!   (default, as in the published code) that is the member whose own weight times the sum of its distances to **all** patches
//!   is least; by `weights=paper` the member that loses least as above. Which is better is not known. A medoid stays in its
//!   own cluster, also where another is equal to it.
//! - `cluster=kmeans`: clusters become their means, weighted by attention, as the paper has it; no code is known. A cluster
//!   that loses all members gets the patch that is farthest from its own, which is ours.
//! - `cluster=dpc_knn`, which is not of the paper: clusters by density peaks (Du et al., 2016), as in the published code. A
//!   patch is dense if its 5 nearest, itself included, are near; the centres are those of greatest density times distance to
//!   the nearest denser patch, in that order. They become plain means. No attention is asked for. The published code adds a
//!   random number of up to 1e-6 to each density, which is left out here.
//!
//! How many clusters are left of the patches: `keep=70%` is 70 % before the first of the layers, 49 % before the second and
//! so on, rounded down, as in the published code; of the patches that the model's longest item has. `tokens` lists numbers.
//! The paper took its own from a search by another method. Attention does not weigh tokens by size (`prop_attn=off`).
//!
//! Distances between patches cost `N² C` multiply-adds, which are not counted, as fvcore does not see them.

mod clusters;
mod options;
mod peaks;

use super::layers::{self, Layers};
use super::matching::by_falling_score;
use super::{At, Common, ProportionalAttention, Rule};
use crate::plan::PlanBuilder;
use crate::{
    Amount, Combination, Combine, Evidence, LastLayer, Merging, ModelFacts, Received, ScheduleError, Site,
    Tokens, Wants,
};
use burn::tensor::s;
use clusters::{Clusters, Distances};

pub(super) use options::INFO;

/// Clusters in place of patches.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenPooling {
    /// How many clusters are left.
    pub pooled_to: PooledTo,
    /// The layers before which that happens.
    pub layers: Layers,
    /// How clusters are found, and what they become.
    pub clustering: Clustering,
    /// What makes a patch the medoid of its cluster.
    pub update: MedoidUpdate,
    /// Rounds of finding new medoids or means.
    pub iterations: usize,
    /// Options that methods share.
    pub common: Common,
}

/// How many clusters are left in each of the layers, in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum PooledTo {
    /// That part of what was left before, rounded down, at least one: of the patches of the model's longest item.
    Share(f64),
    /// So many.
    Counts(Vec<usize>),
}

/// How clusters are found, and what they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clustering {
    /// K-Medoids: the member in the middle.
    Medoids,
    /// K-Means: the mean, weighted by attention.
    Means,
    /// Density peaks among nearest neighbours: the plain mean.
    DensityPeaks,
}

/// What makes a patch the medoid of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MedoidUpdate {
    /// The least own weight times the sum of distances to all patches, as in the published code.
    Published,
    /// The least sum of weighted squared distances to the other members, as the paper's loss asks.
    Paper,
}

/// Rounds of clustering: the most in the paper, and those of the published code.
const ITERATIONS: usize = 5;

impl PooledTo {
    /// What is left of so many patches in the layer of this number, from 0; all where nothing is listed.
    fn of(&self, index: usize, patches: usize) -> usize {
        match self {
            Self::Share(share) => {
                // 81 % of 100 are 81, though 0.9 times 0.9 in binary may be less.
                let left = share.powi(index as i32 + 1) * patches as f64 * (1.0 + 8.0 * f64::EPSILON);
                (left as usize).max(1)
            }
            Self::Counts(counts) => counts.get(index).copied().unwrap_or(patches),
        }
    }
}

impl TokenPooling {
    /// The paper's K-Medoids with its defaults.
    #[must_use]
    pub fn new(pooled_to: PooledTo) -> Self {
        let common =
            Common { proportional_attention: ProportionalAttention::Off, ..Common::new(LastLayer::All) };
        Self {
            pooled_to,
            layers: None,
            clustering: Clustering::Medoids,
            update: MedoidUpdate::Published,
            iterations: ITERATIONS,
            common,
        }
    }

    /// So many clusters of the patches of an item, of which attention has received so much.
    fn clusters(&self, distances: &Distances, weights: &[f32], keep: usize) -> Clusters {
        let heaviest = || by_falling_score(weights, 0).into_iter().take(keep).map(|point| point as usize);
        match self.clustering {
            Clustering::Medoids => {
                clusters::medoids(distances, weights, heaviest().collect(), self.update, self.iterations)
            }
            Clustering::Means => clusters::means(distances, weights, heaviest().collect(), self.iterations),
            Clustering::DensityPeaks => peaks::density_peaks(distances, keep),
        }
    }
}

impl Rule for TokenPooling {
    super::rule::common!();

    fn site(&self) -> Site {
        Site::BeforeBlock
    }

    fn combine(&self) -> Combine {
        match self.clustering {
            Clustering::Medoids => Combine::KeepOne,
            Clustering::Means => Combine::WeightedAverage,
            Clustering::DensityPeaks => Combine::Average,
        }
    }

    fn wants(&self) -> Wants {
        match self.clustering {
            Clustering::Medoids | Clustering::Means => {
                Wants { received: Received::FromAll, ..Wants::default() }
            }
            Clustering::DensityPeaks => Wants::default(),
        }
    }

    fn amounts(&self, facts: &ModelFacts) -> Result<Vec<Amount>, ScheduleError> {
        let patches = facts.tokens.saturating_sub(facts.prefix);
        let amount = |index| match self.pooled_to.of(index, patches) {
            keep if keep >= patches => Amount::NOTHING,
            keep => Amount::Keep(keep),
        };
        match self.wants().attention() {
            true => layers::amounts_after_one(&self.layers, facts.depth, amount),
            false => layers::amounts(&self.layers, facts.depth, amount),
        }
    }

    fn merging(&self, at: &At, tokens: &Tokens, evidence: Evidence) -> Option<Merging> {
        let Amount::Keep(keep) = at.amount else { return None };
        let received = self.wants().attention().then(|| evidence.received().to_vec());
        let x = evidence.into_metric();
        let mut weights = vec![1.0; tokens.layout.rows()];
        let mut builder = PlanBuilder::new(tokens.layout.clone());
        let mut changes = false;
        for item in 0..tokens.layout.items() {
            let range = tokens.layout.range(item);
            let prefix = tokens.prefix.of(item).min(range.len());
            if range.len() - prefix <= keep {
                builder.keep_item();
                continue;
            }
            changes = true;
            let patches = range.start + prefix..range.end;
            if let Some(received) = &received {
                // Without any attention, or by what is no number, a patch weighs next to nothing.
                let own = received[patches.clone()].iter().map(|weight| weight.max(f32::MIN_POSITIVE));
                weights.splice(patches.clone(), own);
            }
            let distances = Distances::of(x.clone().slice(s![patches.clone(), ..]));
            let Clusters { centres, of } = self.clusters(&distances, &weights[patches], keep);
            let place = |point: usize| (prefix + point) as u32;
            let others = (0..of.len()).filter(|point| centres[of[*point]] != *point);
            let pairs: Vec<(u32, u32)> =
                others.map(|point| (place(point), place(centres[of[point]]))).collect();
            builder.item((0..prefix as u32).chain(centres.iter().map(|centre| place(*centre))), &pairs);
        }
        if !changes {
            return None;
        }
        let weights = (self.clustering == Clustering::Means).then(|| weights.into());
        let by = Combination { combine: self.combine(), weights, sizes: None };
        Some(Merging { plan: builder.finish(), by })
    }
}

#[cfg(test)]
mod tests;
