//! What travels through an encoder.

use crate::MergePlan;
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
    /// Tokens at the front of every item that never merge: class, distillation, registers.
    pub prefix: usize,
    /// How many original tokens each row stands for, `[T]`. `None` as long as every token stands for itself.
    pub size: Option<Arc<[f32]>>,
}

impl Tokens {
    /// Tokens as they come from an embedding, `x: [B * N, C]`, the first `prefix` of each item protected.
    ///
    /// # Panics
    /// When the layout is of another number of rows.
    #[must_use]
    pub fn new(x: Tensor<2>, layout: Layout, prefix: usize) -> Self {
        assert_eq!(x.dims()[0], layout.rows(), "a layout says whose each row is");
        Self { x, layout, prefix, size: None }
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

    /// Where the tokens live.
    #[must_use]
    pub fn device(&self) -> Device {
        self.x.device()
    }

    /// The prefix tokens of every item alone.
    #[must_use]
    pub fn prefix_only(self) -> Self {
        let Self { x, layout, prefix, size } = self;
        let rows = layout.front_rows(prefix);
        let size = size.map(|size| rows.iter().map(|&row| size[row as usize]).collect());
        Self { x: gather_rows(x, &rows), layout: layout.front(prefix), prefix, size }
    }

    /// The tokens after a plan, `x` being the merged rows.
    ///
    /// # Panics
    /// When `x` or the plan is of another batch.
    #[must_use]
    pub fn merged(self, x: Tensor<2>, plan: &MergePlan) -> Self {
        Self::after(plan, x, &self.layout, self.prefix, self.size.as_deref())
    }

    /// As [`merged`](Self::merged), from what is left of the tokens when their rows were handed over.
    pub(crate) fn after(
        plan: &MergePlan,
        x: Tensor<2>,
        layout: &Layout,
        prefix: usize,
        size: Option<&[f32]>,
    ) -> Self {
        assert_eq!(layout, plan.input(), "the plan was made for other tokens");
        Self { size: Some(plan.sizes(size)), ..Self::new(x, plan.output().clone(), prefix) }
    }
}
