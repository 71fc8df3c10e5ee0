//! The softmax of attention itself, for methods that read it and for attention that follows a changed one.

use super::{AttentionSpec, Mask, PairBias, PairRows, probabilities, split};
use crate::Layout;
use burn::tensor::{Tensor, s};
use tokmerge_kernels::Heads;

/// Whose attention is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapQueries {
    /// That of the first token of every item: the class token's.
    First,
    /// That of all tokens.
    All,
}

/// The attention of an item, head by head, as plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMap {
    /// Heads (`H`).
    pub heads: usize,
    /// Tokens that attend (`Q`).
    pub queries: usize,
    /// Tokens that are attended to (`K`).
    pub keys: usize,
    /// `[H, Q, K]`; every row sums to one.
    pub values: Vec<f32>,
}

impl AttentionMap {
    /// One row of the softmax: what `query` gives to every token, by one head. `[K]`.
    ///
    /// # Panics
    /// When there is no such head or query.
    #[must_use]
    pub fn row(&self, head: usize, query: usize) -> &[f32] {
        assert!(head < self.heads && query < self.queries, "head {head}, query {query}");
        let start = (head * self.queries + query) * self.keys;
        &self.values[start..start + self.keys]
    }

    /// What a query gives to every token, as the mean of all heads. `[K]`.
    ///
    /// # Panics
    /// When there is no such query.
    #[must_use]
    pub fn mean_row(&self, query: usize) -> Vec<f32> {
        let mut mean = vec![0.0; self.keys];
        for head in 0..self.heads {
            mean.iter_mut().zip(self.row(head, query)).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= self.heads as f32);
        mean
    }
}

/// The attention of every item, `qkv: [T, 3 * H * D]`, of some of its tokens to all of them. Every item is looked at alone.
/// Carries no gradient.
///
/// # Panics
/// When there is a pair bias for items of another length.
pub fn attention_maps(qkv: Tensor<2>, of: MapQueries, spec: &AttentionSpec<'_>) -> Vec<AttentionMap> {
    let maps = item_probabilities(qkv.without_autodiff(), of, spec).into_iter().map(|map| {
        let [heads, queries, keys] = map.dims();
        AttentionMap { heads, queries, keys, values: map.into_data().iter::<f32>().collect() }
    });
    maps.collect()
}

/// The softmax of every item, `[H, N, N]`, of `qkv: [T, 3 * H * D]`: for what changes it before [`mix`] follows it.
///
/// # Panics
/// When there is a pair bias for items of another length.
pub fn attention_probabilities(qkv: Tensor<2>, spec: &AttentionSpec<'_>) -> Vec<Tensor<3>> {
    item_probabilities(qkv, MapQueries::All, spec)
}

fn item_probabilities(qkv: Tensor<2>, of: MapQueries, spec: &AttentionSpec<'_>) -> Vec<Tensor<3>> {
    let (layout, heads) = (spec.layout, spec.heads.count);
    let starts = match &spec.pair_bias {
        Some(PairBias::Rows(_)) => PairRows::starts(layout, layout),
        Some(PairBias::Shared(_)) | None => Vec::new(),
    };
    let (q, kv) = split(qkv, spec.width());
    let of_item = |item: usize| -> Tensor<3> {
        let range = layout.range(item);
        let (start, keys) = (range.start, range.len());
        // A mask says whom the last queries see, of which one alone would be the last.
        let queries = match of {
            MapQueries::First if spec.mask == Mask::None => keys.min(1),
            MapQueries::First | MapQueries::All => keys,
        };
        if keys == 0 {
            return Tensor::zeros([heads, 0, 0], &q.device());
        }
        let pair_bias = match &spec.pair_bias {
            None => None,
            Some(PairBias::Rows(pairs)) => Some(pairs.of(&[item], &starts, heads, [keys, keys])),
            Some(PairBias::Shared(bias)) => {
                assert_eq!(
                    bias.dims(),
                    [heads, keys, keys],
                    "the pair bias is of other heads, queries and keys"
                );
                Some(bias.clone().unsqueeze_dim::<4>(0))
            }
        };
        let pair_bias = pair_bias.map(|bias| bias.slice(s![.., .., 0..queries, ..]));
        let key_bias = spec.key_bias.as_ref().map(|bias| bias[range].to_vec());
        let q = q.clone().slice(s![start..start + queries, ..]);
        let kv = kv.clone().slice(s![start..start + keys, ..]);
        let (probabilities, _) = probabilities(q, kv, key_bias, [1, queries, keys], pair_bias, spec);
        let map: Tensor<3> = probabilities.squeeze_dim(0);
        match of {
            MapQueries::First => map.slice(s![.., 0..keys.min(1), ..]),
            MapQueries::All => map,
        }
    };
    (0..layout.items()).map(of_item).collect()
}

