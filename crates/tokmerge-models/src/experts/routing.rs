//! How tokens are distributed among experts.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use tokmerge_merge::Layout;

/// How many tokens an expert takes.
///
/// An item's result depends on the others in its batch exactly if buffers are shared by groups of more than one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Routing {
    /// All that choose it: no token is dropped, and no token competes with another.
    #[default]
    Free,
    /// As many as a buffer holds; a token whose expert is full goes without it.
    Buffers(Buffers),
}

/// Buffers of limited size, as V-MoE uses them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buffers {
    /// Places for `factor` times as many tokens as an expert would get if all got the same (`C`).
    pub factor: f64,
    /// Who competes for the places.
    pub group: Group,
    /// In which order the tokens of a group are placed.
    pub order: Order,
}

/// Images that share buffers. A group consists of whole images, which follow each other in the batch, and its buffers
/// are as large as its tokens demand: after a merger the same group has smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// This many images; the last group may have fewer.
    Images(usize),
    /// As many images as have no more than this many tokens together, at least one: after a merger, where images have
    /// fewer tokens, more of them share buffers.
    Tokens(usize),
    /// All images that run together.
    Batch,
}

/// The order in which tokens are placed. First choices of all come before second choices of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they stand.
    Position,
    /// Largest gate first: batch priority routing.
    Gate,
}

/// The size of a buffer is a multiple of this.
const MULTIPLE: usize = 4;

impl Buffers {
    /// Places per expert for a group of `tokens` of which each uses `chosen` of `experts`:
    /// `ceil(tokens * chosen * factor / experts)`, rounded up to a multiple of 4.
    #[must_use]
    pub fn places(&self, tokens: usize, chosen: usize, experts: usize) -> usize {
        let even = (tokens * chosen) as f64 * self.factor / experts as f64;
        (even.ceil() as usize).next_multiple_of(MULTIPLE)
    }

    /// Places in the buffers of all experts, per token of an image of `tokens`. Of [`Group::Batch`], whose size is
    /// not known here, without rounding.
    pub(crate) fn places_per_token(&self, tokens: usize, chosen: usize, experts: usize) -> f64 {
        let images = match self.group {
            Group::Batch => return chosen as f64 * self.factor,
            Group::Images(images) => images,
            Group::Tokens(most) => (most / tokens.max(1)).max(1),
        };
        let group = (images * tokens).max(1);
        (experts * self.places(group, chosen, experts)) as f64 / group as f64
    }
}

impl Group {
    /// The rows of each group that has any.
    pub(crate) fn rows(self, layout: &Layout) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut images = 0;
        for item in 0..layout.items() {
            let range = layout.range(item);
            let joins = groups.last().is_some_and(|group| match self {
                Self::Images(most) => images < most,
                Self::Tokens(most) => range.end - group.start <= most,
                Self::Batch => true,
            });
            match groups.last_mut() {
                Some(group) if joins => {
                    group.end = range.end;
                    images += 1;
                }
                _ => {
                    groups.push(range);
                    images = 1;
                }
            }
        }
        groups.retain(|group| !group.is_empty());
        groups
    }
}

/// A routing that is none.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{}; a routing is free (no token is dropped), or capacity=FACTOR with group=IMAGES, group=NUMBERtokens or group=batch and order=position or order=gate, e.g. capacity=1.05,group=8",
    tokmerge_checkpoint::shortened(reason)
)]
pub struct RoutingError {
    reason: String,
}

impl FromStr for Routing {
    type Err = RoutingError;

    /// `free`, or `capacity=1.05,group=8,order=gate`.
    fn from_str(text: &str) -> Result<Self, RoutingError> {
        let wrong = |reason: String| RoutingError { reason };
        if text.trim() == "free" {
            return Ok(Self::Free);
        }
        let (mut factor, mut group, mut order) = (None, None, None);
        for option in text.split(',').map(str::trim) {
            let Some((name, value)) = option.split_once('=') else {
                return Err(wrong(format!("'{option}' is no option=value")));
            };
            let twice = match name {
                "capacity" => factor.replace(read_factor(value).map_err(wrong)?).is_some(),
                "group" => group.replace(read_group(value).map_err(wrong)?).is_some(),
                "order" => order.replace(read_order(value).map_err(wrong)?).is_some(),
                _ => return Err(wrong(format!("there is no option {name}"))),
            };
            if twice {
                return Err(wrong(format!("{name} is given twice")));
            }
        }
        let Some(factor) = factor else { return Err(wrong("capacity is missing".to_owned())) };
        let (group, order) = (group.unwrap_or(Group::Images(1)), order.unwrap_or(Order::Position));
        Ok(Self::Buffers(Buffers { factor, group, order }))
    }
}

fn read_factor(value: &str) -> Result<f64, String> {
    let factor = value.parse().ok().filter(|factor: &f64| *factor > 0.0 && *factor <= 4096.0);
    factor.ok_or_else(|| format!("capacity is {value}, and it must be above 0 and at most 4096"))
}

fn read_group(value: &str) -> Result<Group, String> {
    if value == "batch" {
        return Ok(Group::Batch);
    }
    let number = |text: &str| text.parse().ok().filter(|number| (1..=1 << 24).contains(number));
    let group = match value.strip_suffix("tokens") {
        Some(text) => number(text).map(Group::Tokens),
        None => number(value).map(Group::Images),
    };
    group.ok_or_else(|| format!("group is {value}, and it must be a whole number from 1"))
}

fn read_order(value: &str) -> Result<Order, String> {
    match value {
        "position" => Ok(Order::Position),
        "gate" => Ok(Order::Gate),
        _ => Err(format!("order is {value}, and it must be position or gate")),
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Buffers(Buffers { factor, group, order }) = self else { return f.write_str("free") };
        write!(f, "capacity={factor},group=")?;
        match group {
            Group::Images(images) => write!(f, "{images}")?,
            Group::Tokens(tokens) => write!(f, "{tokens}tokens")?,
            Group::Batch => f.write_str("batch")?,
        }
        match order {
            Order::Position => Ok(()),
            Order::Gate => f.write_str(",order=gate"),
        }
    }
}
