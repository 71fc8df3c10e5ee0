//! Families with stems of their own, block by block against their reference implementations: `families` of the test
//! material.

#![expect(clippy::print_stdout, reason = "says what was measured")]

use crate::common::{floats, images, integers, material, noise, random, values, worst_absolute};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokmerge_checkpoint::{Checkpoint, ModelConfig};
use tokmerge_data::Processor;
use tokmerge_data::clip::Sampling;
use tokmerge_merge::{Method, Reduction, Tokens};
use tokmerge_models::{
    Absolute, Architecture, Batch, Body, Config, Convention, Input, LvVitConfig, Network, NormPlace, Pass,
    Pool, PoolOverride, PositionConfig, Precision, Probe, ShapeOverrides, StVitConfig, T2tVitConfig,
    TubePool, TubePositions, VitConfig, architecture, configured, load, parameters, timm_config,
};

/// The references' own runs in f32 and f64 differ by up to 3.4e-5.
const TOLERANCE: f32 = 1e-4;

/// Ways of merging that the material has outputs of, and the specs that ask for them.
fn schedules(config: &Config) -> [(&'static str, String); 3] {
    // More than later blocks can merge is as many as they can.
    let most = (config.tokens() - 1) / 2;
    [
        ("tome_r2_prop", "tome:r=2,prop_attn=on".to_owned()),
        ("tome_r2_noprop", "tome:r=2,prop_attn=off".to_owned()),
        ("tome_rmax_prop", format!("tome:r={most},prop_attn=on")),
    ]
}

const ITEMS: usize = 3;

/// A folder of the material.
struct Case {
    name: &'static str,
    folder: PathBuf,
    described: Value,
    golden: Checkpoint,
    config: Config,
    largest: f32,
}

impl Case {
    fn open(name: &'static str) -> Option<Self> {
        let folder = material(&format!("families/{name}"))?;
        let text = std::fs::read_to_string(folder.join("config.json")).expect("readable");
        let described: Value = serde_json::from_str(&text).expect("JSON");
        let golden = Checkpoint::open(folder.join("golden.safetensors")).expect("a checkpoint");
        let config = config_of(&described);
        Some(Self { name, folder, described, golden, config, largest: 0.0 })
    }

    fn network(&self, file: &str) -> Network {
        let checkpoint = Checkpoint::open(self.folder.join(file)).unwrap_or_else(|error| panic!("{error}"));
        let network = self.config.init(Precision::F32, &Device::flex());
        load(network, &checkpoint).unwrap_or_else(|error| panic!("{}: {error}", self.name)).0
    }

    fn input(&self) -> Input {
        Batch::from(floats(&self.golden, "input")).into_input(&self.config.shape().input, &Device::flex())
    }

    fn compare(&mut self, stage: &str, actual: Tensor<2>) {
        let (actual, expected) = (values(actual), floats(&self.golden, stage));
        assert_eq!(actual.len(), expected.len(), "{}: {stage}", self.name);
        let worst = worst_absolute(&actual, &expected);
        self.largest = self.largest.max(worst.error);
        assert!(worst.error <= TOLERANCE, "{}: {stage} is off by {:e}", self.name, worst.error);
    }

    /// Every stage of a pass in order, so that the first that differs is reported.
    fn run(&mut self, network: &Network, schedule: &str, reduction: &Reduction) {
        let mut seen = Seen::default();
        let output = network.run(self.input(), Pass::new(reduction).probed(&mut seen));
        if schedule == "base" {
            self.compare("base.embed", seen.entered.clone().expect("a model has blocks").x);
        }
        let original = self.config.tokens();
        for (layer, tokens) in seen.left.iter().enumerate() {
            if schedule != "base" {
                let plan = output.trace.plan_until(Some(layer)).expect("something merges in every block");
                let sources: Vec<i32> = (0..ITEMS)
                    .flat_map(|item| plan.groups(item))
                    .map(|group| group.map_or(-1, |group| group as i32))
                    .collect();
                let sizes: Vec<i32> = tokens.sizes().iter().map(|size| *size as i32).collect();
                let expected = |what| integers(&self.golden, &format!("{schedule}.{what}{layer}"));
                assert_eq!(sources.len(), ITEMS * original);
                assert_eq!(
                    sources,
                    expected("source"),
                    "{}: {schedule}, sources after block {layer}",
                    self.name
                );
                assert_eq!(sizes, expected("size"), "{}: {schedule}, sizes after block {layer}", self.name);
            }
            self.compare(&format!("{schedule}.block{layer}"), tokens.x.clone());
        }
        if let Body::LvVit(network) = network.body() {
            let all = network.patch_logits(&output.tokens).expect("a head of patches");
            let [rows, classes] = all.dims();
            let patches = all.reshape([ITEMS, rows / ITEMS, classes]).narrow(1, 1, rows / ITEMS - 1);
            let patches = patches.reshape([rows - ITEMS, classes]);
            self.compare(&format!("{schedule}.logits_aux"), patches);
        }
        // Of families that average their tokens, the norm of the mean.
        let normed = ["norm", "pooled_norm"].map(|name| format!("{schedule}.{name}"));
        let normed = normed.iter().find(|name| self.golden.get(name).is_some()).expect("what the head reads");
        let normed = floats(&self.golden, normed);
        let width = normed.len() / ITEMS;
        let pooled = values(output.pooled);
        let channels = pooled.len() / ITEMS;
        for (item, pooled) in pooled.chunks_exact(channels).enumerate() {
            let worst = worst_absolute(pooled, &normed[item * width..][..channels]);
            assert!(
                worst.error <= TOLERANCE,
                "{}: {schedule}: what the head reads is off by {:e}",
                self.name,
                worst.error
            );
        }
        self.compare(&format!("{schedule}.logits"), output.logits);
    }
}

/// Tokens as blocks take and leave them.
#[derive(Default)]
struct Seen {
    entered: Option<Tokens>,
    left: Vec<Tokens>,
}

impl Probe for Seen {
    fn entering(&mut self, layer: usize, tokens: &Tokens) {
        if layer == 0 {
            self.entered = Some(tokens.clone());
        }
    }

    fn left(&mut self, _: usize, tokens: &Tokens) {
        self.left.push(tokens.clone());
    }
}

fn config_of(described: &Value) -> Config {
    let number = |key: &str| described[key].as_u64().unwrap_or_else(|| panic!("{key} is a number")) as usize;
    let side = |index: usize| described["image_size"][index].as_u64().expect("height and width") as usize;
    let (img_size, num_classes) = ((side(0), side(1)), number("num_classes"));
    let sizes = (number("embed_dim"), number("depth"), number("num_heads"));
    match described["family"].as_str() {
        Some("t2t_vit_t") => {
            let config = T2tVitConfig::new(sizes.0, sizes.1, sizes.2);
            Config::from(T2tVitConfig { img_size, num_classes, token_dim: number("token_dim"), ..config })
        }
        Some("lvvit" | "lvvit_l_stem") => {
            let skip_lam = described["skip_lam"].as_f64().expect("a number");
            let stem_channels = if described["patch_embedding"] == "4_2_128" { 128 } else { 64 };
            let config = LvVitConfig::new(sizes.0, sizes.1, sizes.2, skip_lam);
            let patch_size = number("patch_size");
            Config::from(LvVitConfig { img_size, num_classes, stem_channels, patch_size, ..config })
        }
        Some("audiomae") => {
            let plain = VitConfig::new(number("patch_size"), sizes.0, sizes.1, sizes.2);
            let absolute = Absolute::Sinusoids { prefix: 1 };
            Config::from(VitConfig {
                img_size,
                num_classes,
                in_chans: 1,
                positions: PositionConfig { absolute, ..plain.positions.clone() },
                pool: Pool::Average,
                norm_place: NormPlace::AfterPool,
                ..plain
            })
        }
        Some("mae_st" | "mae_st_nocls") => {
            let separate = described["sep_pos_embed"].as_bool().expect("a flag");
            Config::from(StVitConfig {
                img_size,
                num_classes,
                frames: number("num_frames"),
                tubelet: number("t_patch_size"),
                class_token: described["cls_embed"].as_bool().expect("a flag"),
                positions: if separate { TubePositions::Separate } else { TubePositions::Joint },
                ..StVitConfig::new(number("patch_size"), sizes.0, sizes.1, sizes.2)
            })
        }
        other => panic!("family {other:?}"),
    }
}

fn equals_its_reference(name: &'static str) {
    let Some(mut case) = Case::open(name) else { return };
    let network = case.network("model.safetensors");
    case.run(&network, "base", &Reduction::none());
    for (schedule, spec) in schedules(&case.config) {
        let method: Method = spec.parse().expect("a spec");
        let reduction = Reduction::bind(method, &case.config.facts()).expect("fits");
        case.run(&network, schedule, &reduction);
    }
    println!("{name}: largest error {:.1e}", case.largest);
}

#[test]
fn lv_vit_equals_its_reference() {
    equals_its_reference("lvvit");
}

#[test]
fn lv_vit_with_the_wide_stem_equals_its_reference() {
    equals_its_reference("lvvit_l_stem");
}

#[test]
fn t2t_vit_equals_its_reference() {
    equals_its_reference("t2t_vit_t");
}

#[test]
fn audio_mae_equals_its_reference() {
    equals_its_reference("audiomae");
}

#[test]
fn spatiotemporal_mae_equals_its_reference() {
    equals_its_reference("mae_st");
    equals_its_reference("mae_st_nocls");
}

#[test]
fn without_a_class_token_all_tubes_may_be_averaged() {
    let Some(mut case) = Case::open("mae_st_nocls") else { return };
    let Config::StVit(config) = case.config.clone() else { panic!("a video model") };
    case.config = Config::from(StVitConfig { pool: TubePool::Average, ..config });
    let network = case.network("model.safetensors");
    let unmerged = [("base", "none".to_owned())];
    for (schedule, spec) in unmerged.into_iter().chain(schedules(&case.config)) {
        let method: Method = spec.parse().expect("a spec");
        let reduction = Reduction::bind(method, &case.config.facts()).expect("fits");
        let logits = network.run(case.input(), Pass::new(&reduction)).logits;
        case.compare(&format!("{schedule}.logits_pool_all"), logits);
    }
}

#[test]
fn positions_of_audio_mae_follow_from_its_shape_until_a_file_says_otherwise() {
    let Some(case) = Case::open("audiomae") else { return };
    let positions = |network: &Network| parameters::read(network)["pos_table"].values.clone();
    let fresh = positions(&case.config.init(Precision::F32, &Device::flex()));
    assert!(worst_absolute(&fresh, &floats(&case.golden, "sinusoid_table")).error < 1e-6);
    let loaded = positions(&case.network("model.safetensors"));
    assert!(worst_absolute(&loaded, &fresh).error > 1e-3, "the file's are the sines and some noise");
}

#[test]
fn the_stages_of_t2t_vit_equal_their_reference() {
    let Some(mut case) = Case::open("t2t_vit_t") else { return };
    let network = case.network("model.safetensors");
    let (Body::T2tVit(network), Input::Images(images)) = (network.body(), case.input()) else {
        panic!("a T2T-ViT takes images");
    };
    let [first, second] = network.tokens_to_token().stages(images).map(|maps| match maps {
        tokmerge_ops::Maps::Rows { x, .. } => x,
        tokmerge_ops::Maps::Images(_) => panic!("stages give rows"),
    });
    case.compare("base.t2t_stage1", first);
    case.compare("base.t2t_stage2", second);
}

#[test]
fn positions_of_t2t_vit_follow_from_its_shape_until_a_file_says_otherwise() {
    let Some(case) = Case::open("t2t_vit_t") else { return };
    let positions = |network: &Network| parameters::read(network)["pos_embed"].values.clone();
    let fresh = positions(&case.config.init(Precision::F32, &Device::flex()));
    assert!(worst_absolute(&fresh, &floats(&case.golden, "sinusoid_table")).error < 1e-6);
    let loaded = positions(&case.network("model.safetensors"));
    assert!(worst_absolute(&loaded, &fresh).error > 1e-3, "the file's are the sines and some noise");
}

#[test]
fn files_of_pytorch_in_their_wrappers_are_the_same_weights() {
    let files = [
        ("lvvit", "model.pth"),
        ("t2t_vit_t", "model.pth.tar"),
        ("audiomae", "model.pth"),
        ("mae_st", "model.pth"),
        ("mae_st_nocls", "model.pth"),
    ];
    for (name, file) in files {
        let Some(case) = Case::open(name) else { return };
        let [plain, wrapped] = ["model.safetensors", file].map(|file| parameters::read(&case.network(file)));
        assert!(plain == wrapped, "{name}");
    }
}

#[test]
fn costs_and_parameters_are_those_that_were_counted_on_the_reference() {
    for name in ["lvvit", "lvvit_l_stem", "t2t_vit_t", "audiomae", "mae_st", "mae_st_nocls"] {
        let Some(case) = Case::open(name) else { return };
        let counted =
            |schedule: &str| case.described["macs_fvcore_convention"][schedule].as_u64().expect("a count");
        let facts = case.config.facts();
        let unmerged = ("base", "none".to_owned());
        for (schedule, spec) in [unmerged].into_iter().chain(schedules(&case.config)) {
            let reduction = Reduction::bind(spec.parse::<Method>().expect("a spec"), &facts).expect("fits");
            let layers = reduction.expected_tokens(facts.tokens, facts.depth).expect("a fixed schedule");
            let macs = 1e9 * case.config.cost().gmacs(&layers, &reduction, Convention::Fvcore);
            assert_eq!(macs.round() as u64, counted(schedule), "{name}: {schedule}");
        }
        // Tables that follow from the shape are trained by nobody, and counted by nobody.
        let kind = if name == "audiomae" { "trainable" } else { "total" };
        let parameters = case.described["parameters"][kind].as_u64().expect("a count");
        assert_eq!(case.config.parameters() as u64, parameters, "{name}");
    }
}

const NAMES: [&str; 7] =
    ["lvvit_t", "lvvit_s", "lvvit_m", "lvvit_l", "t2t_vit_t_14", "t2t_vit_t_19", "t2t_vit_t_24"];

/// Those whose head averages.
const AVERAGING: [&str; 3] =
    ["audio_vit_base_patch16_1024x128", "st_vit_base_patch16_224", "st_vit_large_patch16_224"];

#[test]
fn a_changed_model_of_every_name_can_be_written_down() {
    for name in NAMES.into_iter().chain(AVERAGING) {
        let named = architecture(name).unwrap_or_else(|error| panic!("{error}"));
        let config =
            named.config.clone().with_num_classes(7).with_img_size((96, 160)).expect("whole patches");
        assert_eq!(config.shape().grid, Some((6, 10)), "{name}");
        for config in [named.config.clone(), config] {
            // What is written is read back before it is handed out.
            let written = timm_config(&Architecture { config, ..named.clone() }, &[]);
            assert!(written.is_ok(), "{name}: {written:?}");
        }
    }
}

#[test]
fn what_prepares_sounds_and_clips_is_written_down_with_the_model() {
    let read = |written: &Value| match ModelConfig::parse(&written.to_string()) {
        Ok(config) => configured(&config, None).unwrap_or_else(|error| panic!("{error}")),
        Err(error) => panic!("{error}"),
    };
    for name in ["kwt_2", "audio_vit_base_patch16_1024x128", "st_vit_base_patch16_224"] {
        let mut named = architecture(name).unwrap_or_else(|error| panic!("{error}"));
        named.processor = match named.processor {
            Processor::Sound(sounds) => sounds.with_statistics(Some(-5.0), Some(3.0)).into(),
            Processor::Clip(clips) => {
                let sampling = Sampling::Spans { frames: 16, stride: 2, fps: 15.0, views: 1 };
                clips.with_sampling(sampling).with_statistics([0.5; 3], [0.25; 3]).into()
            }
            other => panic!("{other:?}"),
        };
        let written = timm_config(&named, &[]).unwrap_or_else(|error| panic!("{error}"));
        let found = read(&written);
        assert_eq!((found.config, found.processor), (named.config, named.processor), "{name}");
    }
    // All frames of a clip that has no more.
    let mut named = architecture("st_vit_base_patch16_224").unwrap_or_else(|error| panic!("{error}"));
    let Processor::Clip(clips) = named.processor else { panic!("a model of clips") };
    named.processor = clips.with_sampling(Sampling::Uniform { frames: 16 }).into();
    let written = timm_config(&named, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read(&written).processor, named.processor);
}

#[test]
fn shapes_that_a_stem_cannot_serve_are_refused_with_the_rule() {
    let refused = |name: &str, overrides: ShapeOverrides| {
        let config = architecture(name).unwrap_or_else(|error| panic!("{error}")).config;
        config.with_overrides(&overrides).expect_err("no such model")
    };
    let patch = |side| ShapeOverrides { patch_size: Some(side), ..ShapeOverrides::default() };
    assert!(refused("lvvit_s", patch(15)).contains("patch_size must be even, and it is 15"));
    assert!(refused("t2t_vit_t_14", patch(8)).contains("leave patch_size out"));
    let average = ShapeOverrides { pool: Some(PoolOverride::Average), ..ShapeOverrides::default() };
    for name in NAMES {
        assert!(refused(name, average).contains("looks at the class token"), "{name}");
    }
}

/// Paths of parameters that have a gradient, and those that have none.
struct Reached<'a> {
    grads: &'a Gradients,
    path: Vec<String>,
    found: BTreeMap<String, bool>,
}

