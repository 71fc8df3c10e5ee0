//! Small shapes of every kind that this family builds.

use super::{
    AttentionPoolConfig, ClassToken, DistillationHead, HeadInput, NormPlace, Pool, PreLogits, VitConfig,
    Wiring,
};
use crate::blocks::{BlockConfig, Gate, NormConfig, NormKind, Order, QkNorm, QkvBias};
use crate::experts::{ExpertsConfig, Placement};
use crate::positions::{Absolute, AxisOrder, Frequencies, PositionConfig, Relative, RotaryConfig};
use tokmerge_ops::{Activation, Pairs};

/// 15 patches of 24 channels.
fn plain() -> VitConfig {
    let mut config = VitConfig { img_size: (12, 20), num_classes: 7, ..VitConfig::new(4, 24, 4, 3) };
    config.block.mlp.hidden = 40;
    config
}

fn with_block(change: impl FnOnce(&mut BlockConfig)) -> VitConfig {
    let mut config = plain();
    change(&mut config.block);
    config
}

fn rotary(frequencies: Frequencies, pairs: Pairs, absolute: Absolute) -> PositionConfig {
    let rotary = Some(RotaryConfig { frequencies, pairs });
    PositionConfig { absolute, rotary, ..PositionConfig::learned(0) }
}

fn gated(block: &mut BlockConfig) {
    block.mlp.gate = Gate::First;
    block.mlp.activation = Activation::Silu;
}

/// Of sounds: a post-norm block and a patch per frame (KWT), positions that follow from the shape (AudioMAE), overlapping
/// patches and a head that normalises the mean of two tokens (AST).
fn sounds() -> Vec<VitConfig> {
    let spectrogram = || VitConfig { in_chans: 1, ..plain() };
    let mut kwt =
        VitConfig { img_size: (15, 6), patch_size: (1, 6), norm_place: NormPlace::None, ..spectrogram() };
    (kwt.block.order, kwt.block.qkv_bias) = (Order::PostNorm, QkvBias::No);
    let sinusoids =
        PositionConfig { absolute: Absolute::Sinusoids { prefix: 1 }, ..PositionConfig::learned(0) };
    let audio_mae = VitConfig {
        positions: sinusoids,
        pool: Pool::Average,
        norm_place: NormPlace::AfterPool,
        ..spectrogram()
    };
    let ast = VitConfig {
        img_size: (10, 16),
        patch_stride: Some(3),
        class_token: ClassToken::Distilled(DistillationHead::Pooled),
        positions: PositionConfig::learned(2),
        head_input: HeadInput::Normed,
        ..spectrogram()
    };
    vec![kwt, audio_mae, ast]
}

/// See [`FamilyConfig::examples`](crate::FamilyConfig::examples).
pub(super) fn examples() -> Vec<VitConfig> {
    let learned = PositionConfig::learned;
    let axial =
        Frequencies::Axial { temperature: 1e4, order: AxisOrder::RowsFirst, offset: 0.0, reference: None };
    let eva = with_block(|block| {
        gated(block);
        block.mlp.norm = true;
        block.attn_norm = true;
        block.qkv_bias = QkvBias::QueryValue;
    });
    let dinov3 = with_block(|block| {
        block.layer_scale = Some(0.1);
        block.qkv_bias = QkvBias::QueryValue;
    });
    let aimv2 = with_block(|block| {
        gated(block);
        (block.norm, block.mlp.bias) = (NormConfig { kind: NormKind::Rms, eps: 1e-5 }, false);
        (block.qkv_bias, block.proj_bias) = (QkvBias::No, false);
    });
    let siglip = with_block(|block| block.mlp.activation = Activation::GeluTanh);
    let attention = AttentionPoolConfig {
        heads: 3,
        mlp_hidden: Some(40),
        norm: true,
        prefix: false,
        query_projection: true,
    };
    let mut all = vec![
        plain(),
        VitConfig {
            class_token: ClassToken::Distilled(DistillationHead::Averaged),
            positions: learned(2),
            ..plain()
        },
        VitConfig {
            experts: Some(ExpertsConfig { experts: 5, chosen: 2, placement: Placement::Every(2) }),
            pre_logits: Some(PreLogits::tanh(12)),
            ..plain()
        },
        VitConfig {
            positions: rotary(axial.clone(), Pairs::Adjacent, learned(1).absolute),
            pool: Pool::Average,
            norm_place: NormPlace::AfterPool,
            ..eva
        },
        VitConfig {
            positions: rotary(
                Frequencies::Mixed { order: AxisOrder::ColumnsFirst },
                Pairs::Adjacent,
                learned(1).absolute,
            ),
            ..plain()
        },
        VitConfig {
            reg_tokens: 4,
            positions: rotary(Frequencies::Normalised { temperature: 100.0 }, Pairs::Halves, Absolute::None),
            ..dinov3
        },
        VitConfig {
            class_token: ClassToken::Absent,
            positions: learned(0),
            pool: Pool::Attention(attention),
            ..siglip
        },
        VitConfig {
            positions: rotary(axial, Pairs::Adjacent, learned(1).absolute),
            pre_norm: true,
            pool: Pool::Attention(AttentionPoolConfig { prefix: true, ..attention }),
            ..plain()
        },
        VitConfig {
            class_token: ClassToken::Absent,
            positions: learned(0),
            patch_norm: Some(aimv2.block.norm),
            pool: Pool::Average,
            ..aimv2
        },
        VitConfig {
            pre_norm: true,
            patch_bias: false,
            projection: Some(10),
            head_input: HeadInput::Unit,
            ..with_block(|block| block.mlp.activation = Activation::QuickGelu)
        },
        VitConfig {
            reg_tokens: 4,
            positions: learned(0),
            pool: Pool::TokenAndAverage,
            ..with_block(|block| block.layer_scale = Some(0.1))
        },
        VitConfig { pool: Pool::AverageAll, ..with_block(|block| block.qk_norm = QkNorm::Whole(block.norm)) },
        with_block(|block| block.order = Order::ResidualPostNorm),
        VitConfig { norm_place: NormPlace::None, ..with_block(|block| block.order = Order::PostNorm) },
        VitConfig { positions: PositionConfig { relative: Relative::PerBlock, ..learned(1) }, ..plain() },
        VitConfig { wiring: Wiring::Parallel, ..plain() },
        VitConfig { wiring: Wiring::Branches(2), ..plain() },
    ];
    all.extend(sounds());
    all
}
