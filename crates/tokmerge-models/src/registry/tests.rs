use super::{Architecture, architecture, architectures, table};
use crate::experts::{ExpertsConfig, Placement};
use crate::families::vit::{ClassToken, DistillationHead, NormPlace, Pool, VitConfig};
use crate::network::Config;
use crate::positions::{Absolute, Resampling};
use std::collections::BTreeSet;
use tokmerge_merge::KeyBias;

fn found(name: &str) -> Architecture {
    architecture(name).unwrap_or_else(|error| panic!("{error}"))
}

fn vit(name: &str) -> VitConfig {
    #[allow(irrefutable_let_patterns, reason = "as long as there is one family")]
    let Config::Vit(config) = found(name).config else { panic!("{name} is of another family") };
    config
}

fn tokens(name: &str) -> usize {
    found(name).config.tokens()
}

#[test]
fn old_names_are_the_same_weights() {
    let same = [
        ("vit_base_patch16_224_in21k", "vit_base_patch16_224.augreg_in21k"),
        ("vit_small_patch8_224_dino", "vit_small_patch8_224.dino"),
        ("vit_deit_small_distilled_patch16_224", "deit_small_distilled_patch16_224.fb_in1k"),
        ("deit3_base_patch16_384_in21ft1k", "deit3_base_patch16_384.fb_in22k_ft_in1k"),
    ];
    for (old, new) in same {
        assert_eq!(found(old), found(new), "{old}");
        assert_eq!(found(old).full_name(), new);
    }
}

#[test]
fn every_line_of_the_tables_makes_a_model() {
    let mut seen = BTreeSet::new();
    for name in table::names() {
        assert!(seen.insert(name), "{name} is listed twice");
        let row = table::find(name).expect("listed");
        assert!(!row.first_tag().is_empty(), "{name} has no tag");
        for (tag, _) in row.tags() {
            let found = found(&format!("{name}.{tag}"));
            assert_eq!(found.config.check(), Ok(()), "{name}.{tag}");
            assert_eq!((found.name.as_str(), found.tag.as_str()), (name, tag));
        }
    }
    assert_eq!(architectures().count(), seen.len());
    assert!(seen.len() > 250, "{}", seen.len());
}

#[test]
fn a_tag_belongs_to_a_listed_name() {
    for line in
        table::all_lines().filter(|line| line.split('\t').next().is_some_and(|name| name.contains('.')))
    {
        let name = line.split('.').next().expect("a name");
        assert!(table::names().any(|known| known == name), "{line}");
    }
}

#[test]
fn a_model_of_another_size_is_called_by_its_size() {
    let of = |name: &str, change: &dyn Fn(&mut VitConfig)| {
        let mut config = vit(name);
        change(&mut config);
        Architecture { config: Config::Vit(config), ..found(name) }.full_name()
    };
    assert_eq!(of("vit_small_patch16_224.dino", &|_| {}), "vit_small_patch16_224.dino");
    assert_eq!(
        of("vit_small_patch16_224.dino", &|config| config.img_size = (96, 96)),
        "vit_small_patch16_224.dino"
    );
    let small = |config: &mut VitConfig| {
        (config.patch_size, config.block.channels, config.depth, config.img_size) = ((8, 8), 96, 8, (96, 96));
    };
    assert_eq!(of("vit_small_patch16_224.trained", &small), "vit_96x8_patch8_96.trained");
    assert_eq!(
        of("deit_tiny_distilled_patch16_224.x", &|config| config.depth = 3),
        "deit_192x3_distilled_patch16_224.x"
    );
    let wide = |config: &mut VitConfig| (config.block.channels, config.img_size) = (64, (32, 48));
    assert_eq!(of("vmoe_small_patch32_e8_224.x", &wide), "vmoe_64x8_patch32_e8_32x48.x");
    assert_eq!(of("vit_small_patch14_dinov2.x", &|config| config.depth = 4), "vit_384x4_patch14_dinov2.x");
}

