//! How Zero-TPrune is written down.

use super::{SIMILAR, VotingStart, ZeroTprune};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial;
use crate::methods::layers::{self, layers};
use crate::methods::option::{
    Choice, FromOptions, Opt, Refusal, choice, entries, infos, keep, last, number, one_or_list_text,
    positions, protect, recheck, whole,
};

const STARTS: &[Choice<VotingStart>] = &[("class", VotingStart::Class), ("uniform", VotingStart::Uniform)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "zero_tprune",
    summary: "drop patches that resemble others, then those that matter least by the graph of attention",
    source: "Zero-TPrune (arXiv:2305.17328); layers and numbers are ours",
    example: "zero_tprune:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<ZeroTprune>] = &[
    keep!("patches to keep in each of its layers, rounded up"),
    Opt::new(
        "r",
        (
            "10, or a number, or a list such as [20,10,0] with one per listed layer",
            "a whole number from 0 to 4096, or a list such as [20,10,0]",
        ),
        "how many of the others go because they resemble one that stays, before the rest is ranked",
        |method, text| {
            let number = |text: &str| whole(text, 0..=4096);
            method.similar = entries(text, number).unwrap_or_else(|| Ok(vec![number(text)?]))?;
            Ok(())
        },
        |method| (method.similar != [SIMILAR]).then(|| one_or_list_text(&method.similar)),
    ),
    layers!(
        layers,
        "[4,7,10] of 12 layers, or a layer, or a list",
        "the layers before which that happens, counted from 1; by default after each quarter of the model"
    ),
    choice!(
        "start",
        STARTS,
        start,
        "with what votes begin: more for the class token (classification), or as much for all"
    ),
    number!(
        "rounds",
        1..=1000,
        rounds,
        ("40, 8 or 1 by the third of the model, or a number", "a whole number from 1 to 1000"),
        "rounds of voting"
    ),
    last(),
    recheck(),
    protect(),
    positions(),
];

impl FromOptions for ZeroTprune {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(1.0)
    }

    fn check(&self) -> Result<(), Refusal> {
        layers::check(&self.layers)?;
        layers::check_numbers("r", self.similar.len(), &self.layers)
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        let _ = facts;
        Some(Self { keep: dial::kept(at), ..self.clone() })
    }
}
