//! Turning how much a method merges, so that methods can be compared at one cost.

use crate::{ModelFacts, Schedule, mergeable};

/// What no layer can exceed: half of its tokens.
const HALF: f64 = 0.5;

/// A number of a spec, rounded to what is worth writing down.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// A share, rounded to a hundredth of a percent, as it is read back.
pub(super) fn rounded_share(share: f64) -> f64 {
    (share * 1e4).round() / 100.0 / 100.0
}

/// Tokens to remove in each layer: `r` on average, which need not be whole, in proportion to `weights`, of an item of `len`
/// tokens with `prefix` of them protected. Fractions carry over to the next layer, and so does what a layer cannot remove,
/// so that a larger `r` leaves fewer tokens in every layer or as many.
pub(super) fn spread(r: f64, weights: &[f64], len: usize, prefix: usize) -> Vec<usize> {
    let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
    let (mut wanted, mut gone) = (0.0, 0);
    let remove = |weight: &f64| {
        wanted += r * weight / mean;
        // Sums of fractions that make up a whole token are a little less in binary.
        let due = (wanted + 1e-9) as usize - gone;
        let now = mergeable(due, len - gone, prefix);
        gone += now;
        now
    };
    weights.iter().map(remove).collect()
}

/// A schedule in its shape: at most half of the tokens that may merge on average in every layer, as a list; a share stays one.
pub(super) fn schedule(shape: &Schedule, dial: f64, facts: &ModelFacts) -> Schedule {
    match shape {
        Schedule::Share(_) => half_of_all(dial),
        shape => {
            let most = HALF * facts.tokens.saturating_sub(facts.prefix) as f64;
            Schedule::PerLayer(spread(most * dial, &weights(shape, facts.depth), facts.tokens, facts.prefix))
        }
    }
}

/// A share of every layer, at most half.
pub(super) fn half_of_all(dial: f64) -> Schedule {
    Schedule::Share(rounded_share(HALF * dial))
}