#[test]
fn names_carry_patch_image_size_and_tag() {
    let tiny = found("vit_tiny_patch16_384.augreg_in21k_ft_in1k");
    assert_eq!((tiny.config.shape().channels, tiny.config.tokens()), (192, 577));
    assert_eq!(tiny.preprocess().expect("of images").crop_pct, 1.0);
    let distilled = vit("deit_small_distilled_patch16_224");
    assert_eq!(distilled.class_token, ClassToken::Distilled(DistillationHead::Averaged));
    assert_eq!(tokens("deit_small_distilled_patch16_224"), 198);
    assert_eq!(vit("vit_medium_patch16_reg4_gap_256").reg_tokens, 4);
    assert_eq!(tokens("vit_medium_patch16_reg4_gap_256"), 260);
}

#[test]
fn sizes_that_are_not_listed_follow_the_nearest_listed_name() {
    assert_eq!(tokens("vit_tiny_patch16_240"), 226);
    assert_eq!(tokens("vit_huge_patch11_220"), 401);
    assert_eq!(vit("vit_huge_patch11_220").block.mlp.hidden, 5120);
    let clip = found("vit_base_patch16_clip_256.mine");
    assert_eq!((clip.preprocess().expect("of images").input_size, clip.tag.as_str()), ((256, 256), "mine"));
    assert!(vit("vit_base_patch16_clip_256").pre_norm);
    // As listed ones of their size are evaluated.
    assert_eq!(found("vit_tiny_patch16_400").preprocess().expect("of images").crop_pct, 1.0);
    assert_eq!(found("vit_tiny_patch16_240").preprocess().expect("of images").crop_pct, 0.9);
}

#[test]
fn weights_lie_where_the_tables_say() {
    let of = |name: &str| found(name).repository();
    assert_eq!(of("vit_tiny_patch16_224").as_deref(), Some("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"));
    assert_eq!(
        of("vit_base_patch16_clip_quickgelu_224.openai").as_deref(),
        Some("timm/vit_base_patch16_clip_224.openai")
    );
    assert_eq!(of("vit_base_patch16_224.mine").as_deref(), Some("timm/vit_base_patch16_224.mine"));
    for nowhere in ["vit_giant_patch14_224", "vit_b_16", "vit_tiny_patch16_240", "vmoe_small_patch32_224"] {
        assert_eq!(of(nowhere), None, "{nowhere}");
    }
}

#[test]
fn sizes_mislead_weights_of_masked_autoencoders_alone() {
    let mae = vit("vit_base_patch16_224.mae");
    assert_eq!((mae.key_bias, mae.num_classes, mae.pool), (KeyBias::None, 0, Pool::Token));
    for name in ["vit_base_patch16_224", "vit_large_patch16_224", "vit_huge_patch14_224"] {
        let tuned = found(&format!("{name}.mae_ft_in1k"));
        assert_eq!(tuned.preprocess().expect("of images").crop_pct, 0.875);
        let tuned = vit(&format!("{name}.mae_ft_in1k"));
        assert_eq!((tuned.key_bias, tuned.num_classes), (KeyBias::None, 1000));
        assert_eq!((tuned.pool, tuned.norm_place), (Pool::Average, NormPlace::AfterPool));
        assert_eq!(tuned.class_token, ClassToken::Single);
    }
    // A column of the table decides, not how a tag is spelled.
    assert_eq!(vit("vit_base_patch16_224.maelstrom").key_bias, KeyBias::LogSize);
    let off = table::all_lines().filter(|line| line.contains("prop_attn")).count();
    assert_eq!(off, 7, "the masked autoencoders of images, and the one of sounds");
}