/// What tokens attend to by softmaxes that are given, `maps` with one `[H, Q, N]` for every item, of the values
/// `v: [T, H * D]` of its `N` tokens → `[T', H * D]`, the `Q` rows of every item behind each other.
///
/// # Panics
/// When a map has another number of keys than its item has tokens, or there are no items.
pub fn mix(maps: Vec<Tensor<3>>, v: Tensor<2>, layout: &Layout, heads: Heads) -> Tensor<2> {
    assert_eq!(maps.len(), layout.items(), "a map for every item");
    let of_item = |(item, map): (usize, Tensor<3>)| {
        let range = layout.range(item);
        let [_, queries, keys] = map.dims();
        assert_eq!(keys, range.len(), "the map of item {item} is of other keys");
        let v = v.clone().slice(s![range.start..range.end, ..]);
        let v = v.reshape([keys, heads.count, heads.dim]).swap_dims(0, 1);
        map.matmul(v).swap_dims(0, 1).reshape([queries, heads.count * heads.dim])
    };
    Tensor::cat(maps.into_iter().enumerate().map(of_item).collect(), 0)
}

#[cfg(test)]
mod tests {
    use super::super::{AttentionSpec, attention, attention_received, split};
    use super::{MapQueries, attention_maps, attention_probabilities, mix};
    use crate::testing::{assert_close, devices, normal};
    use crate::{Heads, Layout};
    use burn::tensor::s;

    const HEADS: Heads = Heads { count: 3, dim: 8, scale: 0.3 };

    #[test]
    fn maps_are_the_softmax_that_attention_follows() {
        for device in [devices().plain, devices().tracked] {
            for layout in [Layout::uniform(2, 7), Layout::from_lens(&[5, 1, 9])] {
                let qkv = normal([layout.rows(), 72], 5, &device);
                let bias: Vec<f32> = (0..layout.rows()).map(|row| (row % 3) as f32 * 0.4).collect();
                let spec =
                    AttentionSpec { key_bias: Some(bias.into()), ..AttentionSpec::new(HEADS, &layout) };
                let (_, kv) = split(qkv.clone(), 24);
                let mixed =
                    mix(attention_probabilities(qkv.clone(), &spec), kv.slice(s![.., 24..]), &layout, HEADS);
                assert_close(mixed, attention(qkv.clone(), &spec), 2e-5);

                let (all, first) = (
                    attention_maps(qkv.clone(), MapQueries::All, &spec),
                    attention_maps(qkv.clone(), MapQueries::First, &spec),
                );
                let received = attention_received(qkv, &spec);
                for item in 0..layout.items() {
                    let (all, first) = (&all[item], &first[item]);
                    assert_eq!((first.queries, all.queries, first.keys), (1, all.keys, all.keys));
                    for head in 0..3 {
                        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
                        assert!(all.row(head, 0).iter().zip(first.row(head, 0)).all(close));
                    }
                    let rows: Vec<Vec<f32>> = (0..all.queries).map(|query| all.mean_row(query)).collect();
                    for (key, received) in received[layout.range(item)].iter().enumerate() {
                        let mean = rows.iter().map(|row| row[key]).sum::<f32>() / rows.len() as f32;
                        assert!((mean - received).abs() < 1e-5, "{mean} instead of {received}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_item_has_the_map_that_it_has_alone() {
        let device = devices().plain;
        let layout = Layout::from_lens(&[6, 9, 6]);
        let qkv = normal([layout.rows(), 72], 8, &device);
        let together = attention_maps(qkv.clone(), MapQueries::All, &AttentionSpec::new(HEADS, &layout));
        for (item, map) in together.iter().enumerate() {
            let range = layout.range(item);
            let single = Layout::uniform(1, range.len());
            let own = qkv.clone().slice(s![range.start..range.end, ..]);
            let alone = attention_maps(own, MapQueries::All, &AttentionSpec::new(HEADS, &single));
            assert_eq!(&alone[0], map);
        }
    }
}
