//! Values, and the rules that they keep.

use anyhow::{Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::error::Error;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use tokmerge::clip::SpatialCrops;
use tokmerge::sound::Silence;
use tokmerge::{CropMode, Decode, Interpolation, Media};

/// One of some names.
pub(crate) fn one_of<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: Error + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("it must be a whole number of at least 1".to_owned()),
    }
}

/// More beginnings than that help nobody and take memory.
pub(crate) fn beams(text: &str) -> Result<usize, String> {
    let allowed = at_least_one(text).ok().filter(|beams| *beams <= 1024);
    allowed.ok_or_else(|| "it must be a whole number from 1 to 1024".to_owned())
}

/// Threads beyond this make a system refuse, or crawl.
pub(crate) fn thread_count(text: &str) -> Result<usize, String> {
    at_least_one(text)
        .ok()
        .filter(|count| *count <= 1024)
        .ok_or_else(|| "it must be from 1 to 1024".to_owned())
}

/// A part of the channels.
pub(crate) fn width(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<f64>().ok());
    let share = percent.map(|percent| percent / 100.0).filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "it must be a share above 0% and up to 100%, such as 75%".to_owned())
}

/// Batches beyond this fit into no memory.
pub(crate) fn batch_size(text: &str) -> Result<usize, String> {
    at_least_one(text)
        .ok()
        .filter(|count| *count <= 65_536)
        .ok_or_else(|| "it must be from 1 to 65536".to_owned())
}

/// A number of images; those of large collections are often known in millions.
pub(crate) fn images(text: &str) -> Result<f64, String> {
    let images = text.parse().ok().filter(|images: &f64| *images >= 1.0 && *images <= 1e15);
    images.ok_or_else(|| "it must be a number from 1 to 1e15, such as 1281167 or 304.4e6".to_owned())
}

pub(crate) fn epochs(text: &str) -> Result<f64, String> {
    let epochs = text.parse().ok().filter(|epochs: &f64| *epochs > 0.0 && *epochs <= 1e6);
    epochs.ok_or_else(|| "it must be above 0 and at most 1000000".to_owned())
}

pub(crate) fn img_size(text: &str) -> Result<(usize, usize), String> {
    const RULE: &str =
        "it must be one side such as 224, or HEIGHTxWIDTH such as 224x320, each from 1 to 16384";
    let side = |text: &str| text.trim().parse().ok().filter(|side| (1..=16384).contains(side)).ok_or(RULE);
    let (height, width) = text.split_once(['x', ',']).unwrap_or((text, text));
    Ok((side(height)?, side(width)?))
}

pub(crate) fn crop_pct(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok().filter(|fraction: &f64| *fraction > 0.0 && *fraction <= 2.0);
    fraction.ok_or_else(|| "it must be above 0 and at most 2; 1.0 keeps the whole shorter edge".to_owned())
}

pub(crate) fn silence(text: &str) -> Result<Silence, String> {
    match text {
        "zeros" => Ok(Silence::Zeros),
        "recorded" => Ok(Silence::Recorded),
        _ => Err("it must be zeros or recorded".to_owned()),
    }
}

/// Items per forward pass where the user does not say: clips are large, and have several views each.
pub(crate) fn batch_of(asked: Option<usize>, usual: usize, media: Media) -> usize {
    asked.unwrap_or(if media == Media::Clip { 1 } else { usual })
}

pub(crate) fn crops(text: &str) -> Result<SpatialCrops, String> {
    match text {
        "1" => Ok(SpatialCrops::Centre),
        "3" => Ok(SpatialCrops::Three),
        _ => Err("it must be 1 or 3".to_owned()),
    }
}

pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= 86_400.0);
    seconds.ok_or_else(|| "it must be above 0 and at most 86400 seconds".to_owned())
}

/// Seconds, or a number with its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const WEEK: f64 = 604_800.0;
    let text = text.trim();
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse().ok().map(|number: f64| number * unit);
    let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= WEEK);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        "it must be seconds, or a number with s, m or h such as 8m; above 0 and at most 7 days".to_owned()
    })
}

pub(crate) fn threshold(text: &str) -> Result<f64, String> {
    let threshold = text.trim().parse().ok().filter(|threshold| (-1.0..=1.0).contains(threshold));
    threshold
        .ok_or_else(|| "a threshold is a cosine from -1 to 1; give one or several, e.g. 0.8,0.9".to_owned())
}

pub(crate) fn crop_mode(text: &str) -> Result<CropMode, String> {
    CropMode::from_name(text).ok_or_else(|| "it must be center, squash, border or shortest".to_owned())
}

pub(crate) fn decode(text: &str) -> Result<Decode, String> {
    Decode::from_name(text).ok_or_else(|| "it must be exact or fast".to_owned())
}

pub(crate) fn interpolation(text: &str) -> Result<Interpolation, String> {
    Interpolation::from_name(text)
        .ok_or_else(|| "it must be bicubic, bilinear, nearest, box, hamming or lanczos".to_owned())
}

/// Refuses a folder or file that does not exist before anything slow happens.
pub(crate) fn must_exist(path: &Path, what: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    bail!("{}: there is no such {what}; check the path", path.display())
}
