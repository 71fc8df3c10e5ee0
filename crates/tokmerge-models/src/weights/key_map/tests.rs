//! Spellings against files: every tensor has a role, and every parameter of the model a source of its shape.

use super::{Role, Spelling, SpellingError};
use crate::config_json::{Understood, hugging_face, open_clip};
use crate::families::vit::VitConfig;
use crate::network::Config;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::{Checkpoint, ModelConfig, discover, discover_config};

mod parameters;
mod timm_shapes;

use parameters::parameters;

/// A folder or file of the material beside the repository; `None` where it is absent.
#[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
fn material(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/material").join(name);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("TOKMERGE_REQUIRE").is_ok_and(|wanted| wanted.contains("material"));
    assert!(!required, "{name} is absent at {}", path.display());
    eprintln!("SKIPPED: {name} is absent at {}", path.display());
    None
}

fn spelling(weights: &Path) -> Spelling {
    let checkpoint = Checkpoint::open(weights).unwrap_or_else(|error| panic!("{error}"));
    let tensors: Vec<_> =
        checkpoint.tensors().map(|tensor| (tensor.name.to_owned(), tensor.shape.to_vec())).collect();
    Spelling::detect(tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())))
        .unwrap_or_else(|error| panic!("{}: {error}", weights.display()))
}

/// What does not fit of a model without experts: parameters without a source of their shape, and tensors that nothing
/// reads although they matter.
pub(crate) fn misfits(config: &VitConfig, spelling: &Spelling) -> Vec<String> {
    let mut used = BTreeSet::new();
    let mut misfits = Vec::new();
    for (path, wanted) in parameters(config) {
        match spelling.source(&path) {
            Some(source) => used.extend(source.names().map(str::to_owned).collect::<Vec<_>>()),
            None => misfits.push(format!("{path} has no source")),
        }
        // Positions may be of another grid: they are resampled.
        let shape = spelling.shape(&path).filter(|shape| path != "pos_embed" && *shape != wanted);
        misfits.extend(shape.map(|shape| format!("{path} is {shape:?}, not {wanted:?}")));
    }
    let left = spelling.names().iter().filter(|name| !used.contains(*name));
    let matters = left.filter(|name| match spelling.role(name) {
        Role::Weight => true,
        Role::Head => config.num_classes > 0,
        Role::Ignored => false,
    });
    misfits.extend(matters.map(|name| format!("{name} is not used")));
    misfits
}

