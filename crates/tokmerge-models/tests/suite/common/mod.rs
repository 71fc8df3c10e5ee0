//! Fixtures, random models, and comparing.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokmerge_checkpoint::{Checkpoint, Dtype};
use tokmerge_data::Rgb;
use tokmerge_data::text::{Role, TokenIds};
use tokmerge_merge::{MergerShape, Mergers, Method, Reduction};
use tokmerge_models::{
    Absolute, Batch, BlockConfig, ClassToken, Config, DistillationHead, Input, InputShape, Isa, MlpConfig,
    Model, ModelOptions, Network, NormConfig, NormPlace, Output, Pass, Pool, PositionConfig, Precision,
    QkNorm, QkvBias, Resampling, VitConfig, parameters,
};

/// A file of `fixtures/models`.
pub(crate) fn fixture(name: &str) -> Checkpoint {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models");
    Checkpoint::open(folder.join(format!("{name}.safetensors"))).unwrap_or_else(|error| panic!("{error}"))
}

/// The model that a golden file was computed with, from its metadata.
pub(crate) fn config_of(golden: &Checkpoint) -> VitConfig {
    let config: Value = serde_json::from_str(&golden.metadata()["config"]).expect("JSON");
    let number = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("{key} is a number")) as usize;
    let flag = |key: &str| config[key].as_bool().unwrap_or_else(|| panic!("{key} is a flag"));
    let text = |key: &str| config[key].as_str().unwrap_or_else(|| panic!("{key} is a name"));
    let side = |index: usize| config["img_size"][index].as_u64().expect("height and width") as usize;
    let plain =
        VitConfig::new(number("patch_size"), number("embed_dim"), number("depth"), number("num_heads"));
    let norm = NormConfig { eps: config["norm_eps"].as_f64().expect("a number"), ..plain.block.norm };
    let found = VitConfig {
        img_size: (side(0), side(1)),
        in_chans: number("in_chans"),
        num_classes: number("num_classes"),
        block: BlockConfig {
            mlp: MlpConfig { hidden: number("mlp_dim"), ..plain.block.mlp },
            qkv_bias: if flag("qkv_bias") { QkvBias::All } else { QkvBias::No },
            qk_norm: if flag("qk_norm") { QkNorm::PerHead(norm) } else { QkNorm::No },
            layer_scale: config["layer_scale"].as_f64(),
            norm,
            ..plain.block.clone()
        },
        class_token: match text("class_token") {
            "Absent" => ClassToken::Absent,
            "Single" => ClassToken::Single,
            "Distilled" => ClassToken::Distilled(DistillationHead::Averaged),
            other => panic!("class_token {other}"),
        },
        reg_tokens: number("reg_tokens"),
        pre_norm: flag("pre_norm"),
        patch_bias: !flag("pre_norm"),
        pool: match text("pool") {
            "Token" => Pool::Token,
            "Average" => Pool::Average,
            other => panic!("pool {other}"),
        },
        norm_place: match text("norm_place") {
            "BeforePool" => NormPlace::BeforePool,
            "AfterPool" => NormPlace::AfterPool,
            other => panic!("norm_place {other}"),
        },
        ..plain
    };
    let positioned = if flag("no_embed_class") { 0 } else { found.prefix() };
    let mut positions = PositionConfig::learned(positioned);
    if golden.metadata()["config_json"].contains("model_type")
        && let Absolute::Learned { resampling, .. } = &mut positions.absolute
    {
        *resampling = Resampling::Bicubic;
    }
    VitConfig { positions, ..found }
}

/// The shape of a network that is a Vision Transformer.
pub(crate) fn vit(network: &Network) -> &VitConfig {
    match network.config() {
        Config::Vit(config) => config,
        other => panic!("a Vision Transformer, not {other:?}"),
    }
}

/// A pass through a network of which everything can be read.
pub(crate) fn forward(network: &Network, images: Tensor<4>, reduction: &Reduction) -> Output {
    network.run(Input::Images(images), Pass::new(reduction))
}

