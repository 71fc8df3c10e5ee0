//! Where images come from.

use crate::error::TrainError;
use crate::recipe::DataRecipe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokmerge_data::{ClassFolder, ClassNames, ClassOrder, Limits, Media, Rgb, Sample, open_image};
use tokmerge_nn::Random;
use tokmerge_scenes::{CLASSES, Scenes, Split};

/// Labelled images, by index.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Files of a folder.
    Folder {
        /// The folder.
        root: PathBuf,
        /// Its images, every one with a label.
        samples: Arc<[Sample]>,
    },
    /// Pictures that are drawn when they are wanted.
    Scenes {
        /// Which.
        scenes: Scenes,
        /// How many.
        count: usize,
    },
}

impl Source {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Folder { samples, .. } => samples.len(),
            Self::Scenes { count, .. } => *count,
        }
    }

    /// Where to look when something is wrong.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Self::Folder { root, .. } => root,
            Self::Scenes { .. } => Path::new("scenes"),
        }
    }

    pub(crate) fn label(&self, index: usize) -> usize {
        match self {
            Self::Folder { samples, .. } => samples[index].label.unwrap_or(0),
            Self::Scenes { scenes, .. } => scenes.class(index as u64),
        }
    }

    /// The picture, or why there is none.
    pub(crate) fn picture(&self, index: usize) -> Result<Rgb, String> {
        match self {
            Self::Folder { samples, .. } => {
                open_image(&samples[index].path, &Limits::default()).map_err(|error| error.to_string())
            }
            Self::Scenes { scenes, .. } => {
                let scene = scenes.draw(index as u64);
                Ok(Rgb { width: scene.side, height: scene.side, data: scene.pixels })
            }
        }
    }

    /// The files, for validation.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        match self {
            Self::Folder { samples, .. } => samples.to_vec(),
            // Held-out images are always files.
            Self::Scenes { .. } => Vec::new(),
        }
    }
}

/// What a run learns from and what it is measured on.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    pub(crate) train: Source,
    pub(crate) val: Source,
    /// Names of the classes, in order.
    pub(crate) class_names: Vec<String>,
    /// What a user should know of them, a line each.
    pub(crate) notes: Vec<String>,
}

/// Opens the images of a recipe.
pub(crate) fn open(recipe: &DataRecipe, seed: u64) -> Result<Images, TrainError> {
    if let Some(count) = recipe.train.to_str().and_then(|text| text.strip_prefix(SCENES)) {
        return drawn(recipe, count);
    }
    let names = recipe.labels.as_ref().map(ClassNames::open).transpose()?;
    let train = labelled(&recipe.train, names.as_ref(), recipe.class_order)?;
    if let [only] = &train.class_names[..] {
        return Err(TrainError::Data(format!(
            "{}: holds one class ({only}), and there is nothing to tell it from; put the images of each class into a \
             folder of its own",
            recipe.train.display()
        )));
    }
    let mut notes = train.notes.clone();
    let (train_samples, val) = match (&recipe.val, recipe.split) {
        (Some(dir), _) => {
            let mut val = labelled(dir, names.as_ref(), recipe.class_order)?;
            notes.append(&mut val.notes);
            (train.samples, val.source_of(&recipe.train, names.is_none().then_some(&train.class_names))?)
        }
        (None, part) => {
            let (kept, held_out) = split(&train.samples, part.unwrap_or(0.0), seed);
            if kept.is_empty() || held_out.is_empty() {
                return Err(TrainError::Data(format!(
                    "data.split is {}, which leaves {} of {} images to train on and {} to validate on; both need some",
                    part.unwrap_or(0.0),
                    kept.len(),
                    train.samples.len(),
                    held_out.len()
                )));
            }
            (kept, Source::Folder { root: recipe.train.clone(), samples: held_out.into() })
        }
    };
    let class_names = match names {
        Some(names) => names.names().to_vec(),
        None => train.class_names,
    };
    let train_source = Source::Folder { root: recipe.train.clone(), samples: train_samples.into() };
    notes.extend(one_sided(&train_source, &val, &class_names));
    Ok(Images { train: train_source, val, class_names, notes })
}

/// In front of a number of pictures, in place of a folder.
const SCENES: &str = "scenes:";

/// Pictures that the program draws itself, and a folder of held-out ones.
fn drawn(recipe: &DataRecipe, count: &str) -> Result<Images, TrainError> {
    let count = count.parse().ok().filter(|count| (1..=1usize << 40).contains(count)).ok_or_else(|| {
        TrainError::Data(format!(
            "data.train = \"{SCENES}{count}\" draws no pictures; write how many there are to be, e.g. \"{SCENES}40000\""
        ))
    })?;
    let Some(dir) = &recipe.val else {
        return Err(TrainError::Data(
            "data.val is missing: drawn pictures are validated on a folder; make one with tokmerge scenes DIR and give it".to_owned(),
        ));
    };
    let val = labelled(dir, None, None)?;
    let class_names = CLASSES.map(str::to_owned).to_vec();
    if val.class_names != class_names {
        return Err(TrainError::Data(format!(
            "{} does not have the class folders of drawn pictures ({}, ...); make it with tokmerge scenes DIR",
            dir.display(),
            CLASSES[..3].join(", ")
        )));
    }
    let train = Source::Scenes { scenes: Scenes::of(Split::Train), count };
    Ok(Images { train, val: val.source(), class_names, notes: Vec::new() })
}

