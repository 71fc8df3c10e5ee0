//! From a sound to a model's input.

use super::{Cepstra, LogMel, Sound, SoundError, SoundLimits, open_sound};
use std::fmt;
use std::path::Path;

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
        /// What its rows are.
        rows: SpectraRows,
    },
    /// Cepstra of so many samples: what is longer is cut, what is shorter padded with zeros (Keyword Transformer).
    Cepstra {
        /// The cepstra.
        cepstra: Cepstra,
        /// Samples.
        samples: usize,
    },
}

/// What the rows of spectra are, as a model sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpectraRows {
    /// Frames (AudioMAE).
    Frames,
    /// Frequencies (AST).
    Frequencies,
}

/// How sounds are prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct SoundProcessor {
    /// What the model sees.
    pub features: SoundFeatures,
    /// What becomes of recordings of silence.
    pub silence: Silence,
}

/// What becomes of the files in a folder called [`SILENCE`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Silence {
    /// They are read like any other.
    #[default]
    Recorded,
    /// Zeros stand for each, as in the protocol of Speech Commands: the recordings there are of background noise.
    Zeros,
}

/// What the class of silence is called in Speech Commands.
pub const SILENCE: &str = "_silence_";

/// Whether a file lies in a folder of silence.
fn is_silence(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|folder| folder == SILENCE)
}

impl fmt::Display for SoundProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rate();
        match &self.features {
            SoundFeatures::Spectra { spectra, frames, mean, std, .. } => {
                let mels = spectra.mels;
                write!(f, "{rate} Hz, {frames} frames of {mels} mels, mean {mean}, std {std}")
            }
            SoundFeatures::Cepstra { cepstra, samples } => {
                let (frames, count) = (cepstra.spectra.frames(*samples), cepstra.count);
                write!(f, "{rate} Hz, {samples} samples, {frames} frames of {count} cepstral coefficients")
            }
        }
    }
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
            rows: SpectraRows::Frames,
        };
        Self { features, silence: Silence::default() }
    }

    /// That of the Audio Spectrogram Transformer: AudioMAE's spectra, in rows of frequencies.
    #[must_use]
    pub fn audio_spectrogram_transformer() -> Self {
        let mut processor = Self::audio_mae();
        if let SoundFeatures::Spectra { rows, .. } = &mut processor.features {
            *rows = SpectraRows::Frequencies;
        }
        processor
    }

    /// The same for sounds of another number of samples per second, with the Kaldi spectra of that rate; cepstra stay as they
    /// are.
    #[must_use]
    pub fn with_rate(mut self, rate: u32) -> Self {
        if let SoundFeatures::Spectra { spectra, .. } = &mut self.features {
            *spectra = LogMel::kaldi_of(rate, spectra.mels);
        }
        self
    }

    /// The same for spectra of so many rows and values; cepstra stay as they are.
    #[must_use]
    pub fn with_size(mut self, (height, width): (usize, usize)) -> Self {
        if let SoundFeatures::Spectra { spectra, frames, rows, .. } = &mut self.features {
            (*frames, spectra.mels) = match rows {
                SpectraRows::Frames => (height, width),
                SpectraRows::Frequencies => (width, height),
            };
        }
        self
    }

    /// Mean and standard deviation that spectra are normalised by.
    #[must_use]
    pub fn statistics(&self) -> Option<(f64, f64)> {
        match self.features {
            SoundFeatures::Spectra { mean, std, .. } => Some((mean, std)),
            SoundFeatures::Cepstra { .. } => None,
        }
    }

    /// The same with a mean and a standard deviation where they are given; cepstra stay as they are.
    #[must_use]
    pub fn with_statistics(mut self, given_mean: Option<f64>, given_std: Option<f64>) -> Self {
        if let SoundFeatures::Spectra { mean, std, .. } = &mut self.features {
            (*mean, *std) = (given_mean.unwrap_or(*mean), given_std.unwrap_or(*std));
        }
        self
    }

    /// The Keyword Transformer's: 98 frames of 40 coefficients, one second.
    #[must_use]
    pub fn keyword_transformer() -> Self {
        let cepstra = Cepstra::keyword_transformer();
        let features = SoundFeatures::Cepstra { cepstra, samples: 16_000 };
        Self { features, silence: Silence::default() }
    }

    /// Samples per second that it works on.
    #[must_use]
    pub fn rate(&self) -> u32 {
        match &self.features {
            SoundFeatures::Spectra { spectra, .. } => spectra.rate,
            SoundFeatures::Cepstra { cepstra, .. } => cepstra.spectra.rate,
        }
    }

    /// Rows and values of each: the shape of what it makes. Rows are frames, or of some models frequencies.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        match &self.features {
            SoundFeatures::Spectra { spectra, frames, rows, .. } => match rows {
                SpectraRows::Frames => (*frames, spectra.mels),
                SpectraRows::Frequencies => (spectra.mels, *frames),
            },
            SoundFeatures::Cepstra { cepstra, samples } => (cepstra.spectra.frames(*samples), cepstra.count),
        }
    }

    /// Reads and prepares a file of sound. Every error names the path.
    ///
    /// # Errors
    /// Those of [`open_sound`] and [`prepare`](Self::prepare).
    pub fn open(&self, path: &Path, limits: &SoundLimits) -> Result<Vec<f32>, SoundError> {
        self.prepare(self.read(path, limits)?).map_err(|error| error.in_file(path))
    }

    /// Reads a file of sound as it is before features are made of it: at the model's rate, and where the model takes so
    /// many samples, cut or padded to them.
    ///
    /// # Errors
    /// Those of [`open_sound`].
    pub fn read(&self, path: &Path, limits: &SoundLimits) -> Result<Sound, SoundError> {
        if self.silence == Silence::Zeros && is_silence(path) {
            return Ok(Sound { rate: self.rate(), samples: vec![0.0; self.rate() as usize] });
        }
        let mut sound = open_sound(path, limits)?.at_rate(self.rate());
        if let SoundFeatures::Cepstra { samples, .. } = &self.features {
            sound.samples.resize(*samples, 0.0);
        }
        Ok(sound)
    }

    /// The model's input, `[frames, values]`, of a sound of any rate.
    ///
    /// # Errors
    /// When the sound is shorter than a frame.
    pub fn prepare(&self, sound: Sound) -> Result<Vec<f32>, SoundError> {
        let mut sound = sound.at_rate(self.rate());
        match &self.features {
            SoundFeatures::Spectra { spectra, frames, mean, std, rows } => {
                let own = sound.samples.iter().map(|&sample| f64::from(sample)).sum::<f64>()
                    / sound.samples.len().max(1) as f64;
                sound.samples.iter_mut().for_each(|sample| *sample -= own as f32);
                let mut values = spectra.of(&sound)?;
                values.resize(frames * spectra.mels, 0.0);
                let normalised = |value: f64| ((value - mean) / (2.0 * std)) as f32;
                Ok(match rows {
                    SpectraRows::Frames => values.iter().map(|value| normalised(*value)).collect(),
                    SpectraRows::Frequencies => (0..spectra.mels)
                        .flat_map(|mel| values.iter().skip(mel).step_by(spectra.mels))
                        .map(|value| normalised(*value))
                        .collect(),
                })
            }
            SoundFeatures::Cepstra { cepstra, samples } => {
                sound.samples.resize(*samples, 0.0);
                Ok(cepstra.of(&sound)?.iter().map(|&value| value as f32).collect())
            }
        }
    }
}
