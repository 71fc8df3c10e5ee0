//! From the bytes of a JPEG, PNG, WebP or BMP file to 8-bit RGB.
//!
//! The format is found from the content, never from the name. Width and height are read from the header
//! and compared with [`Limits`] before memory for the pixels is taken, so that a small file that claims a
//! huge picture costs nothing. Of an animation the first frame is taken.
//!
//! Colours become RGB as by Pillow's `convert("RGB")`: gray is repeated, alpha is dropped and not blended,
//! palettes are looked up, and 16-bit samples keep their upper byte. One difference: Pillow clips 16-bit
//! *gray* at 255, which leaves a white picture; here it keeps the upper byte as well. The EXIF orientation
//! is applied unless it is [ignored](ExifOrientation::Ignored).
//!
//! A JPEG gives the very bytes that libjpeg-turbo gives in Pillow, in all sampling layouts. Refused, although
//! Pillow decodes them, are files whose chroma is finer than their luma, and damaged ones: where libjpeg warns
//! and goes on with gray or noise, here is an error. Bytes between segments are skipped by both.
//!
//! Completeness is checked here: a JPEG must reach its end-of-image marker, a WebP must hold the chunks that it
//! announces. Pillow lets pass a JPEG that lacks nothing but that marker; this module does not.

mod cmyk;
mod fast;
mod jpeg;
mod options;
mod planes;
mod turn;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::codecs::{bmp::BmpDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageFormat};

use crate::resample::resize_window;
use crate::transform::Frame;

use turn::turned;

pub use fast::Decode;
pub use options::{DecodeOptions, ExifOrientation, Limits};

/// An 8-bit RGB picture: rows from the top, `data[(y * width + x) * 3 + channel]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height * 3` bytes.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Rgb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rgb {{ {}x{}, {} bytes }}", self.width, self.height, self.data.len())
    }
}

/// Pillow's conversion to gray (mode L), in 16 bits after the point.
pub(crate) fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

/// Why a picture was not decoded. One line each; with the path where there is a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Any of the others, met in a file.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: Box<ImageError>,
    },
    /// The file could not be opened or read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The path names a directory, a pipe or a device.
    #[error("is {found}, not an image file; name a file{way_out}")]
    NotAFile {
        /// What it is.
        found: &'static str,
        /// What to do instead.
        way_out: &'static str,
    },
    /// There are no bytes.
    #[error("is empty (0 bytes), so it holds no image; fetch or write it again")]
    Empty,
    /// The content is of no supported format.
    #[error("is not a JPEG, PNG, WebP or BMP image ({found}); convert it to one of these")]
    UnknownFormat {
        /// What the content looks like.
        found: String,
    },
    /// The header claims more pixels than allowed.
    #[error(
        "is {width}x{height} = {} pixels, above the limit of {max_pixels}; scale it down or raise the limit \
         (`max_pixels` {})", u64::from(*width) * u64::from(*height), u64::from(*width) * u64::from(*height)
    )]
    TooManyPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// [`Limits::max_pixels`].
        max_pixels: u64,
    },
    /// The file, or the pixels in its colour type, need more bytes than allowed.
    #[error(
        "needs {bytes} bytes {what}, above the limit of {max_bytes}; scale it down or raise the byte limit"
    )]
    TooManyBytes {
        /// Bytes needed.
        bytes: u64,
        /// `as a file` or `decoded`.
        what: &'static str,
        /// [`Limits::max_bytes`].
        max_bytes: u64,
    },
    /// Width or height is zero.
    #[error("is {width}x{height}, and an image needs at least one pixel; write it again")]
    NoPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
    },
    /// The file ends before its image does.
    #[error("is a truncated {format} ({missing}); fetch or write it again")]
    Truncated {
        /// `JPEG`, `PNG`, `WebP` or `BMP`.
        format: &'static str,
        /// What was not found.
        missing: &'static str,
    },
    /// The decoder refused the content.
    #[error("is a damaged or unsupported {format} ({reason}); fetch or convert it again")]
    Decode {
        /// `JPEG`, `PNG`, `WebP` or `BMP`.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// Decoding or preprocessing panicked. A [`BatchLoader`](crate::BatchLoader) reports this for all formats,
    /// [`decode_image`] for JPEG.
    #[error("made the decoder panic ({reason}); please report it with the file, and leave it out meanwhile")]
    Panicked {
        /// The panic message.
        reason: String,
    },
    /// The picture was decoded but could not be preprocessed.
    #[error(transparent)]
    Preprocess(#[from] crate::PreprocessError),
}

impl ImageError {
    /// The same error, naming the file.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            already @ Self::InFile { .. } => already,
            source => Self::InFile { path: path.to_path_buf(), source: Box::new(source) },
        }
    }
}

