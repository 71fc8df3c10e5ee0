//! The list of methods. A new one is a file, a variant and a line in [`METHODS`].

pub(crate) mod tome;

use crate::spec::{Options, did_you_mean};
use crate::{
    Combine, Evidence, KeyBias, MergePlan, MergeSpec, ScheduleError, Site, SpecError, Step, Tokens, Wants,
};
use std::fmt;
use std::str::FromStr;
use tome::Tome;

/// A way to reduce tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// Leave the model as it is.
    None,
    /// Token merging, with all of the paper's choices.
    Tome(Tome),
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
pub const METHODS: &[MethodInfo] = &[NONE, tome::INFO];

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
        }
    }

    /// Where it works.
    #[must_use]
    pub fn site(&self) -> Site {
        match self {
            Self::None => Site::InsideBlock,
            Self::Tome(tome) => tome.site(),
        }
    }

    pub(crate) fn wants(&self) -> Wants {
        match self {
            Self::None => Wants::default(),
            Self::Tome(tome) => tome.wants(),
        }
    }

    pub(crate) fn removes(&self, depth: usize) -> Result<Vec<usize>, ScheduleError> {
        match self {
            Self::None => Ok(vec![0; depth]),
            Self::Tome(tome) => tome.schedule.per_layer(depth),
        }
    }

    pub(crate) fn key_bias(&self, auto: KeyBias) -> KeyBias {
        match self {
            Self::None => KeyBias::None,
            Self::Tome(tome) => tome.key_bias(auto),
        }
    }

    pub(crate) fn combine(&self) -> Combine {
        match self {
            Self::None => Combine::WeightedAverage,
            Self::Tome(tome) => tome.combine,
        }
    }

    pub(crate) fn plan(
        &self,
        step: Step,
        remove: usize,
        tokens: &Tokens,
        evidence: Evidence,
    ) -> Option<MergePlan> {
        match self {
            Self::None => None,
            Self::Tome(tome) => tome.plan(step.layer, remove, tokens, evidence),
        }
    }

    pub(crate) fn removable(&self, remove: usize, tokens: usize, prefix: usize) -> usize {
        match self {
            Self::None => 0,
            Self::Tome(_) => crate::mergeable(remove, tokens, prefix),
        }
    }

    pub(crate) fn matching_macs(
        &self,
        tokens: usize,
        remove: usize,
        head_dim: usize,
        channels: usize,
    ) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Tome(tome) => tome.matching_macs(tokens, remove, head_dim, channels),
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
