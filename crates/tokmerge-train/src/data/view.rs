//! What training does to an item before the model sees it.

use super::source::Item;
use crate::recipe::RegularisationRecipe;
use tokmerge_checkpoint::shortened;
use tokmerge_data::augment::{
    Augment, AugmentError, RandomResizedCrop, SpecAugment, Visit, flip_clip, gain, roll, shift,
};
use tokmerge_data::clip::{ClipOptions, ClipProcessor, SpatialCrops};
use tokmerge_data::sound::{Sound, SoundFeatures, SoundLimits, SoundProcessor, SpectraRows};
use tokmerge_data::text::{TextError, TextProcessor, TokenIds};
use tokmerge_data::{
    Asked, Limits, MediaError, Prepared, Preprocess, Processor, QuestionProcessor, Rgb, open_image,
};
use tokmerge_models::Batch;

/// From an item to the input of a model, differently every time.
#[derive(Clone, Debug)]
pub(crate) enum View {
    Picture(PictureView),
    Sound(SoundView),
    Clip(ClipView),
    Text(TextView),
    Question(QuestionView),
}

impl View {
    /// # Errors
    /// When a setting makes no sense.
    pub(crate) fn new(processor: &Processor, with: &RegularisationRecipe) -> Result<Self, AugmentError> {
        Ok(match processor {
            Processor::Sound(processor) => Self::Sound(SoundView::new(processor.clone(), with)?),
            Processor::Text(processor) => Self::Text(TextView::new(processor.clone())),
            Processor::Question(processor) => Self::Question(QuestionView { processor: processor.clone() }),
            Processor::Clip(processor) => Self::Clip(ClipView::new(processor, with)?),
            other => {
                let own_sizes = AugmentError::Value {
                    field: "model.name",
                    value: "that of a model of images of their own sizes".to_owned(),
                    rule: "pictures are augmented to one size",
                    way_out: "give a model that takes one",
                };
                Self::Picture(PictureView::new(other.preprocess().ok_or(own_sizes)?, with)?)
            }
        })
    }
}

/// A picture, from its file or as it was drawn.
fn picture(item: Item<'_>) -> Result<Rgb, String> {
    match item {
        Item::File(path) => open_image(path, &Limits::default()).map_err(|error| error.to_string()),
        Item::Drawn(mut frames) => Ok(frames.swap_remove(0)),
        Item::Text(_) | Item::Question(..) => Err("it is no picture".to_owned()),
    }
}

/// Of pictures.
#[derive(Clone, Debug)]
pub(crate) struct PictureView {
    preprocess: Preprocess,
    augment: Augment,
}

impl PictureView {
    fn new(preprocess: &Preprocess, with: &RegularisationRecipe) -> Result<Self, AugmentError> {
        let augment = with.augment()?;
        augment.validate()?;
        Ok(Self { preprocess: preprocess.clone(), augment })
    }

    /// Fills `out` with the values of a picture.
    pub(crate) fn prepare(&self, item: Item<'_>, visit: Visit, out: &mut [f32]) -> Result<(), String> {
        let picture = picture(item)?;
        self.augment.apply(&picture, &self.preprocess, visit, out).map_err(|error| error.to_string())
    }
}

/// Of sounds.
#[derive(Clone, Debug)]
pub(crate) struct SoundView {
    processor: SoundProcessor,
    roll: bool,
    /// Seconds.
    shift: f64,
    /// Decibels.
    gain: f64,
    spec_augment: Option<SpecAugment>,
}

impl SoundView {
    fn new(processor: SoundProcessor, with: &RegularisationRecipe) -> Result<Self, AugmentError> {
        let view = Self {
            spec_augment: with.spec_augment.map(|spec| spec.of(&processor)),
            roll: with.roll,
            shift: with.shift,
            gain: with.gain,
            processor,
        };
        // A setting that fits no sound is better refused now than for every file.
        if let Some(spec) = &view.spec_augment {
            let (frames, mels) = view.frames_and_mels();
            let visit = Visit { seed: 0, epoch: 0, index: 0 };
            spec.apply(&mut vec![0.0; frames * mels], (frames, mels), visit)?;
        }
        Ok(view)
    }

    /// Frames and values of each, whichever of them are the rows.
    fn frames_and_mels(&self) -> (usize, usize) {
        let (rows, values) = self.processor.shape();
        if self.frequencies_are_rows() { (values, rows) } else { (rows, values) }
    }

