use super::{timm, timm_config, timm_tower};
use crate::blocks::{Gate, NormKind, Order, QkNorm, QkvBias};
use crate::config_json::open_clip::{Pooled, TimmTower};
use crate::families::vit::{ClassToken, DistillationHead, NormPlace, Pool, PreLogits, VitConfig, Wiring};
use crate::network::Config;
use crate::positions::{Absolute, Resampling};
use crate::registry::{Architecture, architecture, architectures};
use serde_json::{Value, json};
use tokmerge_checkpoint::ModelConfig;
use tokmerge_data::sound::SoundProcessor;
use tokmerge_data::{Media, Preprocess};
use tokmerge_merge::KeyBias;
use tokmerge_nn::Bias;
use tokmerge_ops::Activation;

fn open(file: &Value) -> Result<Architecture, String> {
    match ModelConfig::parse(&file.to_string()) {
        Ok(ModelConfig::Timm(read)) => timm(&read).map_err(|error| error.to_string()),
        other => panic!("read as {other:?}"),
    }
}

fn file(architecture: &str, model_args: &Value) -> Value {
    json!({"architecture": architecture, "num_classes": 10, "model_args": model_args,
           "pretrained_cfg": {"tag": "mine", "input_size": [3, 64, 64], "num_classes": 10}})
}

fn vit(architecture: &str, model_args: &Value) -> VitConfig {
    let found = open(&file(architecture, model_args)).unwrap_or_else(|error| panic!("{model_args}: {error}"));
    #[allow(irrefutable_let_patterns, reason = "as long as there is one family")]
    let Config::Vit(config) = found.config else { panic!("{architecture} is of another family") };
    config
}

#[test]
fn all_that_has_a_name_is_written_and_read_back() {
    for found in architectures() {
        let written = timm_config(&found, &[]).unwrap_or_else(|error| panic!("{}: {error}", found.name));
        let again = open(&written).unwrap_or_else(|error| panic!("{}: {error}", found.name));
        assert_eq!(again, found);
        // Also under a name that nobody knows.
        let unnamed = Architecture { name: "demo".to_owned(), ..found.clone() };
        let written = timm_config(&unnamed, &[]).unwrap_or_else(|error| panic!("{}: {error}", found.name));
        let again = open(&written).unwrap();
        assert_eq!(again.config, found.config, "{}", found.name);
        if matches!(found.processor.media(), Media::Sound | Media::Clip) {
            assert_eq!(again.processor, found.processor, "{}", found.name);
        }
    }
}

/// What is trained of a folder of transformers' is written in timm's form.
#[test]
fn spectra_in_rows_of_frequencies_are_written_and_read_back() {
    let mut found = architecture("vit_small_patch16_224").unwrap();
    let Config::Vit(config) = &mut found.config else { unreachable!() };
    (config.img_size, config.in_chans, config.patch_stride) = ((64, 128), 1, Some(10));
    let sounds = SoundProcessor::audio_spectrogram_transformer().with_size((64, 128));
    for sounds in [sounds.clone(), sounds.with_rate(8000).with_statistics(Some(-5.0), Some(3.0))] {
        let found = Architecture { processor: sounds.into(), ..found.clone() };
        let written = timm_config(&found, &[]).unwrap();
        assert_eq!(open(&written).unwrap(), found);
    }
    let mut written = timm_config(&found, &[]).unwrap();
    written["pretrained_cfg"]["sound"] = json!("whistles");
    assert!(open(&written).unwrap_err().contains("not made of sounds by whistles"));
    written["pretrained_cfg"]["sound"] = json!("audio_mae");
    written["pretrained_cfg"]["sampling_rate"] = json!(1);
    assert!(open(&written).unwrap_err().contains("sampling_rate is"));
}

