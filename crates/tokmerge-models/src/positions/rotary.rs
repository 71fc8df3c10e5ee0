//! Rotary positions: queries and keys turn by where their tokens stand.

use super::turns::Turns;
use super::{AxisOrder, Frequencies, RotaryConfig};
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Distribution, Shape, Tensor, TensorData, s};
use std::f32::consts::{FRAC_PI_2, TAU};
use std::iter::repeat_n;
use std::ops::Range;
use std::sync::Arc;
use tokmerge_merge::{Positions, Tokens};
use tokmerge_ops::{Angles, Rotation};

/// Base of the frequencies that mixed ones begin with.
const MIXED_TEMPERATURE: f32 = 10.0;

/// Turns the positions of tokens into the angles by which their queries and keys rotate.
#[derive(Module, Debug)]
pub struct RotaryEmbedding {
    /// Learned frequencies, `[2, L, H, D / 2]`: radians per step along the first axis, then along the second.
    pub freqs: Option<Param<Tensor<4>>>,
    #[module(skip)]
    config: RotaryConfig,
    #[module(skip)]
    head_dim: usize,
    #[module(skip)]
    grid: (usize, usize),
}

/// The shape of the attention that rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotaryShape {
    /// Blocks (`L`).
    pub depth: usize,
    /// Heads (`H`).
    pub heads: usize,
    /// Channels of a head (`D`), a multiple of 4.
    pub head_dim: usize,
    /// Rows and columns of patches of the model's images.
    pub grid: (usize, usize),
}

impl RotaryEmbedding {
    /// Rotary positions for a model of this shape. Mixed frequencies begin as in RoPE-ViT: two axes at right angles, in
    /// a random direction for every head.
    ///
    /// # Panics
    /// When the channels of a head are no multiple of 4: half of their pairs belong to each axis.
    #[must_use]
    pub fn new(config: RotaryConfig, shape: RotaryShape, device: &Device) -> Self {
        let RotaryShape { depth, heads, head_dim, grid } = shape;
        assert!(
            head_dim.is_multiple_of(4),
            "rotary positions need heads of 4 n channels, these have {head_dim}"
        );
        let freqs = match config.frequencies {
            Frequencies::Mixed { .. } => Some(mixed_parameter(depth, heads, head_dim, device)),
            Frequencies::Axial { .. } | Frequencies::Normalised { .. } => None,
        };
        Self { freqs, config, head_dim, grid }
    }

    /// The rotation of all tokens in block `layer`, of images of the model's size. Prefix tokens do not turn.
    ///
    /// # Panics
    /// When the tokens have no positions on a grid.
    #[must_use]
    pub fn rotation(&self, layer: usize, tokens: &Tokens) -> Rotation {
        self.rotation_on(&[self.grid], layer, tokens)
    }

    /// The same for images of other sizes, `grids` being the rows and columns of patches before anything merged: one for
    /// all images, or one each.
    ///
    /// # Panics
    /// When the tokens have no positions on a grid, or there are more or fewer grids.
    #[must_use]
    pub fn rotation_on(&self, grids: &[(usize, usize)], layer: usize, tokens: &Tokens) -> Rotation {
        let Some(Positions::Grid(positions)) = &tokens.positions else {
            panic!("rotary positions need tokens on a grid, these are at {:?}", tokens.positions)
        };
        let (rows, items) = (tokens.layout.rows(), tokens.layout.items());
        assert!(grids.len() == 1 || grids.len() == items, "{} grids for {items} images", grids.len());
        let learned = self.learned(layer);
        let turns: Vec<Turns> = grids
            .iter()
            .map(|&grid| Turns::of(&self.config.frequencies, self.head_dim, grid, &learned))
            .collect();
        let width = turns.first().map_or(0, Turns::width);
        // What no image fills, the prefix, does not turn.
        let mut cos: Arc<[f32]> = repeat_n(1.0, rows * width).collect();
        let mut sin: Arc<[f32]> = repeat_n(0.0, rows * width).collect();
        let unshared = "made just now";
        let cosines = Arc::get_mut(&mut cos).expect(unshared);
        let sines = Arc::get_mut(&mut sin).expect(unshared);
        let mut before: Option<(Range<usize>, &Turns)> = None;
        for item in 0..items {
            let turns = &turns[item.min(turns.len() - 1)];
            let range = tokens.layout.range(item);
            let patches = (range.start + tokens.prefix.of(item)).min(range.end)..range.end;
            let values = patches.start * width..patches.end * width;
            // Images in which nothing has merged stand alike.
            let alike = before
                .take()
                .filter(|(last, by)| positions[last.clone()] == positions[patches.clone()] && *by == turns);
            match alike {
                Some((last, _)) => {
                    let last = last.start * width..last.end * width;
                    cosines.copy_within(last.clone(), values.start);
                    sines.copy_within(last, values.start);
                }
                None => {
                    let (sines, cosines) = (&mut sines[values.clone()], &mut cosines[values]);
                    turns.fill(&positions[patches.clone()], sines, cosines);
                }
            }
            before = Some((patches, turns));
        }
        let angles = if self.freqs.is_some() { Angles::PerHead } else { Angles::Shared };
        Rotation { cos, sin, angles, pairs: self.config.pairs, learned: self.angles(layer, tokens) }
    }

