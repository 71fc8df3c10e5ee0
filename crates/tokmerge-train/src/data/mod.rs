//! Items to train on: where they come from, what is done to each, and how batches are made of them.

mod drawn;
mod list;
mod loader;
mod pairs;
mod questions;
mod source;
mod split;
mod view;

pub(crate) use loader::{BatchOptions, Batches, TargetKind, Targets, TrainBatch};
pub(crate) use source::{Data, Item, Measure, Source, open};
pub(crate) use view::{TextView, View};

use tokmerge_nn::Random;

/// The random numbers of one item in one epoch: no matter which thread asks, or when.
pub(crate) fn draws(seed: u64, epoch: usize, index: usize) -> Random {
    let mut random = Random::new(seed);
    for value in [epoch as u64, index as u64] {
        random = Random::new(random.bits() ^ value.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    }
    random
}

/// The order in which an epoch sees `len` items.
pub(crate) fn order(seed: u64, epoch: usize, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    draws(seed, epoch, usize::MAX).shuffle(&mut order);
    order
}
