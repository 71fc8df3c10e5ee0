//! The list of methods. A new one is a file, a variant and a line in [`METHODS`].

pub(crate) mod atm;
pub(crate) mod matching;
mod options;
pub(crate) mod patch_merger;
pub(crate) mod stm;
pub(crate) mod tome;

use crate::spec::{Options, did_you_mean};
use crate::{
    Amount, Combine, Evidence, LastLayer, MergePlan, MergeSpec, ProportionalAttention, ScheduleError, Site,
    SpecError, Step, Tokens, Wants,
};
use atm::Atm;
use patch_merger::PatchMerging;
use std::fmt;
use std::str::FromStr;
use stm::SoftMerging;
use tome::Tome;

/// A way to reduce tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// Leave the model as it is.
    None,
    /// Token merging, with all of the paper's choices.
    Tome(Tome),
    /// Adaptive token merging: as many tokens as the image allows.
    Atm(Atm),
    /// PatchMerger: learned queries turn all tokens into a few.
    PatchMerger(PatchMerging),
    /// Soft token merging: neighbours become their weighted sum.
    Stm(SoftMerging),
}

/// An option of a method, for help texts.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Its name in a spec.
    pub name: &'static str,
    /// What it takes, default first.
    pub values: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// What a user can read about a method.
#[derive(Clone, Copy, Debug)]
pub struct MethodInfo {
    /// Its name in a spec.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Paper and section.
    pub source: &'static str,
    /// A spec that works.
    pub example: &'static str,
    /// All options.
    pub options: &'static [OptionInfo],
    read: fn(Options) -> Result<Method, SpecError>,
}

/// All methods; help, documentation and tests read this list.
pub const METHODS: &[MethodInfo] = &[NONE, tome::INFO, atm::INFO, patch_merger::INFO, stm::INFO];

const NONE: MethodInfo = MethodInfo {
    name: "none",
    summary: "leave the model as it is",
    source: "-",
    example: "none",
    options: &[],
    read: |_| Ok(Method::None),
};

impl Method {
    /// Reads a method from its spec.
    ///
    /// # Errors
    /// For an unknown method or option, a value that is not allowed, or one that is missing.
    pub fn from_spec(spec: &MergeSpec) -> Result<Self, SpecError> {
        let info = METHODS.iter().find(|info| info.name == spec.method).ok_or_else(|| {
            let known: Vec<_> = METHODS.iter().map(|info| info.name).collect();
            let hint = match spec.method.split_once(',') {
                Some(_) => " (give --merge once for every method)".to_owned(),
                None => did_you_mean(&spec.method, known.iter().copied()),
            };
            SpecError::Method { given: spec.method.clone(), hint, known: known.join(", ") }
        })?;
        let known = info.options.iter().map(|option| option.name);
        (info.read)(Options::new(info.name, known, spec)?)
    }

    /// The spec that reads back as this method, options at their default left out.
    #[must_use]
    pub fn spec(&self) -> MergeSpec {
        match self {
            Self::None => MergeSpec { method: "none".to_owned(), options: Vec::new() },
            Self::Tome(tome) => tome.spec(),
            Self::Atm(atm) => atm.spec(),
            Self::PatchMerger(method) => method.spec(),
            Self::Stm(method) => method.spec(),
        }
    }

    /// Where it works.
    #[must_use]
    pub fn site(&self) -> Site {
        match self {
            Self::None | Self::Atm(_) => Site::InsideBlock,
            Self::Tome(tome) => tome.site(),
            Self::PatchMerger(_) | Self::Stm(_) => Site::BeforeBlock,
        }
    }

    pub(crate) fn wants(&self) -> Wants {
        match self {
            Self::None | Self::PatchMerger(_) | Self::Stm(_) => Wants::default(),
            Self::Tome(tome) => tome.wants(),
            Self::Atm(atm) => atm.wants(),
        }
    }

    /// What each of `depth` layers is to merge.
    pub(crate) fn amounts(&self, depth: usize) -> Result<Vec<Amount>, ScheduleError> {
        match self {
            Self::None | Self::PatchMerger(_) | Self::Stm(_) => Ok(vec![Amount::NOTHING; depth]),
            Self::Tome(tome) => Ok(tome.schedule.per_layer(depth)?.into_iter().map(Amount::Count).collect()),
            Self::Atm(atm) => atm.amounts(depth),
        }
    }

    /// Which tokens go through the MLP of the last layer.
    #[must_use]
    pub fn last_layer(&self) -> LastLayer {
        match self {
            Self::None | Self::PatchMerger(_) | Self::Stm(_) => LastLayer::All,
            Self::Tome(tome) => tome.last_layer,
            Self::Atm(atm) => atm.last_layer,
        }
    }

    /// How close the two best logits of an image may be before it runs once more, unmerged.
    #[must_use]
    pub fn recheck(&self) -> Option<f32> {
        match self {
            Self::None | Self::PatchMerger(_) | Self::Stm(_) => None,
            Self::Tome(tome) => tome.recheck,
            Self::Atm(atm) => atm.recheck,
        }
    }

