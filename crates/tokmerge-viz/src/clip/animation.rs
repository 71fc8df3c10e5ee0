//! Pictures of one size as an animation that runs over and over.

use std::borrow::Cow;

use super::colors::Colors;
use crate::error::{Error, Result};
use crate::layout::Token;
use crate::picture::{GAP, Picture};
use crate::render::{DROPPED, HATCH};

/// Frames a second that both formats can hold and viewers follow.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.02..=50.0;

fn check(frames_per_second: f64) -> Result<()> {
    match SPEEDS.contains(&frames_per_second) {
        true => Ok(()),
        false => {
            Err(Error::FramesPerSecond { found: frames_per_second, min: *SPEEDS.start(), max: *SPEEDS.end() })
        }
    }
}

/// The error of a format's own library.
fn failed<E: std::error::Error + Send + Sync + 'static>(
    format: &'static str,
    frames: &[Picture],
) -> impl Fn(E) -> Error {
    move |source| Error::EncodeAnimation { format, frames: frames.len(), source: Box::new(source) }
}

/// A GIF file's bytes, in one palette for all frames, so that a token keeps its colours.
pub(super) fn gif(frames: &[Picture], tokens: &[Token], frames_per_second: f64) -> Result<Vec<u8>> {
    check(frames_per_second)?;
    let failed = failed("GIF", frames);
    let own = tokens.iter().flat_map(|token| [token.mean, token.border]).chain([GAP, DROPPED, HATCH]);
    let mut colors = Colors::new(frames, own);
    // Sides are at most 40 960: two pictures and half a patch.
    let (width, height) = (frames[0].width() as u16, frames[0].height() as u16);
    let mut bytes = Vec::new();
    let mut encoder = gif::Encoder::new(&mut bytes, width, height, &colors.palette()).map_err(&failed)?;
    encoder.set_repeat(gif::Repeat::Infinite).map_err(&failed)?;
    // In hundredths of a second; rounded at each frame's end, so that the whole lasts as long as it should.
    let end = |frames: usize| (frames as f64 * 100.0 / frames_per_second).round() as u64;
    for (at, frame) in frames.iter().enumerate() {
        let buffer = frame.rgb().as_chunks().0.iter().map(|&rgb| colors.index(rgb)).collect();
        let delay = (end(at + 1) - end(at)) as u16;
        let frame = gif::Frame { delay, width, height, buffer: Cow::Owned(buffer), ..gif::Frame::default() };
        encoder.write_frame(&frame).map_err(&failed)?;
    }
    drop(encoder);
    Ok(bytes)
}

/// An animated PNG file's bytes.
pub(super) fn apng(frames: &[Picture], frames_per_second: f64) -> Result<Vec<u8>> {
    check(frames_per_second)?;
    let failed = failed("APNG", frames);
    let mut bytes = Vec::new();
    // Frames have a pixel each, and no more than 2^28 together.
    let mut encoder = png::Encoder::new(&mut bytes, frames[0].width() as u32, frames[0].height() as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_filter(png::Filter::Adaptive);
    encoder.set_animated(frames.len() as u32, 0).map_err(&failed)?;
    encoder.set_frame_delay((1000.0 / frames_per_second).round() as u16, 1000).map_err(&failed)?;
    let mut writer = encoder.write_header().map_err(&failed)?;
    for frame in frames {
        writer.write_image_data(frame.rgb()).map_err(&failed)?;
    }
    writer.finish().map_err(&failed)?;
    Ok(bytes)
}
