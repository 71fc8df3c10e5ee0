//! JPEG as libjpeg-turbo decodes it, and so as Pillow and every evaluation made with it: the accurate integer
//! inverse transform, triangle-filtered chroma, and block smoothing where a progressive file lacks scans.
//! Why this matters: `docs/decisions/0006-jpeg-as-libjpeg-turbo.md`.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};

use crate::loader::message;
use crate::resample::{resize_rows, resize_window, rows_used};
use crate::transform::Frame;

use super::cmyk::inverted_to_rgb;
use super::planes::{Colours, Plane, Planes, Scratch};
use super::turn::turned;
use super::{DecodeOptions, ExifOrientation, ImageError, Rgb, check_bytes, check_size, unreadable};

const FORMAT: &str = "JPEG";

/// Progressive files have about ten. Each costs a pass over the picture, however few bytes it has.
const MOST_SCANS: usize = 100;

/// The whole picture.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Rgb, ImageError> {
    guarded(|| Opened::new(bytes, options)?.whole())
}

/// The picture, reduced as far as the options let it where it will be resized to `wanted` of its size.
pub(super) fn decode_for(
    bytes: &[u8],
    options: &DecodeOptions,
    wanted: &dyn Fn([usize; 2]) -> [usize; 2],
) -> Result<Rgb, ImageError> {
    guarded(|| {
        let mut opened = Opened::new(bytes, options)?;
        match opened.reduced(options.decode.reduction(opened.upright(), wanted(opened.upright()))) {
            Some(picture) => Ok(picture),
            None => opened.whole(),
        }
    })
}

/// What [`decode_for`] gives, resized to the frame of its size; of the pixels in between, only those are made that the
/// frame's window needs.
pub(super) fn decode_framed(
    bytes: &[u8],
    options: &DecodeOptions,
    frame: &dyn Fn([usize; 2]) -> Frame,
) -> Result<(Rgb, Frame), ImageError> {
    guarded(|| {
        let mut opened = Opened::new(bytes, options)?;
        let framed = frame(opened.upright());
        let by = options.decode.reduction(opened.upright(), framed.size);
        if by == 1
            && let Some(layout) = opened.layout()
        {
            let Frame { size, window, interpolation, .. } = framed.clone();
            let rows = rows_used(opened.size, size, window[1].clone(), interpolation);
            let mut planes = opened.planes(&layout, rows)?;
            return Ok((resize_rows(&mut planes, size, window, interpolation), framed));
        }
        let picture = match opened.reduced(by) {
            Some(picture) => picture,
            None => opened.whole()?,
        };
        let framed = frame([picture.width, picture.height]);
        let Frame { size, window, interpolation, .. } = framed.clone();
        Ok((resize_window(&picture, size, window, interpolation), framed))
    })
}

/// A panic is an error: the decoder is young.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|panic| Err(ImageError::Panicked { reason: message(&*panic) }))
}

/// A JPEG whose headers were read and accepted.
struct Opened<'a> {
    decoder: Decoder<'a>,
    /// Width and height, as stored.
    size: [usize; 2],
    components: usize,
    orientation: Orientation,
}

/// Planes that need no more than [`Planes`] can do.
struct Layout {
    colours: Colours,
    /// Pixels along each axis that share a sample, of each plane.
    factors: Vec<(usize, usize)>,
}

impl<'a> Opened<'a> {
    fn new(bytes: &'a [u8], options: &DecodeOptions) -> Result<Self, ImageError> {
        let limits = &options.limits;
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
        if precision != 8 {
            return Err(unsupported(format!("{precision} bits per sample, and 8 are supported")));
        }
        if !matches!(components, 1 | 3 | 4) {
            return Err(unsupported(format!("{components} channels, and 1, 3 or 4 are supported")));
        }
        check_bytes(u64::from(width) * u64::from(height) * components as u64, limits)?;

        // Unreadable metadata says nothing about the pixels.
        let orientation = match options.orientation {
            ExifOrientation::Applied => decoder.exif_data().and_then(Orientation::from_exif_chunk),
            ExifOrientation::Ignored => None,
        };
        decoder.set_output_format(PixelFormat::Rgb);
        decoder.set_block_smoothing(true);
        let size = [width as usize, height as usize];
        Ok(Self { decoder, size, components, orientation: orientation.unwrap_or(Orientation::NoTransforms) })
    }

    /// Width and height after the EXIF turn.
    fn upright(&self) -> [usize; 2] {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        let [width, height] = self.size;
        match self.orientation {
            Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH => [height, width],
            _ => [width, height],
        }
    }

