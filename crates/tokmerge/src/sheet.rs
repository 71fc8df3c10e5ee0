//! Pictures beside and below each other, each whole and in its own shape.

use crate::PictureError;
use std::path::Path;
use tokmerge_checkpoint::AtomicFile;
use tokmerge_data::{Interpolation, Rgb, resize};
use tokmerge_viz::{Error, Picture, sheet};

/// What stands for an image that is not there.
const MISSING: u8 = 200;

/// What is around images that are not square.
const AROUND: u8 = 255;

/// White pixels between images.
const GAP: usize = 4;

/// Writes a contact sheet as PNG: images in squares of `side` pixels, `columns` in a row; gray squares where one is missing.
///
/// # Errors
/// When there are no images, the sheet would be too large, or the file cannot be written.
pub fn contact_sheet(
    images: &[Option<Rgb>],
    side: usize,
    columns: usize,
    path: &Path,
) -> Result<(), PictureError> {
    let tiles: Result<Vec<Picture>, Error> =
        images.iter().map(|image| Picture::new(side, side, tile(image.as_ref(), side))).collect();
    let png = sheet(&tiles?, columns, GAP)?.png()?;
    let written = AtomicFile::replace(path, png);
    Ok(written.map_err(|source| Error::Write { path: path.to_owned(), source })?)
}

/// `side * side` pixels with the image in their middle.
fn tile(image: Option<&Rgb>, side: usize) -> Vec<u8> {
    let Some(image) = image.filter(|image| image.width > 0 && image.height > 0) else {
        return vec![MISSING; side * side * 3];
    };
    let longer = image.width.max(image.height);
    let fit = |length: usize| (length * side).div_ceil(longer).clamp(1, side);
    let small = resize(image, fit(image.width), fit(image.height), Interpolation::Bilinear);
    let mut tile = vec![AROUND; side * side * 3];
    let (left, top) = ((side - small.width) / 2, (side - small.height) / 2);
    for (y, row) in small.data.chunks_exact(small.width * 3).enumerate() {
        let at = ((top + y) * side + left) * 3;
        tile[at..at + row.len()].copy_from_slice(row);
    }
    tile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_keep_their_shape_and_missing_ones_are_gray() {
        let image = Rgb { width: 8, height: 2, data: vec![10; 48] };
        let tile = |image| tile(image, 4);
        assert_eq!(tile(None), vec![MISSING; 48]);
        let found = tile(Some(&image));
        // One row of the image, the second of four.
        assert_eq!(found[..12], [AROUND; 12]);
        assert_eq!(found[12..24], [10; 12]);
        assert_eq!(found[24..], [AROUND; 24]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sheet.png");
        contact_sheet(&[Some(image), None, None], 4, 2, &path).unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(b"\x89PNG"));
        assert!(contact_sheet(&[], 4, 2, &path).is_err());
    }
}
