//! Images that a small model can tell apart in seconds, and recipes for them.

#![allow(dead_code, reason = "not every test binary uses all of it")]

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
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    Recipe::parse(&text, "a test", &changes).unwrap_or_else(|error| panic!("{error}"))
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
