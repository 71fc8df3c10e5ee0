//! Images that a small model can tell apart in seconds, and recipes for them.

use burn::tensor::Device;
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::Checkpoint;
use tokmerge_train::{Recipe, Start, Trainer};

/// A folder of `per_class` images each of falling and rising stripes, 32 pixels wide, in many colours and phases.
pub(crate) fn stripes(root: &Path, per_class: usize) {
    for (name, sign) in [("falling", 1), ("rising", -1)] {
        let dir = root.join(name);
        std::fs::create_dir_all(&dir).expect("a folder");
        for i in 0..per_class {
            let (phase, width) = (i as i32 * 5, 4 + (i as i32) % 3);
            let colour = [60 + (i * 37 % 190) as u8, 60 + (i * 91 % 190) as u8, 60 + (i * 53 % 190) as u8];
            let pixel = |x: u32, y: u32| {
                let stripe = (x as i32 - sign * y as i32 + phase).rem_euclid(2 * width) < width;
                image::Rgb(if stripe { colour } else { [20, 20, 20] })
            };
            image::RgbImage::from_fn(32, 32, pixel).save(dir.join(format!("{i:03}.png"))).expect("an image");
        }
    }
}

/// A recipe for [`stripes`] in `dir/images`, with `changes` as of `--set`.
pub(crate) fn recipe(dir: &Path, changes: &[&str]) -> Recipe {
    let text = format!(
        r#"
        merge = "tome:r=2"
        [model]
        patch_size = 8
        img_size = 32
        embed_dim = 24
        depth = 2
        num_heads = 3
        [data]
        train = "{}"
        split = 0.25
        crop_pct = 1.0
        [schedule]
        lr = 1e-3
        warmup_epochs = 1
        [train]
        epochs = 3
        batch_size = 8
        validate = ["none", "tome:r=2", "tome:r=4"]
        "#,
        dir.join("images").display()
    );
    parsed(&text, changes)
}

/// A WAV file of one second at 8 kHz: tones of these frequencies, softly and from a phase of its own.
pub(crate) fn wav(frequencies: &[f64], phase: f64) -> Vec<u8> {
    let (rate, count) = (8000_u32, 8000_u32);
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"RIFF");
    bytes.extend((36 + 2 * count).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    // PCM, one channel, bytes a second, bytes a sample, bits a sample.
    bytes.extend([1_u16, 1].iter().flat_map(|value| value.to_le_bytes()));
    bytes.extend([rate, 2 * rate].iter().flat_map(|value| value.to_le_bytes()));
    bytes.extend([2_u16, 16].iter().flat_map(|value| value.to_le_bytes()));
    bytes.extend_from_slice(b"data");
    bytes.extend((2 * count).to_le_bytes());
    for at in 0..count {
        let time = f64::from(at) / f64::from(rate);
        let tone = |frequency: &f64| (std::f64::consts::TAU * (frequency * time + phase)).sin();
        let value = 0.2 * frequencies.iter().map(tone).sum::<f64>();
        bytes.extend(((value * 32767.0) as i16).to_le_bytes());
    }
    bytes
}

/// A folder of `per_class` sounds each of low and of high tones.
pub(crate) fn tones(root: &Path, per_class: usize) {
    for (name, frequency) in [("high", 2200.0), ("low", 350.0)] {
        let dir = root.join(name);
        std::fs::create_dir_all(&dir).expect("a folder");
        for i in 0..per_class {
            let sound = wav(&[frequency * (1.0 + 0.02 * i as f64)], 0.13 * i as f64);
            std::fs::write(dir.join(format!("{i:03}.wav")), sound).expect("a sound");
        }
    }
}

/// A recipe for [`tones`] in `dir/sounds`, with everything that is done to sounds in training.
pub(crate) fn sound_recipe(dir: &Path, changes: &[&str]) -> Recipe {
    let text = format!(
        r#"
        merge = "tome:r=8"
        [model]
        name = "kwt_1"
        embed_dim = 24
        depth = 2
        num_heads = 3
        [data]
        train = "{}"
        split = 0.25
        [schedule]
        lr = 3e-3
        warmup_epochs = 1
        [regularisation]
        roll = true
        shift = 0.1
        gain = 6.0
        mixup = 0.4
        spec_augment = {{ frames = 10, mels = 4 }}
        [train]
        epochs = 3
        batch_size = 8
        validate = ["none", "tome:r=8", "tome:r=16"]
        "#,
        dir.join("sounds").display()
    );
    parsed(&text, changes)
}

/// A recipe for clips that are drawn, or lie below `dir`: four frames of 16 pixels.
pub(crate) fn clip_recipe(train: &str, val: &Path, changes: &[&str]) -> Recipe {
    let text = format!(
        r#"
        merge = "tome:r=2"
        [model]
        name = "st_vit_base_patch16_224"
        img_size = 16
        num_frames = 4
        patch_size = 8
        embed_dim = 24
        depth = 2
        num_heads = 3
        [data]
        train = "{train}"
        val = "{}"
        crop_pct = 1.0
        [schedule]
        lr = 1e-3
        [train]
        epochs = 1
        batch_size = 8
        validate = ["none", "tome:r=2"]
        "#,
        val.display()
    );
    parsed(&text, changes)
}

pub(crate) fn parsed(text: &str, changes: &[&str]) -> Recipe {
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    Recipe::parse(text, "a test", &changes).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn start(recipe: Recipe) -> Start {
    Start::open(recipe, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn begin(recipe: &Recipe, dir: &Path) -> Trainer {
    Trainer::new(start(recipe.clone()), dir).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn resume(recipe: &Recipe, dir: &Path) -> Trainer {
    Trainer::resume(start(recipe.clone()), dir).unwrap_or_else(|error| panic!("{error}"))
}

/// The largest difference between two files of weights.
pub(crate) fn distance(one: &Path, other: &Path) -> f32 {
    let open = |path: &Path| Checkpoint::open(path).unwrap_or_else(|error| panic!("{error}"));
    let (one, other) = (open(one), open(other));
    let mut largest = 0.0f32;
    for name in one.names() {
        let values = |of: &Checkpoint| of.get(name).expect("a tensor").to_f32().expect("f32").into_owned();
        let differences = values(&one).into_iter().zip(values(&other)).map(|(a, b)| (a - b).abs());
        largest = differences.fold(largest, f32::max);
    }
    largest
}

/// A file of a run.
pub(crate) fn bytes(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Rows of a CSV file without the times, which are never the same twice.
pub(crate) fn rows(path: PathBuf, columns: usize) -> Vec<Vec<String>> {
    let text = String::from_utf8(bytes(path)).expect("text");
    text.lines().map(|line| line.split(',').take(columns).map(str::to_owned).collect()).collect()
}

/// Test material beside the repository; says loudly when it is not there.
///
/// # Panics
/// When it is not there and `TOKMERGE_REQUIRE` is `material`.
pub(crate) fn material(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/material").join(name);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("TOKMERGE_REQUIRE").is_ok_and(|required| required == "material");
    assert!(!required, "TOKMERGE_REQUIRE is material, and {name} is absent at {}", path.display());
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    {
        eprintln!("SKIPPED: {name} is absent at {}", path.display());
    }
    None
}