#[test]
fn what_timm_could_build_is_written_in_its_words_alone() {
    let found = architecture("vit_base_patch16_clip_224.openai").unwrap();
    let written = timm_config(&found, &["cat".to_owned()]).unwrap();
    assert_eq!(written["label_names"], json!(["cat"]));
    for ours in ["norm_layer", "prop_attn", "pos_resampling", "patch_bias", "head_bias", "experts"] {
        assert_eq!(written["model_args"].get(ours), None, "{ours}");
    }
    assert!(written["model_args"].as_object().unwrap().values().all(|value| !value.is_null()));
}

#[test]
fn words_of_our_own_say_what_timm_cannot() {
    let mut found = architecture("vit_small_patch16_224").unwrap();
    #[allow(irrefutable_let_patterns, reason = "as long as there is one family")]
    let Config::Vit(config) = &mut found.config else { panic!("no ViT") };
    config.projection = Some(24);
    config.head_bias = false;
    config.pre_logits = Some(PreLogits { width: 20, activation: Activation::Relu });
    config.block.norm.eps = 1e-12;
    config.pool = Pool::TokenAndAverage;
    config.class_token = ClassToken::Distilled(DistillationHead::Unread);
    config.positions.absolute =
        Absolute::Learned { prefix: 2, resampling: Resampling::Bicubic, grid: Some((5, 7)) };
    config.key_bias = KeyBias::None;
    let written = timm_config(&found, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(open(&written).unwrap(), found);
    // And take back what a name or a tag says.
    let mut trained = architecture("vit_base_patch16_224.mae_ft_in1k").unwrap();
    #[allow(irrefutable_let_patterns, reason = "as long as there is one family")]
    let Config::Vit(config) = &mut trained.config else { panic!("no ViT") };
    config.key_bias = KeyBias::LogSize;
    let written = timm_config(&trained, &[]).unwrap();
    assert_eq!(open(&written).unwrap(), trained);
}

/// timm writes `global_pool` into `model_args` always; it says nothing of where the norm stands.
#[test]
fn the_norm_stands_where_the_name_says_unless_the_file_says_otherwise() {
    let places = |name: &str, arguments: &Value| vit(name, arguments).norm_place;
    assert_eq!(places("vit_medium_patch16_gap_240", &json!({"global_pool": "avg"})), NormPlace::BeforePool);
    assert_eq!(
        places("vit_medium_patch16_reg4_gap_256", &json!({"global_pool": "avg"})),
        NormPlace::AfterPool
    );
    assert_eq!(places("vit_base_patch16_224", &json!({"global_pool": "avg"})), NormPlace::AfterPool);
    assert_eq!(
        places("vit_base_patch16_224", &json!({"global_pool": "avg", "fc_norm": false})),
        NormPlace::BeforePool
    );
    assert_eq!(places("vit_base_patch16_224", &json!({"fc_norm": true})), NormPlace::AfterPool);
    assert_eq!(places("vit_medium_patch16_gap_240", &json!({"fc_norm": null})), NormPlace::AfterPool);
    assert_eq!(places("vit_base_patch16_224", &json!({"final_norm": false})), NormPlace::None);
    assert_eq!(places("eva02_base_patch14_224", &json!({})), NormPlace::AfterPool);
    assert_eq!(places("eva02_base_patch14_224", &json!({"global_pool": "token"})), NormPlace::BeforePool);
    assert_eq!(
        places("eva02_base_patch14_224", &json!({"use_fc_norm": false, "use_post_transformer_norm": false})),
        NormPlace::None
    );
    assert_eq!(places("beit_base_patch16_224", &json!({"global_pool": "token"})), NormPlace::BeforePool);
}

#[test]
fn arguments_of_blocks_are_mapped() {
    let of = |arguments: Value| vit("vit_tiny_patch16_224", &arguments);
    let block = |arguments: Value| of(arguments).block;
    assert_eq!(block(json!({"qkv_bias": false})).qkv_bias, QkvBias::No);
    assert!(matches!(block(json!({"qk_norm": true})).qk_norm, QkNorm::PerHead(_)));
    assert!(block(json!({"scale_attn_norm": true})).attn_norm);
    assert!(block(json!({"scale_mlp_norm": true})).mlp.norm);
    let bare = block(json!({"proj_bias": false}));
    assert!(!bare.proj_bias && !bare.mlp.bias);
    let rms = block(json!({"norm_layer": "rmsnorm(eps=1e-5)"})).norm;
    assert_eq!((rms.kind, rms.eps), (NormKind::Rms, 1e-5));
    assert_eq!(block(json!({"init_values": 0.1})).layer_scale, Some(0.1));
    // As Python sees 0.
    assert_eq!(block(json!({"init_values": 0.0})).layer_scale, None);
    let post = block(json!({"block_fn": "ResPostBlock", "init_values": 0.1}));
    assert_eq!((post.order, post.layer_scale), (Order::ResidualPostNorm, None));
    assert_eq!(of(json!({"block_fn": "ParallelThingsBlock"})).wiring, Wiring::Branches(2));
    assert_eq!(of(json!({"pos_embed": "none"})).positions.absolute, Absolute::None);
    // 192 * 2.66667 is 512.0006.
    let mlp = |word: &str| block(json!({"mlp_layer": word, "mlp_ratio": 2.66667})).mlp;
    assert_eq!((mlp("SwiGLU").gate, mlp("SwiGLU").hidden), (Gate::First, 512));
    assert_eq!((mlp("SwiGLUPacked").gate, mlp("SwiGLUPacked").hidden), (Gate::First, 256));
    let eva = vit("eva02_tiny_patch14_224", &json!({"swiglu_align_to": 100})).block.mlp;
    assert_eq!((eva.gate, eva.hidden), (Gate::First, 600));
}

#[test]
fn the_order_of_arguments_plays_no_part() {
    let forth = vit("vit_tiny_patch16_224", &json!({"mlp_ratio": 2, "embed_dim": 48, "num_heads": 4}));
    let back = vit("vit_tiny_patch16_224", &json!({"num_heads": 4, "embed_dim": 48, "mlp_ratio": 2}));
    assert_eq!(forth, back);
    assert_eq!((forth.block.mlp.hidden, forth.block.head_dim), (96, 12));
}

#[test]
fn what_was_built_counts_where_the_file_says_two_sizes() {
    let found = open(&file("vit_tiny_patch16_224", &json!({"img_size": [32, 48]}))).unwrap();
    assert_eq!(
        (found.config.shape().img_size(), found.preprocess().expect("of images").input_size),
        ((32, 48), (32, 48))
    );
    let found = open(&file("beit_base_patch16_384", &json!({}))).unwrap();
    assert_eq!(
        (found.config.shape().img_size(), found.preprocess().expect("of images").input_size),
        ((64, 64), (64, 64))
    );
}

#[test]
fn an_argument_that_means_nothing_here_is_named() {
    for (name, arguments, expected) in [
        ("vit_tiny_patch16_224", json!({"num_reg_tokens": 4}), "num_reg_tokens"),
        ("vit_tiny_patch16_224", json!({"use_rel_pos_bias": true}), "use_rel_pos_bias"),
        ("beit_base_patch16_224", json!({"class_token": false}), "class_token"),
        ("eva02_base_patch14_224", json!({"fc_norm": true}), "fc_norm"),
        ("vit_tiny_patch16_224", json!({"attn_layer": "diff"}), "attn_layer"),
        ("vit_tiny_patch16_224", json!({"global_pool": "prr"}), "global_pool"),
        ("vit_tiny_patch16_224", json!({"global_pool": "avgmax"}), "global_pool"),
        ("vit_tiny_patch16_224", json!({"act_layer": "mish"}), "act_layer"),
        ("vit_tiny_patch16_224", json!({"norm_layer": "batchnorm"}), "norm_layer"),
        ("vit_tiny_patch16_224", json!({"dynamic_img_pad": true}), "dynamic_img_pad"),
        ("vit_tiny_patch16_224", json!({"depth": 0}), "depth"),
        ("vit_tiny_patch16_224", json!({"depth": "deep"}), "depth"),
        ("vit_tiny_patch16_224", json!({"num_heads": 5}), "num_heads"),
        ("vit_tiny_patch16_224", json!({"mlp_ratio": -1}), "mlp_ratio"),
        ("vit_tiny_patch16_224", json!({"class_token": false}), "class_token"),
        ("vit_tiny_patch16_224", json!({"block_fn": "DiffParallelScalingBlock"}), "block_fn"),
        (
            "vit_tiny_patch16_224",
            json!({"block_fn": "ParallelScalingBlock", "scale_mlp_norm": true}),
            "block_fn",
        ),
        ("deit_tiny_distilled_patch16_224", json!({"global_pool": "avg"}), "global_pool"),
        ("vit_small_patch16_dinov3", json!({"num_kv_heads": 3}), "num_kv_heads"),
        ("vit_small_patch16_dinov3", json!({"attn_only_layer_scale": true}), "attn_only_layer_scale"),
        ("vit_small_patch16_dinov3", json!({"rope_type": "mrope"}), "rope_type"),
        ("vit_small_patch16_dinov3", json!({"rope_grid_indexing": "xy"}), "rope_grid_indexing"),
        ("eva02_base_patch14_224", json!({"use_post_transformer_norm": true}), "use_post_transformer_norm"),
        ("beit_base_patch16_224", json!({"use_shared_rel_pos_bias": true}), "use_shared_rel_pos_bias"),
    ] {
        let error = open(&file(name, &arguments)).expect_err(&arguments.to_string());
        assert!(error.contains(expected) && !error.contains('\n'), "{arguments}: {error}");
    }
    // What training or another way to the same result needs says nothing of a trained model.
    let trained =
        json!({"drop_path_rate": 0.1, "weight_init": "jax", "dynamic_img_size": true, "fix_init": true});
    assert_eq!(vit("vit_tiny_patch16_224", &trained), vit("vit_tiny_patch16_224", &json!({})));
}

#[test]
fn an_unknown_architecture_is_named() {
    let error = open(&file("vit_tinny_patch16_224", &json!({}))).unwrap_err();
    assert!(error.contains("did you mean vit_tiny_patch16_224?"), "{error}");
}

#[test]
fn flexivit_resamples_positions_as_timm_does() {
    let resampling = |name: &str| match vit(name, &json!({})).positions.absolute {
        Absolute::Learned { resampling, .. } => resampling,
        other => panic!("{name} has learned positions, not {other:?}"),
    };
    assert_eq!(resampling("flexivit_small"), Resampling::Bilinear);
    assert_eq!(resampling("vit_small_patch16_224"), Resampling::BicubicAntialias);
}

/// open_clip builds a tower with the tower's own pool and replaces it then, unless timm's head projects.
#[test]
fn norms_of_a_tower_in_open_clip_stand_where_the_tower_was_built_with_them() {
    let place = |pooled: Pooled| {
        let tower = TimmTower {
            architecture: "vit_tiny_patch16_224".to_owned(),
            img_size: (32, 32),
            global_pool: Some("avg".to_owned()),
            projection: Some((10, Bias::No)),
            pooled,
            preprocess: Preprocess::default(),
        };
        let found = timm_tower(&tower).expect("a tower");
        let Config::Vit(config) = found.config else { panic!("a Vision Transformer") };
        (config.pool, config.norm_place)
    };
    assert_eq!(place(Pooled::AtFirst), (Pool::Average, NormPlace::AfterPool));
    assert_eq!(place(Pooled::Afterwards), (Pool::Average, NormPlace::BeforePool));
}
