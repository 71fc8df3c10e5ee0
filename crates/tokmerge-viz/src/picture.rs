//! RGB pixels in memory, two of them beside each other, and PNG.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::error::{Error, Result};

/// One colour, 8-bit sRGB.
pub(crate) type Rgb = [u8; 3];

/// Longest side of a picture this crate makes; both sides at it are 800 MB.
const MAX_SIDE: usize = 16_384;

/// Colour of the gap between two pictures.
pub(crate) const GAP: Rgb = [255; 3];

/// An image: 8-bit sRGB, rows from the top, three bytes a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// Wraps interleaved RGB bytes.
    ///
    /// # Errors
    /// When a side is zero, or `rgb` does not hold `width * height * 3` bytes.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        if width == 0 || height == 0 {
            return Err(Error::EmptyPicture { width, height });
        }
        let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
        if expected != Some(rgb.len()) {
            return Err(Error::PixelBytes { width, height, found: rgb.len() });
        }
        Ok(Self { width, height, rgb })
    }

    /// A picture whose pixel at column `x`, row `y` is `color(x, y)`; the sides are not zero.
    pub(crate) fn from_fn(width: usize, height: usize, color: impl Fn(usize, usize) -> Rgb) -> Self {
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            for x in 0..width {
                rgb.extend(color(x, y));
            }
        }
        Self { width, height, rgb }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, `width * height * 3` of them.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixel at column `x`, row `y`.
    ///
    /// # Panics
    /// When `x` or `y` lies outside the picture.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        assert!(x < self.width && y < self.height, "pixel ({x}, {y}) outside {}x{}", self.width, self.height);
        let at = (y * self.width + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// The picture with every pixel `upscale` times as wide and as high.
    ///
    /// # Errors
    /// When it is then larger than this crate makes pictures, or `upscale` is 0.
    pub fn enlarge(&self, upscale: usize) -> Result<Self> {
        let (width, height) = self.enlarged(upscale)?;
        Ok(Self::from_fn(width, height, |x, y| self.pixel(x / upscale, y / upscale)))
    }

    /// Sides after enlarging `upscale` times, checked.
    pub(crate) fn enlarged(&self, upscale: usize) -> Result<(usize, usize)> {
        let side = |pixels: usize| pixels.checked_mul(upscale).filter(|side| (1..=MAX_SIDE).contains(side));
        side(self.width).zip(side(self.height)).ok_or(Error::Upscale {
            width: self.width,
            height: self.height,
            upscale,
            max: MAX_SIDE,
        })
    }

    /// The picture as a PNG file's bytes.
    ///
    /// # Errors
    /// When a side does not fit a PNG header.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (Ok(width), Ok(height)) = (u32::try_from(self.width), u32::try_from(self.height)) else {
            return Err(Error::Upscale {
                width: self.width,
                height: self.height,
                upscale: 1,
                max: u32::MAX as usize,
            });
        };
        let mut png = Vec::new();
        PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
            .write_image(&self.rgb, width, height, ExtendedColorType::Rgb8)
            .map_err(|source| Error::Encode { width: self.width, height: self.height, source })?;
        Ok(png)
    }

    /// Writes the picture as PNG, whatever the path's extension.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        write_file(path, &self.png()?)
    }
}

/// Writes a whole file.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|source| Error::Write { path: path.to_path_buf(), source })
}

/// Puts the original to the left of what was rendered from it, `gap` white pixels apart.
///
/// Where `rendered` was enlarged the original is enlarged with it, pixel by pixel.
///
/// # Errors
/// When `rendered` is not `original` enlarged by a whole number, or the result is larger than this
/// crate makes pictures.
pub fn side_by_side(original: &Picture, rendered: &Picture, gap: usize) -> Result<Picture> {
    let upscale = rendered.width / original.width;
    let (width, height) = (rendered.width, rendered.height);
    if upscale == 0 || (width, height) != (original.width * upscale, original.height * upscale) {
        return Err(Error::NotAMultiple {
            original: (original.width, original.height),
            rendered: (width, height),
        });
    }
    let total = width.saturating_mul(2).saturating_add(gap);
    if total > 2 * MAX_SIDE {
        return Err(Error::Upscale { width: total, height, upscale: 1, max: 2 * MAX_SIDE });
    }
    Ok(Picture::from_fn(total, height, |x, y| match x {
        x if x < width => original.pixel(x / upscale, y / upscale),
        x if x < width + gap => GAP,
        x => rendered.pixel(x - width - gap, y),
    }))
}