/// Reads and decodes an image file; see [`decode_image`]. Every error names the path.
pub fn open_image(path: impl AsRef<Path>, limits: &Limits) -> Result<Rgb, ImageError> {
    let path = path.as_ref();
    read_file(path, limits).and_then(|bytes| decode_image(&bytes, limits)).map_err(|e| e.in_file(path))
}

/// Reads to the end and decodes an image that comes as a stream.
///
/// # Errors
/// When it cannot be read, has more bytes than [`Limits::max_bytes`], or is no image.
pub fn read_image(source: impl Read, limits: &Limits) -> Result<Rgb, ImageError> {
    decode_image(&read_to_end(source, limits)?, limits)
}

/// No more than a byte beyond the limit, so that what is too long is seen.
pub(crate) fn read_to_end(source: impl Read, limits: &Limits) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    source.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn read_file(path: &Path, limits: &Limits) -> Result<Vec<u8>, ImageError> {
    // Asked before opening: opening a named pipe would wait for a writer.
    let found = std::fs::metadata(path)?;
    if found.is_dir() {
        let way_out = " in it, or use it as a dataset folder";
        return Err(ImageError::NotAFile { found: "a directory", way_out });
    }
    if !found.is_file() {
        return Err(ImageError::NotAFile { found: "a pipe, socket or device", way_out: "" });
    }
    let too_large =
        |bytes| ImageError::TooManyBytes { bytes, what: "as a file", max_bytes: limits.max_bytes };
    if found.len() > limits.max_bytes {
        return Err(too_large(found.len()));
    }
    // The file may grow while it is read.
    let bytes = read_to_end(File::open(path)?, limits)?;
    if bytes.len() as u64 > limits.max_bytes {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// Decodes an image held in memory.
///
/// Damage is an error where it shows: in a JPEG, a changed bit may well lead to other valid data, and there is
/// no checksum. Memory stays within a small multiple of [`Limits::max_bytes`].
pub fn decode_image(bytes: &[u8], limits: &Limits) -> Result<Rgb, ImageError> {
    decode_whole(bytes, &DecodeOptions::from(*limits))
}

fn decode_whole(bytes: &[u8], options: &DecodeOptions) -> Result<Rgb, ImageError> {
    let limits = &options.limits;
    check_file(bytes, limits)?;
    let reader = Cursor::new(bytes);
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(bytes, options),
        Ok(ImageFormat::Png) => {
            // The PNG decoder takes memory for a row before it tells the size.
            if let Some(size) = png_size(bytes) {
                check_size(size, limits)?;
            }
            let decoder = PngDecoder::with_limits(reader, decoder_limits(limits));
            decode("PNG", decoder.map_err(|e| failed("PNG", &e))?, options)
        }
        Ok(ImageFormat::WebP) => {
            if !webp_holds_its_chunks(bytes) {
                return Err(ImageError::Truncated {
                    format: "WebP",
                    missing: "a chunk ends beyond the file",
                });
            }
            decode("WebP", WebPDecoder::new(reader).map_err(|e| failed("WebP", &e))?, options)
        }
        Ok(ImageFormat::Bmp) => {
            decode("BMP", BmpDecoder::new(reader).map_err(|e| failed("BMP", &e))?, options)
        }
        Ok(other) => Err(ImageError::UnknownFormat { found: format!("it looks like {other:?}") }),
        Err(_) => {
            let first: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
            Err(ImageError::UnknownFormat { found: format!("first bytes {}", first.join(" ")) })
        }
    }
}

fn check_file(bytes: &[u8], limits: &Limits) -> Result<(), ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bytes.len() as u64 > limits.max_bytes {
        let (bytes, max_bytes) = (bytes.len() as u64, limits.max_bytes);
        return Err(ImageError::TooManyBytes { bytes, what: "as a file", max_bytes });
    }
    Ok(())
}

