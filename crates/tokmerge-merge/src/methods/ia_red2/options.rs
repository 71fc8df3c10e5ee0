//! How IA-RED² is written down.

use super::Options;
use crate::methods::MethodInfo;
use crate::methods::layers::{self, layers};
use crate::methods::option::{FromOptions, Opt, Refusal, infos, number_in, percent, percent_text};

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "ia_red2",
    summary: "drop the patches that learned interpreters find redundant, taught by rewards (has weights: train it)",
    source: "IA-RED² (arXiv:2106.12620), the idea alone: written from memory",
    example: "ia_red2",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Options>] = &[
    Opt::new(
        "keep",
        (
            "all that are likelier kept than not, or a share such as 70%",
            "a share above 0% and below 100% such as 70%",
        ),
        "patches to keep in its first layer, and in each of the others of those left in the one before",
        |method, text| {
            let keep = percent(text, 100.0)?;
            method.keep = Some(keep);
            if keep > 0.0 && keep < 1.0 { Ok(()) } else { Err(Refusal::Value) }
        },
        |method| method.keep.map(percent_text),
    ),
    layers!(
        layers,
        "[1,5,9] of 12 layers, or a layer, or a list",
        "the layers before which patches are dropped, counted from 1; by default in front of each third of the model"
    ),
    Opt::new(
        "tau",
        ("0.5, or a number", "a number from 0 to 1000"),
        "in training, what a wrong answer costs where a right one with few patches earns up to 1",
        |method, text| {
            method.tau = number_in(text, |tau| (0.0..=1000.0).contains(tau))?;
            Ok(())
        },
        |method| (method.tau != Options::default().tau).then(|| method.tau.to_string()),
    ),
];

impl FromOptions for Options {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::default()
    }

    fn check(&self) -> Result<(), Refusal> {
        layers::check(&self.layers)
    }
}
