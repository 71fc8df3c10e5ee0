//! How RAPID is written down.

use super::{Rapid, SIMILAR};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial;
use crate::methods::option::{
    FromOptions, Opt, SCHEDULE, infos, last, number, number_in, prop_attn, recheck, schedule, schedule_text,
};

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "rapid",
    summary: "drop redundant tokens in shallow layers, merge those that matter little in deeper ones",
    source: "after the abstract of RAPID (arXiv:2606.08156); all formulas and numbers are ours",
    example: "rapid:r=8",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Rapid>] = &[
    Opt::required(
        "r",
        SCHEDULE,
        "tokens to remove per layer",
        |method, text| {
            method.schedule = schedule(text)?;
            Ok(())
        },
        |method| Some(schedule_text(&method.schedule)),
    ),
    Opt::new(
        "similar",
        ("0.9, or a number from -1 to 1", "a number from -1 to 1"),
        "the cosine above which a token is redundant beside another",
        |method, text| {
            method.similar = number_in(text, |cosine: &f64| (-1.0..=1.0).contains(cosine))?;
            Ok(())
        },
        |method| (method.similar != SIMILAR).then(|| method.similar.to_string()),
    ),
    number!(
        "switch",
        0..=1000,
        switch,
        ("half of the layers, or 0 to their number", "a whole number from 0 to 1000"),
        "last layer in which tokens are dropped; after it they merge"
    ),
    prop_attn(),
    last(),
    recheck(),
];

impl FromOptions for Rapid {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(0)
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        Some(Self { schedule: dial::schedule(&self.schedule, at, facts), ..self.clone() })
    }
}
