//! What a load reports when the checkpoint and the model do not fit, and when they nearly do.

use crate::common::{config_of, fixture};
use burn::tensor::Device;
use std::collections::BTreeMap;
use tokmerge_checkpoint::{Checkpoint, TensorView, save_safetensors};
use tokmerge_models::{
    ClassToken, Config, DistillationHead, FamilyConfig, LoadError, LoadReport, Network, PositionConfig,
    Precision, VitConfig, load,
};

fn config(name: &str) -> VitConfig {
    config_of(&fixture(&format!("{name}.golden")))
}

/// The fixture's tensors under the names that `rename` gives them; without a name they are left out.
fn renamed(name: &str, rename: impl Fn(&str) -> Option<String>) -> Checkpoint {
    let original = fixture(name);
    let renamed: Vec<(String, TensorView)> =
        original.tensors().filter_map(|view| Some((rename(view.name)?, view))).collect();
    let views = renamed
        .iter()
        .map(|(name, view)| TensorView::new(name, view.dtype, view.shape, view.bytes()).expect("as it was"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("renamed.safetensors");
    save_safetensors(&path, views, &BTreeMap::new()).expect("writable");
    Checkpoint::open(&path).expect("just written")
}

fn load_into(config: &VitConfig, checkpoint: &Checkpoint) -> Result<(Network, LoadReport), LoadError> {
    load(Config::from(config.clone()).init(Precision::F32, &Device::flex()), checkpoint)
}

/// The error's one line and its report.
fn refused(config: &VitConfig, checkpoint: &Checkpoint) -> (String, LoadReport) {
    let error = load_into(config, checkpoint).expect_err("these weights do not fit");
    let message = error.to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    let LoadError::Mismatch { report, .. } = error else { panic!("{message}") };
    (message, *report)
}

#[test]
fn a_fitting_checkpoint_is_applied_to_the_last_tensor() {
    for name in ["vit", "deit_distilled", "hf_deit", "vit_reg4_gap"] {
        let checkpoint = fixture(name);
        let (_, report) = load_into(&config(name), &checkpoint).expect("fits");
        // Hugging Face's queries, keys and values are one tensor here: four fewer per block.
        let stacked = if name.starts_with("hf") { 3 * 4 } else { 0 };
        assert_eq!(report.applied.len(), checkpoint.names().len() - stacked, "{name}: {report}");
        assert_eq!(report, LoadReport { applied: report.applied.clone(), ..LoadReport::default() });
    }
}

#[test]
fn interpolated_positions_are_reported() {
    let (_, report) = load_into(&config("vit_resized"), &fixture("vit_resized")).expect("interpolates");
    assert_eq!(report.interpolated, Some(((4, 4), (5, 7))));
    assert!(report.to_string().contains("positions interpolated from 4x4 to 5x7"), "{report}");
}

#[test]
fn missing_and_unused_tensors_are_named() {
    let checkpoint = renamed("vit", |name| match name {
        "blocks.1.attn.proj.bias" => None,
        "cls_token" => Some("something_else_entirely".to_owned()),
        _ => Some(name.to_owned()),
    });
    let (message, report) = refused(&config("vit"), &checkpoint);
    let missing: Vec<_> = report.missing.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(missing, ["cls_token", "blocks.1.attn.proj.bias"]);
    assert_eq!(report.unused, ["something_else_entirely"]);
    assert!(message.contains("2 missing: cls_token, blocks.1.attn.proj.bias"), "{message}");
    assert!(message.contains("1 not used: something_else_entirely"), "{message}");
    assert!(message.contains("renamed.safetensors"), "{message}");
}

#[test]
fn a_near_miss_is_pointed_out() {
    let checkpoint =
        renamed("vit", |name| Some(name.replace("blocks.2.norm1.weight", "blocks.2.norm_1.weight")));
    let (message, report) = refused(&config("vit"), &checkpoint);
    let near = Some("blocks.2.norm_1.weight".to_owned());
    assert_eq!(report.missing, [("blocks.2.norm1.weight".to_owned(), near)]);
    assert!(message.contains("blocks.2.norm1.weight (the file has blocks.2.norm_1.weight)"), "{message}");
}

#[test]
fn weights_of_another_model_are_refused_in_one_line() {
    // Another width: every tensor has another shape.
    let (message, report) = refused(&config("vit"), &fixture("vit_odd"));
    assert_eq!((report.missing.len(), report.unused.len()), (0, 0), "{report}");
    // All but the head's bias, which has as many classes.
    assert_eq!(report.mismatched.len(), fixture("vit").names().len() - 1, "{report}");
    let shapes = ("cls_token".to_owned(), vec![1, 1, 20], vec![1, 1, 24]);
    assert!(report.mismatched.contains(&shapes), "{report}");
    assert!(message.contains("and ") && message.len() < 700, "{message}");

    // Another kind: a class token too many, or a distillation token too few.
    let (message, report) = refused(&config("vit"), &fixture("deit_distilled"));
    assert_eq!(report.unused, ["dist_token", "head_dist.bias", "head_dist.weight"], "{message}");
    let distilled = VitConfig {
        class_token: ClassToken::Distilled(DistillationHead::Averaged),
        positions: PositionConfig::learned(2),
        ..config("vit")
    };
    let (message, report) = refused(&distilled, &fixture("vit"));
    assert!(report.missing.iter().any(|(name, _)| name == "dist_token"), "{message}");

    // Other depths.
    let (_, report) = refused(&VitConfig { depth: 2, ..config("vit") }, &fixture("vit"));
    assert!(report.unused.iter().all(|name| name.starts_with("blocks.2.")) && report.unused.len() == 12);
    let (_, report) = refused(&VitConfig { depth: 4, ..config("hf_vit") }, &fixture("hf_vit"));
    assert!(
        report.missing.iter().all(|(name, _)| name.starts_with("blocks.3.")) && report.missing.len() == 12
    );
}

#[test]
fn positions_of_no_square_are_not_guessed_at() {
    // 3x5 patches in the file: which grid that was cannot be known.
    let other = config("vit").with_img_size((20, 20)).expect("a multiple of the patch");
    let (message, report) = refused(&other, &fixture("vit"));
    assert_eq!(report.mismatched, [("pos_embed".to_owned(), vec![1, 16, 24], vec![1, 26, 24])], "{message}");
}

#[test]
fn a_headless_model_leaves_the_head_behind() {
    for name in ["vit", "hf_vit", "deit_distilled", "hf_deit"] {
        let headless = VitConfig { num_classes: 0, ..config(name) };
        let heads = if name.contains("deit") { 4 } else { 2 };
        let wrapped = renamed(name, |tensor| Some(format!("model.{tensor}")));
        // Hugging Face has no wrappers.
        let wrapped = (!name.starts_with("hf")).then_some(wrapped);
        for checkpoint in [fixture(name)].into_iter().chain(wrapped) {
            let (_, report) =
                load_into(&headless, &checkpoint).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(report.ignored.len(), heads, "{name}: {:?}", report.ignored);
        }
    }
}

#[test]
fn a_headless_checkpoint_fits_a_headless_model_only() {
    let checkpoint = renamed("vit", |name| (!name.starts_with("head.")).then(|| name.to_owned()));
    let headless = VitConfig { num_classes: 0, ..config("vit") };
    assert_eq!(load_into(&headless, &checkpoint).expect("fits").1.ignored, Vec::<String>::new());
    let (message, _) = refused(&config("vit"), &checkpoint);
    assert!(message.contains("2 missing: head.weight, head.bias"), "{message}");
}

#[test]
fn a_model_is_found_inside_a_wrapper() {
    for wrapper in ["model.", "encoder.", "backbone.", "visual.trunk."] {
        let checkpoint = renamed("deit_distilled", |name| Some(format!("{wrapper}{name}")));
        load_into(&config("deit_distilled"), &checkpoint)
            .unwrap_or_else(|error| panic!("{wrapper}: {error}"));
    }
    // A body that was saved alone has no name in front.
    let checkpoint = renamed("hf_vit", |name| {
        if name.starts_with("classifier") { None } else { name.strip_prefix("vit.").map(str::to_owned) }
    });
    let headless = VitConfig { num_classes: 0, ..config("hf_vit") };
    load_into(&headless, &checkpoint).unwrap_or_else(|error| panic!("{error}"));
}
