//! Rotary positions: pairs of channels of every query and key turn by an angle that says where the token stands.

use crate::backend::{Body, KernelOps, body};
use crate::linear::in_place;
use crate::pool;
use crate::pool::contiguous;
use crate::{Heads, gather_rows};
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, TensorMetadata};
use burn::tensor::{Tensor, TensorData, s};
use burn_flex::{Flex, FlexTensor};
use std::sync::Arc;
use tokmerge_kernels as kernels;
use tokmerge_kernels::Isa;
pub use tokmerge_kernels::{Angles, Pairs};

/// The angles by which queries and keys of every token turn. A token that has no place, such as a class token, turns by
/// none: cosines 1, sines 0.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Cosines, `[T, D / 2]` or `[T, H, D / 2]`.
    pub cos: Arc<[f32]>,
    /// Sines, of the same shape.
    pub sin: Arc<[f32]>,
    /// Which of the two shapes.
    pub angles: Angles,
    /// Which channels turn together.
    pub pairs: Pairs,
    /// The angles themselves, of the shape of the cosines, where a gradient with respect to them is asked for. `[T, ..]`
    pub learned: Option<Tensor<2>>,
}

impl Rotation {
    /// Angles of one row.
    fn row(&self, heads: Heads) -> usize {
        self.own(heads) * (heads.dim / 2)
    }

    /// Heads that have angles of their own.
    fn own(&self, heads: Heads) -> usize {
        match self.angles {
            Angles::Shared => 1,
            Angles::PerHead => heads.count,
        }
    }

    /// How the channels of a head lie in pairs: the shape, and the axis of five along which the two members are.
    fn pair(&self, half: usize) -> ([usize; 2], usize) {
        match self.pairs {
            Pairs::Adjacent => ([half, 2], 4),
            Pairs::Halves => ([2, half], 3),
        }
    }

    /// The same of some rows, in this order, in heads of this shape.
    #[must_use]
    pub fn select(&self, rows: &[u32], heads: Heads) -> Self {
        let width = self.row(heads);
        let select = |angles: &[f32]| -> Arc<[f32]> {
            rows.iter()
                .flat_map(|&row| &angles[row as usize * width..(row as usize + 1) * width])
                .copied()
                .collect()
        };
        let dst: Arc<[u32]> = rows.into();
        let learned = self.learned.clone().map(|angles| gather_rows(angles, &dst));
        Self { cos: select(&self.cos), sin: select(&self.sin), learned, ..*self }
    }

    /// The one that undoes it, without a gradient of the angles.
    #[must_use]
    pub fn back(&self) -> Self {
        let sin = self.sin.iter().map(|sin| -sin).collect();
        Self { cos: self.cos.clone(), sin, learned: None, ..*self }
    }

    /// As the kernels take it.
    pub(crate) fn view(&self) -> kernels::Rotation<'_> {
        kernels::Rotation { cos: &self.cos, sin: &self.sin, angles: self.angles, pairs: self.pairs }
    }

    /// Panics unless there are angles for this many rows.
    pub(crate) fn check(&self, rows: usize, heads: Heads) {
        assert!(heads.dim.is_multiple_of(2), "heads of {} channels have no pairs to rotate", heads.dim);
        let expected = rows * self.row(heads);
        assert!(
            self.cos.len() == expected && self.sin.len() == expected,
            "a rotation of {:?} angles has {} cosines and {} sines for {rows} tokens with {} heads of {}; expected {expected}",
            self.angles,
            self.cos.len(),
            self.sin.len(),
            heads.count,
            heads.dim
        );
    }
}

/// Rotates the heads of the first `parts` parts of `x: [T, P * H * D]`, each part head by head, and leaves the others:
/// two parts of `q | k | v`, one of `k | v`, one of `q`.
///
/// # Panics
/// When the rotation is of other rows or heads.
pub fn rotate_heads(x: Tensor<2>, heads: Heads, parts: usize, rotation: &Rotation) -> Tensor<2> {
    let [rows, columns] = x.dims();
    rotation.check(rows, heads);
    let y = match body(&x) {
        Body::Kernels => {
            let plain = Rotation { learned: None, ..rotation.clone() };
            let x = x.into_dispatch();
            Tensor::from_dispatch(<Dispatch as KernelOps>::kernel_rotate(x, plain, heads, parts))
        }
        Body::Composed => composed(x, heads, parts, rotation, [rows, columns]),
    };
    match &rotation.learned {
        Some(angles) => with_gradient_of(angles, y, heads, parts, rotation),
        None => y,
    }
}