    /// The angles of all tokens in a block, `[T, H * D / 2]`, as a function of the frequencies, where these are learned.
    fn angles(&self, layer: usize, tokens: &Tokens) -> Option<Tensor<2>> {
        let freqs = self.freqs.as_ref().map(Param::val).filter(Tensor::is_tracked)?;
        let (&Frequencies::Mixed { order }, Some(Positions::Grid(positions))) =
            (&self.config.frequencies, &tokens.positions)
        else {
            return None;
        };
        let [_, _, heads, half] = freqs.dims();
        let rows = tokens.layout.rows();
        let mut steps = vec![0.0; rows * 2];
        for item in 0..tokens.layout.items() {
            let range = tokens.layout.range(item);
            // The prefix does not turn.
            for row in (range.start + tokens.prefix.of(item)).min(range.end)..range.end {
                let [_, y, x] = positions[row];
                let step = match order {
                    AxisOrder::RowsFirst => [y, x],
                    AxisOrder::ColumnsFirst => [x, y],
                };
                steps[row * 2..row * 2 + 2].copy_from_slice(&step);
            }
        }
        let steps = Tensor::<2>::from_data(TensorData::new(steps, [rows, 2]), &freqs.device());
        let of_layer = freqs.slice(s![.., layer..layer + 1, .., ..]).reshape([2, heads * half]);
        Some(steps.matmul(of_layer))
    }

    /// The learned frequencies of a block, `[2, H * D / 2]`; empty where they are given.
    fn learned(&self, layer: usize) -> Vec<f32> {
        let of_layer = |freqs: &Param<Tensor<4>>| freqs.val().slice(s![.., layer..layer + 1, .., ..]);
        let values = |freqs| of_layer(freqs).into_data().iter::<f32>().collect();
        self.freqs.as_ref().map_or_else(Vec::new, values)
    }
}

/// `[2, L, H, D / 2]`: half of the pairs turn along a random direction, half across it, slower and slower.
fn mixed_parameter(depth: usize, heads: usize, head_dim: usize, device: &Device) -> Param<Tensor<4>> {
    let quarter = head_dim / 4;
    let shape = [2, depth, heads, 2 * quarter];
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| {
            let speeds = (0..quarter).map(|i| MIXED_TEMPERATURE.powf(-(i as f32) / quarter as f32));
            let speeds = Tensor::<1>::from_floats(speeds.collect::<Vec<f32>>().as_slice(), device);
            let speeds = speeds.reshape([1, 1, 1, quarter]);
            let along =
                Tensor::<4>::random([1, depth, heads, 1], Distribution::Uniform(0.0, f64::from(TAU)), device);
            let across = along.clone() + FRAC_PI_2;
            let axis = |part: fn(Tensor<4>) -> Tensor<4>| {
                Tensor::cat([&along, &across].map(|angle| part(angle.clone()) * speeds.clone()).to_vec(), 3)
            };
            Tensor::cat(vec![axis(Tensor::cos), axis(Tensor::sin)], 0).set_require_grad(require_grad)
        },
        device.clone(),
        true,
        Shape::from(shape.to_vec()),
    )
}

#[cfg(test)]
mod tests {
    use super::{RotaryEmbedding, RotaryShape};
    use crate::positions::{AxisOrder, Frequencies, RotaryConfig, grid_positions};
    use burn::tensor::{Device, Tensor};
    use std::sync::Arc;
    use tokmerge_merge::{Layout, Positions, Tokens};
    use tokmerge_ops::{Angles, Pairs, Rotation};

