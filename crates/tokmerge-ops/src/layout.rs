//! Which rows of a `[T, C]` tensor belong to which item of a batch.

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// How the rows of a batch belong to its items.
///
/// Items of equal length are always `Uniform`, so two layouts are equal exactly when they describe the same
/// rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Every item has `len` rows: a view `[items, len, C]` is free.
    Uniform {
        /// Items in the batch.
        items: usize,
        /// Rows per item.
        len: usize,
    },
    /// Every item has its own number of rows: item `i` owns rows `offsets[i]..offsets[i + 1]`.
    Ragged {
        /// `items + 1` ascending offsets, the first 0.
        offsets: Arc<[usize]>,
    },
}

impl Layout {
    /// Items of equal length.
    #[must_use]
    pub fn uniform(items: usize, len: usize) -> Self {
        Self::Uniform { items, len }
    }

    /// Items with `lens` rows each; `Uniform` if all are equal.
    #[must_use]
    pub fn from_lens(lens: &[usize]) -> Self {
        let first = lens.first().copied().unwrap_or(0);
        if lens.iter().all(|&len| len == first) {
            return Self::uniform(lens.len(), first);
        }
        let mut offsets = Vec::with_capacity(lens.len() + 1);
        offsets.push(0);
        for len in lens {
            offsets.push(offsets[offsets.len() - 1] + len);
        }
        Self::Ragged { offsets: offsets.into() }
    }

    /// Items in the batch.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Uniform { items, .. } => *items,
            Self::Ragged { offsets } => offsets.len() - 1,
        }
    }

    /// Rows of all items together (`T`).
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Uniform { items, len } => items * len,
            Self::Ragged { offsets } => offsets[offsets.len() - 1],
        }
    }

    /// The rows of one item.
    #[must_use]
    pub fn range(&self, item: usize) -> Range<usize> {
        match self {
            Self::Uniform { len, .. } => item * len..(item + 1) * len,
            Self::Ragged { offsets } => offsets[item]..offsets[item + 1],
        }
    }

    /// Rows of each item, in order.
    pub fn lens(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.items()).map(|item| self.range(item).len())
    }

    /// The first `count` rows of every item alone, all of an item that has no more.
    #[must_use]
    pub fn front(&self, count: usize) -> Self {
        match self {
            Self::Uniform { items, len } => Self::uniform(*items, count.min(*len)),
            Self::Ragged { .. } => {
                Self::from_lens(&self.lens().map(|len| len.min(count)).collect::<Vec<_>>())
            }
        }
    }

    /// Which rows [`front`](Self::front) keeps.
    #[must_use]
    pub fn front_rows(&self, count: usize) -> Arc<[u32]> {
        self.rows_of(&self.front(count))
    }

    /// The rows that stay when of every item only the first are kept, as many as it has in `front`.
    ///
    /// # Panics
    /// When `front` has other items.
    #[must_use]
    pub fn rows_of(&self, front: &Self) -> Arc<[u32]> {
        assert_eq!(self.items(), front.items(), "the front of the same items");
        let rows = (0..self.items()).flat_map(|item| self.range(item).take(front.range(item).len()));
        rows.map(|row| row as u32).collect()
    }

    /// `items + 1` ascending offsets, the first 0.
    #[must_use]
    pub fn offsets(&self) -> Arc<[usize]> {
        match self {
            Self::Uniform { items, len } => (0..=*items).map(|item| item * len).collect(),
            Self::Ragged { offsets } => offsets.clone(),
        }
    }
}

/// The places of every distinct key: what can run as one batch.
pub(crate) fn places<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, Vec<usize>> {
    let mut groups = BTreeMap::<K, Vec<usize>>::new();
    for (place, key) in keys.enumerate() {
        groups.entry(key).or_default().push(place);
    }
    groups
}

/// The listed rows of `x: [T, C]` → `[rows, C]`.
pub(crate) fn select_rows(x: &Tensor<2>, rows: impl Iterator<Item = u32>) -> Tensor<2> {
    let rows: Vec<i32> = rows.map(|row| row as i32).collect();
    let count = rows.len();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &x.device());
    x.clone().select(0, rows)
}

#[cfg(test)]
mod tests {
    use super::{Layout, places};

    #[test]
    fn places_of_equal_keys_are_ascending() {
        let groups = places([3, 0, 3, 5, 0, 3].into_iter());
        assert_eq!(
            groups.into_iter().collect::<Vec<_>>(),
            [(0, vec![1, 4]), (3, vec![0, 2, 5]), (5, vec![3])]
        );
    }

    #[test]
    fn equal_lengths_are_uniform_and_ranges_tile_the_rows() {
        assert_eq!(Layout::from_lens(&[4, 4]), Layout::uniform(2, 4));
        assert_eq!(Layout::from_lens(&[]), Layout::uniform(0, 0));
        let ragged = Layout::from_lens(&[3, 0, 5]);
        assert_eq!((ragged.items(), ragged.rows()), (3, 8));
        assert_eq!((ragged.range(0), ragged.range(1), ragged.range(2)), (0..3, 3..3, 3..8));
        assert_eq!(ragged.lens().collect::<Vec<_>>(), [3, 0, 5]);
        assert_eq!(Layout::uniform(2, 3).offsets().as_ref(), [0, 3, 6]);
        assert_eq!(ragged.front(2), Layout::from_lens(&[2, 0, 2]));
        assert_eq!(ragged.front_rows(2).as_ref(), [0, 1, 3, 4]);
        assert_eq!(Layout::uniform(2, 3).front(1), Layout::uniform(2, 1));
    }
}
