//! How many experts there are, and where.

use std::fmt;
use std::str::FromStr;

/// Which blocks have experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The last `n` of every other block, from the second on: "last n".
    Last(usize),
    /// Every `k`-th block: "every k".
    Every(usize),
}

impl Placement {
    /// The blocks, counted from 0, of a model of `depth`.
    #[must_use]
    pub fn blocks(self, depth: usize) -> Vec<usize> {
        match self {
            Self::Last(count) => {
                let odd: Vec<usize> = (1..depth).step_by(2).collect();
                odd[odd.len().saturating_sub(count)..].to_vec()
            }
            Self::Every(0) => Vec::new(),
            Self::Every(step) => (step - 1..depth).step_by(step).collect(),
        }
    }

    /// Why a model of `depth` blocks cannot be like this, if it cannot.
    fn misfit(self, depth: usize) -> Option<String> {
        match self {
            Self::Last(count) if count == 0 || count > depth / 2 => Some(format!(
                "the last {count} of every other block are to have experts, and {depth} blocks allow 1 to {}",
                depth / 2
            )),
            Self::Every(step) if step == 0 || step > depth => Some(format!(
                "every {step}th block is to have experts, and {depth} blocks allow 1 to {depth}"
            )),
            Self::Last(_) | Self::Every(_) => None,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last(count) => write!(f, "last{count}"),
            Self::Every(step) => write!(f, "every{step}"),
        }
    }
}

impl FromStr for Placement {
    type Err = ();

    /// `last2` or `every2`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |digits: &str| digits.parse().ok().filter(|number| (1..=1024).contains(number));
        let last = || Some(Self::Last(number(text.strip_prefix("last")?)?));
        let every = || Some(Self::Every(number(text.strip_prefix("every")?)?));
        last().or_else(every).ok_or(())
    }
}

/// The experts of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertsConfig {
    /// Experts of a block (`E`).
    pub experts: usize,
    /// Experts that a token uses (`K`).
    pub chosen: usize,
    /// Blocks that have experts; the others have one MLP.
    pub placement: Placement,
}

impl ExpertsConfig {
    /// Experts beyond this fit into no memory.
    pub(crate) const MOST: usize = 4096;

    /// As in the paper: 32 experts, of which a token uses 2.
    #[must_use]
    pub fn new(placement: Placement) -> Self {
        Self { experts: 32, chosen: 2, placement }
    }

    /// Why a model of `depth` blocks cannot have these, if it cannot.
    pub(crate) fn misfit(self, depth: usize) -> Option<String> {
        let Self { experts, chosen, placement } = self;
        if experts == 0 || experts > Self::MOST {
            return Some(format!("{experts} experts are asked for, and 1 to {} are possible", Self::MOST));
        }
        if chosen == 0 || chosen > experts {
            return Some(format!(
                "a token is to use {chosen} of {experts} experts; 1 to {experts} are possible"
            ));
        }
        placement.misfit(depth)
    }
}
