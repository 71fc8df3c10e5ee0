//! How images are prepared.

use super::Given;
use super::values::{at_least_one, crop_mode, crop_pct, crops, decode, interpolation, silence};
use crate::output;
use anyhow::{Result, bail};
use clap::Args;
use tokmerge::clip::SpatialCrops;
use tokmerge::sound::{SILENCE, Silence, SoundProcessor};
use tokmerge::{
    ClassFolder, CropMode, Decode, DecodeOptions, ExifOrientation, Interpolation, Limits, Media, Model,
    PreprocessOverrides, Processor,
};

/// Preprocessing that replaces the model's own.
#[derive(Args, Debug)]
pub(crate) struct PreprocessArgs {
    #[command(flatten)]
    given: Given,
    /// Fraction of the resized image that the crop keeps
    #[arg(long, value_name = "FRACTION", value_parser = crop_pct)]
    pub(crate) crop_pct: Option<f64>,
    /// How images are fitted to the input: center, squash, border or shortest
    #[arg(long, value_name = "MODE", value_parser = crop_mode)]
    pub(crate) crop_mode: Option<CropMode>,
    /// Resampling filter: bicubic, bilinear, nearest, box, hamming or lanczos
    #[arg(long, value_name = "FILTER", value_parser = interpolation)]
    pub(crate) interpolation: Option<Interpolation>,
    /// Mean of each colour channel (of values from 0 to 1), which is subtracted
    #[arg(long, value_name = "R", num_args = 3)]
    pub(crate) mean: Option<Vec<f32>>,
    /// Standard deviation of each colour channel, by which the difference is divided
    #[arg(long, value_name = "R", num_args = 3)]
    pub(crate) std: Option<Vec<f32>>,
    /// How JPEGs are decoded: exact, to the pixels of Pillow; or fast, large ones to a half, a quarter or an eighth, never
    /// below the size that they are resized to
    #[arg(long, value_name = "HOW", default_value = "exact", value_parser = decode)]
    pub(crate) decode: Decode,
    /// Leave images as they are stored, and do not turn them upright as their EXIF data say; as tools do that ignore it
    #[arg(long)]
    pub(crate) no_exif: bool,
    /// Views along the time of a clip, whose answers are averaged; eval takes several numbers, as 1,4,10 [default: 1]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = at_least_one)]
    pub(crate) clips: Vec<usize>,
    /// Crops of each frame of a clip: 1 from the centre, or 3 along the longer side
    #[arg(long, value_name = "N", value_parser = crops)]
    pub(crate) crops: Option<SpatialCrops>,
    /// What becomes of sounds in folders called _silence_: zeros in their place, as the benchmark's protocol has it, or the
    /// recorded noise [default: zeros where folders are evaluated by a model with that class, else recorded]
    #[arg(long, value_name = "HOW", value_parser = silence)]
    pub(crate) silence: Option<Silence>,
    /// Tokens of a text at most, those that the tokenizer adds included; the rest is cut off [default: 256]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_tokens: Option<usize>,
    /// Largest number of pixels in an image; larger images are refused before they are decoded
    #[arg(long, value_name = "PIXELS", default_value_t = Limits::default().max_pixels)]
    pub(crate) max_pixels: u64,
    /// The longest sound or clip, in seconds; longer ones are refused
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().max_seconds)]
    pub(crate) max_seconds: u64,
}