/// What is kept of a part at most: never nothing, since a share is above 0.
pub(super) fn kept(dial: f64) -> f64 {
    rounded_share(1.0 - dial).max(1e-4)
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

#[cfg(test)]
mod tests {
    use super::spread;
    use crate::{Amount, LayerTokens, METHODS, Method, ModelFacts, Reduction, Schedule, TokenKind, Tome};

    fn facts() -> ModelFacts {
        let grid = Some((14, 14));
        ModelFacts { tokens_are: TokenKind::PatchesAfterWords, grid, ..ModelFacts::new(12, 197, 1) }
    }

    fn layers(method: &Method) -> Option<Vec<LayerTokens>> {
        let reduction = Reduction::bind(method.clone(), &facts()).unwrap_or_else(|error| panic!("{error}"));
        reduction.expected_tokens(facts().tokens, facts().depth)
    }

    fn total(layers: &[LayerTokens]) -> usize {
        layers.iter().map(|layer| layer.compared + layer.attended + layer.fed).sum()
    }

    /// Every example, and options that a dial has to keep.
    fn specs() -> impl Iterator<Item = &'static str> {
        let more = [
            "tome:r=8,inflect=-1",
            "tome:r=8,inflect=0.5,rounding=exact",
            "tome:r=[0,0,4,4,8]",
            "tome:r=10%,last=cls",
            "tome:r=8,matcher=random_prune,seed=3",
            "tome:r=4,feature=x_pre,unmerge=on",
            "evit:keep=50%,rest=drop,layer=[2,5]",
            "pumer:prune=40%,merge=0%,layer=3",
            "atm:theta=[0.95,1,0.9],split=9",
            "mctf:r=30%,layer=[2,3]",
            "mctf:above=[1,0.9,0.85]",
            "mctf:r=16,direction=one,place=mlp",
            "pitome:r=8,energy=paper",
            "atc:r=13,linkage=single",
            "tofu:r=[8,4],switch=3",
            "evo_vit:keep=50%,layer=[4,8],select=layer",
            "idle_vit:keep=70%,layer=[5,8,11]",
            "foresight:limit=[0,0.02,0.1]",
            "dynamicvit:keep=50%,layer=[2,3,8]",
            "a_vit:gamma=5,beta=75,centre=4",
        ];
        METHODS.iter().map(|info| info.example).chain(more)
    }

    #[test]
    fn from_nothing_to_the_most_tokens_only_get_fewer_and_other_options_stay() {
        let unmerged = total(&facts().unmerged());
        for spec in specs() {
            let method: Method = spec.parse().expect("a spec");
            let Some(nothing) = method.at_dial(0.0, &facts()) else { continue };
            assert!(!method.mixes() || !method.has_weights(), "{spec}");
            // Left out of the last MLP, where the method asks for it, is not merged.
            let whole = layers(&nothing);
            // Samples of all patches still miss some, and when nothing stops only the tokens say.
            let says = !["ats", "a_vit"].iter().any(|name| spec.starts_with(name));
            assert!(whole.is_some() || !says, "{spec} merges nothing");
            let untouched = whole.iter().flatten().all(|layer| layer.attended == facts().tokens);
            assert!(untouched, "{spec}: {nothing}");
            let mut before = whole.as_deref().map(total);
            for step in 1..=50 {
                let turned = method.at_dial(f64::from(step) / 50.0, &facts()).expect("a dial");
                assert_eq!(turned.to_string().parse(), Ok(turned.clone()), "{spec}");
                let now = layers(&turned).as_deref().map(total);
                if let (Some(before), Some(now)) = (before, now) {
                    assert!(now <= before, "{spec}: {turned} leaves {now} after {before}");
                }
                before = now;
            }
            assert!(before.is_none_or(|most| 10 * most < 9 * unmerged), "{spec}: {before:?}");
            let knob = spec.split([':', ',']).nth(1).and_then(|option| option.split('=').next());
            let kept = method.spec().options;
            let turned = method.at_dial(0.3, &facts()).expect("a dial").spec().options;
            let others = |(name, _): &&(String, String)| {
                let numbers = [
                    "alpha", "beta", "min", "theta", "inflect", "rounding", "merge", "columns", "prune_at",
                    "prune", "layer",
                ];
                Some(name.as_str()) != knob && !numbers.contains(&name.as_str())
            };
            let kept: Vec<_> = kept.iter().filter(others).collect();
            assert_eq!(turned.iter().filter(others).collect::<Vec<_>>(), kept, "{spec}");
        }
    }

    #[test]
    fn steps_are_finer_than_a_hundredth_of_what_can_be_saved() {
        // A row of a grid is many tokens.
        for spec in specs().filter(|spec| !spec.starts_with("cubistmerge")) {
            let method: Method = spec.parse().expect("a spec");
            let cost = |step: u32| {
                let turned = method.at_dial(f64::from(step) / 5000.0, &facts())?;
                layers(&turned).as_deref().map(total)
            };
            let costs: Vec<usize> = (0..=5000).map_while(cost).collect();
            let widest = costs.windows(2).map(|pair| pair[0].saturating_sub(pair[1])).max().unwrap_or(0);
            // A layer or two alone, or a share in all of them, have steps of a token in each that follows.
            assert!(100 * widest <= 3 * total(&facts().unmerged()), "{spec}: {widest}");
        }
    }

    #[test]
    fn methods_with_weights_and_none_have_no_dial() {
        for spec in ["none", "patchmerger:m=8", "stm:p=2,layer=4"] {
            assert_eq!(spec.parse::<Method>().expect("a spec").at_dial(0.5, &facts()), None, "{spec}");
        }
    }

    #[test]
    fn a_rate_that_is_no_whole_number_is_spread_and_what_is_too_much_goes_later() {
        assert_eq!(spread(1.5, &[1.0; 6], 197, 1), [1, 2, 1, 2, 1, 2]);
        assert_eq!(spread(0.3, &[1.0; 10], 197, 1), [0, 0, 0, 1, 0, 0, 1, 0, 0, 1]);
        assert_eq!(spread(4.0, &[2.0, 1.0, 0.0], 197, 1), [8, 4, 0]);
        // Of 16 at most 8 go, then 4, then 2: five are wanted from each layer but the first, which is due more.
        assert_eq!(spread(5.0, &[2.0, 0.5, 0.5], 17, 1), [8, 4, 2]);
        assert!(spread(0.0, &[], 17, 1).is_empty());
        assert_eq!(spread(3.0, &[1.0; 2], 1, 1), [0, 0]);
    }

    #[test]
    fn a_list_keeps_its_shape() {
        let tome = Tome { schedule: Schedule::PerLayer(vec![2, 0, 1]), ..Tome::new(0) };
        let facts = ModelFacts::new(3, 101, 1);
        let turned = Method::Tome(tome).at_dial(0.2, &facts).expect("a dial");
        assert_eq!(turned.to_string(), "tome:r=[20,0,10]");
        let bound = Reduction::bind(turned, &facts).expect("fits");
        assert_eq!(bound.amounts()[0], Amount::Count(20));
    }
}
