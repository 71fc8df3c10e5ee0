//! How MCTF is written down.

use super::{Criteria, Directions, Mctf, MctfPlace, Removal};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial::{self, rounded, rounded_share};
use crate::methods::layers::{self, layers};
use crate::methods::option::{
    Choice, FromOptions, Opt, Refusal, choice, chosen, entries, infos, joined, last, list_text, named,
    number_in, percent, percent_text, positions, prop_attn, protect, recheck, whole,
};

const PLACES: &[Choice<MctfPlace>] = &[("attention", MctfPlace::Attention), ("mlp", MctfPlace::Mlp)];
const DIRECTIONS: &[Choice<Directions>] = &[("both", Directions::Both), ("one", Directions::One)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "mctf",
    summary: "merge tokens that are alike, tell little and are small, inside attention",
    source: "MCTF (arXiv:2403.10030), §3.2 and §3.3",
    example: "mctf:r=16",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

/// A row for a temperature: `tau!("tau_size", size, "values", "help")`.
macro_rules! tau {
    ($name:literal, $field:ident, $values:literal, $help:literal) => {
        Opt::new(
            $name,
            ($values, "0 (does not count), or a number from 0.01 to 1000"),
            $help,
            |method, text| {
                method.criteria.$field = temperature(text)?;
                Ok(())
            },
            |method| {
                let own = method.criteria.$field;
                (own != Criteria::of(method.place).$field).then(|| own.to_string())
            },
        )
    };
}

/// Before anything is read.
const NOT_GIVEN: Removal = Removal::PerLayer(Vec::new());

const OPTIONS: &[Opt<Mctf>] = &[
    Opt::new(
        "r",
        (
            "a number, a list such as [0,16,16,8] with one per layer, or a share such as 35%",
            "a whole number from 0 to 100000, a list such as [0,16,16,8], or a share of up to 50% such as 35%",
        ),
        "tokens to remove in each of its layers; a number always leaves at least ten",
        |method, text| {
            let number = |text: &str| whole(text, 0..=100_000);
            method.removal = match (entries(text, number), text.trim().ends_with('%')) {
                (Some(list), _) => Removal::PerLayer(list?),
                (None, true) => Removal::Share(percent(text, 50.0)?),
                (None, false) => Removal::Tokens(number(text)?),
            };
            Ok(())
        },
        |method| match &method.removal {
            Removal::Tokens(tokens) => Some(tokens.to_string()),
            Removal::PerLayer(list) => Some(list_text(list)),
            Removal::Share(share) => Some(percent_text(*share)),
            Removal::Above(_) | Removal::AbovePerLayer(_) => None,
        },
    ),
    Opt::new(
        "above",
        (
            "a number such as 0.85, or a list such as [1,0.9,0.85] with one per layer, in place of r",
            "a number from 0 to 1, or a list such as [1,0.9,0.85]",
        ),
        "score above which pairs merge, as many as the image has; ours",
        |method, text| {
            if method.removal != NOT_GIVEN {
                return Err(Refusal::Conflict(
                    "above takes the place of r; leave one of them out".to_owned(),
                ));
            }
            let number = |text: &str| number_in(text, |number: &f64| (0.0..=1.0).contains(number));
            method.removal = match entries(text, number) {
                Some(list) => Removal::AbovePerLayer(list?),
                None => Removal::Above(number(text)?),
            };
            Ok(())
        },
        |method| match &method.removal {
            Removal::Above(limit) => Some(limit.to_string()),
            Removal::AbovePerLayer(limits) => Some(list_text(limits)),
            Removal::Tokens(_) | Removal::PerLayer(_) | Removal::Share(_) => None,
        },
    ),
    layers!(
        layers,
        "all but the first, [4,7,10] of 12 layers for a share, or a layer, or a list",
        "the layers in which that happens, counted from 1; by default all but the first (with place=mlp all)"
    ),
    Opt::new(
        "place",
        (joined!(PLACES), joined!(PLACES)),
        "where tokens merge: inside attention, or after it as in OpenToMe's form",
        |method, text| {
            method.place = chosen(PLACES, text)?;
            method.criteria = Criteria::of(method.place);
            Ok(())
        },
        |method| named(PLACES, &method.place),
    ),
    choice!(
        "direction",
        DIRECTIONS,
        directions,
        "who proposes: even places and then odd ones, or even ones alone"
    ),
    tau!(
        "tau_sim",
        similarity,
        "1, or 0 for off",
        "temperature of similarity: the higher, the less it counts"
    ),
    tau!(
        "tau_info",
        information,
        "20 (0 with place=mlp), or 0 for off",
        "temperature of attention received: what receives little merges first"
    ),
    tau!(
        "tau_size",
        size,
        "40 (0 with place=mlp), or 0 for off",
        "temperature of size: what is small merges first"
    ),
    prop_attn(),
    last(),
    recheck(),
    protect(),
    positions(),
];

fn temperature(text: &str) -> Result<f64, Refusal> {
    number_in(text, |number: &f64| *number == 0.0 || (0.01..=1000.0).contains(number))
}

impl FromOptions for Mctf {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(NOT_GIVEN)
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.removal == NOT_GIVEN {
            return Err(Refusal::Missing("r (or above)"));
        }
        if self.layers.is_some() && matches!(self.removal, Removal::PerLayer(_)) {
            let reason = "a list of r says which layers merge; leave layer out, or give r as one number";
            return Err(Refusal::Conflict(reason.to_owned()));
        }
        layers::check(&self.layers)
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        let most = 0.5 * facts.tokens.saturating_sub(facts.prefix) as f64;
        let spread = |weights: &[f64]| dial::spread(most * at, weights, facts.tokens, facts.prefix);
        // A list of numbers says itself in which layers.
        let mut layers_said = self.layers.clone();
        let removal = match &self.removal {
            Removal::Share(_) => Removal::Share(rounded_share(0.5 * at)),
            Removal::Above(_) => Removal::Above(rounded((1.0 - at).clamp(0.0, 1.0))),
            Removal::AbovePerLayer(limits) => {
                // All thresholds down by as much, from the lowest at 1. What merges nothing goes on doing so.
                let lowest = limits.iter().copied().fold(1.0, f64::min);
                let turned = |limit: &f64| match *limit < 1.0 {
                    true => rounded((limit + 1.0 - lowest - at).clamp(0.0, 1.0)),
                    false => 1.0,
                };
                Removal::AbovePerLayer(limits.iter().map(turned).collect())
            }
            Removal::PerLayer(list) if list.iter().any(|remove| *remove > 0) => {
                let weights: Vec<f64> = (0..facts.depth)
                    .map(|layer| list.get(layer).map_or(0.0, |remove| *remove as f64))
                    .collect();
                Removal::PerLayer(spread(&weights))
            }
            Removal::Tokens(_) | Removal::PerLayer(_) => {
                let mut weights = vec![0.0; facts.depth];
                // What does not fit says why when it is bound.
                let Ok(layers) = layers::of_depth(&self.layers_of(facts.depth), facts.depth) else {
                    return Some(self.clone());
                };
                layers.into_iter().for_each(|layer| weights[layer - 1] = 1.0);
                layers_said = None;
                Removal::PerLayer(spread(&weights))
            }
        };
        Some(Self { removal, layers: layers_said, ..self.clone() })
    }
}