struct Labelled {
    root: PathBuf,
    samples: Vec<Sample>,
    class_names: Vec<String>,
    notes: Vec<String>,
}

impl Labelled {
    /// As images of the classes that the training images have, which every folder must be one of; `None` where labels have
    /// said which class it is.
    fn source_of(mut self, train: &Path, classes: Option<&Vec<String>>) -> Result<Source, TrainError> {
        if let Some(classes) = classes {
            let class_of = |name: &String| {
                classes.iter().position(|class| class == name).ok_or_else(|| {
                    TrainError::Data(format!(
                        "{}: its class folder {name} is none of {}; both must have the same class folders",
                        self.root.display(),
                        train.display()
                    ))
                })
            };
            let class_of: Vec<usize> = self.class_names.iter().map(class_of).collect::<Result<_, _>>()?;
            self.samples
                .iter_mut()
                .for_each(|sample| sample.label = sample.label.map(|label| class_of[label]));
        }
        Ok(self.source())
    }

    fn source(self) -> Source {
        Source::Folder { root: self.root, samples: self.samples.into() }
    }
}

fn labelled(
    dir: &Path,
    names: Option<&ClassNames>,
    order: Option<ClassOrder>,
) -> Result<Labelled, TrainError> {
    let folder = ClassFolder::open_in(dir, Media::Image, order)?;
    let shown = dir.display();
    let class_names = folder.class_names().to_vec();
    if class_names.is_empty() {
        return Err(TrainError::Data(format!(
            "{shown}: its images lie in no class folders, so there is nothing to learn; put those of each class into a folder of its own"
        )));
    }
    let mut notes = Vec::new();
    if !folder.left_out().is_empty() {
        notes.push(format!("left out in {shown}: {}", folder.left_out()));
    }
    if names.is_none() && folder.orders_differ() {
        let order = folder.order().name();
        notes.push(format!("the class folders of {shown} are numbered in {order} order (data.class_order)"));
    }
    let samples = match names {
        None => folder.samples().to_vec(),
        Some(names) => {
            folder.labelled_by(names).map_err(|error| TrainError::Data(format!("{error} (data.labels)")))?
        }
    };
    Ok(Labelled { root: dir.to_owned(), samples, class_names, notes })
}

/// Says which of the classes that have images have none to train on, and which have none to be validated on.
fn one_sided(train: &Source, val: &Source, class_names: &[String]) -> Vec<String> {
    const SHOWN: usize = 5;
    let has = |source: &Source| {
        let mut has = vec![false; class_names.len()];
        (0..source.len()).for_each(|index| has[source.label(index)] = true);
        has
    };
    let (trained, validated) = (has(train), has(val));
    let say = |here: &[bool], there: &[bool], what: &str| {
        let missing = (0..class_names.len()).filter(|class| here[*class] && !there[*class]);
        let missing: Vec<&str> = missing.map(|class| class_names[class].as_str()).collect();
        let shown = missing.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = if missing.len() > SHOWN { ", ..." } else { "" };
        let (count, all) = (missing.len(), class_names.len());
        (count > 0).then(|| format!("{count} of {all} classes have no image to {what} on: {shown}{more}"))
    };
    [say(&trained, &validated, "validate"), say(&validated, &trained, "train")]
        .into_iter()
        .flatten()
        .collect()
}

/// Holds out a part, spread evenly over the classes; the same seed holds out the same images.
fn split(samples: &[Sample], part: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let mut random = Random::new(seed ^ 0x5EED_0F5B_1175);
    let classes = samples.iter().filter_map(|sample| sample.label).max().map_or(0, |label| label + 1);
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (index, sample) in samples.iter().enumerate() {
        by_class[sample.label.unwrap_or(0)].push(index);
    }
    random.shuffle(&mut by_class);
    let mut order = Vec::with_capacity(samples.len());
    for mut class in by_class {
        random.shuffle(&mut class);
        order.extend(class);
    }
    let held = |place: usize| ((place + 1) as f64 * part).floor() > (place as f64 * part).floor();
    let mut held_out = vec![false; samples.len()];
    for (place, index) in order.into_iter().enumerate() {
        held_out[index] = held(place);
    }
    let side = |wanted: bool| {
        let of = samples.iter().zip(&held_out).filter(|(_, held)| **held == wanted);
        of.map(|(sample, _)| sample.clone()).collect()
    };
    (side(false), side(true))
}

#[cfg(test)]
mod tests {
    use super::split;
    use tokmerge_data::Sample;

    #[test]
    fn a_split_is_even_over_classes_and_loses_nothing() {
        let samples: Vec<Sample> =
            (0..100).map(|i| Sample { path: format!("{i}").into(), label: Some(i / 20) }).collect();
        let (kept, held) = split(&samples, 0.2, 7);
        assert_eq!((kept.len(), held.len()), (80, 20));
        for class in 0..5 {
            assert_eq!(held.iter().filter(|sample| sample.label == Some(class)).count(), 4);
        }
        assert!(held.iter().all(|sample| !kept.contains(sample)));
        assert_eq!(split(&samples, 0.2, 7).1, held);
        assert_ne!(split(&samples, 0.2, 8).1, held);
        let single: Vec<Sample> =
            (0..1000).map(|i| Sample { path: format!("{i}").into(), label: Some(i) }).collect();
        assert_eq!(split(&single, 0.2, 0).1.len(), 200);
    }
}
