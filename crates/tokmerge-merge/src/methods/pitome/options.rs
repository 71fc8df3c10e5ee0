//! How PiToMe is written down.

use super::{Energy, MARGIN, Pitome, PitomeAmount};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial;
use crate::methods::option::{
    COUNTS, Choice, FromOptions, Opt, PROPORTIONAL, Refusal, choice, counts, infos, last, number, number_in,
    percent, percent_text, positions, protect, recheck, schedule_text,
};

const ENERGIES: &[Choice<Energy>] = &[("code", Energy::AboveMargin), ("paper", Energy::Whole)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "pitome",
    summary: "merge tokens that many others are like, and set those aside that stand alone",
    source: "PiToMe (arXiv:2405.16148), §3",
    example: "pitome:ratio=92.5%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Pitome>] = &[
    Opt::new(
        "ratio",
        ("a share such as 92.5%, from 50% on", "a share from 50% to 100% such as 92.5%"),
        "tokens that are left after each layer, of those before it",
        |method, text| {
            let ratio = percent(text, 100.0)?;
            method.amount = PitomeAmount::Ratio(ratio);
            if ratio >= 0.5 { Ok(()) } else { Err(Refusal::Value) }
        },
        |method| match method.amount {
            PitomeAmount::Ratio(ratio) => Some(percent_text(ratio)),
            PitomeAmount::Fewer(_) => None,
        },
    ),
    Opt::new(
        "r",
        COUNTS,
        "tokens to remove per layer, instead of ratio",
        |method, text| {
            if matches!(method.amount, PitomeAmount::Ratio(ratio) if !ratio.is_nan()) {
                let reason = "ratio and r both say how many tokens go; leave one of them out";
                return Err(Refusal::Conflict(reason.to_owned()));
            }
            method.amount = PitomeAmount::Fewer(counts(text)?);
            Ok(())
        },
        |method| match &method.amount {
            PitomeAmount::Ratio(_) => None,
            PitomeAmount::Fewer(schedule) => Some(schedule_text(schedule)),
        },
    ),
    Opt::new(
        "margin",
        ("0.75, or a number from 0 to 1", "a number from 0 to 1"),
        "cosine above which tokens count as alike in the first layer; it falls to 0 linearly",
        |method, text| {
            method.margin = number_in(text, |margin: &f64| (0.0..=1.0).contains(margin))?;
            Ok(())
        },
        |method| (method.margin != MARGIN).then(|| method.margin.to_string()),
    ),
    choice!(
        "energy",
        ENERGIES,
        energy,
        "what a cosine above the margin counts: how far it is above, as in the published code, or itself"
    ),
    number!(
        "split",
        0..=1000,
        split,
        ("half of the layers, or 0 to their number", "a whole number from 0 to 1000"),
        "last layer in which all tokens take part; after it those that stand alone are set aside"
    ),
    choice!(
        "prop_attn",
        PROPORTIONAL,
        common.proportional_attention,
        "attention weighs tokens by size; auto: on, but off for off-the-shelf MAE. The published code does not"
    ),
    last(),
    recheck(),
    protect(),
    positions(),
];

/// What stands for a ratio that was not given. Options never are: they are refused unless in range.
const NOT_GIVEN: f64 = f64::NAN;

impl FromOptions for Pitome {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(PitomeAmount::Ratio(NOT_GIVEN))
    }

    fn check(&self) -> Result<(), Refusal> {
        match self.amount {
            PitomeAmount::Ratio(ratio) if ratio.is_nan() => Err(Refusal::Missing("ratio (or r)")),
            PitomeAmount::Ratio(_) | PitomeAmount::Fewer(_) => Ok(()),
        }
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        let amount = match &self.amount {
            // At most half of the tokens go.
            PitomeAmount::Ratio(_) => PitomeAmount::Ratio(dial::kept(at / 2.0)),
            PitomeAmount::Fewer(schedule) => PitomeAmount::Fewer(dial::schedule(schedule, at, facts)),
        };
        Some(Self { amount, ..self.clone() })
    }
}
