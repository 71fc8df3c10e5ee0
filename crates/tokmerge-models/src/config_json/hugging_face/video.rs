//! `videomae`.

use super::vit::Defaults;
use super::{DescribeError, Given};
use crate::blocks::QkvBias;
use crate::families::st_vit::{StVitConfig, TubePool, TubePositions};
use crate::network::Config;
use tokmerge_data::clip::{ClipProcessor, FrameFit, Sampling};
use tokmerge_data::{CropMode, HALF_MEAN, HALF_STD, Interpolation, Preprocess, Processor};
use tokmerge_merge::KeyBias;

/// The epsilon of the norm of pooled tubes, which the configuration does not name.
const POOLED_EPS: f64 = 1e-5;

/// Tubes with positions that follow from the shape, whose mean a head reads.
pub(super) fn videomae(given: &Given<'_>) -> Result<(Config, Processor), DescribeError> {
    let vision = &given.vision;
    let plain = given.plain(Defaults::BASE, 0)?;
    let averages = vision.flag("use_mean_pooling", true)?;
    let mut block = plain.block.clone();
    block.mlp.hidden = given.intermediate_size(3072)?;
    block.qkv_bias = if vision.flag("qv_bias", vision.flag("qkv_bias", true)?)? {
        QkvBias::QueryValue
    } else {
        QkvBias::No
    };
    let (patch, across) = plain.patch_size;
    if patch != across {
        let reason = format!("must be square, and is {patch}x{across}");
        return Err(vision.field("patch_size").refuse("patch_size", reason).into());
    }
    let classifies = plain.num_classes > 0;
    let config = StVitConfig {
        img_size: plain.img_size,
        frames: vision.channels("num_frames", 16)?,
        tubelet: vision.channels("tubelet_size", 2)?,
        in_chans: plain.in_chans,
        class_token: false,
        positions: TubePositions::Sinusoids,
        pool: if averages { TubePool::Average } else { TubePool::First },
        head_norm_eps: match (averages, classifies) {
            (true, true) => Some(POOLED_EPS),
            // The encoder alone ends without a norm.
            (true, false) => None,
            (false, _) => Some(block.norm.eps),
        },
        num_classes: plain.num_classes,
        key_bias: KeyBias::LogSize,
        ..StVitConfig::new(patch, block.channels, plain.depth, block.heads)
    };
    let preprocess = Preprocess {
        input_size: config.img_size,
        crop_pct: 1.0,
        crop_mode: CropMode::Center,
        interpolation: Interpolation::Bilinear,
        mean: HALF_MEAN,
        std: HALF_STD,
        ..Preprocess::default()
    };
    let sampling = Sampling::Uniform { frames: config.frames };
    let processor = ClipProcessor { sampling, fit: FrameFit::Picture(preprocess) };
    Ok((StVitConfig { block, ..config }.into(), processor.into()))
}