/// What a model takes, from as many values per item as its input has, on a device.
pub(crate) fn input(config: &Config, values: &[f32], device: &Device) -> Input {
    let shape = config.shape().input;
    let batch = match shape {
        InputShape::Text { vocabulary, most } => Batch {
            texts: values.chunks_exact(most).map(|text| tokens(text, vocabulary)).collect(),
            ..Batch::default()
        },
        InputShape::Question { vocabulary, .. } | InputShape::ImageQuestion { vocabulary, .. } => {
            let mut batch = Batch::default();
            for values in values.chunks_exact(shape.len()) {
                let (pixels, words) = values.split_at(shape.pixels());
                batch.values.extend_from_slice(pixels);
                if let InputShape::Question { most, .. } = shape {
                    let divides = |rows: &usize| most.is_multiple_of(*rows);
                    let rows = (1..=most.isqrt()).rev().find(divides).expect("1 does");
                    batch.grids.get_or_insert_default().push((rows, most / rows));
                }
                batch.texts.push(tokens(words, vocabulary));
            }
            batch
        }
        _ => Batch::from(values.to_vec()),
    };
    batch.into_input(&shape, device)
}

/// A text in place of pixels, a token per value, the first and the last as a tokenizer adds them.
fn tokens(values: &[f32], vocabulary: usize) -> TokenIds {
    let ids: Vec<u32> =
        values.iter().map(|value| ((value.abs() * 1e3) as usize % vocabulary) as u32).collect();
    let mut text = TokenIds::words(ids);
    text.roles[0] = Role::Class;
    if let Some(last) = text.roles.last_mut() {
        *last = Role::Separator;
    }
    text
}

/// A pass of which only the head's answer is read.
pub(crate) fn predict(network: &Network, images: Tensor<4>, reduction: &Reduction) -> Output {
    network.run(Input::Images(images), Pass::head(reduction))
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

/// The model of a folder.
pub(crate) fn open_on(dir: &Path, device: &Device) -> Model {
    let options = ModelOptions::new(format!("local-dir:{}", dir.display()));
    Model::open(&options, device).unwrap_or_else(|error| panic!("{error}"))
}

/// The same where kernels run.
pub(crate) fn open(dir: &Path) -> Model {
    open_on(dir, &Device::flex())
}

/// The mean cross-entropy over all labels that are not -100. `logits: [T, V]`, `labels: [T]`.
pub(crate) fn cross_entropy(logits: Tensor<2>, labels: &[i32]) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let weight: Vec<f32> = labels.iter().map(|label| if *label < 0 { 0.0 } else { 1.0 }).collect();
    let count: f32 = weight.iter().sum();
    let labels: Vec<i32> = labels.iter().map(|label| (*label).max(0)).collect();
    let device = logits.device();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [rows, 1]), &device);
    let weight = Tensor::<2>::from_data(TensorData::new(weight, [rows, 1]), &device);
    (log_softmax(logits, 1).gather(1, labels) * weight).sum().neg() / count
}

/// A folder of the material: what a reference computed with the model that lies there, or with that of another folder.
pub(crate) struct Golden {
    pub(crate) folder: PathBuf,
    pub(crate) file: Checkpoint,
    pub(crate) expected: Value,
}

impl Golden {
    pub(crate) fn of(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("expected.json")).expect("expected.json");
        let expected = serde_json::from_str(&text).expect("JSON");
        let file = Checkpoint::open(folder.join("golden.safetensors")).expect("a checkpoint");
        Self { folder: folder.to_owned(), file, expected }
    }

    /// How far from a tensor the reference lets an f32 implementation be, where it says so.
    pub(crate) fn asked(&self, name: &str) -> Option<f64> {
        self.expected["tolerances"][name]["ask_abs"].as_f64()
    }

    /// Compares with what is expected under a name.
    pub(crate) fn check_within(&self, tolerance: f64, name: &str, actual: &[f32], expected: &[f32]) {
        let worst = worst_absolute(actual, expected);
        assert!(
            f64::from(worst.error) <= tolerance,
            "{}: {name}: {worst:?}, allowed {tolerance:e}, asked {:?}",
            self.folder.display(),
            self.asked(name)
        );
    }

    /// The questions, without padding.
    pub(crate) fn questions(&self) -> Vec<TokenIds> {
        let (ids, mask) = (integers(&self.file, "input_ids"), integers(&self.file, "attention_mask"));
        let width = self.file.get("input_ids").expect("there").shape[1];
        let rows = ids.chunks(width).zip(mask.chunks(width));
        rows.map(|(ids, mask)| {
            let kept = ids.iter().zip(mask).filter(|(_, mask)| **mask == 1);
            TokenIds::words(kept.map(|(id, _)| *id as u32).collect::<Vec<_>>())
        })
        .collect()
    }

    /// The picture that an item is about.
    pub(crate) fn picture(&self, item: usize) -> Rgb {
        let view = self.file.get(&format!("image.{item}")).expect("there");
        Rgb { height: view.shape[0], width: view.shape[1], data: view.bytes().to_vec() }
    }
}

