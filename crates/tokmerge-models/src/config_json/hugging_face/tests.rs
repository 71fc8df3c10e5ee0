//! Configurations as transformers and open_clip write them, with the tensors that their models save
//! (`fixtures/hugging_face.py`).

use super::{check_type, describe};
use crate::blocks::{Gate, QkvBias};
use crate::config_json::description::{DescribeError, Understood};
use crate::config_json::open_clip;
use crate::families::vit::{ClassToken, DistillationHead, NormPlace, Pool, PreLogits, Sizes, VitConfig};
use crate::network::Config;
use crate::positions::{Absolute, Relative, Resampling};
use crate::weights::key_map::Spelling;
use crate::weights::key_map::tests::misfits;
use serde_json::{Map, Value, json};
use tokmerge_checkpoint::ModelConfig;
use tokmerge_merge::KeyBias;
use tokmerge_nn::Bias;
use tokmerge_ops::Activation;

const CASES: &str = include_str!("../../../fixtures/hugging_face.json");

fn cases() -> Map<String, Value> {
    serde_json::from_str(CASES).expect("valid")
}

fn spelling(tensors: &Value) -> Spelling {
    let tensors = tensors.as_object().expect("shapes by name");
    let size = |length: &Value| length.as_u64().expect("a length") as usize;
    let shape = |shape: &Value| shape.as_array().expect("a shape").iter().map(size).collect::<Vec<_>>();
    let tensors: Vec<_> = tensors.iter().map(|(name, lengths)| (name.as_str(), shape(lengths))).collect();
    Spelling::detect(tensors.iter().map(|(name, shape)| (*name, shape.as_slice())))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn parsed(config: &Value) -> ModelConfig {
    ModelConfig::parse(&config.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

/// A Vision Transformer that is understood.
#[derive(Debug)]
struct Vit {
    config: VitConfig,
    unread: Vec<String>,
}

fn vit(understood: Understood) -> Vit {
    let Understood { config, unread, .. } = understood;
    let Config::Vit(config) = config else { panic!("{config:?}") };
    Vit { config, unread }
}

fn described(config: &Value, weights: Option<&Spelling>) -> Result<Vit, DescribeError> {
    match parsed(config) {
        ModelConfig::HuggingFace(config) => describe(&config, weights, None).map(vit),
        ModelConfig::OpenClip(config) => match open_clip::describe(&config)? {
            open_clip::Tower::Own(understood) => Ok(vit(understood)),
            open_clip::Tower::Timm(tower) => panic!("{tower:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn case(name: &str) -> Vit {
    let case = &cases()[name];
    described(&case["config"], Some(&spelling(&case["tensors"][0]))).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_model_finds_all_of_its_parameters_and_leaves_none_over() {
    let mut wrong = Vec::new();
    for (name, case) in cases() {
        for tensors in case["tensors"].as_array().expect("a list") {
            let spelling = spelling(tensors);
            let understood = described(&case["config"], Some(&spelling));
            let understood = understood.unwrap_or_else(|error| panic!("{name}: {error}"));
            wrong.extend(
                misfits(&understood.config, &spelling).iter().map(|misfit| format!("{name}: {misfit}")),
            );
            wrong.extend(understood.unread.iter().map(|field| format!("{name}: `{field}` was not read")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_configuration_alone_says_the_same_where_the_file_is_as_transformers_writes_it() {
    for (name, case) in cases() {
        if ["vit without pooler", "beit masked"].contains(&name.as_str()) {
            continue; // Only the file knows.
        }
        let spelling = spelling(&case["tensors"][0]);
        let [with, without] = [Some(&spelling), None].map(|weights| described(&case["config"], weights));
        assert_eq!(with.expect("understood").config, without.expect("understood").config, "{name}");
    }
}

#[test]
fn what_is_particular_to_a_type_is_read() {
    assert!(
        case("vit").config.pre_logits.is_some() && case("vit without pooler").config.pre_logits.is_none()
    );
    assert_eq!(case("vit without bias").config.block.qkv_bias, QkvBias::No);
    assert_eq!(case("vit classifier").config.num_classes, 5);
    let heads = ["deit classifier", "deit teacher"].map(|name| case(name).config.class_token);
    assert_eq!(heads, [DistillationHead::Unread, DistillationHead::Averaged].map(ClassToken::Distilled));
    assert_eq!(
        case("mae pre-training").config.key_bias,
        KeyBias::None,
        "published MAE has no proportional attention"
    );
    assert_eq!(case("vit").config.key_bias, KeyBias::LogSize);
    assert_eq!([case("vit"), case("msn")].map(|case| case.config.block.norm.eps), [1e-12, 1e-6]);

    let ijepa = case("ijepa").config;
    assert_eq!((ijepa.class_token, ijepa.pool), (ClassToken::Absent, Pool::Average));

    let dinov2 = case("dinov2 registers classifier").config;
    assert_eq!((dinov2.reg_tokens, dinov2.pool), (4, Pool::TokenAndAverage));
    assert_eq!((dinov2.block.mlp.gate, dinov2.block.mlp.activation), (Gate::First, Activation::Silu));
    let positions = Absolute::Learned { prefix: 1, resampling: Resampling::BicubicAntialias, grid: None };
    assert_eq!(dinov2.positions.absolute, positions, "registers have no positions");
    let biases = ["dinov3", "dinov3 without biases"].map(|name| case(name).config.block.qkv_bias);
    assert_eq!(biases, [QkvBias::QueryValue, QkvBias::No]);

    let beit = case("beit classifier").config;
    assert_eq!((beit.positions.relative, beit.positions.absolute), (Relative::Shared, Absolute::None));
    assert_eq!((beit.pool, beit.norm_place), (Pool::Average, NormPlace::AfterPool));
    let masked = case("beit masked").config;
    assert_eq!((masked.pool, masked.norm_place), (Pool::Average, NormPlace::BeforePool));
    let token = case("beit class token").config;
    assert_eq!((token.pool, token.block.layer_scale), (Pool::Token, None));

    let clip = case("clip").config;
    assert_eq!((clip.projection, clip.block.mlp.activation), (Some(12), Activation::QuickGelu));
    assert!(clip.pre_norm && !clip.patch_bias);
    assert_eq!(case("clip tower").config.projection, None);
    let classifier = case("clip classifier").config;
    assert_eq!((classifier.pool, classifier.norm_place), (Pool::Average, NormPlace::None));

    let siglip = case("siglip").config;
    assert!(matches!(siglip.pool, Pool::Attention(_)) && siglip.sizes == Sizes::One);
    assert_eq!(siglip.block.mlp.activation, Activation::GeluTanh);
    let naflex = case("siglip 2").config;
    assert_eq!((naflex.sizes, naflex.img_size), (Sizes::Own { most: 16 }, (32, 32)));
    let average = case("open_clip average").config;
    assert_eq!(
        (average.pool, average.norm_place, average.pre_norm),
        (Pool::Average, NormPlace::AfterPool, false)
    );
}

#[test]
fn fields_that_are_left_out_have_the_defaults_of_their_class() {
    let sizes = |model_type: &str| {
        let config = described(&json!({"model_type": model_type}), None).expect("understood").config;
        let block = &config.block;
        let numbers = [block.channels, block.heads, block.mlp.hidden, config.depth, config.patch_size.0];
        (numbers, block.norm.eps, config.img_size.0)
    };
    assert_eq!(sizes("vit"), ([768, 12, 3072, 12, 16], 1e-12, 224));
    assert_eq!(sizes("dinov2"), ([768, 12, 3072, 12, 14], 1e-6, 224));
    assert_eq!(sizes("dinov3_vit"), ([384, 6, 1536, 12, 16], 1e-5, 224));
    assert_eq!(sizes("clip"), ([768, 12, 3072, 12, 32], 1e-5, 224));
    assert_eq!(sizes("siglip"), ([768, 12, 3072, 12, 16], 1e-6, 224));
}

#[test]
fn the_size_of_the_processor_is_that_of_the_images() {
    let config = json!({"model_type": "dinov2", "architectures": ["Dinov2Model"], "image_size": 518});
    let ModelConfig::HuggingFace(config) = parsed(&config) else { panic!("transformers' form") };
    let config = vit(describe(&config, None, Some((224, 224))).expect("understood")).config;
    assert_eq!(config.img_size, (224, 224));
    let Absolute::Learned { grid, .. } = config.positions.absolute else { panic!("learned positions") };
    assert_eq!(grid, Some((37, 37)), "the file's positions are for the configuration's size");
}

#[test]
fn classes_are_those_that_are_named_or_else_those_of_the_file() {
    let classifier = &cases()["vit classifier"];
    let weights = spelling(&classifier["tensors"][0]);
    let mut config = classifier["config"].clone();
    let classes = |config: &Value| described(config, Some(&weights)).expect("understood").config.num_classes;
    assert_eq!(classes(&config), 5);
    config["id2label"] = json!({"0": "cat", "1": "dog", "2": "ant"});
    assert_eq!(classes(&config), 3, "loading then says that the head has another size");
    config.as_object_mut().expect("an object").remove("id2label");
    assert_eq!(classes(&config), 5);
    let model = json!({"model_type": "vit", "architectures": ["ViTModel"], "hidden_size": 24, "num_attention_heads": 3});
    assert_eq!(classes(&model), 0, "a classifier in the file of a bare model is left aside");
}

#[test]
fn what_is_not_understood_is_refused_by_name_with_a_way_out() {
    let refused = |config: Value| described(&config, None).expect_err("refused").to_string();
    let text = refused(json!({"model_type": "llama", "architectures": ["LlamaModel"]}));
    for part in ["`llama`", "a model of text", "dinov3_vit", "timm's form"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(refused(json!({"model_type": "timesformer"})).contains("a model of video"));
    assert!(refused(json!({"model_type": "wav2vec2"})).contains("a model of sound"));
    assert!(refused(json!({"model_type": "vit2\u{1b}"})).contains(r"`vit2\u{1b}`, which is not known here"));
    let class = refused(json!({"model_type": "beit", "architectures": ["BeitForSemanticSegmentation"]}));
    assert!(
        class.contains("`BeitForSemanticSegmentation`") && class.contains("ForImageClassification"),
        "{class}"
    );
    for (fields, expected) in [
        (json!({"hidden_act": "mish"}), "`hidden_act` must be one of gelu, "),
        (json!({"num_attention_heads": 7}), "`num_attention_heads` is 7, which does not divide 768 channels"),
        (json!({"hidden_size": 0}), "`hidden_size` must be a whole number from 1"),
        (json!({"pooler_act": "mish"}), "`pooler_act` must be one of "),
        (json!({"layer_norm_eps": 0}), "`layer_norm_eps`"),
        (json!({"image_size": [1, 2, 3]}), "`image_size`"),
    ] {
        let mut config = json!({"model_type": "vit", "architectures": ["ViTModel"]});
        config.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let message = refused(config);
        assert!(message.contains(expected), "{fields}: {message}");
    }
    let pool = refused(json!({"model_type": "siglip_vision_model", "vision_use_head": false}));
    assert!(pool.contains("`vision_use_head` must be true"), "{pool}");
    let act = json!({"model_cfg": {"embed_dim": 4, "quick_gelu": true, "vision_cfg": {"width": 64, "act_kwargs":
        {"approximate": "tanh"}}}});
    let act = refused(act);
    assert!(act.contains("`model_cfg.vision_cfg.act_kwargs`"), "{act}");
    let tower = refused(json!({"model_type": "clip", "vision_config": {"hidden_act": "mish"}}));
    assert!(tower.contains("`vision_config.hidden_act`"), "{tower}");
}

/// A sentence of a folder of text must not be one on the names of its tensors.
#[test]
fn a_type_of_models_is_refused_without_looking_at_its_weights() {
    let ModelConfig::HuggingFace(config) = parsed(&json!({"model_type": "llama", "hidden_size": "odd"}))
    else {
        panic!("transformers' form")
    };
    let error = check_type(&config).expect_err("not understood").to_string();
    assert!(error.contains("`llama`, a model of text") && !error.contains('\n'), "{error}");
}

#[test]
fn any_selection_of_biases_of_dinov3_is_understood() {
    let of = |query: bool, key: bool, value: bool| {
        let config =
            json!({"model_type": "dinov3_vit", "query_bias": query, "key_bias": key, "value_bias": value});
        described(&config, None).expect("understood").config.block.qkv_bias
    };
    assert_eq!(of(true, false, true), QkvBias::QueryValue);
    assert_eq!(of(false, false, false), QkvBias::No);
    assert_eq!(
        (of(true, true, true), of(true, false, false), of(false, true, true)),
        (QkvBias::All, QkvBias::All, QkvBias::All)
    );
    // Those that the file leaves out are zeros.
    let tensors = json!({"embeddings.patch_embeddings.weight": [8, 3, 2, 2], "layer.0.norm1.weight": [8],
        "layer.0.attention.k_proj.bias": [8]});
    let bias = spelling(&tensors).source("blocks.0.attn.qkv.bias").expect("a bias");
    assert_eq!(
        (bias.parts.len(), bias.names().collect::<Vec<_>>()),
        (3, vec!["layer.0.attention.k_proj.bias"])
    );
}

#[test]
fn the_pooler_of_a_bare_model_has_the_width_and_the_activation_of_its_file() {
    let pooler = |fields: Value| {
        let mut config = json!({"model_type": "vit", "architectures": ["ViTModel"]});
        config.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        described(&config, None).expect("understood").config.pre_logits
    };
    assert_eq!(pooler(json!({})), Some(PreLogits::tanh(768)));
    let other = PreLogits { width: 32, activation: Activation::Relu };
    assert_eq!(pooler(json!({"pooler_act": "relu", "pooler_output_size": 32})), Some(other));
}

#[test]
fn registers_of_transformers_go_with_antialiased_positions() {
    let of = |model_type: &str| {
        let config = described(&json!({"model_type": model_type}), None).expect("understood").config;
        match config.positions.absolute {
            Absolute::Learned { resampling, .. } => resampling,
            other => panic!("{model_type} has learned positions, not {other:?}"),
        }
    };
    assert_eq!(of("dinov2_with_registers"), Resampling::BicubicAntialias);
    assert_eq!(of("dinov2"), Resampling::Bicubic);
}

#[test]
fn fields_of_which_nothing_is_known_are_listed() {
    let config = json!({"model_type": "vit", "layer_norm_eps": 1e-6, "dtype": "float32", "my_field": 3});
    assert_eq!(described(&config, None).expect("understood").unread, ["my_field"]);
}

#[test]
fn towers_of_other_libraries_in_open_clip_are_named() {
    let tower = |vision: Value| {
        let config = json!({"model_cfg": {"embed_dim": 12, "vision_cfg": vision}});
        let ModelConfig::OpenClip(config) = parsed(&config) else { panic!("open_clip's form") };
        open_clip::describe(&config).map_err(|error| error.to_string())
    };
    let timm = |vision: Value| match tower(vision) {
        Ok(open_clip::Tower::Timm(timm)) => (timm.architecture, timm.global_pool, timm.projection),
        other => panic!("{other:?}"),
    };
    let siglip =
        json!({"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none"});
    assert_eq!(timm(siglip), ("vit_base_patch16_siglip_224".into(), Some("map".into()), None));
    let eva =
        json!({"timm_model_name": "eva02_base_patch16_clip_224", "timm_pool": "token", "timm_proj": null});
    assert_eq!(timm(eva).2, Some((12, Bias::Yes)), "timm's head takes the place of the projection");
    let linear = json!({"timm_model_name": "vit_base_patch16_224"});
    assert_eq!(timm(linear).2, Some((12, Bias::No)));
    let resnet = tower(json!({"layers": [3, 4, 6, 3], "width": 64})).expect_err("refused");
    assert!(resnet.contains("`ModifiedResNet` of open_clip"), "{resnet}");
    let pool = tower(json!({"attentional_pool": true})).expect_err("refused");
    assert!(pool.contains("`model_cfg.vision_cfg.attentional_pool` must be false"), "{pool}");
}
