//! Pictures and clips that the program draws itself, and a folder of held-out ones.

use super::source::{Data, Source, labelled};
use crate::error::TrainError;
use crate::recipe::DataRecipe;
use tokmerge_data::Media;
use tokmerge_scenes::{CLASSES, Clips, MOTIONS, Scenes, Split};

/// In front of a number of pictures or clips, in place of a folder.
const SCENES: &str = "scenes:";
const CLIPS: &str = "clips:";

/// Opens them where the recipe asks for some.
pub(super) fn drawn(recipe: &DataRecipe, media: Media) -> Result<Option<Data>, TrainError> {
    let Some(text) = recipe.train.to_str() else { return Ok(None) };
    let (prefix, drawn, command, classes) = if text.starts_with(SCENES) {
        (SCENES, Media::Image, "tokmerge scenes DIR", &CLASSES[..])
    } else if text.starts_with(CLIPS) {
        (CLIPS, Media::Clip, "tokmerge scenes DIR --clips", &MOTIONS[..])
    } else {
        return Ok(None);
    };
    let words = if drawn == Media::Image { "pictures" } else { "clips" };
    let count = &text[prefix.len()..];
    if media != drawn {
        return Err(TrainError::Data(format!(
            "data.train = \"{text}\" draws {words}, and the model takes {}; give a folder of them, or a model that takes {}",
            media.words(),
            drawn.words()
        )));
    }
    let count = count.parse().ok().filter(|count| (1..=1usize << 40).contains(count)).ok_or_else(|| {
        TrainError::Data(format!(
            "data.train = \"{text}\" draws no {words}; write how many there are to be, e.g. \"{prefix}40000\""
        ))
    })?;
    let Some(dir) = &recipe.val else {
        return Err(TrainError::Data(format!(
            "data.val is missing: drawn {words} are validated on a folder; make one with {command} and give it"
        )));
    };
    let val = labelled(dir, media, None, None)?;
    let missing: Vec<&str> =
        classes.iter().copied().filter(|class| !val.class_names.iter().any(|known| known == class)).collect();
    let is_drawn =
        2 * val.class_names.len() > classes.len() && val.class_names.len() + missing.len() == classes.len();
    if let (true, Some(first)) = (is_drawn, missing.first()) {
        return Err(TrainError::Data(format!(
            "{} has no {words} of {} of the {} classes ({first}, ...); draw more of them with {command} --images",
            dir.display(),
            missing.len(),
            classes.len()
        )));
    }
    if val.class_names != classes {
        return Err(TrainError::Data(format!(
            "{} does not have the class folders of drawn {words} ({}, ...); make it with {command}",
            dir.display(),
            classes[..3].join(", ")
        )));
    }
    let train = match drawn {
        Media::Clip => Source::Clips { clips: Clips::of(Split::Train), count },
        _ => Source::Scenes { scenes: Scenes::of(Split::Train), count },
    };
    let class_names = classes.iter().map(|class| (*class).to_owned()).collect();
    Ok(Some(Data { media, train, val: val.source(), class_names, notes: Vec::new() }))
}