/// The shape that a folder describes, if it describes an image model.
fn shape(folder: &Path, spelling: &Spelling) -> Option<VitConfig> {
    let path = discover_config(folder).unwrap_or_else(|| panic!("{}: no configuration", folder.display()));
    match ModelConfig::read(path).unwrap_or_else(|error| panic!("{error}")) {
        ModelConfig::Timm(config) => Some(timm_shapes::shape(&config)),
        ModelConfig::HuggingFace(config) => {
            let understood = hugging_face::describe(&config, Some(spelling), None).ok()?;
            match understood.config {
                Config::Vit(config) => Some(config),
                _ => None,
            }
        }
        ModelConfig::OpenClip(config) => match open_clip::describe(&config) {
            Ok(open_clip::Tower::Own(Understood { config: Config::Vit(config), .. })) => Some(config),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn folders() -> Vec<PathBuf> {
    let Some(all) = material("folders") else { return Vec::new() };
    let entries = std::fs::read_dir(all).expect("readable").map(|entry| entry.expect("readable").path());
    let mut folders: Vec<_> = entries.filter(|path| path.join("expected.json").is_file()).collect();
    folders.sort();
    folders
}

/// The weights of a folder, without the outputs that lie beside them.
fn weights(folder: &Path) -> PathBuf {
    let odd = ["ViT-tiny.pt", "vit_tiny.pth"].map(|name| folder.join(name));
    let found = odd.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| discover(folder).unwrap_or_else(|error| panic!("{error}")).weights)
}

#[test]
fn every_folder_fits_the_model_that_it_describes() {
    let mut wrong = Vec::new();
    for folder in folders() {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        if ["hf-ast", "hf-videomae"].contains(&name.as_str()) {
            continue;
        }
        let spelling = spelling(&weights(&folder));
        match shape(&folder, &spelling) {
            Some(config) => {
                wrong.extend(misfits(&config, &spelling).iter().map(|misfit| format!("{name}: {misfit}")))
            }
            None => wrong.push(format!("{name}: not understood")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_classifier_is_found_in_every_file_that_has_one() {
    for folder in folders() {
        let expected = std::fs::read_to_string(folder.join("expected.json")).expect("readable");
        let expected: serde_json::Value = serde_json::from_str(&expected).expect("JSON");
        if expected["images"].is_null() {
            continue;
        }
        let logits = expected["unmerged"][0]["logits"].as_array().map(Vec::len);
        let found = spelling(&weights(&folder)).head();
        if folder.ends_with("open-clip") {
            continue; // Its projection could be read as a head, and is not: the configuration says so.
        }
        assert_eq!(found, logits, "{}", folder.display());
    }
}

#[test]
fn reference_files_of_families_fit() {
    for (family, file) in [("mae", "model.pth"), ("swag", "model.torch"), ("torchvision_vit", "model.pth")] {
        let Some(folder) = material(&format!("families/{family}")) else { return };
        let config = timm_shapes::reference(&folder);
        for file in [file, "model.safetensors"] {
            let spelling = spelling(&folder.join(file));
            assert_eq!(
                misfits(&config, &spelling),
                [""; 0],
                "{family}/{file}, spelled as {}",
                spelling.name()
            );
            assert_eq!(spelling.head(), Some(config.num_classes));
        }
    }
    for (family, name, classes) in
        [("lvvit", "LV-ViT", 10), ("lvvit_l_stem", "LV-ViT", 6), ("t2t_vit_t", "T2T-ViT", 10)]
    {
        let Some(folder) = material(&format!("families/{family}")) else { return };
        let spelling = spelling(&folder.join("model.safetensors"));
        assert_eq!((spelling.name(), spelling.head()), (name, Some(classes)));
        assert!(
            spelling
                .names()
                .iter()
                .all(|name| spelling.role(name) != Role::Weight || spelling.shape(name).is_some())
        );
    }
}

/// A spelling of made-up files.
fn detect(tensors: &[(&str, &[usize])]) -> Result<Spelling, SpellingError> {
    Spelling::detect(tensors.iter().copied())
}

#[test]
fn metas_own_files_are_read_as_timm_reads_them() {
    const C: usize = 4;
    let sharded = detect(&[
        ("cls_token", &[1, 1, C]),
        ("register_tokens", &[1, 2, C]),
        ("mask_token", &[1, C]),
        ("pos_embed", &[1, 10, C]),
        ("patch_embed.proj.weight", &[C, 3, 2, 2]),
        ("blocks.0.0.norm1.weight", &[C]),
        ("blocks.0.0.mlp.w12.weight", &[12, C]),
        ("blocks.0.0.mlp.w3.weight", &[C, 6]),
        ("blocks.1.1.norm1.weight", &[C]),
    ])
    .expect("Meta's");
    assert_eq!(sharded.name(), "Meta");
    let names = |path: &str| -> Vec<String> {
        sharded.source(path).map(|source| source.names().map(str::to_owned).collect()).unwrap_or_default()
    };
    assert_eq!(sharded.shape("reg_token"), Some(vec![1, 2, C]));
    assert_eq!(
        names("cls_token"),
        ["cls_token", "pos_embed"],
        "the position of the class token is folded into it"
    );
    assert_eq!(sharded.shape("cls_token"), Some(vec![1, 1, C]));
    assert_eq!(sharded.shape("pos_embed"), Some(vec![1, 9, C]));
    assert_eq!(names("blocks.1.norm1.weight"), ["blocks.1.1.norm1.weight"]);
    assert_eq!(sharded.shape("blocks.0.mlp.fc1.weight"), Some(vec![12, C]));
    assert_eq!(names("blocks.0.mlp.fc2.weight"), ["blocks.0.0.mlp.w3.weight"]);
    assert_eq!(sharded.role("mask_token"), Role::Ignored);

    let third = detect(&[
        ("storage_tokens", &[1, 4, C]),
        ("patch_embed.proj.weight", &[C, 3, 2, 2]),
        ("rope_embed.periods", &[1]),
        ("blocks.0.norm1.weight", &[C]),
        ("blocks.0.attn.qkv.bias", &[12]),
        ("blocks.0.attn.qkv.bias_mask", &[12]),
        ("blocks.0.mlp.w1.weight", &[6, C]),
        ("blocks.0.mlp.w2.weight", &[6, C]),
    ])
    .expect("Meta's");
    assert_eq!(third.shape("reg_token"), Some(vec![1, 4, C]));
    assert_eq!(third.shape("blocks.0.attn.v_bias"), Some(vec![4]));
    assert_eq!(third.shape("blocks.0.mlp.fc1.weight"), Some(vec![12, C]));
    assert_eq!(third.role("rope_embed.periods"), Role::Ignored);
}

#[test]
fn wrappers_are_looked_through_and_what_lies_outside_is_not_forgotten() {
    let patches: (&str, &[usize]) = ("module.model._orig_mod.patch_embed.proj.weight", &[4, 3, 2, 2]);
    let norm: (&str, &[usize]) = ("module.model._orig_mod.blocks.0.norm1.weight", &[4]);
    let file = detect(&[patches, norm, ("loss.weight", &[3])]).expect("timm's");
    assert_eq!(file.shape("blocks.0.norm1.weight"), Some(vec![4]));
    assert_eq!(
        file.role("loss.weight"),
        Role::Weight,
        "a tensor that nobody knows is an error, not a silence"
    );

    let tower: [(&str, &[usize]); 4] = [
        ("visual.trunk.patch_embed.proj.weight", &[4, 3, 2, 2]),
        ("visual.head.proj.weight", &[8, 4]),
        ("text.transformer.resblocks.0.ln_1.weight", &[4]),
        ("logit_scale", &[]),
    ];
    let tower = detect(&tower).expect("a tower of timm's inside open_clip");
    assert_eq!((tower.name(), tower.head()), ("timm", Some(8)));
    assert_eq!(tower.shape("patch_embed.proj.weight"), Some(vec![4, 3, 2, 2]));
    assert_eq!((tower.shape("head.weight"), tower.shape("head.bias")), (Some(vec![8, 4]), Some(vec![8])));
    assert_eq!(tower.shape("projection.weight"), Some(vec![8, 4]));
    let headed: [(&str, &[usize]); 3] = [
        ("visual.trunk.patch_embed.proj.weight", &[4, 3, 2, 2]),
        ("visual.trunk.head.weight", &[8, 4]),
        ("visual.trunk.head.bias", &[8]),
    ];
    let headed = detect(&headed).expect("a tower of timm's whose head projects");
    let projection = ["projection.weight", "projection.bias"].map(|path| headed.shape(path));
    assert_eq!(projection, [Some(vec![8, 4]), Some(vec![8])]);
    assert_eq!(tower.role("text.transformer.resblocks.0.ln_1.weight"), Role::Ignored);
}

#[test]
fn what_is_saved_beside_an_encoder_is_passed_over() {
    let names = |encoder: &str, beside: &str| {
        let patches = format!("module.{encoder}.patch_embed.proj.weight");
        let beside = format!("module.{beside}");
        let file = detect(&[(&patches, &[4, 3, 2, 2]), (&beside, &[3])]).expect("timm's");
        file.role(&beside)
    };
    assert_eq!(names("backbone", "head.mlp.0.weight"), Role::Ignored, "DINO");
    assert_eq!(names("backbone", "dino_head.last_layer.weight"), Role::Ignored, "DINOv2");
    assert_eq!(names("image_encoder", "mask_decoder.iou_token.weight"), Role::Ignored, "Segment Anything");
    assert_eq!(names("backbone", "mask_decoder.iou_token.weight"), Role::Weight);
    assert_eq!(names("encoder", "head.mlp.0.weight"), Role::Weight);
}

#[test]
fn segment_anything_is_read_in_its_authors_names() {
    let file = detect(&[
        ("image_encoder.patch_embed.proj.weight", &[4, 3, 2, 2]),
        ("image_encoder.blocks.0.attn.qkv.weight", &[12, 4]),
        ("image_encoder.blocks.0.mlp.lin1.weight", &[8, 4]),
        ("image_encoder.neck.0.weight", &[5, 4, 1, 1]),
        ("image_encoder.neck.2.weight", &[5, 5, 3, 3]),
        ("image_encoder.neck.3.bias", &[5]),
    ])
    .expect("Segment Anything's");
    assert_eq!(file.name(), "Segment Anything");
    assert_eq!(file.shape("blocks.0.mlp.fc1.weight"), Some(vec![8, 4]));
    assert_eq!(file.shape("neck.narrow.weight"), Some(vec![5, 4]));
    assert_eq!(file.shape("neck.smooth"), Some(vec![5, 5, 3, 3]));
    assert_eq!(file.shape("neck.norm2.bias"), Some(vec![5]));
}

#[test]
fn files_of_no_image_model_or_of_several_are_refused_with_their_names() {
    let message = |tensors: &[(&str, &[usize])]| detect(tensors).expect_err("refused").to_string();
    let text = message(&[("bert.embeddings.word_embeddings.weight", &[10, 4])]);
    assert!(text.contains("`bert.embeddings.word_embeddings.weight`") && text.contains("timm"), "{text}");
    let two = message(&[
        ("one.backbone.patch_embed.proj.weight", &[4, 3, 2, 2]),
        ("two.backbone.patch_embed.proj.weight", &[4, 3, 2, 2]),
    ]);
    assert!(two.contains("`one.backbone.` and `two.backbone.`") && two.contains("`state_dict`"), "{two}");
}

#[test]
fn of_averaged_and_raw_weights_the_averaged_are_taken() {
    let both = |averaged: &str, raw: &str| {
        let names = [averaged, raw].map(|module| format!("{module}patch_embed.proj.weight"));
        let head = format!("{raw}head.weight");
        detect(&[(&names[0], &[4, 3, 2, 2]), (&names[1], &[4, 3, 2, 2]), (&head, &[7, 4])])
    };
    for (averaged, raw) in [("teacher.backbone.", "student.backbone."), ("a.model_ema.", "a.model.")] {
        let found = both(averaged, raw).expect("the averaged");
        assert_eq!((found.names().wrapper(), found.head()), (averaged, None));
        assert_eq!(found.role(&format!("{raw}head.weight")), Role::Ignored);
        assert!(found.averaged().is_some_and(|(taken, left)| taken == averaged && raw.starts_with(left)));
    }
    assert!(both("momentum.", "base.").is_err());
}

#[test]
fn separate_and_partial_biases_are_put_together() {
    const C: usize = 4;
    let old_beit = detect(&[
        ("patch_embed.proj.weight", &[C, 3, 2, 2]),
        ("blocks.0.attn.q_bias", &[C]),
        ("blocks.0.attn.v_bias", &[C]),
        ("blocks.0.gamma_1", &[C]),
    ])
    .expect("timm's");
    assert_eq!(old_beit.shape("blocks.0.attn.q_bias"), Some(vec![C]));
    assert_eq!(old_beit.shape("blocks.0.attn.qkv.bias"), Some(vec![3 * C]), "keys get zeros");
    assert_eq!(old_beit.shape("blocks.0.ls1.gamma"), Some(vec![C]));
    assert_eq!(old_beit.source("blocks.0.ls2.gamma"), None);
}
