//! Every folder of the material, tiny models as people have them, against what its own library computes, from the same
//! pixels: unmerged and with two tokens merged in every block.

use crate::common::{self, integers, material};
use burn::tensor::{Device, Tensor};
use serde_json::Value;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::{Checkpoint, TensorView};
use tokmerge_merge::{Method, Positions, Reduction};
use tokmerge_models::{
    AxisOrder, Config, Frequencies, InputShape, Model, ModelOptions, Output, Pass, Weights,
};

const TOLERANCE: f32 = 1e-4;

#[test]
fn every_folder_opens_and_agrees_with_its_library() {
    let Some(folders) = material("folders") else { return };
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folders).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.join("golden.safetensors").is_file());
    paths.sort();
    assert!(paths.len() > 40, "{} folders", paths.len());
    let (mut table, mut wrong, mut seen) = (String::new(), 0, 0);
    for path in &paths {
        let name = path.file_name().expect("a name").to_string_lossy();
        seen += 1;
        let said = catch_unwind(AssertUnwindSafe(|| compare(path)));
        let said = said.unwrap_or_else(|_| Err("panics".into()));
        if let Err(reason) = said {
            wrong += 1;
            writeln!(table, "  {name}: {reason}").expect("a string grows");
        }
    }
    assert!(wrong == 0, "{} of {seen} folders agree; the others:\n{table}", seen - wrong);
}

