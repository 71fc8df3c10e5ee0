//! The tables of names, read line by line.

use super::{SPELLINGS, Spelling, unlisted};
use crate::input::InputShape;
use crate::network::Config;
use serde_json::{Map, Value};
use tokmerge_data::clip::{ClipProcessor, Sampling, SpatialCrops};
use tokmerge_data::sound::{SILENCE, SoundFeatures, SoundProcessor, SpectraRows};
use tokmerge_data::text::TextProcessor;
use tokmerge_data::{
    CropMode, HALF_MEAN, HALF_STD, IMAGENET_MEAN, IMAGENET_STD, Interpolation, Preprocess, Processor,
    QuestionProcessor, ViltPreprocess,
};

const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Settings that are no arguments of a model.
const NO_ARGUMENTS: &[&str] =
    &["crop_pct", "crop_mode", "interpolation", "normalize", "mean", "std", "hub", "sound", "classes"];

/// A name and what the tables say of it.
#[derive(Clone)]
pub(crate) struct Row {
    /// The family's way of writing.
    pub(crate) spelling: &'static Spelling,
    /// The name that is listed.
    pub(crate) name: &'static str,
    /// The class that takes the arguments.
    pub(crate) class: &'static str,
    /// The arguments.
    pub(crate) arguments: Map<String, Value>,
}

/// What is said of a tag.
#[derive(Default)]
pub(crate) struct Settings(Map<String, Value>);

/// Lines of all tables that say something, each with its family.
fn lines() -> impl Iterator<Item = (&'static Spelling, &'static str)> {
    SPELLINGS.iter().flat_map(|spelling| {
        let lines = spelling.tables.iter().flat_map(|table| table.lines());
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(move |line| (spelling, line))
    })
}

/// The JSON object of a cell; empty where there is none.
fn object(cell: Option<&str>) -> Map<String, Value> {
    let Some(cell) = cell else { return Map::new() };
    serde_json::from_str(cell).unwrap_or_else(|error| panic!("a table of names has {cell}: {error}"))
}

/// How pictures and questions are prepared for a model with patches of so many pixels and room for so many tokens.
pub(crate) fn question_processor(config: &Config, patch: usize, room: usize) -> QuestionProcessor {
    let side = match config {
        Config::Vilt(vilt) => vilt.img_size.0.min(vilt.img_size.1),
        other => other.shape().img_size().0,
    };
    QuestionProcessor { picture: ViltPreprocess::new(side, patch).into(), text: TextProcessor::new(room) }
}

impl Row {
    fn of((spelling, line): (&'static Spelling, &'static str)) -> Option<Self> {
        let mut cells = line.split('\t');
        let name = cells.next().filter(|name| !name.contains('.'))?;
        let class = cells.next()?;
        Some(Self { spelling, name, class, arguments: object(cells.next()) })
    }

    /// The tags of this name with their settings, in order.
    pub(super) fn tags(&self) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
        let name = self.name;
        lines().filter_map(move |(_, line)| {
            let tag = line.strip_prefix(name)?.strip_prefix('.')?;
            Some(tag.split_once('\t').map_or((tag, None), |(tag, settings)| (tag, Some(settings))))
        })
    }

    /// The tag that a name without one stands for.
    pub(crate) fn first_tag(&self) -> &'static str {
        self.tags().next().map_or("", |(tag, _)| tag)
    }

    /// The settings of a tag; those of the first if it is not listed.
    pub(crate) fn settings(&self, tag: Option<&str>) -> Settings {
        let wanted = self.tags().find(|(known, _)| tag == Some(*known));
        Settings(object(wanted.or_else(|| self.tags().next()).and_then(|(_, settings)| settings)))
    }

    /// What a tag says beyond preprocessing, if it is listed.
    pub(crate) fn arguments_of(&self, tag: &str) -> Map<String, Value> {
        let listed = self.tags().find(|(known, _)| *known == tag);
        listed.map_or_else(Map::new, |(_, settings)| Settings(object(settings)).arguments())
    }

    /// Where the weights of a tag lie on the Hugging Face Hub.
    pub(crate) fn repository(&self, tag: &str) -> Option<String> {
        match self.settings(Some(tag)).0.get("hub") {
            Some(hub) if self.tags().any(|(known, _)| known == tag) => hub.as_str().map(str::to_owned),
            _ => Some(format!("timm/{}.{tag}", self.name)),
        }
    }
}

impl Settings {
    /// The settings that are arguments of the model.
    pub(crate) fn arguments(&self) -> Map<String, Value> {
        let arguments = self.0.iter().filter(|(name, _)| !NO_ARGUMENTS.contains(&name.as_str()));
        arguments.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// How what the model takes is prepared.
    pub(crate) fn processor(&self, config: &Config) -> Processor {
        let (shape, room) = (&config.shape(), config.room());
        match self.0.get("sound").and_then(Value::as_str) {
            Some(sound) => sound_processor(sound, shape.img_size())
                .unwrap_or_else(|| panic!("a table of names has the sound {sound}"))
                .into(),
            None => match shape.input {
                InputShape::Clip { frames, size, .. } => clip_processor(frames, size).into(),
                InputShape::Text { .. } => TextProcessor::new(room).into(),
                InputShape::Question { patch, .. } => question_processor(config, patch, room).into(),
                InputShape::ImageQuestion { size, room, .. } => {
                    let picture = self.preprocess(size).into();
                    QuestionProcessor { picture, text: TextProcessor::new(room) }.into()
                }
                _ => self.preprocess(shape.img_size()).into(),
            },
        }
    }

    /// What the sounds are called that it takes, if it takes sounds.
    pub(crate) fn sound(&self) -> Option<&str> {
        self.0.get("sound").and_then(Value::as_str)
    }

    /// Names of the classes, where the tag has some.
    pub(crate) fn class_names(&self) -> &'static [&'static str] {
        match self.0.get("classes").and_then(Value::as_str) {
            Some("speech_commands_12") => SPEECH_COMMANDS_12,
            Some("speech_commands_35") => SPEECH_COMMANDS_35,
            Some(other) => panic!("a table of names has the classes {other}"),
            None => &[],
        }
    }