    fn whole(self) -> Result<Rgb, ImageError> {
        let (size, orientation) = (self.size, self.orientation);
        let data = if self.components == 4 {
            decode_cmyk(self.decoder)?
        } else {
            self.decoder.decode_image().map_err(|e| failed(&e))?.into_vec()
        };
        upright(size, data, orientation)
    }

    /// One pixel for `by` along each axis, where that can be decoded; what cannot says why when it is decoded whole.
    fn reduced(&mut self, by: u32) -> Option<Rgb> {
        let scale = ScalingFactor::try_new(1, by).ok().filter(|_| by > 1)?;
        if self.components == 4 || self.decoder.header().is_lossless {
            return None;
        }
        // What is refused as a whole is refused.
        self.factors()?;
        self.decoder.set_scale(scale);
        let reduced = self.decoder.decode_image();
        self.decoder.set_scale(ScalingFactor::default());
        let reduced = reduced.ok()?;
        upright([reduced.width, reduced.height], reduced.into_vec(), self.orientation).ok()
    }

    /// Pixels along each axis that share a sample, of each plane; the first must have a sample for every pixel.
    fn factors(&self) -> Option<Vec<(usize, usize)>> {
        let components = &self.decoder.header().components;
        let sampling = components.iter().map(|c| (c.horizontal_sampling, c.vertical_sampling));
        let most = sampling.clone().fold((1, 1), |(h, v), (h1, v1)| (h.max(h1), v.max(v1)));
        let whole = sampling.clone().all(|(h, v)| most.0.is_multiple_of(h) && most.1.is_multiple_of(v));
        if !whole {
            return None;
        }
        let factors: Vec<_> =
            sampling.map(|(h, v)| (usize::from(most.0 / h), usize::from(most.1 / v))).collect();
        (factors.first() == Some(&(1, 1))).then_some(factors)
    }

    /// Progressive files may lack scans, and are smoothed then.
    fn layout(&self) -> Option<Layout> {
        let frame = self.decoder.header();
        if frame.is_progressive || frame.is_lossless || self.orientation != Orientation::NoTransforms {
            return None;
        }
        let colours = match (self.components, self.decoder.jpeg_color_space()) {
            (1, ColorSpace::Grayscale) => Colours::Grey,
            (3, ColorSpace::Rgb) => Colours::Rgb,
            (3, ColorSpace::YCbCr) => Colours::Ycc,
            _ => return None,
        };
        let factors = self.factors()?;
        let known = match factors[..] {
            [(1, 1)] | [(1, 1), (1, 1), (1, 1)] => true,
            [(1, 1), blue, red] => {
                colours == Colours::Ycc
                    && blue == red
                    && matches!(blue, (2, 1) | (2, 2) | (1, 2))
                    && self.size[0].div_ceil(blue.0) > 2
            }
            _ => false,
        };
        known.then_some(Layout { colours, factors })
    }

    /// The planes, of which only `rows` of the picture are sure to be decoded.
    fn planes(mut self, layout: &Layout, rows: Range<usize>) -> Result<Planes, ImageError> {
        let [width, height] = self.size;
        if rows != (0..height) {
            self.decoder.set_crop_y(rows.start, rows.len());
        }
        let raw = self.decoder.decode_raw().map_err(|e| failed(&e))?;
        let planes = raw.planes.into_iter().zip(&raw.plane_widths).zip(&layout.factors);
        let planes: Vec<Plane> = planes
            .map(|((samples, &stride), &factor)| Plane {
                samples,
                stride,
                size: (width.div_ceil(factor.0), height.div_ceil(factor.1)),
                factor,
            })
            .collect();
        if planes.len() != layout.factors.len() || !planes.iter().all(Plane::holds_its_samples) {
            return Err(unsupported("pixels do not fill the picture".into()));
        }
        let (colours, scratch, chroma) = (layout.colours, Scratch::default(), Default::default());
        Ok(Planes { size: self.size, planes, colours, scratch, chroma })
    }
}

fn upright(size: [usize; 2], data: Vec<u8>, orientation: Orientation) -> Result<Rgb, ImageError> {
    let [width, height] = size;
    turned(width, height, data, orientation)
        .ok_or_else(|| unsupported("pixels do not fill the picture".into()))
}

fn unsupported(reason: String) -> ImageError {
    ImageError::Decode { format: FORMAT, reason }
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
