//! Texts with what is to be written of them.

use super::source::{Data, Source, nothing_left};
use crate::error::TrainError;
use crate::recipe::DataRecipe;
use std::path::Path;
use std::sync::Arc;
use tokmerge_data::Media;
use tokmerge_data::text::{TextPair, is_text_pairs, read_text_pairs};
use tokmerge_nn::Random;
use tokmerge_scenes::Split;
use tokmerge_scenes::sentences::Sentences;

/// In front of a number of sentences, in place of a file.
const SENTENCES: &str = "sentences:";

/// Opens the texts of a recipe.
pub(super) fn open(recipe: &DataRecipe, seed: u64) -> Result<Data, TrainError> {
    let train = source(&recipe.train, Split::Train, "data.train")?;
    let (train, val) = match (&recipe.val, train) {
        (Some(path), train) => (train, source(path, Split::Validation, "data.val")?),
        (None, Source::Pairs { path, pairs }) => {
            let (kept, held_out) = split(&pairs, recipe.split.unwrap_or(0.0), seed);
            if kept.is_empty() || held_out.is_empty() {
                return Err(nothing_left(recipe.split, Media::Text, kept.len(), held_out.len()));
            }
            let of = |pairs: Vec<TextPair>| Source::Pairs { path: path.clone(), pairs: pairs.into() };
            (of(kept), of(held_out))
        }
        (None, _) => {
            return Err(TrainError::Data(format!(
                "data.val is missing: sentences that are made up are validated on others; give e.g. \"{SENTENCES}500\""
            )));
        }
    };
    Ok(Data { media: Media::Text, train, val, class_names: Vec::new(), notes: Vec::new() })
}

fn source(path: &Path, split: Split, key: &str) -> Result<Source, TrainError> {
    let shown = path.display();
    if let Some(count) = path.to_str().and_then(|text| text.strip_prefix(SENTENCES)) {
        let count = count.parse().ok().filter(|count| (1..=1usize << 40).contains(count));
        let count = count.ok_or_else(|| {
            TrainError::Data(format!(
                "{key} = \"{shown}\" makes up no sentences; write how many there are to be, e.g. \"{SENTENCES}40000\""
            ))
        })?;
        return Ok(Source::Sentences { sentences: Sentences::of(split), count });
    }
    if !is_text_pairs(path) {
        return Err(TrainError::Data(format!(
            "{key} is {shown}, and a model of texts learns from pairs; give a file that ends in .tsv, with a text and what is \
             to be written of it on each line and a tab between them, or e.g. \"{SENTENCES}40000\""
        )));
    }
    let pairs = read_text_pairs(path).map_err(|error| TrainError::Data(error.to_string()))?;
    Ok(Source::Pairs { path: path.to_owned(), pairs: pairs.into() })
}

/// Holds out a part, rounded down; the same seed holds out the same pairs. Both keep their order.
fn split(pairs: &Arc<[TextPair]>, part: f64, seed: u64) -> (Vec<TextPair>, Vec<TextPair>) {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    Random::new(seed ^ 0x7061_6972).shuffle(&mut order);
    let count = (pairs.len() as f64 * part) as usize;
    let mut held_out = vec![false; pairs.len()];
    order.into_iter().take(count).for_each(|index| held_out[index] = true);
    let side = |wanted: bool| {
        let of = pairs.iter().zip(&held_out).filter(|(_, held)| **held == wanted);
        of.map(|(pair, _)| pair.clone()).collect()
    };
    (side(false), side(true))
}
