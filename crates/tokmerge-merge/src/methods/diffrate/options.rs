//! How DiffRate is written down.

use super::{CompressionRates, Diffrate, PATCHES, PublishedRates};
use crate::ModelFacts;
use crate::methods::MethodInfo;
use crate::methods::option::{
    Choice, FromOptions, Opt, PART, PROPORTIONAL_ON, Refusal, choice, chosen, entries, infos, joined, last,
    list_text, part, percent_text, recheck, whole,
};

const SCHEDULES: &[Choice<PublishedRates>] = &[
    ("deit_s_2.9", PublishedRates::DeitSmall29),
    ("deit_s_2.3", PublishedRates::DeitSmall23),
    ("deit_ti_0.8", PublishedRates::DeitTiny08),
    ("deit_ti_0.7", PublishedRates::DeitTiny07),
    ("resampled", PublishedRates::Resampled),
];
const LISTED: (&str, &str) = (
    "a list such as [180,140] with one per layer",
    "a list of whole numbers from 2 to 100000 such as [180,140]",
);

pub(in crate::methods) const INFO: MethodInfo = MethodInfo {
    name: "diffrate",
    summary: "rank patches by class attention, drop the last and merge those before them into the first",
    source: "DiffRate (arXiv:2305.17997), Fig. 3",
    example: "diffrate:schedule=resampled",
    options: &infos::<_, { OPTIONS.len() }>(OPTIONS),
};

/// Before anything is read.
const NOT_GIVEN: CompressionRates = CompressionRates::Listed { prune: Vec::new(), merge: Vec::new() };

const OPTIONS: &[Opt<Diffrate>] = &[
    Opt::new(
        "schedule",
        (joined!(SCHEDULES), joined!(SCHEDULES)),
        "tokens that every layer leaves, as the paper found them for a model and its GMACs; resampled: one of these for any model",
        |method, text| {
            method.rates = CompressionRates::Published(chosen(SCHEDULES, text)?);
            Ok(())
        },
        |method| match method.rates {
            CompressionRates::Published(known) => {
                SCHEDULES.iter().find(|(_, other)| *other == known).map(|(name, _)| (*name).to_owned())
            }
            CompressionRates::Listed { .. } | CompressionRates::Learned { .. } => None,
        },
    ),
    Opt::new(
        "prune",
        LISTED,
        "tokens that every layer keeps at most, class token included; the others are dropped",
        |method, text| {
            let [prune, _] = method.listed()?;
            *prune = counts(text)?;
            Ok(())
        },
        |method| written(&method.rates, 0),
    ),
    Opt::new(
        "merge",
        LISTED,
        "tokens that every layer leaves of these, class token included; the others merge into them",
        |method, text| {
            let [_, merge] = method.listed()?;
            *merge = counts(text)?;
            Ok(())
        },
        |method| written(&method.rates, 1),
    ),
    Opt::new(
        "target",
        PART,
        "cost to learn the numbers for, as a part of that of the blocks (has weights: train it)",
        |method, text| {
            if method.rates != NOT_GIVEN {
                return Err(Refusal::Conflict(
                    "target has numbers of tokens learned; give that, or a schedule, or prune and merge"
                        .to_owned(),
                ));
            }
            method.rates = CompressionRates::Learned { target: part(text)? };
            Ok(())
        },
        |method| method.target().map(percent_text),
    ),
    choice!(
        "prop_attn",
        PROPORTIONAL_ON,
        common.proportional_attention,
        "attention weighs tokens by size, which similarity shrinks as they merge"
    ),
    last(),
    recheck(),
];

fn counts(text: &str) -> Result<Vec<usize>, Refusal> {
    entries(text, |entry| whole(entry, 2..=100_000)).unwrap_or(Err(Refusal::Value))
}

fn written(rates: &CompressionRates, which: usize) -> Option<String> {
    match rates {
        CompressionRates::Published(_) | CompressionRates::Learned { .. } => None,
        listed => Some(listed.lists()[which]).filter(|list| !list.is_empty()).map(list_text),
    }
}

impl Diffrate {
    /// The lists to read into, unless a schedule has been read.
    fn listed(&mut self) -> Result<[&mut Vec<usize>; 2], Refusal> {
        match &mut self.rates {
            CompressionRates::Listed { prune, merge } => Ok([prune, merge]),
            // Read after the lists.
            CompressionRates::Published(_) | CompressionRates::Learned { .. } => Err(Refusal::Conflict(
                "a schedule says what is left in every layer; give that, or prune and merge".to_owned(),
            )),
        }
    }
}

impl FromOptions for Diffrate {
    const OPTIONS: &'static [Opt<Self>] = OPTIONS;

    fn start() -> Self {
        Self::new(NOT_GIVEN)
    }

    fn check(&self) -> Result<(), Refusal> {
        match self.rates == NOT_GIVEN {
            true => Err(Refusal::Missing("schedule, prune or merge (or target)")),
            false => Ok(()),
        }
    }

    fn at_dial(&self, at: f64, facts: &ModelFacts) -> Option<Self> {
        // Half of the way is what is given; published numbers are for 196 patches.
        let patches = facts.tokens.saturating_sub(facts.prefix);
        let whole = match self.rates {
            CompressionRates::Published(PublishedRates::Resampled) | CompressionRates::Listed { .. } => {
                patches
            }
            CompressionRates::Published(_) => PATCHES,
            CompressionRates::Learned { .. } => return None,
        };
        let [prune, merge] = self.rates.for_model(facts).map(|list| {
            let left = |tokens: &usize| {
                let gone = whole.saturating_sub(tokens.saturating_sub(1)) as f64 / whole.max(1) as f64;
                let gone = (2.0 * at * gone * patches as f64).round() as usize;
                1 + patches.saturating_sub(gone).max(1)
            };
            list.iter().map(left).collect()
        });
        Some(Self { rates: CompressionRates::Listed { prune, merge }, ..self.clone() })
    }
}
