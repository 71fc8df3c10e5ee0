//! Where the tokens of a sound went.

use super::{Drawn, PictureError, SHEET_GAP, caption, drawable, found, laid_out};
use std::path::Path;
use tokmerge_data::sound::{SoundFeatures, SpectraRows};
use tokmerge_data::{Prepared, Processor};
use tokmerge_merge::Reduction;
use tokmerge_models::Model;
use tokmerge_viz::{
    BorderWidth, End, Fill, Format, Grid, Range, Spectrogram, Style, drawn_groups, render, save, sheet,
};

/// Draws the spectrogram of a sound above itself with the tokens that are left of it, each within a border of its own
/// colour; time runs to the right, low frequencies are at the bottom. Where patches overlap, every value is drawn as one of
/// the patch whose centre is nearest. PNG or SVG by the ending of `path`; in SVG the two are beside each other.
///
/// # Errors
/// As [`picture`](super::picture), and when the model takes no sounds.
pub fn sound_picture(
    model: &Model,
    reduction: &Reduction,
    sound: &Prepared,
    layer: Option<usize>,
    path: &Path,
) -> Result<Drawn, PictureError> {
    let grid = drawable(model, reduction, layer)?;
    let (Processor::Sound(processor), Prepared::Features(values)) = (model.processor(), sound) else {
        return Err(PictureError::other(model));
    };
    let (groups, tokens, membership) = found(model, reduction, values.clone(), layer)?;
    let (rows, columns) = model.config().shape().img_size();
    let drawn = Drawn { patches: groups.len(), tokens, membership };
    // Rows of the model's input, and so of its patches, are frames or frequencies; here time is to come first.
    let (frames, bins, values, groups, time, frequency) = match processor.features {
        SoundFeatures::Spectra { rows: SpectraRows::Frequencies, .. } => {
            let groups = turned(&groups, grid.1);
            (columns, rows, turned(values, columns), groups, grid.1, grid.0)
        }
        SoundFeatures::Spectra { .. } => (rows, columns, values.clone(), groups, grid.0, grid.1),
        // The first coefficients of a cepstrum are so much larger that nothing would be seen of the others.
        SoundFeatures::Cepstra { .. } => {
            (rows, columns, standardised(values, columns), groups, grid.0, grid.1)
        }
    };
    let spectrogram = Spectrogram::new(values, frames, bins)?;
    let upscale = spectrogram.legible();
    let seen = spectrogram.picture(Range::Own, upscale)?;
    let groups = drawn_groups(&groups, time, frequency)?;
    let patches = laid_out(model, Grid { rows: frequency, cols: time }, End::Far, upscale);
    let style = Style { fill: Fill::Original, border: BorderWidth::Pixels(2), upscale: 1 };
    match Format::from_path(path)? {
        Format::Png => {
            let merged = render(&seen, patches, &groups, &style)?;
            sheet(&[seen, merged], 1, 4 * SHEET_GAP)?.write_png(path)?;
        }
        Format::Svg => {
            save(path, &seen, patches, &groups, &style, &caption(model, reduction, layer, &drawn))?;
        }
    }
    Ok(drawn)
}

/// Columns as rows.
fn turned<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns)).copied().collect()
}

/// Values of mean 0 and deviation 1 over the frames, in each of `bins` columns.
fn standardised(values: &[f32], bins: usize) -> Vec<f32> {
    let frames = (values.len() / bins.max(1)).max(1) as f32;
    let column = |bin: usize| values.iter().skip(bin).step_by(bins);
    let statistics: Vec<(f32, f32)> = (0..bins)
        .map(|bin| {
            let mean = column(bin).sum::<f32>() / frames;
            let variance = column(bin).map(|value| (value - mean).powi(2)).sum::<f32>() / frames;
            (mean, variance.sqrt().max(1e-6))
        })
        .collect();
    let standard = |(at, value): (usize, &f32)| (value - statistics[at % bins].0) / statistics[at % bins].1;
    values.iter().enumerate().map(standard).collect()
}
