//! `audio-spectrogram-transformer`.

use super::vit::Defaults;
use super::{DescribeError, Given};
use crate::families::vit::{ClassToken, DistillationHead, HeadInput, VitConfig};
use crate::network::Config;
use crate::positions::{Absolute, PositionConfig, Resampling};
use tokmerge_data::Processor;
use tokmerge_data::sound::SoundProcessor;

/// Patches that overlap, in rows of frequencies; class and distillation token, whose mean a head with a norm reads.
pub(super) fn ast(given: &Given<'_>) -> Result<(Config, Processor), DescribeError> {
    let vision = &given.vision;
    let plain = given.plain(Defaults::BASE, 2)?;
    let (mels, frames) = (vision.channels("num_mel_bins", 128)?, vision.channels("max_length", 1024)?);
    let stride = vision.channels("frequency_stride", 10)?;
    if vision.channels("time_stride", 10)? != stride {
        let reason = format!("must be the `frequency_stride`, which is {stride}");
        return Err(vision.field("time_stride").refuse("time_stride", reason).into());
    }
    let absolute = Absolute::Learned { prefix: 2, resampling: Resampling::Bicubic, grid: None };
    let classes = plain.num_classes;
    let mut config = VitConfig {
        img_size: (mels, frames),
        patch_stride: Some(stride),
        in_chans: 1,
        class_token: ClassToken::Distilled(DistillationHead::Pooled),
        positions: PositionConfig { absolute, ..PositionConfig::learned(2) },
        head_input: if classes > 0 { HeadInput::Normed } else { HeadInput::Embedding },
        ..plain
    };
    config.block.mlp.hidden = given.intermediate_size(3072)?;
    config.block.qkv_bias = given.qkv_bias()?;
    let processor = SoundProcessor::audio_spectrogram_transformer().with_size((mels, frames));
    Ok((config.into(), processor.into()))
}
