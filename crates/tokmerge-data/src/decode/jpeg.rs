//! JPEG as libjpeg-turbo decodes it, and so as Pillow and every evaluation made with it: the accurate integer
//! inverse transform, triangle-filtered chroma, and block smoothing where a progressive file lacks scans.
//! Why this matters: `docs/decisions/0006-jpeg-as-libjpeg-turbo.md`.

use std::panic::catch_unwind;

use image::metadata::Orientation;
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder, JpegError, PixelFormat};

use crate::loader::message;

use super::cmyk::{Plane, inverted_to_rgb};
use super::{ImageError, Limits, Rgb, check_bytes, check_size, oriented, unreadable};

const FORMAT: &str = "JPEG";

/// Progressive files have about ten. Each costs a pass over the picture, however few bytes it has.
const MOST_SCANS: usize = 100;

/// A panic is an error: the decoder is young.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Rgb, ImageError> {
    catch_unwind(|| decode_unguarded(bytes, limits))
        .unwrap_or_else(|panic| Err(ImageError::Panicked { reason: message(&*panic) }))
}

fn decode_unguarded(bytes: &[u8], limits: &Limits) -> Result<Rgb, ImageError> {
    let accepted = DecodeLimits {
        max_pixels: limits.max_pixels,
        max_scans: MOST_SCANS,
        ..DecodeLimits::default() // 65500 pixels along each side, as libjpeg
    };
    // Reads headers only, and takes no memory for pixels.
    let mut decoder = Decoder::new_with_limits(bytes, accepted).map_err(|e| failed(&e))?;
    let frame = decoder.header();
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    let (components, precision) = (frame.components.len(), frame.precision);
    // A bomb is a better explanation than the missing end.
    check_size((width, height), limits)?;
    if !reaches_its_end(bytes) {
        return Err(ImageError::Truncated { format: FORMAT, missing: "no end-of-image marker" });
    }
    let unsupported = |reason| ImageError::Decode { format: FORMAT, reason };
    if precision != 8 {
        return Err(unsupported(format!("{precision} bits per sample, and 8 are supported")));
    }
    if !matches!(components, 1 | 3 | 4) {
        return Err(unsupported(format!("{components} channels, and 1, 3 or 4 are supported")));
    }
    check_bytes(u64::from(width) * u64::from(height) * components as u64, limits)?;

    // Unreadable metadata says nothing about the pixels.
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    let data = if components == 4 {
        decode_cmyk(decoder)?
    } else {
        decoder.set_output_format(PixelFormat::Rgb);
        decoder.set_block_smoothing(true);
        decoder.decode_image().map_err(|e| failed(&e))?.into_vec()
    };
    oriented(width, height, data, orientation.unwrap_or(Orientation::NoTransforms))
        .ok_or_else(|| unsupported("pixels do not fill the picture".into()))
}

fn failed(error: &JpegError) -> ImageError {
    match error {
        // Of a segment or of the entropy-coded data; the file may still end properly.
        JpegError::UnexpectedEof => {
            ImageError::Truncated { format: FORMAT, missing: "its data ends too early" }
        }
        other => unreadable(FORMAT, &other.to_string()),
    }
}

/// Refused are factors that are no whole numbers, as by libjpeg, and lossless files.
fn decode_cmyk(decoder: Decoder<'_>) -> Result<Vec<u8>, ImageError> {
    let unsupported = |what: &str| ImageError::Decode { format: FORMAT, reason: format!("CMYK {what}") };
    let ycc = decoder.jpeg_color_space() == ColorSpace::Ycck;
    let frame = decoder.header();
    if frame.is_lossless {
        return Err(unsupported("without loss"));
    }
    let (width, height) = (usize::from(frame.width), usize::from(frame.height));
    let sampling = frame.components.iter();
    let sampling: Vec<_> =
        sampling.map(|c| [c.horizontal_sampling, c.vertical_sampling].map(usize::from)).collect();
    let most: [usize; 2] = std::array::from_fn(|axis| sampling.iter().map(|s| s[axis]).max().unwrap_or(1));
    if sampling.iter().any(|s| (0..2).any(|axis| !most[axis].is_multiple_of(s[axis]))) {
        return Err(unsupported("with fractional subsampling"));
    }

    let raw = decoder.decode_raw().map_err(|e| failed(&e))?;
    let planes = raw.planes.into_iter().zip(&raw.plane_widths).zip(&sampling);
    let planes: Vec<Plane> = planes
        .map(|((samples, &stride), &[h, v])| Plane {
            samples,
            stride,
            size: ((width * h).div_ceil(most[0]), (height * v).div_ceil(most[1])),
            factor: (most[0] / h, most[1] / v),
        })
        .collect();
    let planes = planes.try_into().map_err(|_| unsupported("without four planes"))?;
    Ok(inverted_to_rgb(&planes, ycc, (width, height)))
}

/// Whether the markers of a JPEG lead to its end-of-image marker. Segments are stepped over by their
/// length, so the end of an embedded thumbnail does not count.
fn reaches_its_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    // Without a length: stuffed byte, TEM, restart markers, start of image.
    let stands_alone = |marker: u8| matches!(marker, 0x00 | 0x01 | 0xD0..=0xD8);
    let mut at = 2;
    loop {
        // The next 0xFF followed by something else than 0xFF. Entropy-coded data holds only stuffed
        // bytes and restart markers, which stand alone, so it is crossed by the same rule.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xFF)) else {
            return false;
        };
        at += found + 1;
        let Some(&marker) = bytes.get(at) else { return false };
        match marker {
            0xFF => {} // fill byte: look again from here
            END => return true,
            _ if stands_alone(marker) => at += 1,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { return false };
                let length = usize::from(u16::from_be_bytes([high, low]));
                at += 1 + length;
            }
        }
    }
}