    fn frequencies_are_rows(&self) -> bool {
        matches!(self.processor.features, SoundFeatures::Spectra { rows: SpectraRows::Frequencies, .. })
    }

    /// The waveform, moved and louder or softer.
    pub(crate) fn wave(&self, item: Item<'_>, visit: Visit) -> Result<Vec<f32>, String> {
        let Item::File(path) = item else { return Err("sounds are not drawn".to_owned()) };
        let sound = self.processor.read(path, &SoundLimits::default()).map_err(|error| error.to_string())?;
        let mut samples = sound.samples;
        if self.shift > 0.0 {
            shift(&mut samples, (self.shift * f64::from(sound.rate)) as usize, visit);
        }
        if self.roll {
            roll(&mut samples, visit);
        }
        if self.gain > 0.0 {
            gain(&mut samples, self.gain, visit).map_err(|error| error.to_string())?;
        }
        Ok(samples)
    }

    /// Fills `out` with the features of a waveform, of which some are hidden.
    pub(crate) fn features(&self, samples: Vec<f32>, visit: Visit, out: &mut [f32]) -> Result<(), String> {
        let sound = Sound { rate: self.processor.rate(), samples };
        let mut values = self.processor.prepare(sound).map_err(|error| error.to_string())?;
        if let Some(spec) = &self.spec_augment {
            let turn = |values: &[f32], columns: usize| -> Vec<f32> {
                (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns)).copied().collect()
            };
            let (frames, mels) = self.frames_and_mels();
            let turned = self.frequencies_are_rows();
            if turned {
                values = turn(&values, frames);
            }
            spec.apply(&mut values, (frames, mels), visit).map_err(|error| error.to_string())?;
            if turned {
                values = turn(&values, mels);
            }
        }
        out.copy_from_slice(&values);
        Ok(())
    }
}

/// Of clips.
#[derive(Clone, Debug)]
pub(crate) struct ClipView {
    processor: ClipProcessor,
    crop: Option<RandomResizedCrop>,
    flip: f64,
}

impl ClipView {
    fn new(processor: &ClipProcessor, with: &RegularisationRecipe) -> Result<Self, AugmentError> {
        // One view of a clip at a time, whatever is averaged to answer.
        let processor = processor.with_views(1, SpatialCrops::Centre).unwrap_or_else(|_| processor.clone());
        let augment = with.augment()?;
        augment.validate()?;
        Ok(Self { processor, crop: augment.crop, flip: augment.flip })
    }

    /// Fills `out` with the values of one view.
    pub(crate) fn prepare(&self, item: Item<'_>, visit: Visit, out: &mut [f32]) -> Result<(), String> {
        let clip = match item {
            Item::File(path) => self.processor.open_at(visit, self.crop, path, &ClipOptions::default()),
            Item::Drawn(frames) => self.processor.of_frames_at(visit, self.crop, &frames, None),
            Item::Text(_) | Item::Question(..) => return Err("it is no clip".to_owned()),
        };
        let mut values = Vec::with_capacity(out.len());
        let filled = clip.and_then(|clip| self.processor.normalise(&clip, &mut values));
        filled.map_err(|error| error.to_string())?;
        let (.., width) = self.processor.shape();
        flip_clip(&mut values, width, self.flip, visit);
        if values.len() != out.len() {
            return Err(format!("the clip has {} values, and the model takes {}", values.len(), out.len()));
        }
        out.copy_from_slice(&values);
        Ok(())
    }
}

/// Of texts.
#[derive(Clone, Debug)]
pub(crate) struct TextView {
    processor: TextProcessor,
}

impl TextView {
    pub(crate) fn new(processor: TextProcessor) -> Self {
        Self { processor }
    }

    /// The tokens of a text that goes in, cut off where the model's limit is.
    pub(crate) fn text(&self, item: Item<'_>) -> Result<Batch, String> {
        let Item::Text(text) = item else { return Err("it is no text".to_owned()) };
        Ok(Batch { texts: vec![self.tokens(&text)?], ..Batch::default() })
    }

    /// The same of a text that is to be written.
    pub(crate) fn target(&self, text: Option<String>) -> Result<TokenIds, String> {
        self.tokens(&text.ok_or("nothing is to be written of it")?)
    }

    fn tokens(&self, text: &str) -> Result<TokenIds, String> {
        let shown = |error: TextError| format!("\"{}\": {error}", shortened(text));
        self.processor.encode(text).map_err(shown)
    }
}

