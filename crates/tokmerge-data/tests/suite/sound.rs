//! Sounds: formats, rates, and spectra against those of torchaudio and TensorFlow.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "says what was skipped and measured")]

use crate::common::{Tensors, material};
use hound::{SampleFormat, WavSpec, WavWriter};
use std::f64::consts::TAU;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use tokmerge_data::sound::{LogMel, Sound, SoundLimits, SoundProcessor, decode_sound, open_sound};

fn worst(actual: impl IntoIterator<Item = f64>, expected: &[f32]) -> f64 {
    let actual: Vec<f64> = actual.into_iter().collect();
    assert_eq!(actual.len(), expected.len());
    actual.iter().zip(expected).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sound").join(name)
}

/// Two tones as `fixtures/sound.py` makes them, mixed.
fn tones(rate: u32, count: usize) -> Vec<f64> {
    let tone = |hz: f64, at: usize| (TAU * hz * at as f64 / f64::from(rate)).sin();
    (0..count).map(|at| (0.5 * tone(440.0, at) + 0.25 * tone(1000.0, at)) / 2.0).collect()
}

#[test]
fn filter_banks_are_those_of_torchaudio() {
    let (Some(folder), Some(clips)) = (material("families/audio_frontend"), material("speech_commands"))
    else {
        eprintln!("SKIPPED: families/audio_frontend or speech_commands is not in ../shared/material");
        return;
    };
    let golden = Tensors::open(&folder.join("fbank.safetensors"));
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut sounds: Vec<(String, Sound)> = config["clips"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(number, clip)| {
            let path = clips.parent().unwrap().join(clip["path"].as_str().unwrap());
            let mut sound = open_sound(path, &SoundLimits::default()).unwrap();
            sound.samples.truncate(clip["samples"].as_u64().unwrap() as usize);
            (format!("clip{number}"), sound)
        })
        .collect();
    sounds.push(("silence".to_owned(), Sound { rate: 16_000, samples: vec![0.0; 2000] }));
    let mut largest: f64 = 0.0;
    for (name, sound) in sounds {
        let mean =
            sound.samples.iter().map(|&sample| f64::from(sample)).sum::<f64>() / sound.samples.len() as f64;
        let centred = sound.samples.iter().map(|sample| sample - mean as f32).collect();
        let spectra = LogMel::kaldi().of(&Sound { samples: centred, ..sound.clone() }).unwrap();
        largest = largest.max(worst(spectra, &golden.f32(&format!("{name}.fbank"))));
        for (kind, frames, mean, std) in [
            ("audioset_128", 128, -4.267_739_3, 4.568_997_4),
            ("audioset_64", 64, -4.267_739_3, 4.568_997_4),
            ("speechcommands_128", 128, -6.845_978, 5.565_452_6),
        ] {
            let tensor = format!("{name}.input_{kind}");
            if golden.has(&tensor) {
                let own = SoundProcessor::audio_mae().with_size((frames, 128));
                let input = own.with_statistics(Some(mean), Some(std)).prepare(sound.clone()).unwrap();
                largest = largest.max(worst(input.into_iter().map(f64::from), &golden.f32(&tensor)));
            }
        }
    }
    println!("filter banks: at most {largest:.1e} from torchaudio's");
    assert!(largest < 1e-3, "{largest}");
}

#[test]
fn cepstra_are_those_of_the_keyword_transformer() {
    let (Some(folder), Some(clips)) = (material("kwt1"), material("speech_commands")) else {
        eprintln!("SKIPPED: kwt1 or speech_commands is not in ../shared/material");
        return;
    };
    let features = Tensors::open(&folder.join("golden_kwt1.safetensors")).f32("features");
    let names = std::fs::read_to_string(folder.join("golden_kwt1_names.txt")).unwrap();
    let processor = SoundProcessor::keyword_transformer();
    let (frames, values) = processor.shape();
    assert_eq!((frames, values), (98, 40));
    let (mut largest, mut compared): (f64, _) = (0.0, 0);
    for (name, expected) in names.lines().zip(features.chunks_exact(frames * values)) {
        let sound = match name {
            "-" => continue,
            "zeros" => Sound { rate: 16_000, samples: vec![0.0; 16_000] },
            name => open_sound(clips.join(name), &SoundLimits::default()).unwrap(),
        };
        let input = processor.prepare(sound).unwrap();
        largest = largest.max(worst(input.into_iter().map(f64::from), expected));
        compared += 1;
    }
    println!("cepstra of {compared} clips: at most {largest:.1e} from TensorFlow's, of values up to 350");
    assert!(compared > 50 && largest < 2e-3, "{compared} clips, {largest}");
}

