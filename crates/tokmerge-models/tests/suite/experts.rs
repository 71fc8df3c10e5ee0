//! Models with experts (V-MoE), with mergers in front of them.

use crate::common::{self, images, noise, predict, random, values, vit};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use tokmerge_checkpoint::{Dtype, TensorView, save_safetensors};
use tokmerge_data::Preprocess;
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::{
    Architecture, Config, DropRates, ExpertsConfig, FamilyConfig, Input, Model, ModelError, ModelOptions,
    Network, Pass, Placement, PreLogits, Routing, VitConfig, Weights, architecture, timm_config,
};

const ITEMS: usize = 3;

/// Four blocks, the second and the last with experts: one in front of a merger in the middle, one behind.
fn config() -> VitConfig {
    let experts = ExpertsConfig { experts: 6, chosen: 2, placement: Placement::Last(2) };
    let mut plain = VitConfig::new(4, 24, 4, 3);
    plain.block.mlp.hidden = 40;
    VitConfig {
        img_size: (12, 20),
        num_classes: 7,
        pre_logits: Some(PreLogits::tanh(plain.block.channels)),
        experts: Some(experts),
        ..plain
    }
}

const SPECS: [&str; 4] = ["none", "patchmerger:m=8", "patchmerger:m=8,cls=merge", "tome:r=2"];

fn bind(spec: &str, config: &VitConfig) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    let reduction = Reduction::bind(method, &config.facts()).unwrap_or_else(|error| panic!("{error}"));
    reduction.with_fresh_mergers(config.block.channels, &Device::flex())
}

fn pixels() -> Vec<f32> {
    noise(ITEMS * 3 * 12 * 20, 51)
}

fn forward(model: &Network, pixels: &[f32], spec: &str) -> Vec<f32> {
    let items = pixels.len() / (3 * 12 * 20);
    let images = images(pixels, [items, 3, 12, 20], &Device::flex());
    values(common::forward(model, images, &bind(spec, vit(model))).logits)
}

fn routings() -> [(Routing, bool); 4] {
    // Whether every image is as alone. With so few places most tokens go without an expert.
    [
        ("free", true),
        ("capacity=0.2", true),
        ("capacity=0.2,order=gate", true),
        ("capacity=0.2,group=3", false),
    ]
    .map(|(spec, alone)| (spec.parse().unwrap_or_else(|error| panic!("{error}")), alone))
}

#[test]
fn an_image_depends_on_its_neighbours_only_where_that_was_asked_for() {
    let model = random(&config(), 3, &Device::flex());
    let pixels = pixels();
    let mut seen = BTreeSet::new();
    for (routing, alone) in routings() {
        let model = model.clone().with_routing(routing);
        for spec in SPECS {
            let together = forward(&model, &pixels, spec);
            let apart: Vec<f32> =
                pixels.chunks(pixels.len() / ITEMS).flat_map(|image| forward(&model, image, spec)).collect();
            assert_eq!(together == apart, alone, "{spec}, {routing}");
            assert!(together.iter().all(|logit| logit.is_finite()));
            seen.insert(format!("{together:?}"));
        }
    }
    assert_eq!(seen.len(), 4 * SPECS.len(), "every routing and method makes a difference");
}

#[test]
fn predicting_is_the_same_bit_for_bit() {
    let device = Device::flex();
    for (routing, _) in routings() {
        let model = random(&config(), 3, &device).with_routing(routing);
        for spec in SPECS {
            let images = images(&pixels(), [ITEMS, 3, 12, 20], &device);
            let read = predict(&model, images, &bind(spec, vit(&model)));
            assert_eq!(values(read.logits), forward(&model, &pixels(), spec), "{spec}, {routing}");
        }
    }
}

/// Every parameter by its path.
fn tensors(model: &Network) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    #[derive(Default)]
    struct Reader {
        path: Vec<String>,
        found: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    }
    impl ModuleVisitor for Reader {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val();
            self.found.insert(self.path.join("."), (tensor.dims().to_vec(), values(tensor)));
        }
    }
    let mut reader = Reader::default();
    model.visit(&mut reader);
    reader.found
}

