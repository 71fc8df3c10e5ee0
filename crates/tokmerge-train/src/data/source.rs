//! Where items come from.

use super::drawn::drawn;
use super::list;
use super::pairs;
use super::questions;
use super::split::split;
use crate::error::TrainError;
use crate::recipe::DataRecipe;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokmerge_data::text::{TextPair, TextProcessor};
use tokmerge_data::{
    ClassFolder, ClassNames, ClassOrder, Media, MultiLabelList, MultiLabelSample, QuestionList, Rgb, Sample,
};
use tokmerge_metrics::most_frequent;
use tokmerge_models::InputShape;
use tokmerge_scenes::questions::{self as drawn_questions, ANSWERS, Questions};
use tokmerge_scenes::sentences::{self, Sentences};
use tokmerge_scenes::{Clips, Scenes};

/// Labelled items, by index.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Files of a folder.
    Files {
        /// The folder.
        root: PathBuf,
        /// Its files, every one with a label.
        samples: Arc<[Sample]>,
    },
    /// Files of a list, with any number of labels each.
    List {
        /// The list.
        path: PathBuf,
        /// Its files.
        samples: Arc<[MultiLabelSample]>,
    },
    /// Pictures that are drawn when they are wanted.
    Scenes {
        /// Which.
        scenes: Scenes,
        /// How many.
        count: usize,
    },
    /// Clips that are drawn when they are wanted.
    Clips {
        /// Which.
        clips: Clips,
        /// How many.
        count: usize,
    },
    /// Texts with what is to be written of them.
    Pairs {
        /// The file.
        path: PathBuf,
        /// Its pairs.
        pairs: Arc<[TextPair]>,
    },
    /// The same in languages that are made up.
    Sentences {
        /// Which.
        sentences: Sentences,
        /// How many.
        count: usize,
    },
    /// Questions about pictures, of a list.
    QuestionList {
        /// The list.
        path: PathBuf,
        /// Its pictures and questions.
        list: Arc<QuestionList>,
        /// Of every question, which classes answer it and how well, from 0 to 1.
        scores: Arc<[Vec<(usize, f32)>]>,
    },
    /// Questions whose pictures are drawn when they are wanted.
    Questions {
        /// Which.
        questions: Questions,
        /// How many.
        count: usize,
    },
}

/// What a validation says of its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// How many have the right class first.
    Classes,
    /// How high the right classes stand, of any number of them.
    Lists,
    /// How many questions are answered rightly, or how far.
    Answers,
    /// How near texts come to what is to be written.
    Texts,
}