/// One folder; what disagrees.
fn compare(folder: &Path) -> Result<(), String> {
    let golden = Checkpoint::open(folder.join("golden.safetensors")).map_err(|error| error.to_string())?;
    let text = std::fs::read_to_string(folder.join("expected.json")).map_err(|error| error.to_string())?;
    let expected: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let model = open(folder, &expected)?;
    let pixels = input(&golden, &model)?;
    let mut wrong =
        disagreement(model.config(), &run(&model, pixels.clone(), &Reduction::none()), &golden, "unmerged");
    let tome: Method = "tome:r=2".parse().expect("a method");
    let variants: Vec<&String> =
        expected["merged"].as_object().into_iter().flat_map(|map| map.keys()).collect();
    match (model.bind(&tome), variants.is_empty()) {
        (Ok(_), true) => wrong.push("merges, which cannot be right".to_owned()),
        (Err(_), true) => {}
        (Err(error), false) => wrong.push(format!("refuses to merge: {error}")),
        (Ok(reduction), false) => {
            let output = run(&model, pixels, &reduction);
            let by_variant: Vec<Vec<String>> = variants
                .iter()
                .map(|variant| disagreement(model.config(), &output, &golden, &prefix(variant)))
                .collect();
            if by_variant.iter().all(|wrong| !wrong.is_empty()) {
                wrong.extend(by_variant.into_iter().flatten());
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
}

/// What the library's model gets, as ours takes it.
fn input(golden: &Checkpoint, model: &Model) -> Result<Vec<f32>, String> {
    let given = expected_input(golden).ok_or("golden.safetensors has no input")?;
    let values = given.to_f32().map_err(|error| error.to_string())?.into_owned();
    match (model.input(), given.shape) {
        // Rows are frames there, and frequencies here.
        (InputShape::Image { size: (mels, frames), .. }, &[items, rows, columns]) => {
            if (rows, columns) != (frames, mels) {
                return Err(format!("takes {frames}x{mels}, the input is {:?}", given.shape));
            }
            let turned = |item: usize| {
                (0..mels * frames).map(move |at| item * mels * frames + at % frames * mels + at / frames)
            };
            Ok((0..items).flat_map(turned).map(|from| values[from]).collect())
        }
        (InputShape::Image { channels, size: (height, width) }, shape)
            if shape[1..] != [channels, height, width] =>
        {
            Err(format!("takes {channels}x{height}x{width}, the pixels are {shape:?}"))
        }
        // Colours are within frames there, and frames within colours here.
        (InputShape::Clip { channels, frames, size: (height, width) }, shape) => {
            if shape[1..] != [frames, channels, height, width] {
                return Err(format!("takes {channels}x{frames}x{height}x{width}, the input is {shape:?}"));
            }
            let plane = height * width;
            let planes = (0..shape[0] * channels * frames).map(|at| {
                let (item, channel, frame) = (at / (channels * frames), at / frames % channels, at % frames);
                (item * frames + frame) * channels + channel
            });
            Ok(planes.flat_map(|from| values[from * plane..][..plane].to_vec()).collect())
        }
        _ => Ok(values),
    }
}

fn expected_input(golden: &Checkpoint) -> Option<TensorView<'_>> {
    ["pixels", "input_values", "pixel_values"].iter().find_map(|name| golden.get(name))
}

/// How a variant's tensors begin.
fn prefix(variant: &str) -> String {
    if variant == "default" { "merged".to_owned() } else { format!("merged.{variant}") }
}

/// The model as its user has it, without what was computed with it.
fn open(folder: &Path, expected: &Value) -> Result<Model, String> {
    let copy = tempfile::tempdir().map_err(|error| error.to_string())?;
    for entry in std::fs::read_dir(folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().expect("a name");
        if name != "golden.safetensors" && name != "expected.json" {
            std::fs::copy(&path, copy.path().join(name)).map_err(|error| error.to_string())?;
        }
    }
    let mut options = ModelOptions::new(format!("local-dir:{}", copy.path().display()));
    let arguments: Vec<&str> =
        expected["arguments"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(at) = arguments.iter().position(|argument| *argument == "--weights") {
        let path = arguments[at + 1].replace("{folder}", &copy.path().display().to_string());
        options.weights = Weights::File(path.into());
    }
    Model::open(&options, &Device::flex()).map_err(|error| format!("does not open: {error}"))
}

fn run(model: &Model, pixels: Vec<f32>, reduction: &Reduction) -> Output {
    model.run(pixels, Pass::new(reduction))
}

/// What differs from the golden tensors whose names begin with `run`, and by how much.
fn disagreement(config: &Config, output: &Output, golden: &Checkpoint, run: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut floats = |what: &str, actual: Vec<f32>| {
        let expected = stacked(golden, &format!("{run}.{what}"), common::floats);
        let Some(expected) = expected else { return };
        let error = |(a, b): (&f32, &f32)| (a - b).abs() / (1.0 + b.abs());
        let worst = actual
            .iter()
            .zip(&expected)
            .map(error)
            .fold(0.0, |a: f32, b| if b > a || b.is_nan() { b } else { a });
        if actual.len() != expected.len() {
            wrong.push(format!("{run}.{what}: {} values instead of {}", actual.len(), expected.len()));
        } else if worst.is_nan() || worst > TOLERANCE {
            wrong.push(format!("{run}.{what}: {worst:.1e}"));
        }
    };
    floats("embedding", values(&output.pooled));
    floats("logits", values(&output.logits));
    if run == "unmerged" {
        return wrong;
    }
    let tokens = &output.tokens;
    floats("sizes", tokens.sizes().to_vec());
    if let Some(Positions::Grid(positions)) = &tokens.positions {
        // The golden positions are those of patches alone.
        let patches = (0..tokens.layout.items()).flat_map(|item| {
            let range = tokens.layout.range(item);
            range.start + tokens.prefix.of(item)..range.end
        });
        floats("positions", patches.flat_map(|row| coordinates(config, positions[row])).collect());
    }
    let plan = output.trace.plan_until(None).expect("something has merged");
    let place: Vec<i32> = (0..tokens.layout.items())
        .flat_map(|item| plan.groups(item).into_iter().map(|group| group.map_or(-1, |group| group as i32)))
        .collect();
    if stacked(golden, &format!("{run}.place"), integers).is_some_and(|expected| place != expected) {
        wrong.push(format!("{run}.place differs"));
    }
    wrong
}

/// Where a patch stands, in what the library measures its axes in.
fn coordinates(config: &Config, [_, y, x]: [f32; 3]) -> [f32; 2] {
    let Config::Vit(config) = config else { panic!("no other family has rotary positions") };
    let rotary = config.positions.rotary.as_ref().expect("tokens have positions because the model rotates");
    let (rows, columns) = config.grid();
    let (rows, columns) = (rows as f32, columns as f32);
    let (order, [y, x]) = match rotary.frequencies {
        Frequencies::Axial { order, offset, reference, .. } => {
            let scale = |side, to: Option<usize>| to.map_or(1.0, |to| to as f32 / side);
            let offset = offset as f32;
            let y = (y + offset) * scale(rows, reference.map(|(rows, _)| rows));
            (order, [y, (x + offset) * scale(columns, reference.map(|(_, columns)| columns))])
        }
        Frequencies::Mixed { order } => (order, [y, x]),
        Frequencies::Normalised { .. } => {
            (AxisOrder::RowsFirst, [(2.0 * y + 1.0) / rows - 1.0, (2.0 * x + 1.0) / columns - 1.0])
        }
    };
    match order {
        AxisOrder::RowsFirst => [y, x],
        AxisOrder::ColumnsFirst => [x, y],
    }
}

fn values(x: &Tensor<2>) -> Vec<f32> {
    x.clone().into_data().iter::<f32>().collect()
}

/// A tensor of both pictures, which is in two where their shapes differ; `None` where there is none.
fn stacked<T>(golden: &Checkpoint, name: &str, read: fn(&Checkpoint, &str) -> Vec<T>) -> Option<Vec<T>> {
    if golden.get(name).is_some() {
        return Some(read(golden, name));
    }
    let parts = [format!("{name}.0"), format!("{name}.1")];
    golden.get(&parts[0])?;
    Some(parts.iter().flat_map(|part| read(golden, part)).collect())
}
