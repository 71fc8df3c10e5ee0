//! Mel-frequency cepstral coefficients.

use std::f64::consts::PI;

use super::{Framing, LogMel, Sound, SoundError, Spectrum, Window};

/// The first coefficients of a cosine transform (DCT-II) of logarithmic mel spectra, times `sqrt(2 / M)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cepstra {
    /// The spectra.
    pub spectra: LogMel,
    /// Coefficients of a frame (`C`).
    pub count: usize,
}

impl Cepstra {
    /// As the Keyword Transformer has them: 40 of 80 triangles, 30 ms every 10 ms.
    #[must_use]
    pub fn keyword_transformer() -> Self {
        let spectra = LogMel {
            rate: 16_000,
            window: 480,
            hop: 160,
            fft: 512,
            shape: Window::HannPeriodic,
            framing: Framing::Plain,
            spectrum: Spectrum::Magnitude,
            mels: 80,
            range: (20.0, 7600.0),
            floor: 1e-12,
        };
        Self { spectra, count: 40 }
    }

    /// `[frames, C]`, frame by frame.
    ///
    /// # Errors
    /// When the sound is shorter than a frame.
    ///
    /// # Panics
    /// When it has another rate.
    pub fn of(&self, sound: &Sound) -> Result<Vec<f64>, SoundError> {
        let mels = self.spectra.mels;
        let scale = (2.0 / mels as f64).sqrt();
        let cosine =
            |at: usize, mel: usize| (PI * at as f64 * (mel as f64 + 0.5) / mels as f64).cos() * scale;
        let table: Vec<f64> =
            (0..self.count).flat_map(|at| (0..mels).map(move |mel| cosine(at, mel))).collect();
        let spectra = self.spectra.of(sound)?;
        let coefficients = spectra.chunks_exact(mels).flat_map(|frame| {
            table.chunks_exact(mels).map(move |row| row.iter().zip(frame).map(|(a, b)| a * b).sum::<f64>())
        });
        Ok(coefficients.collect())
    }
}