/// Of questions about pictures. Pictures are not augmented: where things are may be what is asked.
#[derive(Clone, Debug)]
pub(crate) struct QuestionView {
    processor: QuestionProcessor,
}

impl QuestionView {
    /// A picture and the tokens of a question.
    pub(crate) fn question(&self, item: Item<'_>) -> Result<Batch, String> {
        let Item::Question(picture, text) = item else { return Err("it is no question".to_owned()) };
        let picture = self::picture(*picture)?;
        let prepare = || -> Result<Batch, MediaError> {
            let picture = self.processor.picture.fit(&picture)?;
            let tokens = self.processor.question(&text)?.tokens;
            let asked = Prepared::Question(Asked { picture, tokens });
            let mut batch = Batch::default();
            let besides = Processor::from(self.processor.clone()).normalise(&asked, &mut batch.values)?;
            batch.add(besides);
            Ok(batch)
        };
        prepare().map_err(|error| format!("\"{}\": {error}", shortened(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, View, Visit};
    use crate::data::Source;
    use crate::recipe::RegularisationRecipe;
    use tokmerge_data::clip::{ClipProcessor, Sampling, SpatialCrops};
    use tokmerge_data::{NaflexPreprocess, Processor};
    use tokmerge_scenes::{Clips, MOTIONS, Split, write_clips};

    fn view(sampling: Sampling, with: &RegularisationRecipe) -> View {
        let clips = ClipProcessor::mae_st(1, SpatialCrops::Centre).with_sampling(sampling);
        let clips = clips.with_size((16, 16)).with_crop_pct(1.0).unwrap();
        View::new(&Processor::from(clips), with).unwrap()
    }

    fn values(view: &View, item: Item<'_>, frames: usize, index: u64) -> Vec<f32> {
        let View::Clip(view) = view else { panic!("a view of clips") };
        let mut out = vec![0.0; 3 * frames * 16 * 16];
        view.prepare(item, Visit { seed: 1, epoch: 0, index }, &mut out).unwrap();
        out
    }

    #[test]
    fn images_of_their_own_sizes_are_refused_and_not_resized() {
        let own_sizes = Processor::from(NaflexPreprocess::default());
        let message = View::new(&own_sizes, &RegularisationRecipe::default()).unwrap_err().to_string();
        assert!(message.starts_with("model.name") && message.contains("one size"), "{message}");
    }

    #[test]
    fn a_drawn_clip_and_its_folder_of_frames_look_alike() {
        let dir = tempfile::tempdir().unwrap();
        let clips = Clips::of(Split::Train).with_side(16).unwrap().with_frames(6).unwrap();
        write_clips(&clips, dir.path(), 0..3).unwrap();
        let source = Source::Clips { clips, count: 3 };
        for (flip, crop) in [(0.0, None), (1.0, None), (0.5, Some([0.3, 0.9]))] {
            let with = RegularisationRecipe { flip, random_resized_crop: crop, ..Default::default() };
            let view = view(Sampling::Uniform { frames: 6 }, &with);
            for index in 0..3 {
                let folder = dir.path().join(MOTIONS[clips.class(index)]).join(format!("{index:07}"));
                let drawn = values(&view, source.item(index as usize), 6, index);
                assert!(drawn == values(&view, Item::File(&folder), 6, index));
            }
        }
    }

    #[test]
    fn a_span_of_a_longer_clip_begins_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let clips = Clips::of(Split::Train).with_side(16).unwrap().with_frames(12).unwrap();
        write_clips(&clips, dir.path(), 0..1).unwrap();
        let folder = dir.path().join(MOTIONS[clips.class(0)]).join("0000000");
        let plain = RegularisationRecipe::default();
        let whole = values(&view(Sampling::Uniform { frames: 12 }, &plain), Item::File(&folder), 12, 0);
        let plane = 16 * 16;
        let span = view(Sampling::Spans { frames: 4, stride: 1, fps: 30.0, views: 1 }, &plain);
        let mut starts = std::collections::BTreeSet::new();
        for index in 0..60 {
            let part = values(&span, Item::File(&folder), 4, index);
            let is_at = |start: &usize| part[..plane] == whole[start * plane..(start + 1) * plane];
            let start = (0..12).find(is_at).unwrap();
            assert!(part[..4 * plane] == whole[start * plane..(start + 4) * plane], "{start}");
            starts.insert(start);
        }
        assert!(starts.len() > 5 && starts.iter().all(|start| *start <= 8), "{starts:?}");
    }
}
