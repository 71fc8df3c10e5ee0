//! Spectrograms as pictures, and groups over them in the orientation in which they are drawn.

use crate::colormap;
use crate::error::{Error, Result};
use crate::picture::Picture;

/// Which values take the darkest and the lightest colour.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Range {
    /// The spectrogram's own minimum and maximum; one of a single value is dark all over.
    #[default]
    Own,
    /// These; values outside take the nearer end's colour.
    Given {
        /// Value of the darkest colour, in the spectrogram's unit.
        min: f32,
        /// Value of the lightest colour, above `min`.
        max: f32,
    },
}

/// A spectrogram (or other features over time) as a model sees it.
///
/// It is drawn with time to the right and the first bin, that of the lowest frequency, at the bottom. A
/// model's grid of patches, (time, frequency), is turned likewise by [`drawn_groups`]; after that
/// [`render`](crate::render), [`save`](crate::save) and [`svg`](crate::svg) take it as any other picture:
///
/// ```
/// use tokmerge_viz::{Grid, Range, Spectrogram, Style, drawn_groups, render};
///
/// // 98 frames of 40 coefficients, one patch per frame; the first two are one token.
/// let sound = Spectrogram::new((0..98 * 40).map(|i| i as f32).collect(), 98, 40)?;
/// let groups: Vec<_> = (0..98).map(|frame: u32| Some(frame.max(1))).collect();
/// let picture = sound.picture(Range::Own, sound.legible())?;
/// let groups = drawn_groups(&groups, 98, 1)?;
/// let merged = render(&picture, Grid { rows: 1, cols: 98 }, &groups, &Style::default())?;
/// assert_eq!((merged.width(), merged.height()), (98 * 8, 40 * 8));
/// # Ok::<(), tokmerge_viz::Error>(())
/// ```
///
/// Wide ones read better below than beside each other: `sheet(&[picture, merged], 1, gap)`. Where patches
/// are whole frames, [`Fill::Original`](crate::Fill::Original) tells more than a mean over all frequencies.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrogram {
    values: Vec<f32>,
    frames: usize,
    bins: usize,
}

impl Spectrogram {
    /// Takes the values `[frames, bins]`: all bins of the first frame first.
    ///
    /// # Errors
    /// When there are no frames or bins, `values` does not hold `frames * bins` of them, or one is not finite.
    pub fn new(values: Vec<f32>, frames: usize, bins: usize) -> Result<Self> {
        if frames == 0 || bins == 0 || frames.checked_mul(bins) != Some(values.len()) {
            return Err(Error::SpectrogramValues { frames, bins, found: values.len() });
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite { value: values[at], frame: at / bins, bin: at % bins });
        }
        Ok(Self { values, frames, bins })
    }

    /// Frames, over time.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Values in each frame, over frequency.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// The `upscale` with which the picture is about 800 pixels long: 8 for 98 frames, 1 for 1024.
    pub fn legible(&self) -> usize {
        (800 / self.frames.max(self.bins)).max(1)
    }

    /// Draws it: dark for low values, light for high ones, `upscale` pixels wide and high for each value.
    ///
    /// The picture is `frames * upscale` pixels wide and `bins * upscale` high.
    ///
    /// # Errors
    /// When the range is empty or not finite, or the picture would have no or too many pixels.
    pub fn picture(&self, range: Range, upscale: usize) -> Result<Picture> {
        let (min, max) = match range {
            Range::Own => {
                self.values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &value| {
                    (min.min(value), max.max(value))
                })
            }
            Range::Given { min, max } if min < max && min.is_finite() && max.is_finite() => (min, max),
            Range::Given { min, max } => return Err(Error::ValueRange { min, max }),
        };
        let (min, span) = (f64::from(min), f64::from(max) - f64::from(min));
        let small = Picture::from_fn(self.frames, self.bins, |frame, down| {
            let value = self.values[frame * self.bins + self.bins - 1 - down];
            colormap::color(if span > 0.0 { (f64::from(value) - min) / span } else { 0.0 })
        });
        let (width, height) = small.enlarged(upscale)?;
        Ok(Picture::from_fn(width, height, |x, y| small.pixel(x / upscale, y / upscale)))
    }
}

/// Turns the groups of a (time, frequency) grid for [`Grid`](crate::Grid)` { rows: freq, cols: time }`.
///
/// `groups` has the `time * freq` patches in the model's order: all frequencies of the first time, lowest
/// first. The result goes row by row from the top, which is the highest frequency, each over time.
///
/// # Errors
/// When `time` or `freq` is zero, or `groups` has another length.
pub fn drawn_groups(groups: &[Option<u32>], time: usize, freq: usize) -> Result<Vec<Option<u32>>> {
    if time == 0 || freq == 0 {
        return Err(Error::EmptyGrid { rows: freq, cols: time });
    }
    if time.checked_mul(freq) != Some(groups.len()) {
        let expected = time.saturating_mul(freq);
        return Err(Error::GroupCount { rows: freq, cols: time, expected, found: groups.len() });
    }
    let rows = (0..freq).rev();
    Ok(rows.flat_map(|bin| groups.iter().skip(bin).step_by(freq).copied()).collect())
}
