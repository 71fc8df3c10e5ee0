//! The cost that methods are brought to.

use crate::Point;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use tokmerge_models::{Convention, InputShape, Model};

/// The cost that every method of a comparison is brought to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This fraction of the unmerged model's multiply-adds: `gmacs=0.7`.
    Share(f64),
    /// Billions of multiply-adds per item: `gmacs=0.93G`.
    Gmacs(f64),
    /// This many times the unmerged model's speed on this machine: `speedup=1.5`.
    Speedup(f64),
    /// Tokens left after the last block on average, class token and the like included: `tokens=64`.
    Tokens(usize),
}

/// A cost that makes no sense.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum TargetError {
    /// Not of the form `what=number`, or of nothing that methods are brought to.
    #[error(
        "'{0}' is no cost; write gmacs=0.7 (a fraction of the unmerged model's), gmacs=0.93G, speedup=1.5 or tokens=64"
    )]
    Unknown(String),
    /// A number outside its range.
    #[error("{what}={value} is not allowed; {what} takes {allowed}")]
    Range {
        /// What the number is of.
        what: &'static str,
        /// The number, as it was written.
        value: String,
        /// What is taken.
        allowed: &'static str,
    },
    /// The unmerged model costs no more.
    #[error("{asked} is no saving: unmerged the model has {unmerged}; give less")]
    NoSaving {
        /// What was asked for.
        asked: Target,
        /// What there is.
        unmerged: String,
    },
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let shown = || text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (what, value) = text.split_once('=').ok_or_else(|| TargetError::Unknown(shown()))?;
        let (what, value) = (what.trim(), value.trim());
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        let (what, found, allowed) = match what {
            "gmacs" => {
                let billions = value.strip_suffix(['G', 'g']).map(|number| number.trim_end());
                let found = match billions {
                    Some(billions) => number(billions).filter(|gmacs| *gmacs > 0.0).map(Self::Gmacs),
                    None => number(value).filter(|share| *share > 0.0 && *share < 1.0).map(Self::Share),
                };
                let allowed = "a fraction of the unmerged model's, above 0 and below 1, or billions with a G, e.g. 0.93G";
                ("gmacs", found, allowed)
            }
            "speedup" => {
                let found = number(value).filter(|factor| *factor > 1.0).map(Self::Speedup);
                ("speedup", found, "a factor above 1, e.g. 1.5")
            }
            "tokens" => {
                let found = value.parse().ok().filter(|tokens| *tokens > 0).map(Self::Tokens);
                ("tokens", found, "a whole number of at least 1, the tokens left after the last layer")
            }
            _ => return Err(TargetError::Unknown(shown())),
        };
        let value = || value.chars().take(30).map(|c| if c.is_control() { ' ' } else { c }).collect();
        found.ok_or_else(|| TargetError::Range { what, value: value(), allowed })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "gmacs={share}"),
            Self::Gmacs(gmacs) => write!(f, "gmacs={gmacs}G"),
            Self::Speedup(factor) => write!(f, "speedup={factor}"),
            Self::Tokens(tokens) => write!(f, "tokens={tokens}"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a target is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Billions of multiply-adds.
    Gmacs,
    /// Tokens left.
    Tokens,
    /// Time of the unmerged model.
    Time,
}

impl Target {
    /// The unit, and how many of it methods are brought to.
    pub(crate) fn cost(self, unmerged: &Point) -> (Unit, f64) {
        match self {
            Self::Share(share) => (Unit::Gmacs, share * unmerged.gmacs),
            Self::Gmacs(gmacs) => (Unit::Gmacs, gmacs),
            Self::Speedup(factor) => (Unit::Time, 1.0 / factor),
            Self::Tokens(tokens) => (Unit::Tokens, tokens as f64),
        }
    }

    /// Refuses what the unmerged model does not exceed.
    pub(crate) fn check(self, unmerged: &Point) -> Result<(), TargetError> {
        self.check_below(unmerged.gmacs, unmerged.tokens)
    }

    /// Refuses what a model does not exceed unmerged, as far as that is known without an item: where all have one size.
    ///
    /// # Errors
    /// When the cost is no saving.
    pub fn check_for(self, model: &Model, convention: Convention) -> Result<(), TargetError> {
        match model.input() {
            InputShape::Image { .. } | InputShape::Clip { .. } => {
                let (config, views) = (model.config(), model.processor().views() as f64);
                self.check_below(views * config.unmerged_gmacs(convention), config.tokens() as f64)
            }
            _ => Ok(()),
        }
    }

    fn check_below(self, gmacs: f64, tokens: f64) -> Result<(), TargetError> {
        let has = match self {
            Self::Share(share) if share >= 1.0 => format!("{gmacs:.3} GMACs"),
            Self::Gmacs(asked) if asked >= gmacs => format!("{gmacs:.3} GMACs"),
            Self::Tokens(asked) if asked as f64 >= tokens => format!("{tokens:.0} tokens"),
            Self::Share(_) | Self::Gmacs(_) | Self::Tokens(_) | Self::Speedup(_) => return Ok(()),
        };
        Err(TargetError::NoSaving { asked: self, unmerged: has })
    }
}

impl Unit {
    /// What a measured point costs; its time is taken afterwards.
    pub(crate) fn of(self, point: &Point) -> f64 {
        match self {
            Self::Gmacs => point.gmacs,
            Self::Tokens => point.tokens,
            Self::Time => point.seconds / point.unmerged_seconds,
        }
    }

    /// A cost in words.
    pub(crate) fn shown(self, cost: f64) -> String {
        match self {
            Self::Gmacs => format!("{cost:.3} GMACs"),
            Self::Tokens => format!("{cost:.1} tokens"),
            Self::Time => format!("{:.2} times the speed", 1.0 / cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Target, TargetError};

    #[test]
    fn costs_read_as_they_are_written() {
        for (text, target) in [
            ("gmacs=0.7", Target::Share(0.7)),
            ("gmacs=0.999", Target::Share(0.999)),
            ("gmacs=0.93G", Target::Gmacs(0.93)),
            ("gmacs=12G", Target::Gmacs(12.0)),
            ("speedup=1.5", Target::Speedup(1.5)),
            ("tokens=64", Target::Tokens(64)),
        ] {
            assert_eq!(text.parse(), Ok(target));
            assert_eq!(target.to_string(), text);
        }
        assert_eq!(" gmacs = 2 g".trim().parse(), Ok(Target::Gmacs(2.0)));
    }

    #[test]
    fn others_are_refused_with_the_rule() {
        let refused = |text: &str| text.parse::<Target>().unwrap_err();
        for text in
            ["gmacs=0", "gmacs=1", "gmacs=2", "gmacs=-0.5", "gmacs=nan", "gmacs=infG", "gmacs=G", "gmacs="]
        {
            let error = refused(text);
            assert!(matches!(error, TargetError::Range { what: "gmacs", .. }), "{error:?}");
            assert!(error.to_string().contains("below 1, or billions with a G, e.g. 0.93G"), "{error}");
        }
        for text in ["speedup=1", "speedup=0.5", "speedup=x", "tokens=0", "tokens=3.5", "tokens=-1"] {
            assert!(matches!(refused(text), TargetError::Range { .. }), "{text}");
        }
        for text in ["", "0.7", "latency=3", "=", "gmacs\n0.7"] {
            let error = refused(text).to_string();
            assert!(error.contains("is no cost; write gmacs=0.7") && !error.contains('\n'), "{error}");
        }
        assert!(refused(&format!("tokens={}", "9".repeat(1 << 20))).to_string().len() < 300);
    }
}
