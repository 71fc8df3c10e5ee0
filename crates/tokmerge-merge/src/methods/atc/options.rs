//! How agglomerative token clustering is written down.

use super::{Atc, AtcAmount, Linkage};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial;
use crate::methods::layers;
use crate::methods::option::{
    Choice, FromOptions, ONE_OR_LIST, Opt, Refusal, SCHEDULE, choice, infos, last, one_or_list,
    one_or_list_text, percent, percent_text, positions, prop_attn, protect, recheck, schedule, schedule_text,
};

const LINKAGES: &[Choice<Linkage>] =
    &[("average", Linkage::Average), ("complete", Linkage::Complete), ("single", Linkage::Single)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "atc",
    summary: "merge the two closest clusters of tokens, again and again, until few enough are left",
    source: "ATC (arXiv:2409.11923), §3",
    example: "atc:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Atc>] = &[
    Opt::new(
        "keep",
        ("a share such as 70%, above 0%", "a share above 0% and up to 100% such as 70%"),
        "tokens that its first layer leaves, and each of the others of what the one before left",
        |method, text| {
            let share = percent(text, 100.0)?;
            method.amount = AtcAmount::Keep { share, layers: None };
            if share > 0.0 { Ok(()) } else { Err(Refusal::Value) }
        },
        |method| match method.amount {
            AtcAmount::Keep { share, .. } => Some(percent_text(share)),
            AtcAmount::Fewer(_) => None,
        },
    ),
    Opt::new(
        "layer",
        ("[4,7,10] of 12 layers, or a layer, or a list", ONE_OR_LIST),
        "the layers of keep, counted from 1; by default after each quarter of the model",
        |method, text| {
            let listed = one_or_list(text)?;
            match &mut method.amount {
                AtcAmount::Keep { share, layers } if !share.is_nan() => *layers = Some(listed),
                AtcAmount::Keep { .. } | AtcAmount::Fewer(_) => {
                    let reason = "layer belongs to keep; give r as a list such as [0,8,8] instead";
                    return Err(Refusal::Conflict(reason.to_owned()));
                }
            }
            Ok(())
        },
        |method| match &method.amount {
            AtcAmount::Keep { layers, .. } => layers.as_deref().map(one_or_list_text),
            AtcAmount::Fewer(_) => None,
        },
    ),
    Opt::new(
        "r",
        SCHEDULE,
        "tokens to remove per layer, instead of keep",
        |method, text| {
            if matches!(method.amount, AtcAmount::Keep { share, .. } if !share.is_nan()) {
                let reason = "keep and r both say how many tokens go; leave one of them out";
                return Err(Refusal::Conflict(reason.to_owned()));
            }
            method.amount = AtcAmount::Fewer(schedule(text)?);
            Ok(())
        },
        |method| match &method.amount {
            AtcAmount::Keep { .. } => None,
            AtcAmount::Fewer(schedule) => Some(schedule_text(schedule)),
        },
    ),
    choice!(
        "linkage",
        LINKAGES,
        linkage,
        "how far apart two clusters are: the mean distance of their members, the largest or the smallest"
    ),
    prop_attn(),
    last(),
    recheck(),
    protect(),
    positions(),
];

/// What stands for a share that was not given. Options never are: they are refused unless in range.
const NOT_GIVEN: f64 = f64::NAN;

impl FromOptions for Atc {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(AtcAmount::Keep { share: NOT_GIVEN, layers: None })
    }

    fn check(&self) -> Result<(), Refusal> {
        match &self.amount {
            AtcAmount::Keep { share, .. } if share.is_nan() => Err(Refusal::Missing("keep (or r)")),
            AtcAmount::Keep { layers, .. } => layers::check(layers),
            AtcAmount::Fewer(_) => Ok(()),
        }
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        let amount = match &self.amount {
            AtcAmount::Keep { layers, .. } => {
                AtcAmount::Keep { share: dial::kept(at), layers: layers.clone() }
            }
            AtcAmount::Fewer(schedule) => AtcAmount::Fewer(dial::schedule(schedule, at, facts)),
        };
        Some(Self { amount, ..self.clone() })
    }
}