/// Puts pictures of one size row by row beside and below each other, `gap` white pixels apart.
///
/// # Errors
/// When there are none, they differ in size, or the result is larger than this crate makes pictures.
pub fn sheet(pictures: &[Picture], columns: usize, gap: usize) -> Result<Picture> {
    let first = pictures.first().ok_or(Error::EmptyPicture { width: 0, height: 0 })?;
    let (width, height) = (first.width, first.height);
    if let Some(other) = pictures.iter().find(|other| (other.width, other.height) != (width, height)) {
        return Err(Error::NotAMultiple { original: (width, height), rendered: (other.width, other.height) });
    }
    let columns = columns.clamp(1, pictures.len());
    let rows = pictures.len().div_ceil(columns);
    let across =
        |count: usize, side: usize| side.saturating_mul(count).saturating_add(gap.saturating_mul(count - 1));
    let total = (across(columns, width), across(rows, height));
    if total.0.max(total.1) > 2 * MAX_SIDE {
        return Err(Error::Upscale { width: total.0, height: total.1, upscale: 1, max: 2 * MAX_SIDE });
    }
    Ok(Picture::from_fn(total.0, total.1, |x, y| {
        let (column, row) = (x / (width + gap), y / (height + gap));
        let (x, y) = (x % (width + gap), y % (height + gap));
        match pictures.get(row * columns + column) {
            Some(picture) if x < width && y < height => picture.pixel(x, y),
            _ => GAP,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(width: usize, height: usize) -> Picture {
        Picture::new(width, height, (0..width * height * 3).map(|i| i as u8).collect()).unwrap()
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused_with_their_values() {
        let empty = Picture::new(0, 3, vec![]).unwrap_err().to_string();
        assert!(empty.contains("0x3"), "{empty}");
        let short = Picture::new(2, 2, vec![0; 11]).unwrap_err().to_string();
        assert!(short.contains("2x2") && short.contains("11"), "{short}");
        assert!(Picture::new(usize::MAX, 2, vec![]).is_err());
    }

    #[test]
    fn png_reads_back_as_the_same_pixels() {
        let picture = counting(5, 3);
        let read = image::load_from_memory(&picture.png().unwrap()).unwrap().into_rgb8();
        assert_eq!((read.width(), read.height()), (5, 3));
        assert_eq!(read.as_raw(), picture.rgb());
    }

    #[test]
    fn side_by_side_enlarges_the_original_to_match() {
        let original = counting(3, 2);
        let rendered = Picture::from_fn(6, 4, |_, _| [7; 3]);
        let both = side_by_side(&original, &rendered, 5).unwrap();
        assert_eq!((both.width(), both.height()), (17, 4));
        assert_eq!(both.pixel(5, 3), original.pixel(2, 1));
        assert_eq!(both.pixel(6, 0), GAP);
        assert_eq!(both.pixel(10, 3), GAP);
        assert_eq!(both.pixel(11, 0), [7; 3]);
        assert_eq!(side_by_side(&original, &original, 0).unwrap().width(), 6);
    }

    #[test]
    fn a_sheet_is_filled_row_by_row() {
        let of = |value: u8| Picture::from_fn(2, 3, move |_, _| [value; 3]);
        let all: Vec<Picture> = (0..5).map(of).collect();
        let sheet = sheet(&all, 3, 1).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (3 * 2 + 2, 2 * 3 + 1));
        for (index, (x, y)) in [(0, 0), (4, 2), (7, 0), (0, 4), (3, 6)].into_iter().enumerate() {
            assert_eq!(sheet.pixel(x, y), [index as u8; 3], "{x}, {y}");
        }
        for (x, y) in [(2, 0), (0, 3), (6, 4)] {
            assert_eq!(sheet.pixel(x, y), GAP, "{x}, {y}");
        }
        assert!(super::sheet(&[], 3, 1).is_err());
        assert!(super::sheet(&[of(1), counting(3, 3)], 3, 1).is_err());
        assert!(super::sheet(&all, 3, usize::MAX).is_err());
    }

    #[test]
    fn side_by_side_refuses_pictures_of_other_shapes() {
        for (width, height) in [(6, 2), (2, 2), (4, 2), (3, 4)] {
            let error = side_by_side(&counting(3, 2), &counting(width, height), 0).unwrap_err().to_string();
            assert!(error.contains(&format!("{width}x{height}")) && error.contains("3x2"), "{error}");
        }
        assert!(side_by_side(&counting(3, 2), &counting(3, 2), usize::MAX).is_err());
    }
}
