//! Mel spectra.

use std::f64::consts::TAU;

use realfft::RealFftPlanner;

use super::{Sound, SoundError};

/// What each frame is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Hann, whose next value would be the first again (TensorFlow).
    HannPeriodic,
    /// Hann, whose last value is the first (Kaldi's `hanning`).
    HannSymmetric,
}

/// What becomes of a frame before it is transformed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Framing {
    /// Nothing.
    Plain,
    /// It loses its mean, and then of each sample so much of the one before (Kaldi).
    Emphasised(f64),
}

/// What is summed under the triangles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spectrum {
    /// Absolute values.
    Magnitude,
    /// Their squares.
    Power,
}

/// Logarithms of mel spectra, frame by frame; triangles are even in mel, `1127 ln(1 + f / 700)`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogMel {
    /// Samples per second.
    pub rate: u32,
    /// Samples of a frame.
    pub window: usize,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Samples that are transformed: the frame and zeros.
    pub fft: usize,
    /// What frames are multiplied with.
    pub shape: Window,
    /// What becomes of them before.
    pub framing: Framing,
    /// What is summed.
    pub spectrum: Spectrum,
    /// Triangles (`M`).
    pub mels: usize,
    /// Where the first triangle begins and the last one ends, in Hz.
    pub range: (f64, f64),
    /// The least whose logarithm is taken.
    pub floor: f64,
}

impl LogMel {
    /// Kaldi's filter bank as AudioMAE and AST call it: 128 triangles, 25 ms every 10 ms.
    #[must_use]
    pub fn kaldi() -> Self {
        Self {
            rate: 16_000,
            window: 400,
            hop: 160,
            fft: 512,
            shape: Window::HannSymmetric,
            framing: Framing::Emphasised(0.97),
            spectrum: Spectrum::Power,
            mels: 128,
            range: (20.0, 8000.0),
            floor: f64::from(f32::EPSILON),
        }
    }

    /// The same of so many samples per second, with so many triangles.
    #[must_use]
    pub fn kaldi_of(rate: u32, mels: usize) -> Self {
        let (window, hop) = ((rate / 40) as usize, (rate / 100) as usize);
        let range = (20.0, f64::from(rate) / 2.0);
        Self { rate, window, hop, fft: window.next_power_of_two(), mels, range, ..Self::kaldi() }
    }

    /// Frames of a sound of so many samples: those that lie in it whole.
    #[must_use]
    pub fn frames(&self, samples: usize) -> usize {
        samples.checked_sub(self.window).map_or(0, |rest| rest / self.hop + 1)
    }

    /// `[frames, M]`, frame by frame.
    ///
    /// # Errors
    /// When the sound is shorter than a frame.
    ///
    /// # Panics
    /// When it has another rate.
    pub fn of(&self, sound: &Sound) -> Result<Vec<f64>, SoundError> {
        assert_eq!(sound.rate, self.rate, "the sound has another rate than its spectra");
        let count = self.frames(sound.samples.len());
        if count == 0 {
            let (samples, rate, window) = (sound.samples.len(), self.rate, self.window);
            return Err(SoundError::TooShort { samples, rate, window });
        }
        let transform = RealFftPlanner::<f64>::new().plan_fft_forward(self.fft);
        let (mut frame, mut bins) = (transform.make_input_vec(), transform.make_output_vec());
        let (shape, triangles) = (self.shape(), self.triangles());
        let mut mels = Vec::with_capacity(count * self.mels);
        for samples in sound.samples.windows(self.window).step_by(self.hop) {
            let samples: Vec<f64> = samples.iter().map(|&sample| f64::from(sample)).collect();
            frame.fill(0.0);
            self.prepare(&samples, &mut frame);
            frame.iter_mut().zip(&shape).for_each(|(sample, factor)| *sample *= factor);
            transform.process(&mut frame, &mut bins).expect("as long as planned");
            let energies: Vec<f64> = bins
                .iter()
                .map(|bin| match self.spectrum {
                    Spectrum::Magnitude => bin.norm(),
                    Spectrum::Power => bin.norm_sqr(),
                })
                .collect();
            mels.extend(triangles.iter().map(|(first, weights)| {
                let energies = energies[*first..].iter().zip(weights);
                energies.map(|(energy, weight)| energy * weight).sum::<f64>().max(self.floor).ln()
            }));
        }
        Ok(mels)
    }

    fn prepare(&self, samples: &[f64], frame: &mut [f64]) {
        match self.framing {
            Framing::Plain => frame[..samples.len()].copy_from_slice(samples),
            Framing::Emphasised(share) => {
                let mean = samples.iter().sum::<f64>() / samples.len() as f64;
                let mut before = samples[0] - mean;
                for (to, sample) in frame.iter_mut().zip(samples) {
                    let sample = sample - mean;
                    *to = sample - share * before;
                    before = sample;
                }
            }
        }
    }

    fn shape(&self) -> Vec<f64> {
        let period = match self.shape {
            Window::HannPeriodic => self.window,
            Window::HannSymmetric => self.window - 1,
        };
        (0..self.window).map(|at| 0.5 - 0.5 * (TAU * at as f64 / period as f64).cos()).collect()
    }

    /// For each triangle its first bin, and weights from there on.
    fn triangles(&self) -> Vec<(usize, Vec<f64>)> {
        let mel = |hz: f64| 1127.0 * (hz / 700.0).ln_1p();
        let (low, high) = (mel(self.range.0), mel(self.range.1));
        let corner = |at: usize| low + (high - low) * at as f64 / (self.mels + 1) as f64;
        // Neither the constant part nor the highest frequency counts.
        let bins = 1..self.fft / 2;
        let at = |bin: usize| mel(bin as f64 * f64::from(self.rate) / self.fft as f64);
        (0..self.mels)
            .map(|triangle| {
                let [left, middle, right] = [0, 1, 2].map(|side| corner(triangle + side));
                let inside = |bin: &usize| at(*bin) > left && at(*bin) < right;
                let first = bins.clone().find(inside).unwrap_or(bins.end);
                let weights = (first..bins.end).take_while(inside).map(|bin| {
                    ((at(bin) - left) / (middle - left)).min((right - at(bin)) / (right - middle))
                });
                (first, weights.collect())
            })
            .collect()
    }
}