impl PreprocessArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits { max_pixels: self.max_pixels, max_seconds: self.max_seconds, ..Limits::default() }
    }

    pub(crate) fn decoding(&self) -> DecodeOptions {
        let orientation = if self.no_exif { ExifOrientation::Ignored } else { ExifOrientation::Applied };
        DecodeOptions { limits: self.limits(), decode: self.decode, orientation }
    }

    fn overrides(&self) -> PreprocessOverrides {
        PreprocessOverrides {
            crop_pct: self.crop_pct,
            crop_mode: self.crop_mode,
            interpolation: self.interpolation,
            mean: self.mean.clone(),
            std: self.std.clone(),
        }
    }

    /// The model with the user's preprocessing in place of its own.
    pub(crate) fn apply(&self, model: Model) -> Result<Model> {
        match self.clips[..] {
            [] => self.apply_to(model, None),
            [clips] => self.apply_to(model, Some(clips)),
            _ => bail!("--clips takes one number here; eval compares several"),
        }
    }

    /// The same with a model for each number of views that is asked for.
    pub(crate) fn apply_each(&self, model: &Model) -> Result<Vec<(Option<usize>, Model)>> {
        if self.clips.is_empty() {
            return Ok(vec![(None, self.apply_to(model.clone(), None)?)]);
        }
        let each =
            self.clips.iter().map(|clips| Ok((Some(*clips), self.apply_to(model.clone(), Some(*clips))?)));
        each.collect()
    }

    fn apply_to(&self, model: Model, clips: Option<usize>) -> Result<Model> {
        self.refuse_others(&model)?;
        let mut model = model.with_overrides(&self.overrides())?;
        if let Some(silence) = self.silence {
            model = with_silence(model, silence)?;
        }
        if let Some(max_tokens) = self.max_tokens {
            model = with_max_tokens(model, max_tokens)?;
        }
        match (clips, self.crops) {
            (None, None) => Ok(model),
            _ => with_views(model, clips, self.crops),
        }
    }

    /// Refuses flags of reading that are for other files than the model takes; those of preparing are refused where they are
    /// applied.
    fn refuse_others(&self, model: &Model) -> Result<()> {
        use Media::{Clip, Image, Question, Sound};
        const READING: [(&[&str], &[Media], &str); 3] = [
            (&["decode", "no_exif"], &[Image, Question], "images"),
            (&["max_pixels"], &[Image, Question, Clip], "images and clips"),
            (&["max_seconds"], &[Sound, Clip], "sounds and clips"),
        ];
        let media = model.media();
        let others = READING.into_iter().filter(|(_, of, _)| !of.contains(&media));
        others.into_iter().try_for_each(|(flags, _, what)| {
            let rule = format!("is for {what}, and {} takes {}", model.name(), media.words());
            self.given.refuse(flags, rule)
        })
    }

    /// A model that is evaluated on a folder: where both have a class of silence, its recordings are read as zeros unless
    /// they are asked for.
    pub(crate) fn for_folder(&self, model: Model, folder: &ClassFolder) -> Result<Model> {
        let is_silence = |name: &String| name == SILENCE;
        let both = folder.class_names().iter().any(is_silence) && model.class_names().iter().any(is_silence);
        if model.media() != Media::Sound || self.silence.is_some() || !both {
            return Ok(model);
        }
        output::note(format!(
            "note: zeros are read in place of the sounds in {SILENCE}, as the benchmark's protocol has it; --silence \
             recorded reads them"
        ));
        with_silence(model, Silence::Zeros)
    }
}

/// A model of sounds that reads silence so.
fn with_silence(model: Model, silence: Silence) -> Result<Model> {
    let Processor::Sound(processor) = model.processor() else {
        bail!("{} takes {}, and --silence is for sounds", model.name(), model.media().words());
    };
    let processor = SoundProcessor { silence, ..processor.clone() };
    Ok(model.with_processor(processor.into()))
}

/// A model of texts that reads so many tokens of each.
///
/// # Errors
/// For a model of anything else, or more tokens than it has room for.
pub(crate) fn with_max_tokens(model: Model, max_tokens: usize) -> Result<Model> {
    let Processor::Text(processor) = model.processor() else {
        bail!("{} takes {}, and --max-tokens is for texts", model.name(), model.media().words());
    };
    let processor = processor.clone().with_max_tokens(max_tokens)?;
    Ok(model.with_processor(processor.into()))
}

/// A model of clips that sees so many views of each.
fn with_views(model: Model, clips: Option<usize>, crops: Option<SpatialCrops>) -> Result<Model> {
    let Processor::Clip(processor) = model.processor() else {
        bail!("{} takes {}, which have no --clips and no --crops", model.name(), model.media().words());
    };
    let clips = clips.unwrap_or(processor.sampling.views());
    let own = if processor.fit.crops() == 3 { SpatialCrops::Three } else { SpatialCrops::Centre };
    let processor = processor.with_views(clips, crops.unwrap_or(own))?;
    processor.validate()?;
    Ok(model.with_processor(processor.into()))
}
