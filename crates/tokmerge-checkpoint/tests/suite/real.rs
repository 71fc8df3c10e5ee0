//! The real weights beside the project, where they are.

use std::path::{Path, PathBuf};

use tokmerge_checkpoint::{Checkpoint, CheckpointError, Dtype, Format, ModelConfig, discover};

/// A folder of the material, or why the test passes without it.
fn material(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/material").join(name);
    if path.is_dir() {
        return Some(path);
    }
    let required = std::env::var("TOKMERGE_REQUIRE").is_ok_and(|what| what == "material");
    assert!(!required, "{} is absent, and TOKMERGE_REQUIRE=material asks for it", path.display());
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    {
        eprintln!("SKIPPED: nothing real is tested, {} is absent", path.display());
    }
    None
}

#[test]
fn the_real_vit_tiny_is_read() {
    let Some(dir) = material("vit_tiny_augreg") else { return };
    let checkpoint =
        Checkpoint::open(dir.join("vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors")).unwrap();
    let parameters: usize = checkpoint.tensors().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    assert_eq!(parameters, 5_717_416);
    assert_eq!(checkpoint.get("blocks.11.attn.qkv.weight").unwrap().shape, [576, 192]);
    assert_eq!(checkpoint.get("pos_embed").unwrap().shape, [1, 197, 192]);
    for tensor in checkpoint.tensors() {
        assert_eq!(tensor.dtype, Dtype::F32);
        assert!(tensor.to_f32().unwrap().iter().all(|value| value.is_finite()), "{tensor:?}");
    }
    // Two files end in .safetensors and neither has a conventional name.
    assert!(matches!(discover(&dir), Err(CheckpointError::AmbiguousWeights { .. })));
}

#[test]
fn the_golden_outputs_are_read() {
    let Some(dir) = material("vit_tiny_augreg") else { return };
    let checkpoint = Checkpoint::open(dir.join("golden_tome.safetensors")).unwrap();
    let images = checkpoint.get("images_u8").unwrap();
    assert_eq!((images.dtype, images.shape), (Dtype::U8, [24, 224, 224, 3].as_slice()));
    assert_eq!(checkpoint.get("logits_base").unwrap().to_f32().unwrap().len(), 24 * 1000);
}

/// A copy of a model's own files, without the reference's outputs beside them.
fn copied(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name();
        if name != "golden.safetensors" && name != "expected.json" {
            std::fs::copy(folder.join(&name), copy.path().join(&name)).unwrap();
        }
    }
    copy
}

#[test]
fn every_folder_that_people_have_is_found_and_read() {
    let Some(dir) = material("folders") else { return };
    let mut formats = Vec::new();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("expected.json").is_file() {
            continue;
        }
        let copy = copied(&folder);
        let files = discover(copy.path()).unwrap();
        let config = ModelConfig::read(files.config.unwrap()).unwrap();
        let is_timm = matches!(config, ModelConfig::Timm(_));
        assert_eq!(files.preprocessor.is_some(), matches!(config, ModelConfig::HuggingFace(_)), "{config:?}");
        let checkpoint = Checkpoint::open(&files.weights).unwrap();
        for tensor in checkpoint.tensors() {
            if let Ok(values) = tensor.to_f32() {
                assert!(values.iter().all(|value| value.is_finite()), "{}: {tensor:?}", folder.display());
            }
        }
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(is_timm, !name.starts_with("hf-") && name != "open-clip", "{name}");
        assert_eq!(checkpoint.provenance().stripped_prefix, None, "{name}");
        formats.push((name, checkpoint.provenance().format));
    }
    for (name, format) in [
        ("hf-vit", Format::Safetensors),
        ("hf-vit-sharded", Format::ShardedSafetensors),
        ("hf-vit-sharded-bin", Format::ShardedPytorch),
        ("openai-clip", Format::Pytorch),
    ] {
        assert!(formats.contains(&(name.to_owned(), format)), "{formats:?}");
    }
}

#[test]
fn what_torch_saved_equals_the_same_weights_in_safetensors() {
    let Some(dir) = material("families") else { return };
    for (name, key) in [
        ("mae/model.pth", Some("model")),
        ("mae_st/model.pth", Some("model")),
        ("swag/model.torch", None),
        ("t2t_vit_t/model.pth.tar", Some("state_dict_ema")),
        ("lvvit/model.pth", Some("state_dict")),
    ] {
        let path = dir.join(name);
        let (saved, plain) = (
            Checkpoint::open(&path).unwrap(),
            Checkpoint::open(path.with_file_name("model.safetensors")).unwrap(),
        );
        assert_eq!(saved.provenance().state_dict_key.as_deref(), key, "{name}");
        assert!(saved.tensors().eq(plain.tensors()), "{name}");
    }
}
