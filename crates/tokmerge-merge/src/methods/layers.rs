//! Methods that work in some layers only.

use super::option::Refusal;
use crate::{Amount, ModelFacts, Rest, ScheduleError};

/// The layers in which a method works, from 1. `None`: after each quarter of the blocks but the last, as in most papers: 4, 7
/// and 10 of 12.
pub type Layers = Option<Vec<usize>>;

/// How many layers that are by default, where the model has as many.
pub(super) const QUARTERS: usize = 3;

/// The layers of a model of this depth, ascending.
///
/// # Errors
/// When the model has fewer.
pub(super) fn of_depth(layers: &Layers, depth: usize) -> Result<Vec<usize>, ScheduleError> {
    let mut all = match layers {
        Some(listed) => listed.clone(),
        None => {
            (1..=QUARTERS).map(|quarter| depth * quarter / 4 + 1).filter(|layer| *layer <= depth).collect()
        }
    };
    all.sort_unstable();
    all.dedup();
    match all.iter().find(|layer| **layer > depth) {
        Some(&layer) => Err(ScheduleError::Layer { layer, depth }),
        None => Ok(all),
    }
}

/// The blocks, from 0, that these layers are. A list that is beyond the model is refused where amounts are asked for.
pub(super) fn before(layers: &Layers, depth: usize) -> Vec<usize> {
    let layers = of_depth(layers, depth).unwrap_or_else(|_| layers.clone().unwrap_or_default());
    layers.into_iter().map(|layer| layer - 1).collect()
}

/// An amount for each of these layers, by its number among them from 0, and nothing for all others.
///
/// # Errors
/// When the model has fewer layers.
pub(super) fn amounts(
    layers: &Layers,
    depth: usize,
    amount: impl Fn(usize) -> Amount,
) -> Result<Vec<Amount>, ScheduleError> {
    let mut all = vec![Amount::NOTHING; depth];
    for (index, layer) in of_depth(layers, depth)?.into_iter().enumerate() {
        all[layer - 1] = amount(index);
    }
    Ok(all)
}

/// Tokens that are left in the layer of this number, from 0, of so many at the start, if each keeps that part of what the one
/// before it kept: rounded down, at least one.
pub(super) fn left_of(start: usize, keep: f64, index: usize) -> usize {
    // 70 % of 70 % of 100 are 49, though in binary they are less.
    let left = start as f64 * keep.powi(index as i32 + 1) * (1.0 + 1e-12);
    (left as usize).max(1)
}

/// What is kept of the patches that are left, as [`left_of`] says: of images of one size so many, of others that part, rounded
/// up.
pub(super) fn kept_of_left(facts: &ModelFacts, keep: f64, index: usize) -> Amount {
    match facts.grid {
        Some(_) => Amount::Keep(left_of(facts.tokens.saturating_sub(facts.prefix), keep, index)),
        // As training asks for.
        None => Amount::KeepShare { keep, rest: Rest::Dropped },
    }
}

/// What is kept of the patches that a model began with, as [`left_of`] says: of images of one size so many, of others that
/// part, rounded up. Nothing goes where all are kept.
pub(super) fn kept_of_all(facts: &ModelFacts, keep: f64, index: usize) -> Amount {
    let start = facts.tokens.saturating_sub(facts.prefix);
    match facts.grid {
        _ if keep >= 1.0 => Amount::NOTHING,
        Some(_) => Amount::Keep(left_of(start, keep, index)),
        None => Amount::KeepShare { keep: keep.powi(index as i32 + 1), rest: Rest::Dropped },
    }
}

/// An amount for every layer of a model whose stages begin with these layers, ascending, from 1, and last until the next: by the
/// number of the stage, from 0. Nothing before the first.
pub(super) fn amounts_of_stages(
    starts: &[usize],
    depth: usize,
    amount: impl Fn(usize) -> Amount,
) -> Vec<Amount> {
    let begun = |layer| starts.iter().filter(|start| **start <= layer).count();
    (1..=depth).map(|layer| begun(layer).checked_sub(1).map_or(Amount::NOTHING, &amount)).collect()
}

