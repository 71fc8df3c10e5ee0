//! WAV.

use std::io::Cursor;

use hound::{Error, SampleFormat, WavReader};

use super::read::{mix, most_samples};
use super::{Sound, SoundError, SoundLimits};

/// The samples of a WAV.
pub(super) type Reader<'a> = WavReader<Cursor<&'a [u8]>>;

/// Opens a WAV of whole numbers or floats; `None` for what is no WAV.
pub(super) fn open(bytes: &[u8]) -> Option<Result<Reader<'_>, SoundError>> {
    let is_wav = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE");
    is_wav.then(|| WavReader::new(Cursor::new(bytes)).map_err(|error| damaged(&error)))
}

/// Reads it.
pub(super) fn read(reader: Reader<'_>, limits: &SoundLimits) -> Result<Sound, SoundError> {
    let (spec, frames) = (reader.spec(), reader.duration());
    if u64::from(frames) > most_samples(spec.sample_rate, limits)? {
        return Err(SoundError::TooLong { max_seconds: limits.max_seconds });
    }
    let channels = usize::from(spec.channels);
    let interleaved: Result<Vec<f32>, Error> = match spec.sample_format {
        SampleFormat::Float => reader.into_samples::<f32>().collect(),
        SampleFormat::Int => {
            // The most negative number is -1.
            let scale = 2.0_f64.powi(1 - i32::from(spec.bits_per_sample));
            let samples = reader.into_samples::<i32>();
            samples.map(|sample| Ok((f64::from(sample?) * scale) as f32)).collect()
        }
    };
    let interleaved = interleaved.map_err(|error| damaged(&error))?;
    let mut samples = Vec::new();
    mix(&interleaved, channels, &mut samples);
    Ok(Sound { rate: spec.sample_rate, samples })
}

fn damaged(error: &Error) -> SoundError {
    let reason = error.to_string();
    SoundError::Decode { reason: reason.split_whitespace().collect::<Vec<_>>().join(" ") }
}
