//! What weights made of the tokens of an image, as plain data.

/// The weight of every token of an item in every token that it became, where a method with weights mixed them: what a
/// [`MergePlan`](crate::MergePlan) is for the others, for showing it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// `[N', N]`.
    weights: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

/// The token in which another weighs most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Largest {
    /// Which of the outputs; the first of several equal ones.
    pub output: usize,
    /// Its part of the weights that the token has in all outputs together, from 0 to 1.
    pub part: f32,
}

impl Mixture {
    /// `outputs` of `inputs` tokens, of which the first `kept` stay themselves, before the others. `weight` is
    /// asked for every other output and input, both counted from the first after those.
    pub(crate) fn after(
        kept: usize,
        inputs: usize,
        outputs: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let mut mixture = Self { weights: vec![0.0; outputs * inputs], inputs, outputs };
        (0..kept).for_each(|token| *mixture.at(token, token) = 1.0);
        for output in kept..outputs {
            for input in kept..inputs {
                *mixture.at(output, input) = weight(output - kept, input - kept);
            }
        }
        mixture
    }

    fn at(&mut self, output: usize, input: usize) -> &mut f32 {
        &mut self.weights[output * self.inputs + input]
    }

    /// Tokens before.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Tokens after.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The weights of all inputs in one output, `[N]`.
    ///
    /// # Panics
    /// When there is no such output.
    #[must_use]
    pub fn weights(&self, output: usize) -> &[f32] {
        &self.weights[output * self.inputs..][..self.inputs]
    }

    /// This mixture, then another of its outputs. What blocks did in between is no mixing.
    ///
    /// # Panics
    /// When `next` has other inputs than this one has outputs.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        assert_eq!(self.outputs, next.inputs, "the second mixture was made of other tokens");
        let mut weights = vec![0.0; next.outputs * self.inputs];
        for (row, output) in weights.chunks_exact_mut(self.inputs.max(1)).zip(0..next.outputs) {
            for (between, factor) in next.weights(output).iter().enumerate() {
                for (sum, weight) in row.iter_mut().zip(self.weights(between)) {
                    *sum += factor * weight;
                }
            }
        }
        Self { weights, inputs: self.inputs, outputs: next.outputs }
    }

    /// The output in which a token weighs most; `None` if it has no weight in any.
    ///
    /// # Panics
    /// When there is no such token.
    #[must_use]
    pub fn largest(&self, input: usize) -> Option<Largest> {
        let of = |output: usize| self.weights(output)[input];
        let all: f32 = (0..self.outputs).map(of).sum();
        let larger = |best: usize, output: usize| if of(output) > of(best) { output } else { best };
        let output = (0..self.outputs).reduce(larger)?;
        (of(output) > 0.0).then(|| Largest { output, part: of(output) / all })
    }
}

#[cfg(test)]
mod tests {
    use super::{Largest, Mixture};

    fn mixture(rows: &[&[f32]]) -> Mixture {
        let inputs = rows[0].len();
        Mixture::after(0, inputs, rows.len(), |output, input| rows[output][input])
    }

    #[test]
    fn mixtures_one_after_the_other_are_the_product_of_their_weights() {
        let first = mixture(&[&[0.5, 0.25, 0.0], &[0.5, 0.75, 1.0]]);
        let both = first.then(&mixture(&[&[1.0, 0.0], &[2.0, 1.0], &[0.0, 4.0]]));
        assert_eq!((both.inputs(), both.outputs()), (3, 3));
        assert_eq!(both.weights(1), [1.5, 1.25, 1.0]);
        assert_eq!(both.weights(2), [2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_token_is_in_the_output_where_it_weighs_most() {
        let mixture = mixture(&[&[1.0, 2.0, 0.0], &[3.0, 2.0, 0.0]]);
        assert_eq!(mixture.largest(0), Some(Largest { output: 1, part: 0.75 }));
        assert_eq!(mixture.largest(1), Some(Largest { output: 0, part: 0.5 }), "the first of equal ones");
        assert_eq!(mixture.largest(2), None);
    }
}
