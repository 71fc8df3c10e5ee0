//! Images for tests, and what becomes of them.

use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokmerge_data::{DecodeOptions, Prepared, Preprocess, Reading};
use tokmerge_embed::{Inputs, Sources, stream};

/// A PNG of one colour.
pub(crate) fn png(gray: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(6, 4, image::Rgb([gray; 3]));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

pub(crate) fn put(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

pub(crate) fn open(paths: &[PathBuf]) -> Inputs {
    Sources { paths: paths.to_vec(), ..Sources::default() }.open().unwrap()
}

/// Key and gray of every image; the reason where there is none.
pub(crate) fn loaded(
    inputs: &Inputs,
    ranges: &[Range<usize>],
    workers: usize,
) -> Vec<(String, Result<u8, String>)> {
    let preprocess = Preprocess { input_size: (2, 2), crop_pct: 1.0, ..Preprocess::default() };
    let reading = Reading { batch_size: 3, workers, decoding: DecodeOptions::default() };
    stream(inputs, ranges, &preprocess.into(), reading, |images| {
        let first = |prepared| match prepared {
            Prepared::Picture(picture) => picture.data[0],
            other => panic!("{other:?} is no picture"),
        };
        Ok(images.map(|image| (image.key, image.prepared.map(first))).collect())
    })
    .unwrap()
}

pub(crate) fn all(inputs: &Inputs) -> Vec<(String, Result<u8, String>)> {
    let whole = 0..inputs.len();
    loaded(inputs, std::slice::from_ref(&whole), 2)
}