    /// How images are prepared.
    fn preprocess(&self, input_size: (usize, usize)) -> Preprocess {
        let text = |name| self.0.get(name).and_then(Value::as_str);
        let triple = |name| -> Option<[f32; 3]> { serde_json::from_value(self.0.get(name)?.clone()).ok() };
        let (mean, std) = match text("normalize") {
            Some("imagenet") => (IMAGENET_MEAN, IMAGENET_STD),
            Some("clip") => (CLIP_MEAN, CLIP_STD),
            _ => (HALF_MEAN, HALF_STD),
        };
        Preprocess {
            input_size,
            crop_pct: self.0.get("crop_pct").and_then(Value::as_f64).unwrap_or(0.9),
            crop_mode: text("crop_mode").and_then(CropMode::from_name).unwrap_or(CropMode::Center),
            interpolation: text("interpolation")
                .and_then(Interpolation::from_name)
                .unwrap_or(Interpolation::Bicubic),
            mean: triple("mean").unwrap_or(mean),
            std: triple("std").unwrap_or(std),
            ..Preprocess::default()
        }
    }
}

/// Classes of Speech Commands with ten words, as the benchmark orders them.
const SPEECH_COMMANDS_12: &[&str] =
    &[SILENCE, "_unknown_", "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"];

/// All words of the second version of Speech Commands.
const SPEECH_COMMANDS_35: &[&str] = &[
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go",
    "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven",
    "sheila", "six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
];

/// The preparation of sounds of this name, for spectrograms of so many frames and values.
pub(crate) fn sound_processor(name: &str, (frames, values): (usize, usize)) -> Option<SoundProcessor> {
    let processor = match name {
        "keyword_transformer" => SoundProcessor::keyword_transformer(),
        "audio_mae" => SoundProcessor::audio_mae().with_size((frames, values)),
        "audio_spectrogram_transformer" => {
            SoundProcessor::audio_spectrogram_transformer().with_size((frames, values))
        }
        _ => return None,
    };
    (processor.shape() == (frames, values)).then_some(processor)
}

/// The name under which [`sound_processor`] knows a preparation.
pub(crate) fn sound_name(processor: &SoundProcessor) -> &'static str {
    match processor.features {
        SoundFeatures::Cepstra { .. } => "keyword_transformer",
        SoundFeatures::Spectra { rows: SpectraRows::Frames, .. } => "audio_mae",
        SoundFeatures::Spectra { rows: SpectraRows::Frequencies, .. } => "audio_spectrogram_transformer",
    }
}

/// The preparation of clips for a spatiotemporal MAE of so many frames of a size: one view from the middle.
pub(crate) fn clip_processor(frames: usize, size: (usize, usize)) -> ClipProcessor {
    let published = ClipProcessor::mae_st(1, SpatialCrops::Centre);
    let sampling = match published.sampling {
        Sampling::Spans { stride, fps, views, .. } => Sampling::Spans { frames, stride, fps, views },
        other => other,
    };
    published.with_sampling(sampling).with_size(size)
}

/// The listed names, in the order of the tables.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    lines().map(|(_, line)| line.split('\t').next().unwrap_or(line)).filter(|name| !name.contains('.'))
}

/// Lines of all tables that say something.
#[cfg(test)]
pub(super) fn all_lines() -> impl Iterator<Item = &'static str> {
    lines().map(|(_, line)| line)
}

/// The row of a name, or of the nearest listed one of the same pattern with the patch and image sizes of the given name.
pub(crate) fn find(name: &str) -> Option<Row> {
    let name = renamed(name).map_or(name, |(base, _)| base);
    let listed = lines().find(|(_, line)| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('\t')));
    match listed {
        Some(line) => Row::of(line),
        None => unlisted::find(name, lines().filter_map(Row::of)),
    }
}

/// Old name and today's, a line each.
const RENAMED: &str = include_str!("renamed.tsv");

/// What the weights of an old name of timm are called today: name and tag.
pub(crate) fn renamed(name: &str) -> Option<(&'static str, &'static str)> {
    let line = RENAMED.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    line?.split_once('.')
}

/// Why a name of timm is not listed, if a table says so.
pub(crate) fn left_out(name: &str) -> Option<&'static str> {
    let comments = SPELLINGS.iter().flat_map(|spelling| spelling.tables).flat_map(|table| table.lines());
    comments
        .filter_map(|line| line.strip_prefix("# left out, ")?.split_once(": "))
        .find_map(|(reason, names)| names.split(", ").any(|known| known == name).then_some(reason))
}