impl ModuleVisitor for Reached<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let grad = param.val().grad(self.grads);
        let moves = grad.is_some_and(|grad| values(grad).iter().any(|value| *value != 0.0));
        self.found.insert(self.path.join("."), moves);
    }
}

#[test]
fn gradients_reach_every_parameter_and_nothing_that_is_fixed() {
    let device = Device::flex().autodiff();
    let lv_vit = LvVitConfig {
        img_size: (24, 40),
        patch_size: 8,
        num_classes: 5,
        stem_channels: 8,
        ..LvVitConfig::new(16, 2, 2, 2.0)
    };
    let t2t_vit =
        T2tVitConfig { img_size: (32, 48), num_classes: 5, token_dim: 8, ..T2tVitConfig::new(16, 2, 2) };
    for (config, fixed) in [(Config::from(lv_vit), None), (Config::from(t2t_vit), Some("pos_embed"))] {
        let network = random(&config, 3, &device);
        let reduction = Reduction::bind("tome:r=1".parse().expect("a spec"), &config.facts()).expect("fits");
        let (height, width) = config.shape().img_size();
        let shape = [2, 3, height, width];
        let input = Input::Images(images(&noise(shape.iter().product(), 5), shape, &device));
        let logits = network.run(input, Pass::new(&reduction)).logits;
        let weighting = images(&noise(10, 7), [1, 1, 2, 5], &device).reshape([2, 5]);
        let grads = (logits * weighting).sum().backward();
        let mut reached = Reached { grads: &grads, path: Vec::new(), found: BTreeMap::new() };
        network.visit(&mut reached);
        for (path, reached) in reached.found {
            let fixed = parameters::is_buffer(&path) || Some(path.as_str()) == fixed;
            assert_eq!(reached, !fixed, "{path}");
        }
    }
}
