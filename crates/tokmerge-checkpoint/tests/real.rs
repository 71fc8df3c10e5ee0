//! The real weights beside the project, where they are.

use std::path::{Path, PathBuf};

use tokmerge_checkpoint::{Checkpoint, CheckpointError, Dtype, discover};

fn material() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/material/vit_tiny_augreg");
    if path.is_dir() {
        return Some(path);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    {
        eprintln!("SKIPPED: real weights not tested, {} is absent", path.display());
    }
    None
}

#[test]
fn the_real_vit_tiny_is_read() {
    let Some(dir) = material() else { return };
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
    let Some(dir) = material() else { return };
    let checkpoint = Checkpoint::open(dir.join("golden_tome.safetensors")).unwrap();
    let images = checkpoint.get("images_u8").unwrap();
    assert_eq!((images.dtype, images.shape), (Dtype::U8, [24, 224, 224, 3].as_slice()));
    assert_eq!(checkpoint.get("logits_base").unwrap().to_f32().unwrap().len(), 24 * 1000);
}