#[test]
fn swag_and_torchvision_align_corners_and_prepare_images_in_their_own_ways() {
    for (name, size) in [
        ("vit_base_patch16_384.swag_ft_in1k", 577),
        ("vit_large_patch16_512.swag_ft_in1k", 1025),
        ("vit_huge_patch14_518", 1370),
        ("vit_b_16.imagenet1k_swag_e2e_v1", 577),
        ("vit_l_16.imagenet1k_swag_e2e_v1", 1025),
        ("vit_h_14", 1370),
        ("vit_h_14.imagenet1k_swag_linear_v1", 257),
        ("vit_b_32", 50),
    ] {
        assert_eq!(tokens(name), size, "{name}");
        let Absolute::Learned { resampling, .. } = vit(name).positions.absolute else { panic!("{name}") };
        assert_eq!(resampling, Resampling::BicubicAlignedCorners, "{name}");
    }
    // torchvision resizes to 242 pixels.
    let crop = found("vit_l_16").preprocess().expect("of images").clone();
    assert_eq!((f64::from(224) / crop.crop_pct).floor(), 242.0);
    let Absolute::Learned { resampling, .. } = vit("vit_base_patch16_384").positions.absolute else {
        panic!()
    };
    assert_eq!(resampling, Resampling::BicubicAntialias);
}

#[test]
fn a_mistyped_name_suggests_the_near_one() {
    let error = architecture("vit_tinny_patch16_224").unwrap_err().to_string();
    assert!(error.contains("did you mean vit_tiny_patch16_224?"), "{error}");
    for wrong in [
        "",
        "resnet50",
        "vit_tiny_patch0_224",
        "vit_tiny_patch16_225",
        "vit_tiny_patch16_",
        "deit_large_patch16_224",
        "vit_base_patch16_reg0_gap_256",
        "vit_base_patch16_e8_224",
        "vit_tiny_patch99999999999999999999_224",
        "vmoe_tiny_patch16_224",
        "vmoe_base_patch16_last7_224",
        "vmoe_base_patch16_every0_224",
        "vmoe_base_patch16_e0_224",
        "vmoe_base_patch16_e1_224",
        "vmoe_base_patch16_e99999_224",
        "vmoe_base_patch16_last2_every2_224",
        "vmoe_base_patch16_gap_224",
    ] {
        assert!(architecture(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_name_of_timm_that_cannot_be_built_is_refused_with_the_reason() {
    let error = architecture("vit_dwee_patch16_reg1_gap_256").unwrap_err().to_string();
    assert!(error.contains("differential attention"), "{error}");
}

#[test]
fn names_of_v_moe_carry_experts_and_their_blocks() {
    let of = |name: &str| {
        let config = vit(name);
        let experts: ExpertsConfig = config.experts.unwrap();
        let blocks = experts.placement.blocks(config.depth);
        (config.block.channels, experts.experts, experts.chosen, blocks)
    };
    assert_eq!(of("vmoe_small_patch32_224"), (512, 32, 2, vec![5, 7]));
    assert_eq!(of("vmoe_base_patch16_every2_e8_224"), (768, 8, 2, vec![1, 3, 5, 7, 9, 11]));
    assert_eq!(of("vmoe_huge_patch14_224"), (1280, 32, 2, vec![23, 25, 27, 29, 31]));
    assert_eq!(of("vmoe_large_patch16_every5_224").3, [4, 9, 14, 19]);
    assert_eq!(vit("vmoe_base_patch32_last1_384").experts.unwrap().placement, Placement::Last(1));
    assert!(vit("vmoe_base_patch32_last1_384").pre_logits.is_some());
}

#[test]
fn a_very_long_name_is_refused_at_once_and_in_one_short_line() {
    let started = std::time::Instant::now();
    for name in [
        "vit_".repeat(100_000),
        format!("vit_tiny.{}", "x".repeat(100_000)),
        format!("a/{}", "b".repeat(1 << 20)),
    ] {
        let message = architecture(&name).unwrap_err().to_string();
        assert!(message.len() < 1000 && !message.contains("did you mean"), "{message}");
    }
    let message = architecture("vit\u{1b}[31m_x").unwrap_err().to_string();
    assert!(!message.contains(char::is_control), "{message}");
    assert!(started.elapsed().as_secs() < 2);
}