fn is_jpeg(bytes: &[u8]) -> bool {
    matches!(image::guess_format(bytes), Ok(ImageFormat::Jpeg))
}

/// An image that will be resized to what `wanted` says of its width and height.
pub(crate) fn decode_for(
    bytes: &[u8],
    options: &DecodeOptions,
    wanted: &dyn Fn([usize; 2]) -> [usize; 2],
) -> Result<Rgb, ImageError> {
    check_file(bytes, &options.limits)?;
    if options.decode == Decode::Fast && is_jpeg(bytes) {
        return jpeg::decode_for(bytes, options, wanted);
    }
    decode_whole(bytes, options)
}

/// An image, resized to the frame of its width and height.
pub(crate) fn decode_framed(
    bytes: &[u8],
    options: &DecodeOptions,
    frame: &dyn Fn([usize; 2]) -> Frame,
) -> Result<(Rgb, Frame), ImageError> {
    check_file(bytes, &options.limits)?;
    if is_jpeg(bytes) {
        return jpeg::decode_framed(bytes, options, frame);
    }
    let picture = decode_whole(bytes, options)?;
    let frame = frame([picture.width, picture.height]);
    Ok((resize_window(&picture, frame.size, frame.window.clone(), frame.interpolation), frame))
}

fn decoder_limits(limits: &Limits) -> image::Limits {
    let mut inner = image::Limits::no_limits();
    inner.max_alloc = Some(limits.max_bytes);
    inner
}

fn check_size((width, height): (u32, u32), limits: &Limits) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::NoPixels { width, height });
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(ImageError::TooManyPixels { width, height, max_pixels: limits.max_pixels });
    }
    Ok(())
}

fn check_bytes(bytes: u64, limits: &Limits) -> Result<(), ImageError> {
    if bytes > limits.max_bytes || usize::try_from(bytes).is_err() {
        return Err(ImageError::TooManyBytes { bytes, what: "decoded", max_bytes: limits.max_bytes });
    }
    Ok(())
}

fn decode(
    format: &'static str,
    mut decoder: impl ImageDecoder,
    options: &DecodeOptions,
) -> Result<Rgb, ImageError> {
    let limits = &options.limits;
    check_size(decoder.dimensions(), limits)?;
    let bytes = decoder.total_bytes();
    check_bytes(bytes, limits)?;
    decoder.set_limits(decoder_limits(limits)).map_err(|e| failed(format, &e))?;
    // Unreadable metadata says nothing about the pixels.
    let orientation = match options.orientation {
        ExifOrientation::Applied => decoder.orientation().unwrap_or(Orientation::NoTransforms),
        ExifOrientation::Ignored => Orientation::NoTransforms,
    };
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let mut data = vec![0; bytes as usize];
    decoder.read_image(&mut data).map_err(|e| failed(format, &e))?;

    let data = to_rgb8(data, color)
        .ok_or_else(|| ImageError::Decode { format, reason: format!("pixels of the type {color:?}") })?;
    turned(width as usize, height as usize, data, orientation)
        .ok_or_else(|| ImageError::Decode { format, reason: "pixels do not fill the picture".into() })
}

/// Samples of 16 bits are in native byte order, as `image` hands them over.
fn to_rgb8(data: Vec<u8>, color: ColorType) -> Option<Vec<u8>> {
    let upper = usize::from(cfg!(target_endian = "little"));
    Some(match color {
        ColorType::Rgb8 => data,
        ColorType::L8 => data.iter().flat_map(|&v| [v; 3]).collect(),
        ColorType::La8 => data.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        ColorType::Rgba8 => data.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        ColorType::L16 => data.chunks_exact(2).flat_map(|p| [p[upper]; 3]).collect(),
        ColorType::La16 => data.chunks_exact(4).flat_map(|p| [p[upper]; 3]).collect(),
        ColorType::Rgb16 => data.chunks_exact(2).map(|p| p[upper]).collect(),
        ColorType::Rgba16 => {
            data.chunks_exact(8).flat_map(|p| [p[upper], p[2 + upper], p[4 + upper]]).collect()
        }
        _ => return None,
    })
}

