//! How SP-ViT is written down.

use super::{Decision, KEEP, Options};
use crate::methods::MethodInfo;
use crate::methods::layers::{self, QUARTERS, layers};
use crate::methods::option::{
    Choice, FromOptions, Opt, Refusal, choice, entries, infos, number, percent, percent_text,
};

const DECISIONS: &[Choice<Decision>] = &[("top", Decision::Top), ("learned", Decision::Learned)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "sp_vit",
    summary: "keep the patches that learned selectors choose, and the mean of the others (has weights: train it)",
    source: "SP-ViT (arXiv:2112.13890)",
    example: "sp_vit",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Options>] = &[
    Opt::new(
        "keep",
        (
            "[61.7%,36.9%,13.7%], or a share for each of its layers, or one for all",
            "a share above 0% and below 100% such as 70%, or a list such as [60%,40%,20%]",
        ),
        "patches to keep, of those that the model begins with; of one share each layer keeps that of what the one before kept",
        |method, text| {
            method.keep = entries(text, share).unwrap_or_else(|| Ok(vec![share(text)?]))?;
            if method.keep.len() <= 64 { Ok(()) } else { Err(Refusal::Value) }
        },
        |method| (method.keep != KEEP).then(|| written(&method.keep)),
    ),
    layers!(
        layers,
        "[4,7,10] of 12 layers, or a layer, or a list",
        "the layers before which patches are left out, counted from 1; by default after each quarter of the model"
    ),
    choice!(
        "choice",
        DECISIONS,
        decision,
        "which patches are kept: as many of the best as keep says, or all that are likelier kept than not"
    ),
    number!(
        "head_dim",
        1..=4096,
        head_dim,
        ("64, or a number", "a whole number from 1 to 4096"),
        "channels of a token that a selector looks at together"
    ),
];

fn share(text: &str) -> Result<f64, Refusal> {
    let share = percent(text, 100.0)?;
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err(Refusal::Value) }
}

fn written(keep: &[f64]) -> String {
    match keep {
        [one] => percent_text(*one),
        list => format!("[{}]", list.iter().map(|share| percent_text(*share)).collect::<Vec<_>>().join(",")),
    }
}

impl FromOptions for Options {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::default()
    }

    fn check(&self) -> Result<(), Refusal> {
        layers::check(&self.layers)?;
        if let Some(pair) = self.keep.windows(2).find(|pair| pair[0] < pair[1]) {
            return Err(Refusal::Conflict(format!(
                "keep rises from {} to {}; each share is one of all patches, and none comes back",
                percent_text(pair[0]),
                percent_text(pair[1])
            )));
        }
        match &self.layers {
            None if self.keep.len() == QUARTERS => Ok(()),
            layers => layers::check_numbers("keep", self.keep.len(), layers),
        }
    }
}