    /// The same method with another recheck; an unmerged model has nothing to check.
    #[must_use]
    pub fn with_recheck(mut self, recheck: Option<f32>) -> Self {
        match &mut self {
            Self::None | Self::PatchMerger(_) | Self::Stm(_) => {}
            Self::Tome(tome) => tome.recheck = recheck,
            Self::Atm(atm) => atm.recheck = recheck,
        }
        self
    }

    pub(crate) fn proportional_attention(&self) -> ProportionalAttention {
        match self {
            Self::None | Self::PatchMerger(_) | Self::Stm(_) => ProportionalAttention::Off,
            Self::Tome(tome) => tome.proportional_attention,
            Self::Atm(atm) => atm.proportional_attention,
        }
    }

    pub(crate) fn combine(&self) -> Combine {
        match self {
            Self::None | Self::Atm(_) | Self::PatchMerger(_) | Self::Stm(_) => Combine::WeightedAverage,
            Self::Tome(tome) => tome.combine,
        }
    }

    /// The blocks, from 0, in front of which weights of the method stand; none for methods without weights.
    #[must_use]
    pub fn mergers_before(&self, depth: usize) -> Vec<usize> {
        match self {
            Self::None | Self::Tome(_) | Self::Atm(_) => Vec::new(),
            Self::PatchMerger(method) => method.before(depth),
            Self::Stm(method) => method.before(depth),
        }
    }

    /// Whether the method has weights of its own, which have to be trained.
    #[must_use]
    pub fn has_weights(&self) -> bool {
        matches!(self, Self::PatchMerger(_) | Self::Stm(_))
    }

    /// Whether tokens that it merged come back behind the block.
    #[must_use]
    pub fn inflates(&self) -> bool {
        matches!(self, Self::Stm(method) if method.inflation == stm::Inflation::On)
    }

    /// What weights in front of block `layer` make of an item of `tokens`, where some stand there: tokens that the
    /// block sees, and tokens behind it.
    pub(crate) fn merged_before(
        &self,
        layer: usize,
        depth: usize,
        tokens: usize,
        prefix: usize,
    ) -> Option<(usize, usize)> {
        let index = self.mergers_before(depth).iter().position(|before| *before == layer)?;
        match self {
            Self::None | Self::Tome(_) | Self::Atm(_) => None,
            Self::PatchMerger(method) => Some((method.left(index, prefix), method.left(index, prefix))),
            Self::Stm(method) => {
                let seen = crate::learned::windows(tokens, prefix, method.window);
                Some((seen, if self.inflates() { tokens } else { seen }))
            }
        }
    }

    /// Multiply-adds of the weights in front of block `layer`, and elements that their norm sees.
    pub(crate) fn merger_cost(
        &self,
        layer: usize,
        depth: usize,
        tokens: usize,
        prefix: usize,
        channels: usize,
    ) -> (f64, f64) {
        let index = self.mergers_before(depth).iter().position(|before| *before == layer);
        match (self, index) {
            (Self::PatchMerger(method), Some(index)) => method.cost(index, tokens, prefix, channels),
            (Self::Stm(method), Some(_)) => method.cost(tokens, prefix, channels),
            _ => (0.0, 0.0),
        }
    }

    pub(crate) fn plan(
        &self,
        step: Step,
        depth: usize,
        amount: Amount,
        tokens: &Tokens,
        evidence: Evidence,
    ) -> Option<MergePlan> {
        match self {
            Self::None | Self::PatchMerger(_) | Self::Stm(_) => None,
            Self::Tome(tome) => tome.plan(step.layer, amount, tokens, evidence),
            Self::Atm(atm) => atm.plan(step.layer, depth, amount, tokens, evidence),
        }
    }

    pub(crate) fn matching_macs(
        &self,
        tokens: usize,
        amount: Amount,
        head_dim: usize,
        channels: usize,
    ) -> f64 {
        match self {
            Self::None | Self::PatchMerger(_) | Self::Stm(_) => 0.0,
            Self::Tome(tome) => tome.matching_macs(tokens, amount, head_dim, channels),
            Self::Atm(atm) => atm.matching_macs(tokens, head_dim, channels),
        }
    }
}

impl FromStr for Method {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, SpecError> {
        Self::from_spec(&spec.parse()?)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{METHODS, Method};

    #[test]
    fn every_example_reads_back() {
        for info in METHODS {
            let method: Method = info.example.parse().unwrap();
            assert_eq!(method.to_string().parse::<Method>().unwrap(), method);
            assert!(!info.summary.is_empty() && !info.source.is_empty());
        }
    }

    #[test]
    fn a_mistyped_name_suggests_the_near_one() {
        let error = "tomee:r=8".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("did you mean tome?") && error.contains("none, tome"), "{error}");
        let error = "tome:r=8,featur=k".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("did you mean feature?"), "{error}");
        let error = "tome:r=8,feature=z".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("feature=z") && error.contains("k, q, v, x, x_pre"), "{error}");
        let error = "tome".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("tome needs r, e.g. tome:r=8"), "{error}");
        let error = "none:r=8".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("its options: none"), "{error}");
    }
}