fn failed(format: &'static str, error: &image::ImageError) -> ImageError {
    if let image::ImageError::IoError(e) = error
        && e.kind() == std::io::ErrorKind::UnexpectedEof
    {
        return ImageError::Truncated { format, missing: "it ends inside the picture" };
    }
    unreadable(format, &error.to_string())
}

fn unreadable(format: &'static str, reason: &str) -> ImageError {
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    if reason.to_ascii_lowercase().contains("unexpected end") {
        return ImageError::Truncated { format, missing: "it ends inside the picture" };
    }
    ImageError::Decode { format, reason }
}

/// Width and height of a PNG, whose first chunk has a fixed place.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    (bytes.get(12..16)? == b"IHDR").then_some((word(16)?, word(20)?))
}

/// Whether every top-level chunk of a WebP, and the RIFF around them, ends inside the file.
fn webp_holds_its_chunks(bytes: &[u8]) -> bool {
    let word = |at: usize| -> Option<u64> {
        Some(u64::from(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?)))
    };
    let len = bytes.len() as u64;
    let Some(riff) = word(4) else { return false };
    let mut at = 12_u64;
    while at + 8 <= len.min(riff + 8) {
        let Some(size) = word(at as usize + 4) else { return false };
        if at + 8 + size > len {
            return false;
        }
        // Chunks are padded to even lengths.
        at += 8 + size + (size & 1);
    }
    // The padding of the last chunk is left out by some writers.
    riff + 8 <= len + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use proptest::prelude::*;

    fn reason(bytes: &[u8]) -> String {
        let text = decode_image(bytes, &Limits::default()).expect_err("must be refused").to_string();
        assert!(!text.contains('\n') && text.len() < 300, "one line: {text}");
        text
    }

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let picture = RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 37 + y * 11) as u8, (x ^ y) as u8, (x * y) as u8])
        });
        if format == ImageFormat::Jpeg {
            use libjpeg_turbo_rs::{PixelFormat::Rgb, Subsampling::S420, compress};
            return compress(&picture, width as usize, height as usize, Rgb, 75, S420).unwrap();
        }
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A PNG of a few dozen bytes whose header claims any size.
    fn png_claiming(width: u32, height: u32) -> Vec<u8> {
        let mut head = b"IHDR".to_vec();
        head.extend(width.to_be_bytes());
        head.extend(height.to_be_bytes());
        head.extend([8, 6, 0, 0, 0]);
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
        bytes.extend(&head);
        bytes.extend(crc32fast::hash(&head).to_be_bytes());
        bytes.extend(b"\0\0\0\0IDAT");
        bytes.extend(crc32fast::hash(b"IDAT").to_be_bytes());
        bytes
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_at_once() {
        let started = std::time::Instant::now();
        let text = reason(&png_claiming(20_000, 20_000));
        assert!(text.contains("20000x20000") && text.contains("100000000"), "{text}");
        assert!(text.contains("`max_pixels` 400000000"), "{text}");
        assert!(reason(&png_claiming(u32::MAX >> 1, u32::MAX >> 1)).contains("`max_pixels`"));
        assert!(reason(&png_claiming(u32::MAX >> 1, 1)).contains("`max_pixels`"));
        assert!(reason(&png_claiming(0, 5)).contains("0x5"));
        assert!(started.elapsed().as_millis() < 500);
    }

    #[test]
    fn every_format_has_its_header_checked() {
        let limits = Limits { max_pixels: 99, ..Limits::default() };
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
            let bytes = encoded(10, 10, format);
            let error = decode_image(&bytes, &limits).unwrap_err();
            assert!(matches!(error, ImageError::TooManyPixels { .. }), "{format:?}: {error}");
            let by_bytes = Limits { max_bytes: 299, ..Limits::default() };
            let error = decode_image(&bytes, &by_bytes).unwrap_err();
            assert!(matches!(error, ImageError::TooManyBytes { .. }), "{format:?}: {error}");
            assert_eq!(decode_image(&bytes, &Limits::default()).unwrap().data.len(), 300, "{format:?}");
        }
    }

    #[test]
    fn every_truncation_of_every_format_is_an_error() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
            let bytes = encoded(33, 21, format);
            let whole = decode_image(&bytes, &Limits::default()).unwrap();
            for keep in 0..bytes.len() {
                match decode_image(&bytes[..keep], &Limits::default()) {
                    Err(e) => assert!(!e.to_string().contains('\n')),
                    // A PNG may lack its empty last chunk, a WebP its padding: nothing of the picture.
                    Ok(got) => assert!(got == whole && keep + 16 >= bytes.len(), "{format:?} {keep}"),
                }
            }
        }
    }

    #[test]
    fn a_thumbnail_does_not_pass_for_the_end_of_a_jpeg() {
        let mut bytes = encoded(33, 21, ImageFormat::Jpeg);
        let mut segment = vec![0xFF, 0xE1, 0, 10];
        segment.extend([0xFF, 0xD8, 1, 2, 3, 4, 0xFF, 0xD9]);
        bytes.splice(2..2, segment);
        assert!(decode_image(&bytes, &Limits::default()).is_ok());
        bytes.truncate(bytes.len() - 40);
        assert!(reason(&bytes).contains("truncated JPEG"));
    }

    #[test]
    fn what_is_no_image_is_named() {
        assert!(reason(b"").contains("empty"));
        assert!(reason(b"hello, this is text").contains("not a JPEG, PNG, WebP or BMP"));
        assert!(reason(b"GIF89a\x01\0\x01\0").contains("Gif"));
    }

    #[test]
    fn file_errors_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            open_image(&path, &Limits::default()).unwrap_err().to_string()
        };
        assert!(of("text.jpg", b"not an image").contains("text.jpg: is not a JPEG"));
        assert!(of("empty.png", b"").contains("empty.png: is empty"));
        let folder = open_image(dir.path(), &Limits::default()).unwrap_err().to_string();
        assert!(
            folder.contains(&dir.path().display().to_string()) && folder.contains("directory"),
            "{folder}"
        );
        let missing = open_image(dir.path().join("gone.jpg"), &Limits::default()).unwrap_err().to_string();
        assert!(missing.contains("gone.jpg: cannot be read"), "{missing}");
        if cfg!(unix) {
            let device = open_image("/dev/null", &Limits::default()).unwrap_err().to_string();
            assert!(device.contains("a pipe, socket or device"), "{device}");
        }
    }

    #[test]
    fn very_long_and_very_small_images_decode() {
        for (width, height) in [(1, 1), (1, 10_000), (10_000, 1), (2, 1)] {
            for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
                let got = decode_image(&encoded(width, height, format), &Limits::default()).unwrap();
                assert_eq!((got.width, got.height), (width as usize, height as usize), "{format:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..5) {
            let magic: &[u8] = [&b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8 ", b"BM", b""]
                [kind as usize];
            bytes.splice(0..0, magic.iter().copied());
            let _ = decode_image(&bytes, &Limits { max_pixels: 1 << 20, max_bytes: 1 << 24, ..Limits::default() });
        }

        #[test]
        fn flipped_bytes_never_panic(at in any::<proptest::sample::Index>(), value in any::<u8>(), kind in 0..4) {
            let format = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp][kind as usize];
            let mut bytes = encoded(17, 9, format);
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = decode_image(&bytes, &Limits { max_pixels: 1 << 20, max_bytes: 1 << 24, ..Limits::default() });
        }
    }

    #[test]
    fn sixteen_bit_samples_keep_their_upper_byte() {
        let samples: Vec<u8> = [0x12_34_u16, 0xFF_00, 0x00_FF].iter().flat_map(|v| v.to_ne_bytes()).collect();
        assert_eq!(to_rgb8(samples.clone(), ColorType::Rgb16).unwrap(), [0x12, 0xFF, 0x00]);
        assert_eq!(to_rgb8(samples[..4].to_vec(), ColorType::La16).unwrap(), [0x12; 3]);
    }
}
