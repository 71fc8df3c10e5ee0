//! How ATS is written down.

use super::{Ats, AtsForm};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::layers::{self, layers};
use crate::methods::option::{
    Choice, FromOptions, Opt, Refusal, choice, infos, last, one_or_list, one_or_list_text, recheck,
};

const FORMS: &[Choice<AtsForm>] =
    &[("official", AtsForm::Official), ("token_reduction", AtsForm::TokenReduction)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "ats",
    summary: "sample patches by how much they matter to the class token, as many as the image needs",
    source: "ATS (arXiv:2111.15667)",
    example: "ats:samples=128",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<Ats>] = &[
    Opt::new(
        "samples",
        (
            "197 as published, or a number from 2 on, or a list such as [138,97,68] with one per listed layer",
            "a whole number from 2 to 4096, or a list of up to 64 such as [138,97,68]",
        ),
        "tokens to sample in each of its layers, with the class token; what is sampled twice is kept once",
        |method, text| {
            method.samples = one_or_list(text)?;
            if method.samples.iter().all(|samples| *samples >= 2) { Ok(()) } else { Err(Refusal::Value) }
        },
        |method| (method.samples != Ats::default().samples).then(|| one_or_list_text(&method.samples)),
    ),
    layers!(
        layers,
        "4 to the last of 12 layers, or a layer, or a list",
        "the layers in which that happens, counted from 1; by default all after the first quarter of the model"
    ),
    choice!(
        "form",
        FORMS,
        form,
        "as in the authors' code (by rising score), or as in TokenReduction (patches keep their places)"
    ),
    last(),
    recheck(),
];

/// Where one way of turning ends and the other begins.
const HALF: f64 = 0.5;

impl FromOptions for Ats {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::default()
    }

    fn check(&self) -> Result<(), Refusal> {
        layers::check(&self.layers)?;
        layers::check_numbers("samples", self.samples.len(), &self.layers)
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        // Samples of all patches still miss some: first in ever more of the last layers, then fewer samples in all of its own.
        let patches = facts.tokens.saturating_sub(facts.prefix);
        // What does not fit says why when it is bound.
        let Ok(own) = self.layers_of(facts.depth) else { return Some(self.clone()) };
        let (layers, samples) = match at < HALF {
            true => (((2.0 * at * own.len() as f64).ceil() as usize).clamp(1, own.len().max(1)), patches),
            false => (own.len(), (2.0 * (1.0 - at) * patches as f64).round() as usize),
        };
        let layers = own.get(own.len() - layers..).filter(|layers| !layers.is_empty())?.to_vec();
        Some(Self { samples: vec![samples.max(1) + 1], layers: Some(layers), ..self.clone() })
    }
}
