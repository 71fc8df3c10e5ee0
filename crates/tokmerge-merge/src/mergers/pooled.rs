//! What modules have in common that make a few tokens of any number of them.

use super::{Run, runs};
use crate::{Layout, Mixture, Tokens};
use burn::tensor::{Tensor, s};

/// Makes `outputs` tokens of those of every item, `[B, N, C]` → `[B, M, C]`, without the first ones, which stay in front:
/// `kept` says how many that are of its prefix. What is made has no positions and no sizes. Of nothing it is zeros.
pub(crate) fn pooled(
    tokens: &Tokens,
    outputs: usize,
    kept: impl Fn(usize) -> usize,
    pool: impl Fn(Tensor<3>) -> Tensor<3>,
) -> Tokens {
    let (items, [_, channels]) = (tokens.layout.items(), tokens.x.dims());
    let rows = runs(tokens).map(|Run { x, prefix }| {
        let ([items, len, _], kept) = (x.dims(), kept(prefix));
        let made = match items * (len - kept) {
            0 => Tensor::zeros([items, outputs, channels], &x.device()),
            _ => pool(x.clone().slice(s![.., kept.., ..])),
        };
        let all = if kept == 0 { made } else { Tensor::cat(vec![x.slice(s![.., ..kept, ..]), made], 1) };
        all.reshape([items * (kept + outputs), channels])
    });
    let x = Tensor::cat(rows.collect(), 0);
    let lens: Vec<usize> = (0..items)
        .map(|item| kept(tokens.prefix.of(item)).min(tokens.layout.range(item).len()) + outputs)
        .collect();
    // Where the prefix was pooled too, the first outputs stand in its place.
    let prefix = tokens.prefix.map(items, |item, prefix| prefix.min(lens[item]));
    Tokens::new(x, Layout::from_lens(&lens), prefix)
}

/// What every token weighs in what [`pooled`] makes, of every item: `weigh` says it of the tokens that do not stay, `[B, N, C]`
/// → `[B, M, N]`.
pub(crate) fn mixtures_of_pooled(
    tokens: &Tokens,
    outputs: usize,
    kept: impl Fn(usize) -> usize,
    weigh: impl Fn(Tensor<3>) -> Tensor<3>,
) -> Vec<Mixture> {
    let of = |Run { x, prefix }: Run| {
        let ([items, len, _], kept) = (x.dims(), kept(prefix));
        let weights: Vec<f32> = match items * (len - kept) {
            0 => Vec::new(),
            _ => weigh(x.slice(s![.., kept.., ..])).into_data().iter::<f32>().collect(),
        };
        let mixture = |item: usize| {
            let weight =
                |output: usize, input: usize| weights[(item * outputs + output) * (len - kept) + input];
            Mixture::after(kept, len, kept + outputs, weight)
        };
        (0..items).map(mixture).collect::<Vec<_>>()
    };
    runs(tokens).flat_map(of).collect()
}