/// The same values, with the gradient of the angles: a pair `(a, b)` that is turned further moves along `(-b, a)`.
fn with_gradient_of(
    angles: &Tensor<2>,
    y: Tensor<2>,
    heads: Heads,
    parts: usize,
    rotation: &Rotation,
) -> Tensor<2> {
    let [rows, columns] = y.dims();
    let (half, width) = (heads.dim / 2, parts * heads.count * heads.dim);
    let (pair, across) = rotation.pair(half);
    let turned = y.clone().without_autodiff().slice(s![.., ..width]);
    let turned = turned.reshape([rows, parts, heads.count, pair[0], pair[1]]);
    let member = |index: usize| -> Tensor<4> { turned.clone().narrow(across, index, 1).squeeze_dim(across) };
    // Nothing, but for its gradient.
    let step = angles.clone() - angles.clone().without_autodiff().autodiff();
    let step: Tensor<4> = step.reshape([rows, 1, rotation.own(heads), half]);
    let along = |other: Tensor<4>| step.clone() * other.autodiff();
    let moved: Tensor<5> = Tensor::stack(vec![along(-member(1)), along(member(0))], across);
    let moved = moved.reshape([rows, width]);
    if width == columns {
        return y + moved;
    }
    let rest = y.clone().slice(s![.., width..]);
    Tensor::cat(vec![y.slice(s![.., ..width]) + moved, rest], 1)
}

pub(crate) fn on_flex(x: FlexTensor, rotation: &Rotation, heads: Heads, parts: usize) -> FlexTensor {
    let rows = x.shape()[0];
    in_place(x, |x| kernels::rotate(Isa::current(), heads, rotation.view(), parts, x, rows))
}

#[derive(Debug)]
struct RotateBackward;

impl Backward<Flex, 1> for RotateBackward {
    type State = (Rotation, Heads, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let (rotation, heads, parts) = ops.state;
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, on_flex(grad, &rotation.back(), heads, parts));
        }
    }
}

pub(crate) fn tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    rotation: Rotation,
    heads: Heads,
    parts: usize,
) -> FloatTensor<Autodiff<Flex, C>> {
    let node = x.node();
    pool::train();
    let y = on_flex(x.into_primitive(), &rotation, heads, parts);
    match RotateBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((rotation, heads, parts), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

fn composed(
    x: Tensor<2>,
    heads: Heads,
    parts: usize,
    rotation: &Rotation,
    [rows, columns]: [usize; 2],
) -> Tensor<2> {
    let (device, half, width) = (x.device(), heads.dim / 2, parts * heads.count * heads.dim);
    let own = rotation.own(heads);
    let angles = |values: &[f32]| -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [rows, 1, own, half]), &device)
    };
    let (cos, sin) = (angles(&rotation.cos), angles(&rotation.sin));
    let (pair, across) = rotation.pair(half);
    let turned = x.clone().slice(s![.., ..width]).reshape([rows, parts, heads.count, pair[0], pair[1]]);
    let member = |index: usize| -> Tensor<4> { turned.clone().narrow(across, index, 1).squeeze_dim(across) };
    let (a, b) = (member(0), member(1));
    let turned: Tensor<5> =
        Tensor::stack(vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin], across);
    let turned = turned.reshape([rows, width]);
    if width == columns { turned } else { Tensor::cat(vec![turned, x.slice(s![.., width..])], 1) }
}

#[cfg(test)]
mod tests {
    use super::{Angles, Pairs, Rotation, composed, rotate_heads};
    use crate::Heads;
    use crate::testing::{assert_close, devices, gradients_match, normal};
    use burn::tensor::{Tensor, TensorData};

    const HEADS: Heads = Heads { count: 3, dim: 8, scale: 1.0 };

    /// Every kind, turning token `t` by angles that depend on it.
    fn rotations(rows: usize) -> Vec<Rotation> {
        let mut rotations = Vec::new();
        for angles in [Angles::Shared, Angles::PerHead] {
            for pairs in [Pairs::Adjacent, Pairs::Halves] {
                let heads = if angles == Angles::Shared { 1 } else { HEADS.count };
                let angle: Vec<f32> =
                    (0..rows * heads * HEADS.dim / 2).map(|i| (i * i % 17) as f32).collect();
                let cos = angle.iter().map(|a| a.cos()).collect();
                rotations.push(Rotation {
                    cos,
                    sin: angle.iter().map(|a| a.sin()).collect(),
                    angles,
                    pairs,
                    learned: None,
                });
            }
        }
        rotations
    }

