//! How tokens become fewer by weighted averages of all of them, as plain data.

use crate::mergers::{Run, runs};
use crate::{Layout, Mixture, Tokens};
use burn::tensor::{Tensor, TensorData, s};
use std::sync::Arc;

/// In which parts every token of a batch goes into every token that is left: what a [`MergePlan`](crate::MergePlan) is where
/// tokens go whole.
///
/// What is left is the average of what went in, weighted by its size and its part, and as large as these together. Where
/// every token goes into one with all of it, that is the average by size of a plan. It carries no gradient: gradients flow
/// through the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixing {
    items: Arc<[Mixture]>,
    output: Layout,
}

impl Mixing {
    /// Of the items of a batch. The parts of a token sum up to one; prefix tokens go whole, each to its own place.
    pub(crate) fn new(items: Vec<Mixture>) -> Self {
        let lens: Vec<usize> = items.iter().map(Mixture::outputs).collect();
        Self { items: items.into(), output: Layout::from_lens(&lens) }
    }

    /// The parts of an item.
    ///
    /// # Panics
    /// When there is no such item.
    #[must_use]
    pub fn item(&self, item: usize) -> &Mixture {
        &self.items[item]
    }

    /// Rows after.
    #[must_use]
    pub fn output(&self) -> &Layout {
        &self.output
    }

    /// The tokens after it. They have no positions, and sizes that need not be whole.
    ///
    /// # Panics
    /// When these are other tokens than those that it was made for.
    #[must_use]
    pub fn apply(&self, tokens: Tokens) -> Tokens {
        let [_, channels] = tokens.x.dims();
        let sizes = tokens.sizes();
        let (mut rows, mut left, mut first) = (Vec::new(), Vec::with_capacity(self.output.rows()), 0);
        for Run { x, prefix } in runs(&tokens) {
            let [items, len, _] = x.dims();
            let mut weights = Vec::new();
            for item in first..first + items {
                let own = &sizes[tokens.layout.range(item)];
                weights.extend(averages(&self.items[item], own, prefix, &mut left));
            }
            let outputs = if items == 0 { 0 } else { self.output.range(first).len() - prefix };
            first += items;
            let patches = x.clone().slice(s![.., prefix.., ..]);
            let weights = TensorData::new(weights, [items, outputs, len - prefix]);
            let mixed = match items * outputs {
                0 => patches,
                _ => Tensor::<3>::from_data(weights, &x.device()).matmul(patches),
            };
            let all = Tensor::cat(vec![x.slice(s![.., ..prefix, ..]), mixed], 1);
            if items * (prefix + outputs) > 0 {
                rows.push(all.reshape([items * (prefix + outputs), channels]));
            }
        }
        Tokens {
            x: if rows.is_empty() { tokens.x.clone() } else { Tensor::cat(rows, 0) },
            layout: self.output.clone(),
            size: Some(left.into()),
            positions: None,
            ..tokens
        }
    }
}

/// What the tokens of an item behind its prefix weigh in the averages that they become, `[N' - prefix, N - prefix]`. Adds the
/// sizes of all that is left to `left`.
fn averages(mixture: &Mixture, sizes: &[f32], prefix: usize, left: &mut Vec<f32>) -> Vec<f32> {
    assert_eq!(mixture.inputs(), sizes.len(), "the mixture was made for other tokens");
    left.extend(&sizes[..prefix]);
    let mut weights = Vec::with_capacity((mixture.outputs() - prefix) * (sizes.len() - prefix));
    for output in prefix..mixture.outputs() {
        let brought = mixture.weights(output)[prefix..].iter().zip(&sizes[prefix..]);
        let brought = brought.map(|(part, size)| part * size);
        let sum: f32 = brought.clone().sum();
        left.push(sum);
        weights.extend(brought.map(|brought| brought / sum));
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::Mixing;
    use crate::{Layout, Mixture, Tokens};
    use burn::tensor::{Device, Tensor};

    /// Of three tokens of sizes 2, 1, 1 behind a prefix: the first all in one, the second in halves, the third a quarter and
    /// three.
    #[test]
    fn what_is_left_is_an_average_by_size_and_part() {
        let parts = [[1.0, 0.5, 0.25], [0.0, 0.5, 0.75]];
        let mixture = Mixture::after(1, 4, 3, |output, input| parts[output][input]);
        let mixing = Mixing::new(vec![mixture.clone(), mixture]);
        let x = [[7.0, 7.0], [1.0, 0.0], [0.0, 4.0], [8.0, 4.0]];
        let x = [x, x.map(|row: [f32; 2]| row.map(|value| 2.0 * value))].concat();
        let flat: Vec<f32> = x.iter().flatten().copied().collect();
        let x = Tensor::<1>::from_floats(flat.as_slice(), &Device::flex()).reshape([8, 2]);
        let mut tokens = Tokens::new(x, Layout::uniform(2, 4), 1);
        tokens.size = Some([1.0, 2.0, 1.0, 1.0].repeat(2).into());
        let after = mixing.apply(tokens);
        assert_eq!(after.layout, Layout::uniform(2, 3));
        assert_eq!(after.sizes()[..3], [1.0, 2.75, 1.25]);
        let values: Vec<f32> = after.x.into_data().iter::<f32>().collect();
        let wanted = [7.0, 7.0, 4.0 / 2.75, 3.0 / 2.75, 6.0 / 1.25, 5.0 / 1.25];
        let wanted = wanted.iter().copied().chain(wanted.iter().map(|value| 2.0 * value));
        assert!(values.iter().zip(wanted).all(|(value, wanted)| (value - wanted).abs() < 1e-6), "{values:?}");
    }

    #[test]
    fn items_without_tokens_stay_so() {
        let mixture = |len| Mixture::after(len, len, len, |_, _| 0.0);
        let mixing = Mixing::new(vec![mixture(0), mixture(1)]);
        let x = Tensor::<2>::ones([1, 3], &Device::flex());
        let after = mixing.apply(Tokens::new(x, Layout::from_lens(&[0, 1]), 1));
        assert_eq!(
            (after.layout.clone(), after.sizes()[..].to_vec()),
            (Layout::from_lens(&[0, 1]), vec![1.0])
        );
        assert_eq!(after.x.dims(), [1, 3]);
    }
}
