//! What travels through an encoder.

use crate::{Carried, Combine, MergePlan, Merging, Positions, Prefix, Standing, Waiting};
use burn::tensor::{Device, Tensor};
use std::sync::Arc;
use tokmerge_ops::{Layout, gather_rows};

/// The tokens of a batch.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `[T, C]`, the items below each other.
    pub x: Tensor<2>,
    /// Which rows belong to which item.
    pub layout: Layout,
    /// Tokens at the front of every item that never merge: class, distillation, registers, words of a question.
    pub prefix: Prefix,
    /// How many original tokens each row stands for, `[T]`. `None` as long as every token stands for itself.
    pub size: Option<Arc<[f32]>>,
    /// Where every token is, for models whose blocks need to know. `None` where nobody asks: nothing is computed.
    pub positions: Option<Positions>,
    /// Words that join these before a later block, where some do.
    pub waiting: Option<Waiting>,
    /// Which rows count, `[T, 1]`, 1 or 0: in training alone, of methods that learn what to drop
    /// ([`masked`](Self::masked)); `[T, 3]` of those that learn what to merge too ([`Choice`](crate::Choice)). `None` where all do.
    pub policy: Option<Tensor<2>>,
    /// What the method remembers of these from the blocks before. `None` where it remembers nothing.
    pub standing: Option<Standing>,
    /// What the method has gathered of these in the blocks before, through which gradients pass. `None` where it gathers
    /// nothing.
    pub carried: Option<Carried>,
}

impl Tokens {
    /// Tokens as they come from an embedding, `x: [T, C]`, the first `prefix` of each item protected.
    ///
    /// # Panics
    /// When the layout has another number of rows, or the prefix another number of items.
    #[must_use]
    pub fn new(x: Tensor<2>, layout: Layout, prefix: impl Into<Prefix>) -> Self {
        let prefix = prefix.into();
        assert_eq!(x.dims()[0], layout.rows(), "a layout says whose each row is");
        assert!(prefix.fits(&layout), "a prefix per item: {prefix:?} for {} items", layout.items());
        let (size, positions, waiting) = (None, None, None);
        Self { x, layout, prefix, size, positions, waiting, policy: None, standing: None, carried: None }
    }

    /// The same tokens, standing at these positions, one per row; plans carry them on.
    ///
    /// # Panics
    /// When there are more or fewer positions than rows.
    #[must_use]
    pub fn with_positions(self, positions: Positions) -> Self {
        assert_eq!(positions.rows(), self.layout.rows(), "one position per row");
        Self { positions: Some(positions), ..self }
    }

    /// The same tokens with other values.
    ///
    /// # Panics
    /// When `x` has another number of rows.
    #[must_use]
    pub fn with(self, x: Tensor<2>) -> Self {
        assert_eq!(x.dims()[0], self.layout.rows(), "tokens keep their number of rows");
        Self { x, ..self }
    }

    /// The logarithm of every token's size, the key bias of proportional attention (ToMe, eq. 1); `None` while
    /// all sizes are one.
    #[must_use]
    pub fn log_size(&self) -> Option<Arc<[f32]>> {
        self.size.as_ref().map(|size| size.iter().map(|size| size.ln()).collect())
    }

    /// Size of every row, ones if nothing has merged yet. `[T]`.
    #[must_use]
    pub fn sizes(&self) -> Arc<[f32]> {
        self.size.clone().unwrap_or_else(|| vec![1.0; self.layout.rows()].into())
    }

    /// Tokens in front of an item that never merge: all of one that is shorter than its prefix.
    pub(crate) fn front_of(&self, item: usize) -> usize {
        self.prefix.of(item).min(self.layout.range(item).len())
    }

    /// Where the tokens live.
    #[must_use]
    pub fn device(&self) -> Device {
        self.x.device()
    }

    /// The prefix tokens of every item alone.
    #[must_use]
    pub fn prefix_only(self) -> Self {
        let Self { x, layout, prefix, size, positions, waiting, policy, standing: _, carried } = self;
        let front = prefix.front(&layout);
        let rows = layout.rows_of(&front);
        let size = size.map(|size| rows.iter().map(|&row| size[row as usize]).collect());
        let positions = positions.map(|positions| positions.select(&rows));
        let policy = policy.map(|policy| gather_rows(policy, &rows));
        let carried = carried.map(|carried| carried.select(|of_all| gather_rows(of_all, &rows)));
        Self {
            x: gather_rows(x, &rows),
            layout: front,
            prefix,
            size,
            positions,
            waiting,
            policy,
            standing: None,
            carried,
        }
    }

    /// The tokens after a plan: rows become what `combine` says, sizes add up, positions follow.
    ///
    /// # Panics
    /// When the plan was made for other tokens.
    #[must_use]
    pub fn merge(self, plan: &MergePlan, combine: Combine) -> Self {
        Merging { plan: plan.clone(), by: combine.into() }.apply(self)
    }
}
