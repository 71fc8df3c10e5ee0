//! What merging loses at the moment when it happens (ATM, definition 2).

use crate::{DROPPED, MergePlan};
use burn::tensor::Tensor;

impl MergePlan {
    /// The merging error of every item, `[B]`, for tokens `[T, C]` of `sizes: [T]`: the sum over the groups that they
    /// merge into.
    ///
    /// The paper defines it for two tokens. Here it is that of a group, of which pairs are a case:
    /// `sum_i n_i * δ(x_i, x)`, where the `x_i` are normalised, `n_i` are their sizes, `x` is their average weighted by
    /// size and δ the cosine distance. The average is the weighted one whatever the method makes of its groups. A
    /// group of one loses nothing; tokens that a method drops belong to no group and are not counted.
    ///
    /// # Panics
    /// When there are more or fewer tokens or sizes than the plan was made for.
    #[must_use]
    pub fn merging_errors(&self, tokens: &Tensor<2>, sizes: &[f32]) -> Vec<f64> {
        let [rows, channels] = tokens.dims();
        let expected = self.dst().len();
        assert_eq!((rows, sizes.len()), (expected, expected), "one row and one size per token of the plan");
        let x: Vec<f32> = tokens.clone().without_autodiff().into_data().iter::<f32>().collect();
        let mut members = vec![0_u32; self.output().rows()];
        let kept = || self.dst().iter().enumerate().filter(|(_, dst)| **dst != DROPPED);
        for (_, &dst) in kept() {
            members[dst as usize] += 1;
        }
        // Of the groups of more than one: the sum of the sizes, and the sum of the tokens weighted by them.
        let mut groups: Vec<Option<(f64, Vec<f64>)>> =
            members.iter().map(|count| (*count > 1).then(|| (0.0, vec![0.0; channels]))).collect();
        for (row, &dst) in kept() {
            let Some((total, sum)) = &mut groups[dst as usize] else { continue };
            let token = &x[row * channels..(row + 1) * channels];
            let norm = token.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let size = f64::from(sizes[row]);
            *total += size;
            if norm > 0.0 {
                sum.iter_mut().zip(token).for_each(|(sum, x)| *sum += size * f64::from(*x) / norm);
            }
        }
        // With s = sum_i n_i x_i the cosine of x_i and x is x_i·s / |s|, so the error is sum_i n_i - s·s / |s|.
        let error = |(total, sum): &(f64, Vec<f64>)| {
            (total - sum.iter().map(|sum| sum * sum).sum::<f64>().sqrt()).max(0.0)
        };
        let of_item = |item| groups[self.output().range(item)].iter().flatten().map(error).sum();
        (0..self.output().items()).map(of_item).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::{DROPPED, Layout, MergePlan, Tokens};
    use burn::tensor::{Device, Tensor, TensorData};
    use proptest::prelude::*;

    fn tokens(x: &[[f32; 3]], items: usize) -> Tokens {
        let x = x.as_flattened().to_vec();
        let rows = x.len() / 3;
        let x = Tensor::from_data(TensorData::new(x, [rows, 3]), &Device::default());
        Tokens::new(x, Layout::uniform(items, rows / items), 0)
    }

    fn errors(tokens: &Tokens, plan: &MergePlan) -> Vec<f64> {
        plan.merging_errors(&tokens.x, &tokens.sizes())
    }

    /// Row `i` of a single item goes to `dst[i]`.
    fn plan(dst: &[u32]) -> MergePlan {
        let kept = dst.iter().filter(|dst| **dst != DROPPED).max().map_or(0, |last| last + 1);
        let representative: Vec<u32> =
            (0..kept).map(|row| dst.iter().position(|dst| *dst == row).unwrap() as u32).collect();
        let (input, output) = (Layout::uniform(1, dst.len()), Layout::uniform(1, kept as usize));
        MergePlan::new(dst, representative, input, output).unwrap()
    }

    fn unit(x: &[f32]) -> Vec<f64> {
        let norm = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        x.iter().map(|x| f64::from(*x) / norm).collect()
    }

    fn dot(x: &[f64], y: &[f64]) -> f64 {
        x.iter().zip(y).map(|(x, y)| x * y).sum()
    }

    fn of_pair(x: &[f32; 3], n: f32, y: &[f32; 3], m: f32) -> f64 {
        let pair = Tokens { size: Some(vec![n, m].into()), ..tokens(&[*x, *y], 1) };
        errors(&pair, &plan(&[0, 0]))[0]
    }

    #[test]
    fn a_pair_is_the_papers_definition() {
        let (a, b) = ([1.0, 2.0, -0.5], [-0.3, 1.0, 4.0]);
        for (n, m) in [(1.0, 1.0), (1.0, 100.0), (7.0, 3.0)] {
            let error = of_pair(&a, n, &b, m);
            let (x, y, n, m) = (unit(&a), unit(&b), f64::from(n), f64::from(m));
            let merged: Vec<f64> = x.iter().zip(&y).map(|(x, y)| n * x + m * y).collect();
            let norm = dot(&merged, &merged).sqrt();
            let distance = |x: &[f64]| 1.0 - dot(x, &merged) / norm;
            let expected = n * distance(&x) + m * distance(&y);
            assert!((error - expected).abs() < 1e-12 * (n + m), "{error} {expected}");
        }
    }

    #[test]
    fn two_tokens_sixty_degrees_apart_lose_what_thirty_degrees_lose_twice() {
        let error = of_pair(&[1.0, 0.0, 0.0], 1.0, &[0.5, 0.75f32.sqrt(), 0.0], 1.0);
        assert!((error - 2.0 * (1.0 - 30.0_f64.to_radians().cos())).abs() < 1e-6, "{error}");
        assert!(of_pair(&[0.0; 3], 1.0, &[1.0, 0.0, 0.0], 1.0).is_finite());
    }

    proptest! {
        /// Theorem 1: n m / (n + m) δ <= error <= 2 n m / (n + m) δ.
        #[test]
        fn the_error_of_a_pair_lies_within_the_bounds_of_theorem_1(
            x in prop::array::uniform3(-1.0f32..1.0), y in prop::array::uniform3(-1.0f32..1.0),
            n in 1u32..500, m in 1u32..500,
        ) {
            prop_assume!([x, y].iter().all(|x| x.iter().map(|x| x * x).sum::<f32>() > 1e-6));
            let distance = 1.0 - dot(&unit(&x), &unit(&y));
            // Opposite tokens of equal size have no direction in the middle; the theorem leaves them out.
            prop_assume!(distance < 1.999);
            let error = of_pair(&x, n as f32, &y, m as f32);
            let (n, m) = (f64::from(n), f64::from(m));
            let lower = n * m / (n + m) * distance;
            let slack = 1e-9 * (n + m);
            prop_assert!(error >= lower - slack && error <= 2.0 * lower + slack, "{lower} {error}");
        }
    }

    #[test]
    fn a_group_is_the_sum_over_its_members() {
        let x = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [5.0, 5.0, 5.0]];
        // The three unit vectors have a cosine of 1 / sqrt(3) with their mean; the fourth is alone.
        let error = errors(&tokens(&x, 1), &plan(&[0, 0, 0, 1]))[0];
        assert!((error - 3.0 * (1.0 - 1.0 / 3f64.sqrt())).abs() < 1e-12, "{error}");
    }

    #[test]
    fn equal_directions_lone_and_dropped_tokens_lose_nothing() {
        let a = [0.3, -1.7, 2.2];
        let equal = tokens(&[a, a.map(|x| 4.0 * x), a], 1);
        assert!(errors(&equal, &plan(&[0, 0, 0]))[0] < 1e-12);
        let other = tokens(&[a, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], 1);
        assert_eq!(errors(&other, &plan(&[0, 1, 2])), [0.0]);
        assert_eq!(errors(&other, &plan(&[0, DROPPED, DROPPED])), [0.0]);
    }

    #[test]
    fn items_are_counted_apart() {
        let x = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]];
        let plan =
            MergePlan::new([0, 0, 1, 1], [0, 2], Layout::uniform(2, 2), Layout::uniform(2, 1)).unwrap();
        let errors = errors(&tokens(&x, 2), &plan);
        assert!((errors[0] - (2.0 - 2f64.sqrt())).abs() < 1e-12 && errors[1] == 0.0, "{errors:?}");
    }
}