/// An item as it comes, before it is prepared.
#[derive(Clone, Debug)]
pub(crate) enum Item<'s> {
    /// A file.
    File(&'s Path),
    /// Frames that were drawn; one of a picture.
    Drawn(Vec<Rgb>),
    /// A text.
    Text(String),
    /// A question about a picture.
    Question(Box<Item<'s>>, String),
}

impl Source {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Files { samples, .. } => samples.len(),
            Self::List { samples, .. } => samples.len(),
            Self::Pairs { pairs, .. } => pairs.len(),
            Self::QuestionList { list, .. } => list.questions().len(),
            Self::Scenes { count, .. }
            | Self::Clips { count, .. }
            | Self::Sentences { count, .. }
            | Self::Questions { count, .. } => *count,
        }
    }

    /// What a model that writes is to write of an item; `None` of items that have nothing but classes.
    pub(crate) fn target(&self, index: usize) -> Option<String> {
        match self {
            Self::Pairs { pairs, .. } => pairs.get(index).map(|pair| pair.target.clone()),
            Self::Sentences { sentences, .. } => Some(sentences.pair(index as u64).target),
            Self::QuestionList { list, .. } => {
                most_frequent(&list.questions().get(index)?.answers).map(str::to_owned)
            }
            Self::Questions { questions, .. } => {
                Some(ANSWERS[questions.asked(index as u64).answer].to_owned())
            }
            Self::Files { .. } | Self::List { .. } | Self::Scenes { .. } | Self::Clips { .. } => None,
        }
    }

    /// The text that goes in, alone or with a picture; `None` of items without.
    pub(crate) fn text(&self, index: usize) -> Option<String> {
        match self {
            Self::Pairs { pairs, .. } => pairs.get(index).map(|pair| pair.source.clone()),
            Self::Sentences { sentences, .. } => Some(sentences.pair(index as u64).source),
            Self::QuestionList { list, .. } => {
                list.questions().get(index).map(|question| question.text.clone())
            }
            Self::Questions { questions, .. } => Some(questions.asked(index as u64).text),
            Self::Files { .. } | Self::List { .. } | Self::Scenes { .. } | Self::Clips { .. } => None,
        }
    }

    /// Every word of the texts, in a fixed order: what a vocabulary must hold.
    pub(crate) fn words(&self) -> Vec<String> {
        match self {
            Self::Pairs { pairs, .. } => {
                pairs.iter().flat_map(|pair| [pair.source.clone(), pair.target.clone()]).collect()
            }
            Self::Sentences { .. } => sentences::words(),
            Self::QuestionList { list, .. } => {
                let questions = list.questions().iter();
                questions
                    .flat_map(|question| std::iter::once(&question.text).chain(&question.answers))
                    .cloned()
                    .collect()
            }
            Self::Questions { .. } => {
                drawn_questions::texts().into_iter().chain(ANSWERS.map(str::to_owned)).collect()
            }
            Self::Files { .. } | Self::List { .. } | Self::Scenes { .. } | Self::Clips { .. } => Vec::new(),
        }
    }

    /// Where to look when something is wrong.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Self::Files { root, .. } => root,
            Self::List { path, .. } | Self::Pairs { path, .. } | Self::QuestionList { path, .. } => path,
            Self::Scenes { .. } => Path::new("scenes"),
            Self::Clips { .. } => Path::new("clips"),
            Self::Sentences { .. } => Path::new("sentences"),
            Self::Questions { .. } => Path::new("questions"),
        }
    }

    /// The classes of an item and how right each is, from 0 to 1: any number of them of lists, one of folders, none of texts.
    pub(crate) fn scores(&self, index: usize) -> Vec<(usize, f32)> {
        match self {
            Self::QuestionList { scores, .. } => scores[index].clone(),
            other => other.labels(index).into_iter().map(|label| (label, 1.0)).collect(),
        }
    }

    /// The classes of an item: one, but for those of lists, and for texts, which have none.
    pub(crate) fn labels(&self, index: usize) -> Vec<usize> {
        match self {
            Self::Files { samples, .. } => samples[index].label.into_iter().collect(),
            Self::List { samples, .. } => samples[index].labels.clone(),
            Self::Scenes { scenes, .. } => vec![scenes.class(index as u64)],
            Self::Clips { clips, .. } => vec![clips.class(index as u64)],
            Self::QuestionList { scores, .. } => scores[index].iter().map(|(class, _)| *class).collect(),
            Self::Questions { questions, .. } => vec![questions.asked(index as u64).answer],
            Self::Pairs { .. } | Self::Sentences { .. } => Vec::new(),
        }
    }

    /// An item.
    pub(crate) fn item(&self, index: usize) -> Item<'_> {
        match self {
            Self::Files { samples, .. } => Item::File(&samples[index].path),
            Self::List { samples, .. } => Item::File(&samples[index].path),
            Self::Scenes { scenes, .. } => {
                let scene = scenes.draw(index as u64);
                Item::Drawn(vec![Rgb { width: scene.side, height: scene.side, data: scene.pixels }])
            }
            Self::Clips { clips, .. } => {
                let (side, clip) = (clips.side(), clips.draw(index as u64));
                let frames = clip.pixels.chunks_exact(side * side * 3);
                let frame = |pixels: &[u8]| Rgb { width: side, height: side, data: pixels.to_vec() };
                Item::Drawn(frames.map(frame).collect())
            }
            Self::Pairs { pairs, .. } => Item::Text(pairs[index].source.clone()),
            Self::Sentences { sentences, .. } => Item::Text(sentences.pair(index as u64).source),
            Self::QuestionList { list, .. } => {
                let question = &list.questions()[index];
                Item::Question(Box::new(Item::File(list.picture_of(question))), question.text.clone())
            }
            Self::Questions { questions, .. } => {
                let question = questions.question(index as u64);
                let picture = Rgb { width: question.side, height: question.side, data: question.pixels };
                Item::Question(Box::new(Item::Drawn(vec![picture])), question.text)
            }
        }
    }

    /// Files, where there are any.
    pub(crate) fn files(&self) -> Box<dyn Iterator<Item = &Path> + '_> {
        match self {
            Self::Files { samples, .. } => Box::new(samples.iter().map(|sample| sample.path.as_path())),
            Self::List { samples, .. } => Box::new(samples.iter().map(|sample| sample.path.as_path())),
            Self::Scenes { .. }
            | Self::Clips { .. }
            | Self::Pairs { .. }
            | Self::Sentences { .. }
            | Self::QuestionList { .. }
            | Self::Questions { .. } => Box::new(std::iter::empty()),
        }
    }

    /// The files of a folder, for validation; drawn items and lists have none.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        match self {
            Self::Files { samples, .. } => samples.to_vec(),
            _ => Vec::new(),
        }
    }
}

