//! Files of sound.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::{RATES, Sound, SoundError, SoundLimits, wav};

/// Reads and decodes a file of sound. Every error names the path.
///
/// # Errors
/// When it cannot be read, is above the limits, or is no sound.
pub fn open_sound(path: impl AsRef<Path>, limits: &SoundLimits) -> Result<Sound, SoundError> {
    let path = path.as_ref();
    read_file(path, limits).and_then(|bytes| decode_sound(bytes, limits)).map_err(|error| error.in_file(path))
}

fn read_file(path: &Path, limits: &SoundLimits) -> Result<Vec<u8>, SoundError> {
    // Asked before opening: opening a named pipe would wait for a writer.
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(std::io::Error::other("it is no regular file").into());
    }
    let mut bytes = Vec::new();
    // No more than a byte beyond the limit, so that what is too long is seen.
    File::open(path)?.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Decodes a sound held in memory: WAV, FLAC, MP3, Ogg Vorbis, or AAC in MP4. Its channels are averaged.
///
/// # Errors
/// When it is above the limits, or no sound.
pub fn decode_sound(bytes: Vec<u8>, limits: &SoundLimits) -> Result<Sound, SoundError> {
    if bytes.is_empty() {
        return Err(SoundError::Empty);
    }
    if bytes.len() as u64 > limits.max_bytes {
        let (bytes, max_bytes) = (bytes.len() as u64, limits.max_bytes);
        return Err(SoundError::TooManyBytes { bytes, max_bytes });
    }
    let decode = || match wav::open(&bytes) {
        Some(Ok(reader)) => wav::read(reader, limits),
        // A WAV of a coding that is no plain number, perhaps.
        Some(Err(error)) => other(&bytes, limits).map_err(|_| error),
        None => other(&bytes, limits),
    };
    // Decoders of many formats meet much that nobody has tried on them.
    let sound = catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(SoundError::Decode { reason: "it made the decoder panic".to_owned() }))?;
    if sound.samples.is_empty() {
        return Err(SoundError::NoSamples);
    }
    match sound.samples.iter().find(|sample| !sample.is_finite()) {
        Some(&value) => Err(SoundError::NotFinite { value }),
        None => Ok(sound),
    }
}

/// Samples that are decoded at most.
pub(super) fn most_samples(rate: u32, limits: &SoundLimits) -> Result<u64, SoundError> {
    if !RATES.contains(&rate) {
        return Err(SoundError::Rate { rate });
    }
    Ok(limits.max_seconds.saturating_mul(u64::from(rate)))
}

/// The mean of the channels, added to `samples`.
pub(super) fn mix(interleaved: &[f32], channels: usize, samples: &mut Vec<f32>) {
    let frames = interleaved.chunks_exact(channels.max(1));
    samples.extend(frames.map(|frame| frame.iter().sum::<f32>() / frame.len() as f32));
}

fn other(bytes: &[u8], limits: &SoundLimits) -> Result<Sound, SoundError> {
    let damaged = |error: Error| SoundError::Decode { reason: error.to_string() };
    let source =
        MediaSourceStream::new(Box::new(Cursor::new(bytes.to_vec())), MediaSourceStreamOptions::default());
    let (format, metadata) = (FormatOptions::default(), MetadataOptions::default());
    let probed = symphonia::default::get_probe().probe(&Hint::new(), source, format, metadata);
    let mut format = probed.map_err(|_| {
        let first: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        SoundError::UnknownFormat { found: format!("first bytes {}", first.join(" ")) }
    })?;
    let track = format.default_track(TrackType::Audio).ok_or(SoundError::NoTrack)?;
    let track_id = track.id;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
        return Err(SoundError::NoTrack);
    };
    let codecs = symphonia::default::get_codecs();
    let mut decoder =
        codecs.make_audio_decoder(parameters, &AudioDecoderOptions::default()).map_err(damaged)?;
    let (mut rate, mut samples, mut interleaved) = (None, Vec::new(), Vec::new());
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => return Err(damaged(error)),
        };
        if packet.track_id != track_id {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            // An MP3 that was cut out of another begins with packets that refer to what is not there.
            Err(Error::DecodeError(_)) if samples.is_empty() => continue,
            Err(error) => return Err(damaged(error)),
        };
        let spec = decoded.spec();
        let (found, channels) = (spec.rate(), spec.channels().count());
        if *rate.get_or_insert(found) != found {
            return Err(SoundError::Decode { reason: "its rate changes in the middle".to_owned() });
        }
        decoded.copy_to_vec_interleaved(&mut interleaved);
        mix(&interleaved, channels, &mut samples);
        if samples.len() as u64 > most_samples(found, limits)? {
            return Err(SoundError::TooLong { max_seconds: limits.max_seconds });
        }
    }
    Ok(Sound { rate: rate.ok_or(SoundError::NoSamples)?, samples })
}
