//! How A-ViT is written down.

use super::Options;
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial::rounded;
use crate::methods::option::{FromOptions, Opt, infos, number, number_in};

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "a_vit",
    summary: "patches stop when their first channel has said so often enough (train the model with it)",
    source: "A-ViT (arXiv:2112.07658)",
    example: "a_vit",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

/// The largest β.
const MOST: f64 = 1e4;

const OPTIONS: &[Opt<Options>] = &[
    Opt::new(
        "gamma",
        ("10, or a number", "a number from 0.001 to 10000"),
        "what the first channel is multiplied by before the sigmoid",
        |method, text| {
            method.gamma = number_in(text, |gamma| (1e-3..=1e4).contains(gamma))?;
            Ok(())
        },
        |method| (method.gamma != Options::default().gamma).then(|| method.gamma.to_string()),
    ),
    Opt::new(
        "beta",
        ("30, or a number", "a number from -10000 to 10000"),
        "what is subtracted from that: the larger, the later patches stop",
        |method, text| {
            method.beta = number_in(text, |beta| (-MOST..=MOST).contains(beta))?;
            Ok(())
        },
        |method| (method.beta != Options::default().beta).then(|| method.beta.to_string()),
    ),
    number!(
        "centre",
        1..=4096,
        centre,
        ("8 of 12 layers, or a layer", "a whole number from 1 to 4096"),
        "in training, the layer around which patches are to stop; by default after two thirds of the model"
    ),
];

impl FromOptions for Options {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::default()
    }

    /// β from the largest, with which nothing stops, down through its own, halfway, to the least, with which all stop at once: by the
    /// logarithm of odds, so that steps are finest around its own, each in proportion to γ.
    fn at_dial(&self, dial: f64, _: &ModelFacts) -> Option<Self> {
        let beta = self.beta + self.gamma * ((1.0 - dial) / dial).ln();
        Some(Self { beta: rounded(beta.clamp(-MOST, MOST)), ..self.clone() })
    }
}
