//! How ToFu is written down.

use super::Tofu;
use crate::methods::MethodInfo;
use crate::methods::dial;
use crate::methods::option::{
    Choice, FromOptions, Opt, PROPORTIONAL_OFF, SCHEDULE, choice, infos, last, number, positions, protect,
    recheck, schedule, schedule_text,
};
use crate::{AverageScale, ModelFacts};

const SCALES: &[Choice<AverageScale>] =
    &[("code", AverageScale::Destination), ("paper", AverageScale::Average)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "tofu",
    summary: "leave out the r most similar tokens in the first layers, and merge them at full length in the others",
    source: "ToFu (arXiv:2312.01026)",
    example: "tofu:r=8",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Tofu>] = &[
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
    number!(
        "switch",
        1..=4097,
        switch,
        ("8 of 12 layers, or a layer", "a whole number from 1 (merge in all layers) to 4097"),
        "the first layer whose tokens merge, counted from 1; in those before it they are left out"
    ),
    choice!(
        "scale",
        SCALES,
        scale,
        "by whose norm an average is divided before it becomes as long as its longest member: the destination's, \
         as in the published code, or its own"
    ),
    choice!(
        "prop_attn",
        PROPORTIONAL_OFF,
        common.proportional_attention,
        "attention weighs tokens by size; the published code does not"
    ),
    last(),
    recheck(),
    protect(),
    positions(),
];

impl FromOptions for Tofu {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(0)
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        Some(Self { schedule: dial::schedule(&self.schedule, at, facts), ..self.clone() })
    }

    fn in_part(&self, part: f64) -> Option<Self> {
        Some(Self { schedule: self.schedule.in_part(part), ..self.clone() })
    }
}
