//! Hugging Face's `preprocessor_config.json` of any model, and that of sounds.

use serde_json::Value;

use super::{ConfigError, Keys};
use crate::clip::{ClipProcessor, Sampling};
use crate::sound::SoundProcessor;
use crate::{ImageProcessor, Processor};

const FILE: &str = "Hugging Face preprocessor config";

/// The most frames and mels that are understood: more are a mistake.
const MOST: u64 = 1 << 16;

impl Processor {
    /// From `preprocessor_config.json`, or from `processor_config.json` with the processor inside: of images, sounds or clips.
    ///
    /// # Errors
    /// When a key is missing, or has a value that is not understood.
    pub fn from_hf(config: &Value) -> Result<Self, ConfigError> {
        let inside = config.get("feature_extractor").filter(|inside| inside.is_object());
        let extractor = inside.unwrap_or(config);
        match extractor.get("feature_extractor_type").and_then(Value::as_str) {
            Some("ASTFeatureExtractor") => ast(extractor).map(Self::Sound),
            _ if of_clips(config) => {
                // Which frames are taken is for the model to say.
                ClipProcessor::from_hf(config, Sampling::Uniform { frames: 16 }).map(Self::Clip)
            }
            _ => ImageProcessor::from_hf(config).map(Self::Image),
        }
    }
}

/// Whether the processor is one of clips.
fn of_clips(config: &Value) -> bool {
    let inside = config.get("image_processor").filter(|inside| inside.is_object()).unwrap_or(config);
    let named = |key: &str| inside.get(key).and_then(Value::as_str).unwrap_or_default();
    ["image_processor_type", "feature_extractor_type"].iter().any(|key| named(key).starts_with("VideoMAE"))
}

/// Spectra of the Audio Spectrogram Transformer.
fn ast(config: &Value) -> Result<SoundProcessor, ConfigError> {
    let keys = Keys { object: config, file: FILE };
    let size = |key, allowed, default: u64| {
        let found =
            keys.read(key, allowed, |value| value.as_u64().filter(|size| (1..=MOST).contains(size)))?;
        Ok::<_, ConfigError>(found.unwrap_or(default) as usize)
    };
    let rate = keys.read("sampling_rate", "a number of samples per second from 1000 to 192000", |value| {
        value.as_u64().filter(|rate| (1000..=192_000).contains(rate))
    })?;
    let mels = size("num_mel_bins", "1 to 65536", 128)?;
    let frames = size("max_length", "1 to 65536", 1024)?;
    let number = |key, allowed, default: f64| {
        let found = keys.read(key, allowed, |value| value.as_f64().filter(|value| value.is_finite()))?;
        Ok::<_, ConfigError>(found.unwrap_or(default))
    };
    let normalises = keys.read("do_normalize", "true or false", Value::as_bool)?.unwrap_or(true);
    let (mean, std) = match normalises {
        true => {
            let std =
                keys.read("std", "a number above 0", |value| value.as_f64().filter(|std| *std > 0.0))?;
            (number("mean", "a number", -4.267_739_3)?, std.unwrap_or(4.568_997_4))
        }
        // Twice the deviation divides.
        false => (0.0, 0.5),
    };
    let processor = SoundProcessor::audio_spectrogram_transformer()
        .with_size((mels, frames))
        .with_rate(rate.unwrap_or(16_000) as u32);
    Ok(processor.with_statistics(Some(mean), Some(std)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_extractor_of_spectra_is_read_and_nonsense_named() {
        let file =
            json!({"feature_extractor_type": "ASTFeatureExtractor", "num_mel_bins": 32, "max_length": 64});
        let Processor::Sound(sounds) = Processor::from_hf(&file).unwrap() else { panic!("of sounds") };
        assert_eq!((sounds.shape(), sounds.rate()), ((32, 64), 16_000));
        assert_eq!(sounds.statistics(), Some((-4.267_739_3, 4.568_997_4)));
        let inside = json!({"processor_class": "P", "feature_extractor": file});
        assert_eq!(Processor::from_hf(&inside).unwrap(), Processor::Sound(sounds));
        let plain = json!({"feature_extractor_type": "ASTFeatureExtractor", "do_normalize": false});
        let Processor::Sound(plain) = Processor::from_hf(&plain).unwrap() else { panic!("of sounds") };
        assert_eq!(plain.statistics(), Some((0.0, 0.5)));
        for (key, value) in [("std", json!(0)), ("max_length", json!(0)), ("sampling_rate", json!("fast"))] {
            let mut wrong = json!({"feature_extractor_type": "ASTFeatureExtractor"});
            wrong[key] = value;
            let message = Processor::from_hf(&wrong).unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
    }
}