/// The scoring modules of a file of the material, in front of the blocks where a method has some: of models of two blocks
/// and 32 channels.
pub(crate) fn scoring(method: &Method, names: &str, file: &Checkpoint, device: &Device) -> Mergers {
    let mut mergers = Mergers::new(method, MergerShape { depth: 2, channels: 32, joining: None }, device);
    for (before, merger) in &mut mergers.at {
        *merger = parameters::load(merger.clone(), |path, _| {
            let path = if path.contains('.') { path.to_owned() } else { format!("{path}.weight") };
            Some(floats(file, &format!("{names}.{before}.{path}")))
        });
    }
    mergers
}

/// A gradient: its shape and its values.
pub(crate) type Gradient = (Vec<usize>, Vec<f32>);

/// The gradients of a module's parameters under their paths.
pub(crate) fn gradients_of(module: &impl Module, grads: &Gradients) -> BTreeMap<String, Gradient> {
    struct Collector<'a> {
        grads: &'a Gradients,
        path: Vec<String>,
        found: BTreeMap<String, Gradient>,
    }
    impl ModuleVisitor for Collector<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad(self.grads) {
                self.found.insert(self.path.join("."), (gradient.dims().to_vec(), values(gradient)));
            }
        }
    }
    let mut collector = Collector { grads, path: Vec::new(), found: BTreeMap::new() };
    module.visit(&mut collector);
    collector.found
}

/// A tensor of floats from a fixture.
pub(crate) fn floats(file: &Checkpoint, name: &str) -> Vec<f32> {
    let view = file.get(name).unwrap_or_else(|| panic!("{file:?} has no {name}"));
    view.to_f32().unwrap_or_else(|error| panic!("{error}")).into_owned()
}

/// A tensor of whole numbers from a fixture.
pub(crate) fn integers(file: &Checkpoint, name: &str) -> Vec<i32> {
    let view = file.get(name).unwrap_or_else(|| panic!("{file:?} has no {name}"));
    assert_eq!(view.dtype, Dtype::I32, "{name}");
    view.bytes().as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
}

/// The values of a tensor.
pub(crate) fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("f32")
}

/// Images of a batch on a device.
pub(crate) fn images(pixels: &[f32], shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(pixels.to_vec(), shape), device)
}

/// Standard normal values, the same on every run.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1);
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 + 0.5) / (1u64 << 24) as f32
    };
    (0..count).map(|_| (-2.0 * uniform().ln()).sqrt() * (std::f32::consts::TAU * uniform()).cos()).collect()
}

/// A model whose every parameter is random, the same on every run: nothing stays at an initial 0 or 1, and
/// attention is far from uniform.
pub(crate) fn random(config: &(impl Clone + Into<Config>), seed: u64, device: &Device) -> Network {
    random_but(config, seed, device, |_, _| ())
}

/// A random model, after `change` has seen every parameter's path and values.
pub(crate) fn random_but(
    config: &(impl Clone + Into<Config>),
    seed: u64,
    device: &Device,
    change: impl FnMut(&str, &mut [f32]),
) -> Network {
    random_at(config, Precision::F32, seed, device, change)
}

/// The same, computing its products in a precision.
pub(crate) fn random_at(
    config: &(impl Clone + Into<Config>),
    precision: Precision,
    seed: u64,
    device: &Device,
    change: impl FnMut(&str, &mut [f32]),
) -> Network {
    let config: Config = config.clone().into();
    let model = config.init(precision, device);
    model.map(&mut Randomiser { path: Vec::new(), seed: seed << 16, change })
}