/// What a run learns from and what it is measured on.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    /// What the items are.
    pub(crate) media: Media,
    pub(crate) train: Source,
    pub(crate) val: Source,
    /// Names of the classes, in order.
    pub(crate) class_names: Vec<String>,
    /// What a user should know of them, a line each.
    pub(crate) notes: Vec<String>,
}

impl Data {
    /// Notes how many texts a model cuts off, those of its inputs and, where it writes, of what it learns to write. Of very
    /// many only the first are looked at.
    pub(crate) fn note_cut(&mut self, texts: &TextProcessor, writes: bool) {
        const LOOKED_AT: usize = 20_000;
        let is_cut = |text: String| texts.encode(&text).is_ok_and(|tokens| tokens.is_cut);
        for (what, source, learned) in [("train on", &self.train, writes), ("validate on", &self.val, false)]
        {
            let count = source.len().min(LOOKED_AT);
            let ends_early = |index: &usize| {
                source.text(*index).is_some_and(is_cut)
                    || learned && source.target(*index).is_some_and(is_cut)
            };
            let cut = (0..count).into_par_iter().filter(ends_early).count();
            if cut > 0 {
                let first = if count < source.len() { "first " } else { "" };
                self.notes.push(format!(
                    "the end of {cut} of the {first}{count} {} to {what} is left out, since at most {} tokens of each are taken \
                     (data.max_tokens, up to {})",
                    self.media.words(),
                    texts.max_tokens(),
                    texts.room()
                ));
            }
        }
    }

    /// Whether questions were answered by several people, who need not agree.
    pub(crate) fn has_soft_answers(&self) -> bool {
        let Source::QuestionList { list, .. } = &self.train else { return false };
        list.questions().iter().any(|question| question.answers.len() > 1)
    }

    /// What a validation says of the items.
    pub(crate) fn measure(&self) -> Measure {
        match self.train {
            Source::List { .. } => Measure::Lists,
            Source::Pairs { .. } | Source::Sentences { .. } => Measure::Texts,
            Source::QuestionList { .. } | Source::Questions { .. } => Measure::Answers,
            _ => Measure::Classes,
        }
    }

    /// Numbers the classes as a model does that knows the same ones by these names, in any order: its head then keeps what it
    /// knows. Other names change nothing.
    pub(crate) fn numbered_as(&mut self, names: &[String]) {
        let place = |class: &String| names.iter().position(|name| name == class);
        let places: Option<Vec<usize>> = self.class_names.iter().map(place).collect();
        let Some(places) = places else { return };
        if places.len() != names.len() || self.class_names == names {
            return;
        }
        for source in [&mut self.train, &mut self.val] {
            match source {
                Source::Files { samples, .. } => {
                    let numbered = |sample: &Sample| Sample {
                        path: sample.path.clone(),
                        label: sample.label.map(|label| places[label]),
                    };
                    *samples = samples.iter().map(numbered).collect();
                }
                Source::QuestionList { scores, .. } => {
                    let numbered = |(class, score): &(usize, f32)| (places[*class], *score);
                    *scores = scores.iter().map(|scores| scores.iter().map(numbered).collect()).collect();
                }
                _ => return,
            }
        }
        self.class_names = names.to_vec();
        let what = if self.media == Media::Question { "answers" } else { "class folders" };
        self.notes.push(format!("the {what} are numbered as the classes of the weights, by their names"));
    }

    /// Draws clips in the size and length that the model takes.
    ///
    /// # Errors
    /// When no clips of this size or length can be drawn.
    pub(crate) fn drawn_for(mut self, shape: &InputShape) -> Result<Self, TrainError> {
        if let (Source::Clips { clips, count }, InputShape::Clip { frames, size, .. }) = (&self.train, shape)
        {
            let clips = clips.with_side(size.0).and_then(|clips| clips.with_frames(*frames));
            let clips = clips.map_err(|error| TrainError::Data(error.to_string()))?;
            self.train = Source::Clips { clips, count: *count };
        }
        Ok(self)
    }
}