#[test]
fn parameters_of_an_mlp_keep_timms_names_and_experts_have_their_own() {
    let found = tensors(&random(&config(), 3, &Device::flex()));
    let of = |block: usize| -> Vec<&str> {
        let start = format!("blocks.{block}.mlp.");
        found.keys().filter_map(|path| path.strip_prefix(&start)).collect()
    };
    assert_eq!(of(0), ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"]);
    assert_eq!(of(1).len(), 1 + 6 * 4);
    assert!(of(3).contains(&"router.weight") && of(3).contains(&"experts.5.fc2.bias"), "{:?}", of(3));
    assert!(found.contains_key("pre_logits.weight"));
}

#[test]
fn a_folder_of_its_own_config_and_weights_is_the_same_model() {
    let config = config();
    let network = random(&config, 3, &Device::flex());
    let architecture = Architecture {
        config: config.clone().into(),
        processor: Preprocess { input_size: (12, 20), ..Preprocess::default() }.into(),
        tag: "made".to_owned(),
        ..architecture("vmoe_small_patch32_224").expect("a name")
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = timm_config(&architecture, &[]).unwrap_or_else(|error| panic!("{error}")).to_string();
    std::fs::write(folder.path().join("config.json"), &json).expect("written");
    let found = tensors(&network);
    let bytes: Vec<_> = found
        .iter()
        .map(|(name, (shape, values))| {
            (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| TensorView::new(name, Dtype::F32, shape, bytes).expect("a tensor"));
    save_safetensors(folder.path().join("model.safetensors"), views, &BTreeMap::new()).expect("saved");
    let options = ModelOptions::new(format!("local-dir:{}", folder.path().display()));
    let opened = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(opened.config(), &Config::from(config));
    let none = Reduction::none();
    let logits = opened.run(pixels(), Pass::new(&none)).logits;
    assert_eq!(values(logits), forward(&network, &pixels(), "none"));

    let refused = |from: &str, to: &str| {
        assert!(json.contains(from), "{json}");
        std::fs::write(folder.path().join("config.json"), json.replace(from, to)).expect("written");
        Model::open(&options, &Device::flex()).expect_err("refused").to_string()
    };
    for (from, to, said) in [
        ("\"experts\":6", "\"experts\":0", "experts is 0, and only a whole number above 0"),
        ("\"experts\":6", "\"experts\":7", "missing: blocks.1.mlp.experts.6.fc1.weight"),
        ("\"experts\":6", "\"experts\":900000", "1 to 4096 are possible"),
        ("\"experts\":6", "\"experts\":6,\"experts_per_token\":9", "a token is to use 9 of 6 experts"),
        ("\"experts\":6", "\"experts\":6,\"expert_blocks\":\"last3\"", "4 blocks allow 1 to 2"),
        ("\"experts\":6", "\"experts\":6,\"expert_blocks\":\"first2\"", "expert_blocks is \"first2\""),
    ] {
        let error = refused(from, to);
        assert!(error.contains(said), "{to}: {error}");
    }
}

#[test]
fn a_model_without_experts_has_no_routing() {
    let routing: Routing = "capacity=1.05,group=8".parse().expect("a routing");
    let options =
        ModelOptions { weights: Weights::Random, routing, ..ModelOptions::new("vit_tiny_patch16_224") };
    let error = Model::open(&options, &Device::flex()).expect_err("refused");
    assert!(matches!(error, ModelError::NoExperts { .. }));
    assert!(error.to_string().contains("routing capacity=1.05,group=8"), "{error}");
}

/// What is to be added to the loss makes routers learn, and is nothing without experts.
#[test]
fn training_balances_experts() {
    let device = Device::flex().autodiff();
    let drop = DropRates { seed: 5, ..DropRates::default() };
    let train = |model: &Network, spec: &str, seed: u64| {
        let reduction = bind(spec, vit(model));
        let images = images(&pixels(), [ITEMS, 3, 12, 20], &device);
        model.run(Input::Images(images), Pass::new(&reduction).training(DropRates { seed, ..drop }))
    };
    let model = random(&config(), 3, &device);
    for spec in ["none", "patchmerger:m=8"] {
        let auxiliary = train(&model, spec, 5).auxiliary.expect("experts are to be balanced");
        let value = values(auxiliary.clone())[0];
        // Two layers, two losses of each at 0.005; the square of a coefficient of variation is at most E - 1.
        assert!(value > 0.0 && value < 4.0 * 0.005 * 5.0, "{value}");
        let grads = auxiliary.backward();
        let mut routers = 0;
        model.visit(&mut Routers { grads: &grads, path: Vec::new(), found: &mut routers });
        assert_eq!(routers, 2, "both routers learn: {spec}");
    }
    let logits = |seed| values(train(&model, "none", seed).logits);
    assert_eq!(logits(5), logits(5));
    assert_ne!(logits(5), logits(6), "noise follows from the seed");
    let dense = VitConfig { experts: None, ..config() };
    assert!(train(&random(&dense, 3, &device), "none", 5).auxiliary.is_none());
}

/// Counts routers whose gradient is not zero.
struct Routers<'a> {
    grads: &'a burn::tensor::Gradients,
    path: Vec<String>,
    found: &'a mut usize,
}

impl ModuleVisitor for Routers<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path.join(".").ends_with("router.weight") {
            let grad = values(param.val().grad(self.grads).expect("a gradient"));
            *self.found += usize::from(grad.iter().any(|value| value.abs() > 1e-7));
        }
    }
}
