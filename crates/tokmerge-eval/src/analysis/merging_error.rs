//! What merging loses at the moment in which it happens (ATM, definition 2).

use tokmerge_merge::{DROPPED, MergePlan, Tokens};

/// The merging error of every item, `[B]`: summed over the groups that `plan` makes of the tokens `before`.
///
/// The paper defines it for two tokens; here it is that of a group, of which pairs are a case:
/// `sum_i n_i * δ(x_i, x)`, where the `x_i` are normalised, `n_i` are their sizes, `x` is their average weighted by
/// size and δ the cosine distance. The average is the weighted one whatever the method makes of its groups. A
/// group of one loses nothing; tokens that a method drops belong to no group and are not counted.
///
/// # Panics
/// When the plan was made for other tokens.
#[must_use]
pub fn merging_errors(before: &Tokens, plan: &MergePlan) -> Vec<f64> {
    assert_eq!(&before.layout, plan.input(), "the plan was made for other tokens");
    let [_, channels] = before.x.dims();
    let x: Vec<f32> = before.x.clone().without_autodiff().into_data().iter::<f32>().collect();
    let sizes = before.sizes();
    let mut members = vec![0_u32; plan.output().rows()];
    let kept = || plan.dst().iter().enumerate().filter(|(_, dst)| **dst != DROPPED);
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
    let of_item = |item| groups[plan.output().range(item)].iter().flatten().map(error).sum();
    (0..plan.output().items()).map(of_item).collect()
}

#[cfg(test)]
mod tests {
    use super::merging_errors;
    use burn::tensor::{Device, Tensor, TensorData};
    use tokmerge_merge::{DROPPED, Layout, MergePlan, Tokens, merging_error};

    fn tokens(x: &[[f32; 3]], items: usize) -> Tokens {
        let x = x.as_flattened().to_vec();
        let rows = x.len() / 3;
        let x = Tensor::from_data(TensorData::new(x, [rows, 3]), &Device::default());
        Tokens::new(x, Layout::uniform(items, rows / items), 0)
    }

    /// Row `i` of a single item goes to `dst[i]`.
    fn plan(dst: &[u32]) -> MergePlan {
        let kept = dst.iter().filter(|dst| **dst != DROPPED).max().map_or(0, |last| last + 1);
        let representative: Vec<u32> =
            (0..kept).map(|row| dst.iter().position(|dst| *dst == row).unwrap() as u32).collect();
        let (input, output) = (Layout::uniform(1, dst.len()), Layout::uniform(1, kept as usize));
        MergePlan::new(dst, representative, input, output).unwrap()
    }

    #[test]
    fn a_pair_is_the_papers_definition() {
        let (a, b) = ([1.0, 2.0, -0.5], [-0.3, 1.0, 4.0]);
        for (n, m) in [(1.0, 1.0), (1.0, 100.0), (7.0, 3.0)] {
            let pair = Tokens { size: Some(vec![n, m].into()), ..tokens(&[a, b], 1) };
            let error = merging_errors(&pair, &plan(&[0, 0]))[0];
            let expected = merging_error((&a, n), (&b, m));
            assert!((error - expected).abs() < 1e-12 * (n + m) as f64, "{error} {expected}");
        }
    }

    #[test]
    fn a_group_is_the_sum_over_its_members() {
        let x = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [5.0, 5.0, 5.0]];
        // The three unit vectors have a cosine of 1 / sqrt(3) with their mean; the fourth is alone.
        let error = merging_errors(&tokens(&x, 1), &plan(&[0, 0, 0, 1]))[0];
        assert!((error - 3.0 * (1.0 - 1.0 / 3f64.sqrt())).abs() < 1e-12, "{error}");
    }

    #[test]
    fn equal_directions_lone_and_dropped_tokens_lose_nothing() {
        let a = [0.3, -1.7, 2.2];
        let equal = tokens(&[a, a.map(|x| 4.0 * x), a], 1);
        assert!(merging_errors(&equal, &plan(&[0, 0, 0]))[0] < 1e-12);
        let other = tokens(&[a, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], 1);
        assert_eq!(merging_errors(&other, &plan(&[0, 1, 2])), [0.0]);
        assert_eq!(merging_errors(&other, &plan(&[0, DROPPED, DROPPED])), [0.0]);
    }

    #[test]
    fn items_are_counted_apart() {
        let x = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]];
        let plan =
            MergePlan::new([0, 0, 1, 1], [0, 2], Layout::uniform(2, 2), Layout::uniform(2, 1)).unwrap();
        let errors = merging_errors(&tokens(&x, 2), &plan);
        assert!((errors[0] - (2.0 - 2f64.sqrt())).abs() < 1e-12 && errors[1] == 0.0, "{errors:?}");
    }
}