/// Opens the data of a recipe for a model that takes items of some kind.
pub(crate) fn open(recipe: &DataRecipe, media: Media, seed: u64) -> Result<Data, TrainError> {
    match media {
        Media::Text => return pairs::open(recipe, seed),
        Media::Question => return questions::open(recipe, seed),
        _ => {}
    }
    if let Some(drawn) = drawn(recipe, media)? {
        return Ok(drawn);
    }
    if MultiLabelList::is_list(&recipe.train) {
        return list::open(recipe, media, seed);
    }
    let names = recipe.labels.as_ref().map(ClassNames::open).transpose()?;
    let train = labelled(&recipe.train, media, names.as_ref(), recipe.class_order)?;
    if let [only] = &train.class_names[..] {
        return Err(TrainError::Data(format!(
            "{}: holds one class ({only}), and there is nothing to tell it from; put the {} of each class into a \
             folder of its own",
            recipe.train.display(),
            media.words()
        )));
    }
    let mut notes = train.notes.clone();
    let (train_samples, val) = match (&recipe.val, recipe.split) {
        (Some(dir), _) => {
            let mut val = labelled(dir, media, names.as_ref(), recipe.class_order)?;
            notes.append(&mut val.notes);
            (train.samples, val.source_of(&recipe.train, names.is_none().then_some(&train.class_names))?)
        }
        (None, part) => {
            let (kept, held_out) = split(&train.samples, part.unwrap_or(0.0), seed);
            if kept.is_empty() || held_out.is_empty() {
                return Err(nothing_left(part, media, kept.len(), held_out.len()));
            }
            (kept, Source::Files { root: recipe.train.clone(), samples: held_out.into() })
        }
    };
    let class_names = match names {
        Some(names) => names.names().to_vec(),
        None => train.class_names,
    };
    let train_source = Source::Files { root: recipe.train.clone(), samples: train_samples.into() };
    notes.extend(one_sided(&train_source, &val, media, &class_names));
    Ok(Data { media, train: train_source, val, class_names, notes })
}

/// Says that a split leaves nothing on one side.
pub(super) fn nothing_left(part: Option<f64>, media: Media, kept: usize, held_out: usize) -> TrainError {
    TrainError::Data(format!(
        "data.split is {}, which leaves {kept} of {} {} to train on and {held_out} to validate on; both need some",
        part.unwrap_or(0.0),
        kept + held_out,
        media.words()
    ))
}

pub(super) struct Labelled {
    root: PathBuf,
    samples: Vec<Sample>,
    pub(super) class_names: Vec<String>,
    notes: Vec<String>,
}

impl Labelled {
    /// As items of the classes that the training items have, which every folder must be one of; `None` where labels have
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

    pub(super) fn source(self) -> Source {
        Source::Files { root: self.root, samples: self.samples.into() }
    }
}

pub(super) fn labelled(
    dir: &Path,
    media: Media,
    names: Option<&ClassNames>,
    order: Option<ClassOrder>,
) -> Result<Labelled, TrainError> {
    let folder = ClassFolder::open_in(dir, media, order)?;
    let shown = dir.display();
    let class_names = folder.class_names().to_vec();
    if class_names.is_empty() {
        return Err(TrainError::Data(format!(
            "{shown}: its {} lie in no class folders, so there is nothing to learn; put those of each class into a folder of its own",
            media.words()
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

/// Says which of the classes that have items have none to train on, and which have none to be validated on.
pub(super) fn one_sided(train: &Source, val: &Source, media: Media, class_names: &[String]) -> Vec<String> {
    const SHOWN: usize = 5;
    let has = |source: &Source| {
        let mut has = vec![false; class_names.len()];
        (0..source.len()).flat_map(|index| source.labels(index)).for_each(|label| has[label] = true);
        has
    };
    let (trained, validated) = (has(train), has(val));
    let say = |here: &[bool], there: &[bool], what: &str| {
        let missing = (0..class_names.len()).filter(|class| here[*class] && !there[*class]);
        let missing: Vec<&str> = missing.map(|class| class_names[class].as_str()).collect();
        let shown = missing.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = if missing.len() > SHOWN { ", ..." } else { "" };
        let (count, all) = (missing.len(), class_names.len());
        let word = media.word();
        (count > 0).then(|| format!("{count} of {all} classes have no {word} to {what} on: {shown}{more}"))
    };
    [say(&trained, &validated, "validate"), say(&validated, &trained, "train")]
        .into_iter()
        .flatten()
        .collect()
}