    const SHAPE: RotaryShape = RotaryShape { depth: 2, heads: 3, head_dim: 8, grid: (2, 3) };
    const DINOV3: Frequencies = Frequencies::Normalised { temperature: 100.0 };
    const MIXED: Frequencies = Frequencies::Mixed { order: AxisOrder::ColumnsFirst };

    fn rotary(frequencies: Frequencies) -> RotaryEmbedding {
        RotaryEmbedding::new(RotaryConfig { frequencies, pairs: Pairs::Halves }, SHAPE, &Device::flex())
    }

    fn tokens(positions: &Arc<[[f32; 3]]>, lens: &[usize]) -> Tokens {
        let x = Tensor::zeros([positions.len(), 24], &Device::flex());
        Tokens::new(x, Layout::from_lens(lens), 1).with_positions(Positions::Grid(positions.clone()))
    }

    /// Cosines and sines of some rows.
    fn rows(rotation: &Rotation, rows: std::ops::Range<usize>, width: usize) -> [&[f32]; 2] {
        [&rotation.cos, &rotation.sin].map(|table| &table[rows.start * width..rows.end * width])
    }

    #[test]
    fn the_prefix_does_not_turn_and_patches_turn_by_where_they_stand() {
        for (frequencies, width) in [(DINOV3, 4), (MIXED, 12)] {
            let rotary = rotary(frequencies);
            let at_home = grid_positions(1, &[(2, 3), (2, 3)]);
            let rotation = rotary.rotation(0, &tokens(&at_home, &[7, 7]));
            for class in [0, 7] {
                let [cos, sin] = rows(&rotation, class..class + 1, width);
                assert!(cos.iter().all(|cos| *cos == 1.0) && sin.iter().all(|sin| *sin == 0.0));
            }
            assert_eq!(rows(&rotation, 0..7, width), rows(&rotation, 7..14, width));
            let mut moved = at_home.to_vec();
            moved[9] = [0.0, 0.5, 1.25];
            let after = rotary.rotation(0, &tokens(&moved.into(), &[7, 7]));
            assert_eq!(rows(&rotation, 0..9, width), rows(&after, 0..9, width));
            assert_ne!(rows(&rotation, 9..10, width), rows(&after, 9..10, width));
            assert_eq!(rows(&rotation, 10..14, width), rows(&after, 10..14, width));
        }
    }

    #[test]
    fn an_image_turns_alike_beside_images_of_other_sizes() {
        let (rotary, grids) = (rotary(DINOV3), [(2, 3), (3, 3), (3, 3)]);
        let together = grid_positions(1, &grids);
        let together = rotary.rotation_on(&grids, 0, &tokens(&together, &[7, 10, 10]));
        for (grid, range) in [((2, 3), 0..7), ((3, 3), 7..17), ((3, 3), 17..27)] {
            let alone = rotary.rotation_on(&[grid], 0, &tokens(&grid_positions(1, &[grid]), &[range.len()]));
            assert_eq!(rows(&together, range.clone(), 4), rows(&alone, 0..range.len(), 4));
        }
    }

    #[test]
    fn mixed_frequencies_are_parameters_of_every_head_that_begin_at_right_angles() {
        let rotary = rotary(MIXED);
        let frequencies = rotary.freqs.as_ref().expect("parameters").val();
        assert_eq!(frequencies.dims(), [2, 2, 3, 4]);
        let values: Vec<f32> = frequencies.into_data().iter::<f32>().collect();
        let (first, second) = values.split_at(24);
        for head in 0..6 {
            let at = |pair: usize| (first[4 * head + pair], second[4 * head + pair]);
            for pair in 0..2 {
                let ((x, y), (across_x, across_y)) = (at(pair), at(pair + 2));
                assert!((x * across_x + y * across_y).abs() < 1e-5, "head {head}: {pair} and {}", pair + 2);
                let speed = 10_f32.powf(-(pair as f32) / 2.0);
                assert!((x.hypot(y) - speed).abs() < 1e-5, "head {head}: {} instead of {speed}", x.hypot(y));
            }
        }
        let tokens = tokens(&grid_positions(1, &[(2, 3)]), &[7]);
        let [one, other] = [0, 1].map(|layer| rotary.rotation(layer, &tokens));
        assert_eq!((one.angles, one.cos.len()), (Angles::PerHead, 7 * 12));
        assert_ne!(one.cos, other.cos);
    }
}