/// The weights of a method, the same for every call.
pub(crate) fn random_mergers(method: &Method, config: &Config, device: &Device) -> Mergers {
    let mergers = Mergers::new(method, config.merger_shape(), device);
    mergers.map(&mut Randomiser { path: Vec::new(), seed: 77 << 16, change: |_: &str, _: &mut [f32]| () })
}

/// The same with numbers that its method has learned by which something merges and something is dropped in most blocks; nothing
/// else about any other.
pub(crate) fn decided(network: Network, device: &Device) -> Network {
    let numbers = parameters::read(network.mergers()).into_iter().map(|(path, mut numbers)| {
        let values = &mut numbers.values;
        match path.rsplit_once('.') {
            Some((place, "merge")) if place.starts_with("thresholds") => values.fill(0.4),
            // Of a dozen tokens each gets a twelfth on average.
            Some((place, "prune")) if place.starts_with("thresholds") => values.fill(0.04),
            // Three quarters and a half of 196.
            Some((place, "prune")) if place.starts_with("rates") => values[49] = 30.0,
            Some((place, "merge")) if place.starts_with("rates") => values[98] = 30.0,
            _ => {}
        }
        (format!("mergers.{path}"), numbers)
    });
    parameters::assign(network, &numbers.collect(), device)
}

struct Randomiser<F> {
    path: Vec<String>,
    seed: u64,
    change: F,
}

impl<F: FnMut(&str, &mut [f32])> ModuleMapper for Randomiser<F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (path, shape) = (self.path.join("."), param.lazy_shape().to_vec());
        let (mean, deviation) = match (path.rsplit('.').next(), shape.as_slice()) {
            (Some("gamma"), _) => (0.5, 0.3),
            (Some("running_var"), _) => (1.0, 0.1),
            (Some("weight"), [_]) => (1.0, 0.2),
            (_, [_]) => (0.0, 0.2),
            (Some("weight"), [_, fan_in @ ..]) => (0.0, (fan_in.iter().product::<usize>() as f32).powf(-0.5)),
            _ => (0.0, 0.5),
        };
        self.seed += 1;
        let mut values = noise(shape.iter().product(), self.seed);
        values.iter_mut().for_each(|value| *value = mean + deviation * *value);
        (self.change)(&path, &mut values);
        let tensor = Tensor::from_data(TensorData::new(values, shape), &param.lazy_device());
        Param::initialized(param.id, tensor.set_require_grad(param.is_require_grad()))
    }
}

/// Where two lists differ most, and by how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worst {
    pub(crate) error: f32,
    pub(crate) index: usize,
}

/// The largest `|actual - expected| / (1 + |expected|)`: relative and absolute at once.
pub(crate) fn worst(actual: &[f32], expected: &[f32]) -> Worst {
    worst_by(actual, expected, |actual, expected| (actual - expected).abs() / (1.0 + expected.abs()))
}

/// The largest `|actual - expected|`.
pub(crate) fn worst_absolute(actual: &[f32], expected: &[f32]) -> Worst {
    worst_by(actual, expected, |actual, expected| (actual - expected).abs())
}

fn worst_by(actual: &[f32], expected: &[f32], error: fn(f32, f32) -> f32) -> Worst {
    assert_eq!(actual.len(), expected.len(), "as many values as expected");
    let errors = actual.iter().zip(expected).map(|(actual, expected)| error(*actual, *expected));
    errors.enumerate().fold(Worst { error: 0.0, index: 0 }, |worst, (index, error)| {
        let error = if error.is_nan() { f32::INFINITY } else { error };
        if error > worst.error { Worst { error, index } } else { worst }
    })
}

/// Runs a test of this binary again under every other instruction set of this CPU.
pub(crate) fn under_other_instruction_sets(test: &str) {
    let this = std::env::current_exe().expect("a test is a program");
    for isa in Isa::available().iter().filter(|isa| **isa != Isa::current()) {
        let mut again = Command::new(&this);
        again.args(["--exact", test, "--nocapture"]).env("TOKMERGE_ISA", isa.to_string());
        let output = again.output().unwrap_or_else(|error| panic!("{error}"));
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "under {isa}:\n{text}");
        #[expect(clippy::print_stdout, reason = "says what was measured")]
        {
            println!("--- under {isa}:\n{text}");
        }
    }
}
