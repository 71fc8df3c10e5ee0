//! Which tokens of an item never merge.

use std::sync::Arc;
use tokmerge_ops::Layout;

/// How many tokens at the front of each item never merge, and stay there in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// As many in all items.
    Same(usize),
    /// Every item has its own number.
    Each(Arc<[usize]>),
    /// A text of its own length in front of every item, then as many tokens in all: positions count from behind the text.
    AfterText {
        /// Tokens of the text of every item.
        text: Arc<[usize]>,
        /// Tokens behind it that never merge either.
        own: usize,
    },
}

impl Prefix {
    /// Prefix tokens of one item.
    ///
    /// # Panics
    /// When there is no such item.
    #[must_use]
    pub fn of(&self, item: usize) -> usize {
        match self {
            Self::Same(count) => *count,
            Self::Each(counts) => counts[item],
            Self::AfterText { text, own } => text[item] + own,
        }
    }

    /// The place of one item at which positions begin to count, which decides who proposes to whom: its first token, but
    /// for a text in front, of which an odd length would change that.
    ///
    /// # Panics
    /// When there is no such item.
    #[must_use]
    pub fn counted_from(&self, item: usize) -> usize {
        match self {
            Self::Same(_) | Self::Each(_) => 0,
            Self::AfterText { text, .. } => text[item],
        }
    }

    /// The words of a text in front of these items; none where no text is.
    #[must_use]
    pub fn words(&self, layout: &Layout) -> Layout {
        let len = |(item, len): (usize, usize)| len.min(self.counted_from(item));
        Layout::from_lens(&layout.lens().enumerate().map(len).collect::<Vec<_>>())
    }

    /// The number that all items share, if they do.
    #[must_use]
    pub fn common(&self) -> Option<usize> {
        let all_equal = |counts: &[usize]| {
            let first = counts.first().copied().unwrap_or(0);
            counts.iter().all(|count| *count == first).then_some(first)
        };
        match self {
            Self::Same(count) => Some(*count),
            Self::Each(counts) => all_equal(counts),
            Self::AfterText { text, own } => all_equal(text).map(|text| text + own),
        }
    }

    /// The prefix tokens of these items: all tokens of an item that is shorter than its prefix.
    #[must_use]
    pub fn front(&self, layout: &Layout) -> Layout {
        match self.common() {
            Some(count) => layout.front(count),
            None => {
                let len = |(item, len): (usize, usize)| len.min(self.of(item));
                Layout::from_lens(&layout.lens().enumerate().map(len).collect::<Vec<_>>())
            }
        }
    }

    /// The same for other items: `count(item, prefix)` of each.
    pub(crate) fn map(&self, items: usize, count: impl Fn(usize, usize) -> usize) -> Self {
        let counts: Vec<usize> = (0..items).map(|item| count(item, self.of(item))).collect();
        counts.into()
    }

    /// Whether it says something of every item of the layout.
    pub(crate) fn fits(&self, layout: &Layout) -> bool {
        match self {
            Self::Same(_) => true,
            Self::Each(counts) | Self::AfterText { text: counts, .. } => counts.len() == layout.items(),
        }
    }
}

impl From<usize> for Prefix {
    fn from(count: usize) -> Self {
        Self::Same(count)
    }
}

/// One number per item; [`Prefix::Same`] if all are equal.
impl From<Vec<usize>> for Prefix {
    fn from(counts: Vec<usize>) -> Self {
        let each = Self::Each(counts.into());
        match (each.common(), &each) {
            (Some(count), Self::Each(counts)) if !counts.is_empty() => Self::Same(count),
            _ => each,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, Prefix};

    #[test]
    fn equal_prefixes_are_one_and_others_are_kept_per_item() {
        assert_eq!(Prefix::from(vec![2, 2]), Prefix::Same(2));
        let each = Prefix::from(vec![1, 3]);
        assert_eq!((each.of(0), each.of(1), each.common()), (1, 3, None));
        assert_eq!(Prefix::Same(2).common(), Some(2));
        assert!(each.fits(&Layout::uniform(2, 5)) && !each.fits(&Layout::uniform(3, 5)));
    }

    #[test]
    fn positions_count_from_behind_a_text() {
        let after = Prefix::AfterText { text: [3, 4].into(), own: 1 };
        assert_eq!((after.of(0), after.of(1), after.common()), (4, 5, None));
        assert_eq!((after.counted_from(0), after.counted_from(1)), (3, 4));
        assert_eq!(after.front(&Layout::from_lens(&[6, 5])), Layout::from_lens(&[4, 5]));
        assert_eq!(after.words(&Layout::from_lens(&[6, 2])), Layout::from_lens(&[3, 2]));
        assert_eq!(Prefix::Same(5).words(&Layout::uniform(2, 9)), Layout::uniform(2, 0));
        assert!(after.fits(&Layout::uniform(2, 9)) && !after.fits(&Layout::uniform(1, 9)));
        assert_eq!(Prefix::AfterText { text: [3, 3].into(), own: 1 }.common(), Some(4));
        assert_eq!((Prefix::Same(5).counted_from(0), Prefix::from(vec![1, 3]).counted_from(1)), (0, 0));
    }

    #[test]
    fn the_front_of_an_item_is_its_own_prefix() {
        let each = Prefix::from(vec![1, 3, 9]);
        let layout = Layout::from_lens(&[4, 4, 2]);
        assert_eq!(each.front(&layout), Layout::from_lens(&[1, 3, 2]));
        assert_eq!(layout.rows_of(&each.front(&layout)).as_ref(), [0, 4, 5, 6, 8, 9]);
    }
}
