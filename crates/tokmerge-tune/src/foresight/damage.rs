//! What merging in one layer alone does to the output, for a unit of foretold cost.

use crate::Images;
use tokmerge_merge::foresight::{self, Foresight, Importance};
use tokmerge_merge::{
    Common, Evidence, LastLayer, Limits, Merger, Mergers, Method, Reduction, Tokens, Wants,
};
use tokmerge_models::{Model, Network, NotFinite, Pass, Probe};

use super::ForesightError;

/// The part of the patches that merges in the layer that is looked at: as many as merge in a layer where half of the
/// operations or less are saved. Ours.
const PART: f64 = 0.08;

/// For every map the squared distance of the outputs, summed over all images, over the foretold cost of what merged; `None`
/// where nothing did.
pub(super) fn measure(
    model: &Model,
    images: &Images,
    maps: &[Importance],
) -> Result<Vec<Option<f64>>, ForesightError> {
    let (mut moved, mut cost) = (vec![0.0; maps.len()], vec![0.0; maps.len()]);
    for batch in images.batches() {
        let none = Reduction::none();
        let mut branching =
            Branching { model, network: model.network(), maps, found: Vec::new(), failed: None };
        let output = model.run(batch.clone(), Pass::new(&none).probed(&mut branching));
        NotFinite::check_tensor(&output.logits)?;
        if let Some(error) = branching.failed {
            return Err(error);
        }
        let unmerged: Vec<f32> = output.logits.into_data().iter::<f32>().collect();
        for (layer, (logits, spent)) in branching.found.into_iter().enumerate() {
            moved[layer] += squared_distance(&logits, &unmerged);
            cost[layer] += spent;
        }
    }
    Ok(moved.iter().zip(&cost).map(|(moved, cost)| (*cost > 0.0).then(|| moved / cost)).collect())
}

fn squared_distance(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum()
}

/// Goes on from every layer with some merged there.
struct Branching<'a> {
    model: &'a Model,
    network: &'a Network,
    maps: &'a [Importance],
    /// The outputs of all images, and what the pairs that merged cost by the map.
    found: Vec<(Vec<f32>, f64)>,
    failed: Option<ForesightError>,
}

impl Branching<'_> {
    fn branch(
        &self,
        layer: usize,
        tokens: &Tokens,
        evidence: &Evidence,
    ) -> Result<(Vec<f32>, f64), ForesightError> {
        let map = &self.maps[layer];
        let patches: usize = (0..tokens.layout.items())
            .map(|item| tokens.layout.range(item).len().saturating_sub(tokens.prefix.of(item)))
            .sum();
        let (limit, cost) = cheapest(foresight::losses(layer, tokens, map), (PART * patches as f64) as usize);
        let method = only_in(layer, limit);
        let reduction = Reduction::bind(method, &self.model.facts())?
            .with_mergers(Mergers { at: vec![(layer, Merger::Importance(map.clone()))] });
        let output = self.network.resume(layer, tokens.clone(), evidence.clone(), Pass::new(&reduction));
        Ok((output.logits.into_data().iter::<f32>().collect(), cost))
    }
}

impl Probe for Branching<'_> {
    fn wants(&self, _: usize) -> Wants {
        Foresight::WANTS
    }

    fn attended(&mut self, layer: usize, tokens: &Tokens, evidence: &Evidence) {
        if layer >= self.maps.len() || self.failed.is_some() {
            return;
        }
        match self.branch(layer, tokens, evidence) {
            Ok(found) => self.found.push(found),
            Err(error) => self.failed = Some(error),
        }
    }
}

/// A limit below which `count` of the costs lie, or as many as there are, and the sum of those.
fn cheapest(mut costs: Vec<f32>, count: usize) -> (f32, f64) {
    costs.retain(|cost| cost.is_finite());
    costs.sort_unstable_by(f32::total_cmp);
    let limit = match (costs.get(count), costs.last()) {
        (Some(next), _) => *next,
        (None, Some(last)) => last * 2.0,
        (None, None) => 0.0,
    };
    let below = costs.iter().take_while(|cost| **cost < limit).map(|cost| f64::from(*cost)).sum();
    (limit, below)
}

/// Foresight in one layer, counted from 0; all tokens go through the last MLP.
fn only_in(layer: usize, limit: f32) -> Method {
    let mut limits = vec![0.0; layer];
    limits.push(f64::from(limit));
    let foresight = Foresight::new(Limits::PerLayer(limits));
    let common = Common { last_layer: LastLayer::All, ..foresight.common.clone() };
    Method::Foresight(Foresight { common, ..foresight })
}

#[cfg(test)]
mod tests {
    use super::{cheapest, only_in};

    #[test]
    fn so_many_of_the_costs_lie_below_the_limit() {
        assert_eq!(cheapest(vec![0.5, 0.125, f32::NAN, 0.25, 2.0], 2), (0.5, 0.375));
        assert_eq!(cheapest(vec![0.5, 0.25], 9), (1.0, 0.75));
        assert_eq!(cheapest(vec![], 3), (0.0, 0.0));
        assert_eq!(only_in(2, 0.5).to_string(), "foresight:limit=[0,0,0.5],last=keep");
    }
}
