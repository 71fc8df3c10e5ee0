//! How Token Transforming is written down.

use super::{Compared, TAU, TEMPERATURES, TokenTransforming};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::dial::kept;
use crate::methods::layers::{self, layers};
use crate::methods::option::{
    Choice, FromOptions, Opt, Refusal, choice, entries, infos, keep, last, list_text, number_in, prop_attn,
    recheck,
};

const COMPARED: &[Choice<Compared>] = &[("x", Compared::Tokens), ("k", Compared::Keys)];

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "token_transforming",
    summary: "every token goes into all that are kept, in parts by similarity",
    source: "after the abstract of Token Transforming (arXiv:2506.05709); all formulas and numbers are ours",
    example: "token_transforming:keep=70%",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

const OPTIONS: &[Opt<TokenTransforming>] = &[
    keep!("patches to keep in each of its layers, rounded up"),
    Opt::new(
        "tau",
        ("0.01, or a number from 0.001 to 10", "a number from 0.001 to 10"),
        "temperature of the parts in which a token goes into those kept: the lower, the more into the nearest",
        |method, text| {
            method.tau = number_in(text, |tau: &f64| (1e-3..=10.0).contains(tau))?;
            Ok(())
        },
        |method| (method.tau != TAU).then(|| method.tau.to_string()),
    ),
    Opt::new(
        "temperatures",
        (
            "[0,1], or a number up to 100, or a list of such",
            "a number from 0 to 100, or a list of up to 16 such as [0,1]",
        ),
        "at which tokens to keep are drawn by class attention, an equal share at each; at 0 those attended to most",
        |method, text| {
            let one = |text: &str| number_in(text, |number: &f64| (0.0..=100.0).contains(number));
            let list = entries(text, one).unwrap_or_else(|| Ok(vec![one(text)?]))?;
            if list.len() > 16 {
                return Err(Refusal::Value);
            }
            method.temperatures = list;
            Ok(())
        },
        |method| match method.temperatures[..] {
            ref default if default == TEMPERATURES => None,
            [one] => Some(one.to_string()),
            ref list => Some(list_text(list)),
        },
    ),
    choice!("feature", COMPARED, compared, "what is compared: the tokens after attention, or keys"),
    layers!(
        layers,
        "[4,7,10] of 12 layers, or a layer, or a list",
        "the layers in which that happens, counted from 1; by default after each quarter of the model"
    ),
    prop_attn(),
    last(),
    recheck(),
];

impl FromOptions for TokenTransforming {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(1.0)
    }

    fn check(&self) -> Result<(), Refusal> {
        layers::check(&self.layers)
    }

    fn at_dial(&self, dial: f64, _: &ModelFacts) -> Option<Self> {
        Some(Self { keep: kept(dial), ..self.clone() })
    }
}