    /// Element by element, as the papers write it.
    fn oracle(x: &[f32], rows: usize, parts: usize, of: usize, rotation: &Rotation) -> Vec<f32> {
        let Heads { count, dim, .. } = HEADS;
        let mut y = x.to_vec();
        for row in 0..rows {
            for (part, head, i) in (0..parts)
                .flat_map(|part| (0..count).map(move |head| (part, head)))
                .flat_map(|(part, head)| (0..dim / 2).map(move |i| (part, head, i)))
            {
                let at = match rotation.angles {
                    Angles::Shared => row * dim / 2 + i,
                    Angles::PerHead => (row * count + head) * dim / 2 + i,
                };
                let (cos, sin) = (rotation.cos[at], rotation.sin[at]);
                let first = ((row * of + part) * count + head) * dim;
                let (a, b) = match rotation.pairs {
                    Pairs::Adjacent => (first + 2 * i, first + 2 * i + 1),
                    Pairs::Halves => (first + i, first + dim / 2 + i),
                };
                (y[a], y[b]) = (x[a] * cos - x[b] * sin, x[b] * cos + x[a] * sin);
            }
        }
        y
    }

    #[test]
    fn pairs_turn_by_their_angles_and_other_parts_stay() {
        let device = devices().plain;
        for rows in [5, 1] {
            for rotation in rotations(rows) {
                for (parts, of) in [(2, 3), (1, 2), (1, 1)] {
                    let x: Tensor<2> = normal([rows, of * 24], 4, &device);
                    let values: Vec<f32> = x.clone().into_data().iter::<f32>().collect();
                    let expected = oracle(&values, rows, parts, of, &rotation);
                    let expected = Tensor::from_data(TensorData::new(expected, [rows, of * 24]), &device);
                    assert_close(rotate_heads(x.clone(), HEADS, parts, &rotation), expected.clone(), 1e-6);
                    assert_close(composed(x, HEADS, parts, &rotation, [rows, of * 24]), expected, 1e-6);
                }
            }
        }
    }

    #[test]
    fn the_gradient_turns_back() {
        let device = devices().tracked;
        for rotation in rotations(5) {
            let back = rotation.back();
            let weighting = normal([5, 72], 99, &device);
            gradients_match(
                [normal([5, 72], 3, &device)],
                |[x]| rotate_heads(x, HEADS, 2, &rotation),
                // The gradient of this is its weighting turned back, by which that of the other is weighted too.
                |[x]| x * rotate_heads(weighting.clone(), HEADS, 2, &back) / weighting.clone(),
                1e-4,
            );
        }
    }

    #[test]
    fn angles_have_the_gradient_of_turning() {
        let device = devices().tracked;
        for rotation in rotations(4) {
            let own = rotation.own(HEADS);
            let x: Tensor<2> = normal([4, 72], 3, &device);
            let weighting: Tensor<2> = normal([4, 72], 99, &device);
            gradients_match(
                [normal([4, own * 4], 5, &device)],
                |[angles]| {
                    let values: Vec<f32> = angles.clone().into_data().iter::<f32>().collect();
                    let cos = values.iter().map(|a| a.cos()).collect();
                    let sin = values.iter().map(|a| a.sin()).collect();
                    let rotation = Rotation { cos, sin, learned: Some(angles), ..rotation.clone() };
                    rotate_heads(x.clone(), HEADS, 2, &rotation) * weighting.clone()
                },
                |[angles]| {
                    let [cos, sin] = [angles.clone().cos(), angles.sin()];
                    by_tensors(x.clone(), &rotation, cos, sin) * weighting.clone()
                },
                1e-4,
            );
        }
    }

    /// Two parts of three, with cosines and sines that have gradients.
    fn by_tensors(x: Tensor<2>, rotation: &Rotation, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<2> {
        let (rows, own) = (x.dims()[0], rotation.own(HEADS));
        let (pair, across) = rotation.pair(4);
        let [cos, sin] = [cos, sin].map(|angles| angles.reshape([rows, 1, own, 4]));
        let turned = x.clone().narrow(1, 0, 48).reshape([rows, 2, HEADS.count, pair[0], pair[1]]);
        let member =
            |index: usize| -> Tensor<4> { turned.clone().narrow(across, index, 1).squeeze_dim(across) };
        let (a, b) = (member(0), member(1));
        let turned: Tensor<5> =
            Tensor::stack(vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin], across);
        Tensor::cat(vec![turned.reshape([rows, 48]), x.narrow(1, 48, 24)], 1)
    }

    #[test]
    fn selected_rows_keep_their_angles() {
        let device = devices().plain;
        for rotation in rotations(5) {
            let x: Tensor<2> = normal([5, 24], 4, &device);
            let some = crate::gather_rows(x.clone(), &[4, 1].into());
            let expected = crate::gather_rows(rotate_heads(x, HEADS, 1, &rotation), &[4, 1].into());
            assert_close(rotate_heads(some, HEADS, 1, &rotation.select(&[4, 1], HEADS)), expected, 0.0);
        }
    }
}
