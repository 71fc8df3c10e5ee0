//! Another rate: band-limited interpolation with a Hann-windowed sinc, as torchaudio's `resample` does it by default.

use std::f64::consts::PI;

use super::Sound;

/// Zero crossings of the sinc to each side.
const CROSSINGS: f64 = 6.0;

/// Where the filter begins to close, as a share of the highest frequency that both rates can hold.
const ROLL_OFF: f64 = 0.99;

impl Sound {
    /// The same sound at another rate: `ceil(samples * rate / self.rate)` samples.
    ///
    /// # Panics
    /// When a rate is 0.
    #[must_use]
    pub fn at_rate(self, rate: u32) -> Self {
        assert!(rate > 0 && self.rate > 0, "from {} Hz to {rate}", self.rate);
        if self.rate == rate || self.samples.is_empty() {
            return Self { rate, ..self };
        }
        let common = divisor(rate, self.rate);
        let [from, to] = [self.rate / common, rate / common].map(|rate| rate as usize);
        let cutoff = from.min(to) as f64 * ROLL_OFF;
        let reach = (CROSSINGS * from as f64 / cutoff).ceil() as usize;
        let length = (self.samples.len() * to).div_ceil(from);
        let phases = to.min(length);
        // Output `to * n + phase` looks at inputs from `from * n + first` on.
        let filters: Vec<(usize, Vec<f32>)> = (0..phases)
            .map(|phase| {
                let (first, place) = (phase * from / to, phase as f64 / to as f64);
                let weights = (0..=2 * reach).map(|tap| {
                    let input = (first + tap) as f64 - reach as f64;
                    weight((input / from as f64 - place) * cutoff) * cutoff / from as f64
                });
                (first, weights.map(|weight| weight as f32).collect())
            })
            .collect();
        let at = |index: usize| index.checked_sub(reach).and_then(|index| self.samples.get(index)).copied();
        let samples = (0..length).map(|index| {
            let (first, weights) = &filters[index % to];
            let start = index / to * from + first;
            match start.checked_sub(reach).and_then(|start| self.samples.get(start..start + weights.len())) {
                Some(samples) => samples.iter().zip(weights).map(|(sample, weight)| sample * weight).sum(),
                // At the ends: what is outside is silent.
                None => {
                    let taps = weights.iter().enumerate();
                    taps.map(|(tap, weight)| at(start + tap).unwrap_or(0.0) * weight).sum()
                }
            }
        });
        let samples = samples.collect();
        Self { rate, samples }
    }
}

/// The windowed sinc.
fn weight(t: f64) -> f64 {
    let t = t.clamp(-CROSSINGS, CROSSINGS);
    let window = (t * PI / CROSSINGS / 2.0).cos().powi(2);
    let sinc = if t == 0.0 { 1.0 } else { (t * PI).sin() / (t * PI) };
    sinc * window
}

/// The greatest common divisor.
fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}
