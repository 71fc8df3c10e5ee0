//! From a sound to a model's input.

use super::{Cepstra, LogMel, Sound, SoundError};

/// What a model sees of a sound.
#[derive(Debug, Clone, PartialEq)]
pub enum SoundFeatures {
    /// Logarithmic mel spectra of the whole sound less its mean, cut or padded with zeros to a number of frames, then
    /// `(x - mean) / (2 std)` (AudioMAE, AST).
    Spectra {
        /// The spectra.
        spectra: LogMel,
        /// Frames.
        frames: usize,
        /// Mean over a data set.
        mean: f64,
        /// Standard deviation over a data set.
        std: f64,
    },
    /// Cepstra of so many samples: what is longer is cut, what is shorter padded with zeros (Keyword Transformer).
    Cepstra {
        /// The cepstra.
        cepstra: Cepstra,
        /// Samples.
        samples: usize,
    },
}

/// How sounds are prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct SoundProcessor {
    /// What the model sees.
    pub features: SoundFeatures,
}

impl SoundProcessor {
    /// AudioMAE's: 1024 frames of 128 mels, with AudioSet's mean and standard deviation.
    #[must_use]
    pub fn audio_mae() -> Self {
        let features = SoundFeatures::Spectra {
            spectra: LogMel::kaldi(),
            frames: 1024,
            mean: -4.267_739_3,
            std: 4.568_997_4,
        };
        Self { features }
    }

    /// The Keyword Transformer's: 98 frames of 40 coefficients, one second.
    #[must_use]
    pub fn keyword_transformer() -> Self {
        let cepstra = Cepstra::keyword_transformer();
        Self { features: SoundFeatures::Cepstra { cepstra, samples: 16_000 } }
    }

    /// Samples per second that it works on.
    #[must_use]
    pub fn rate(&self) -> u32 {
        match &self.features {
            SoundFeatures::Spectra { spectra, .. } => spectra.rate,
            SoundFeatures::Cepstra { cepstra, .. } => cepstra.spectra.rate,
        }
    }

    /// Frames and values of each: the shape of what it makes.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        match &self.features {
            SoundFeatures::Spectra { spectra, frames, .. } => (*frames, spectra.mels),
            SoundFeatures::Cepstra { cepstra, samples } => (cepstra.spectra.frames(*samples), cepstra.count),
        }
    }

    /// The model's input, `[frames, values]`, of a sound of any rate.
    ///
    /// # Errors
    /// When the sound is shorter than a frame.
    pub fn prepare(&self, sound: Sound) -> Result<Vec<f32>, SoundError> {
        let mut sound = sound.at_rate(self.rate());
        match &self.features {
            SoundFeatures::Spectra { spectra, frames, mean, std } => {
                let own = sound.samples.iter().map(|&sample| f64::from(sample)).sum::<f64>()
                    / sound.samples.len().max(1) as f64;
                sound.samples.iter_mut().for_each(|sample| *sample -= own as f32);
                let mut values = spectra.of(&sound)?;
                values.resize(frames * spectra.mels, 0.0);
                Ok(values.iter().map(|value| ((value - mean) / (2.0 * std)) as f32).collect())
            }
            SoundFeatures::Cepstra { cepstra, samples } => {
                sound.samples.resize(*samples, 0.0);
                Ok(cepstra.of(&sound)?.iter().map(|&value| value as f32).collect())
            }
        }
    }
}
