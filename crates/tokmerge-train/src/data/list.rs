//! Lists of files with any number of labels each.

use super::source::{Data, Source, nothing_left, one_sided};
use crate::error::TrainError;
use crate::recipe::DataRecipe;
use std::path::Path;
use tokmerge_data::{ClassNames, Media, MultiLabelList, MultiLabelSample};
use tokmerge_nn::Random;

/// Opens the lists of a recipe.
pub(super) fn open(recipe: &DataRecipe, media: Media, seed: u64) -> Result<Data, TrainError> {
    let Some(labels) = &recipe.labels else {
        return Err(TrainError::Data(format!(
            "data.labels is missing: {} is a list, and a table must say which classes there are; give one, e.g. class_labels_indices.csv",
            recipe.train.display()
        )));
    };
    if recipe.class_order.is_some() {
        return Err(TrainError::Data(format!(
            "data.class_order is for class folders, and {} is a list; leave it out",
            recipe.train.display()
        )));
    }
    let names = ClassNames::open(labels)?;
    let mut notes = Vec::new();
    let mut read = |path: &Path| -> Result<Vec<MultiLabelSample>, TrainError> {
        let list = MultiLabelList::open(path, &names).map_err(|error| TrainError::Data(error.to_string()))?;
        if let Some(missing) = list.missing() {
            notes.push(format!("{}: {missing}", path.display()));
        }
        Ok(list.samples().to_vec())
    };
    let all = read(&recipe.train)?;
    let (kept, path, held_out) = match &recipe.val {
        Some(path) if MultiLabelList::is_list(path) => (all, path, read(path)?),
        Some(path) => {
            return Err(TrainError::Data(format!(
                "data.val is {}, and what is trained on a list is validated on one; give a file that ends in .csv",
                path.display()
            )));
        }
        None => {
            let (kept, held_out) = split(all, recipe.split.unwrap_or(0.0), seed);
            if kept.is_empty() || held_out.is_empty() {
                return Err(nothing_left(recipe.split, media, kept.len(), held_out.len()));
            }
            (kept, &recipe.train, held_out)
        }
    };
    let train = Source::List { path: recipe.train.clone(), samples: kept.into() };
    let val = Source::List { path: path.clone(), samples: held_out.into() };
    let class_names = names.names().to_vec();
    notes.extend(one_sided(&train, &val, media, &class_names));
    Ok(Data { media, train, val, class_names, notes })
}

/// Holds out a part, rounded down; the same seed holds out the same files. Both keep the order of the list.
fn split(
    samples: Vec<MultiLabelSample>,
    part: f64,
    seed: u64,
) -> (Vec<MultiLabelSample>, Vec<MultiLabelSample>) {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    Random::new(seed ^ 0x5EED_0F5B_1175).shuffle(&mut order);
    let mut held_out = vec![false; samples.len()];
    let count = (samples.len() as f64 * part) as usize;
    order.into_iter().take(count).for_each(|index| held_out[index] = true);
    let (mut kept, mut held) = (Vec::new(), Vec::new());
    for (sample, is_held_out) in samples.into_iter().zip(held_out) {
        if is_held_out { held.push(sample) } else { kept.push(sample) }
    }
    (kept, held)
}