/// The same as [`amounts`] for methods that ask the layer before: by default not in the first, which the quarters of a shallow model begin
/// with.
///
/// # Errors
/// When the model has fewer layers.
pub(super) fn amounts_after_one(
    layers: &Layers,
    depth: usize,
    amount: impl Fn(usize) -> Amount,
) -> Result<Vec<Amount>, ScheduleError> {
    let mut all = amounts(layers, depth, amount)?;
    if let (None, Some(first)) = (layers, all.first_mut()) {
        *first = Amount::NOTHING;
    }
    Ok(all)
}

/// The place of a layer, from 0, among those of a method, from 1.
pub(super) fn place(layers: &[usize], layer: usize) -> usize {
    layers.iter().position(|listed| *listed == layer + 1).unwrap_or(0)
}

/// The number of a place among the layers: that of all, where there is one.
pub(super) fn number_at<N: Copy>(numbers: &[N], place: usize) -> Option<N> {
    if let [all] = numbers { Some(*all) } else { numbers.get(place).copied() }
}

/// Refuses numbers that are neither one for all layers nor one for each of those that are listed.
pub(super) fn check_numbers(name: &str, numbers: usize, layers: &Layers) -> Result<(), Refusal> {
    let listed = layers.as_deref().unwrap_or_default();
    if numbers > 1 && listed.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err(Refusal::Conflict(format!(
            "layer is a list out of order beside a list of {name}; list both in the order of the layers"
        )));
    }
    if numbers == 1 || numbers == listed.len() {
        return Ok(());
    }
    Err(Refusal::Conflict(match listed.len() {
        0 => format!("{name} is a list, with a number for every layer; list these with layer"),
        listed => format!("{name} has {numbers} numbers for {listed} layers; list one for each, or give one"),
    }))
}

/// Refuses layers that are listed twice.
pub(super) fn check(layers: &Layers) -> Result<(), Refusal> {
    let listed = layers.as_deref().unwrap_or_default();
    match listed.iter().enumerate().find(|(at, layer)| listed[..*at].contains(layer)) {
        Some((_, layer)) => {
            Err(Refusal::Conflict(format!("layer {layer} is listed twice; list every layer once")))
        }
        None => Ok(()),
    }
}

/// A row for the layers: `layers!(layers, "help")`.
macro_rules! layers {
    ($field:ident, $values:literal, $help:literal) => {
        $crate::methods::option::Opt::new(
            "layer",
            ($values, $crate::methods::option::ONE_OR_LIST),
            $help,
            |method, text| {
                method.$field = Some($crate::methods::option::one_or_list(text)?);
                Ok(())
            },
            |method| method.$field.as_deref().map($crate::methods::option::one_or_list_text),
        )
    };
}
pub(super) use layers;

#[cfg(test)]
mod tests {
    use super::{amounts, left_of, of_depth};
    use crate::{Amount, ScheduleError};

    #[test]
    fn without_a_list_they_follow_the_quarters_of_the_model() {
        let of = |depth| of_depth(&None, depth).expect("fits");
        assert_eq!((of(12), of(24), of(5)), (vec![4, 7, 10], vec![7, 13, 19], vec![2, 3, 4]));
        assert_eq!((of(2), of(1), of(0)), (vec![1, 2], vec![1], vec![]));
    }

    #[test]
    fn what_is_left_is_a_part_of_a_part_of_the_start() {
        let left = |start, keep| [0, 1, 2].map(|index| left_of(start, keep, index));
        assert_eq!((left(196, 0.7), left(196, 0.25)), ([137, 96, 67], [49, 12, 3]));
        assert_eq!((left(100, 0.7), left(9, 0.1)), ([70, 49, 34], [1, 1, 1]));
    }

    #[test]
    fn a_list_is_followed_in_the_order_of_the_layers() {
        let found = amounts(&Some(vec![5, 2]), 6, |index| Amount::Keep(10 - index)).expect("fits");
        let none = Amount::NOTHING;
        assert_eq!(found, [none, Amount::Keep(10), none, none, Amount::Keep(9), none]);
        let error = amounts(&Some(vec![7]), 6, |_| none).unwrap_err();
        assert_eq!(error, ScheduleError::Layer { layer: 7, depth: 6 });
    }
}