fn wav(spec: WavSpec, frames: usize) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
    let full = 2_f64.powi(i32::from(spec.bits_per_sample) - 1);
    for at in 0..frames {
        for channel in 0..spec.channels {
            let value = f64::from(channel + 1) * 0.0625 * (at % 3) as f64 - 0.25;
            match spec.sample_format {
                SampleFormat::Float => writer.write_sample(value as f32).unwrap(),
                SampleFormat::Int => writer.write_sample((value * full) as i32).unwrap(),
            }
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

fn spec(bits_per_sample: u16, channels: u16) -> WavSpec {
    let sample_format = if bits_per_sample == 0 { SampleFormat::Float } else { SampleFormat::Int };
    WavSpec { channels, sample_rate: 8000, bits_per_sample: bits_per_sample.max(8), sample_format }
}

#[test]
fn wavs_of_every_width_and_any_number_of_channels_are_averaged() {
    for bits in [8, 16, 24, 32, 0] {
        for channels in [1, 2, 6] {
            let mut spec = spec(bits, channels);
            if bits == 0 {
                spec.bits_per_sample = 32;
            }
            let sound = decode_sound(wav(spec, 7), &SoundLimits::default()).unwrap();
            assert_eq!((sound.rate, sound.samples.len()), (8000, 7), "{spec:?}");
            for (at, &sample) in sound.samples.iter().enumerate() {
                let mean = f64::from(channels + 1) / 2.0 * 0.0625 * (at % 3) as f64 - 0.25;
                assert!((f64::from(sample) - mean).abs() < 1e-6, "{spec:?}: {sample} instead of {mean}");
            }
        }
    }
}

#[test]
fn other_formats_hold_the_same_tones() {
    let expected = tones(22_050, 11_025);
    // MP3 and Vorbis lose a little, A-law more.
    for (name, within) in [
        ("stereo.flac", 1e-4),
        ("stereo.ogg", 0.03),
        ("stereo.mp3", 0.03),
        ("alaw.wav", 0.02),
        ("double.wav", 1e-6),
    ] {
        let sound = open_sound(fixture(name), &SoundLimits::default()).unwrap();
        assert_eq!(sound.rate, 22_050, "{name}");
        let count = sound.samples.len();
        let wanted = if name.ends_with(".wav") { 2205 } else { 11_025 };
        assert!(count.abs_diff(wanted) < 2400, "{name}: {count} samples");
        // An encoder may put silence in front.
        let shift = (0..2400.min(count)).map(|shift| {
            let pairs = sound.samples[shift..].iter().zip(&expected).skip(100).take(1500);
            pairs.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
        });
        let error = shift.fold(f64::MAX, f64::min);
        assert!(error < within, "{name}: {error}");
    }
}

#[test]
fn any_rate_becomes_the_model_s() {
    for rate in [8000, 11_025, 22_050, 44_100, 48_000, 96_000, 15_999] {
        let samples: Vec<f32> = tones(rate, rate as usize).into_iter().map(|sample| sample as f32).collect();
        let sound = Sound { rate, samples }.at_rate(16_000);
        assert_eq!(sound.rate, 16_000);
        assert!(sound.samples.len().abs_diff(16_000) <= 1, "{rate}: {} samples", sound.samples.len());
        let expected = tones(16_000, 16_000);
        let inside = sound.samples.iter().zip(expected).skip(500).take(15_000);
        let error = inside.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(error < 2e-3, "{rate}: {error}");
    }
}

#[test]
fn what_is_no_sound_is_refused_in_one_line() {
    let limits = SoundLimits { max_seconds: 2, max_bytes: 1 << 20 };
    let good = wav(spec(16, 1), 100);
    let refused = |bytes: Vec<u8>, expected: &str| {
        let text = decode_sound(bytes, &limits).expect_err(expected).to_string();
        assert!(text.contains(expected) && !text.contains('\n') && text.len() < 300, "{expected}: {text}");
    };
    refused(Vec::new(), "is empty (0 bytes)");
    refused(b"a text".to_vec(), "is not a WAV, FLAC, MP3");
    refused(wav(spec(16, 1), 0), "holds no samples");
    refused(wav(spec(16, 1), 16_001), "longer than 2 s");
    refused(vec![0; (1 << 20) + 1], "above the limit of 1048576");
    refused(good[..100].to_vec(), "is damaged or unsupported");
    refused(good[..30].to_vec(), "is damaged or unsupported");
    let rate = |rate: u32| {
        [&good[..24], &rate.to_le_bytes(), &(rate.wrapping_mul(2)).to_le_bytes(), &good[32..]].concat()
    };
    refused(rate(10), "has 10 samples per second");
    refused(rate(4_000_000), "has 4000000 samples per second");
    let mut float = wav(WavSpec { bits_per_sample: 32, ..spec(0, 1) }, 10);
    let end = float.len();
    float[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(float, "holds a sample that is NaN");
    let short = SoundProcessor::audio_mae().prepare(Sound { rate: 16_000, samples: vec![0.0; 399] });
    assert!(short.unwrap_err().to_string().contains("has 399 samples at 16000 Hz, and a frame takes 400"));
    let missing = open_sound("no/such.wav", &limits).unwrap_err().to_string();
    assert!(missing.starts_with("no/such.wav: cannot be read"), "{missing}");
    let folder = open_sound(env!("CARGO_MANIFEST_DIR"), &limits).unwrap_err().to_string();
    assert!(folder.contains("no regular file"), "{folder}");
}
