//! How PuMer is written down.

use super::{Order, Pumer};
use crate::methods::MethodInfo;
use crate::methods::dial::rounded_share;
use crate::methods::option::{
    Choice, FromOptions, ONE_OR_LIST, Opt, PROPORTIONAL, Refusal, choice, infos, last, one_or_list,
    one_or_list_text, percent, percent_text, recheck,
};
use crate::{Combine, ModelFacts};

const ORDERS: &[Choice<Order>] = &[("place", Order::Place), ("attention", Order::Attention)];
const COMBINES: &[Choice<Combine>] = &[("weighted", Combine::WeightedAverage), ("average", Combine::Average)];
/// The largest shares.
const MOST_PRUNED: f64 = 0.99;
const MOST_MERGED: f64 = 0.5;

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "pumer",
    summary: "drop the patches that a question's words attend to least, and merge some of the others",
    source: "PuMer (arXiv:2305.17530), §3",
    example: "pumer:prune=10%,merge=30%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Pumer>] = &[
    Opt::required(
        "prune",
        ("a share such as 10%, of up to 99%", "a share of up to 99% such as 10%"),
        "patches to drop in each of its layers",
        |method, text| {
            method.prune = percent(text, 100.0 * MOST_PRUNED)?;
            Ok(())
        },
        |method| Some(percent_text(method.prune)),
    ),
    Opt::required(
        "merge",
        ("a share such as 30%, of up to 50%", "a share of up to 50% such as 30%"),
        "patches to merge into others there; of those that were there before any was dropped",
        |method, text| {
            method.merge = percent(text, 100.0 * MOST_MERGED)?;
            Ok(())
        },
        |method| Some(percent_text(method.merge)),
    ),
    Opt::new(
        "text",
        ("0%", "0%: words never merge here, as they are the prefix of their picture"),
        "words to merge: none; the published weights were trained with 20%",
        |_, text| if percent(text, 0.0)? == 0.0 { Ok(()) } else { Err(Refusal::Value) },
        |_| None,
    ),
    Opt::new(
        "layer",
        ("[2,4,6,8], or a layer, or a list", ONE_OR_LIST),
        "the layers in which that happens, counted from 1; by default those of the four that the model has",
        |method, text| {
            method.layers = Some(one_or_list(text)?);
            Ok(())
        },
        |method| method.layers.as_deref().map(one_or_list_text),
    ),
    choice!(
        "order",
        ORDERS,
        order,
        "how patches are listed for matching: as they stand, or by attention as in the published code"
    ),
    choice!("combine", COMBINES, combine, "what merged patches become; the published code keeps no sizes"),
    choice!(
        "prop_attn",
        PROPORTIONAL,
        common.proportional_attention,
        "attention weighs tokens by size; auto: on. The published code does not"
    ),
    last(),
    recheck(),
];

impl FromOptions for Pumer {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(0.0, 0.0)
    }

    fn check(&self) -> Result<(), Refusal> {
        let layers = self.layers.as_deref().unwrap_or_default();
        match layers.iter().enumerate().find(|(at, layer)| layers[..*at].contains(layer)) {
            Some((_, layer)) => {
                Err(Refusal::Conflict(format!("layer {layer} is listed twice; list every layer once")))
            }
            None => Ok(()),
        }
    }

    fn at_dial(&self, dial: f64, _: &ModelFacts) -> Option<Self> {
        // Both shares in their proportion, until one is as large as it can be.
        let (prune, merge) = match self.prune + self.merge > 0.0 {
            true => (self.prune, self.merge),
            false => (1.0, 1.0),
        };
        let most = (MOST_PRUNED / prune).min(MOST_MERGED / merge);
        let share = |share: f64| rounded_share(dial * most * share);
        Some(Self { prune: share(prune), merge: share(merge), ..self.clone() })
    }
}
