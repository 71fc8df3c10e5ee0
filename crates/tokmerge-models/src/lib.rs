//! Transformers that leave room for token merging.
//!
//! A block has two halves, attention and MLP, and the encoder owns the seam between them (`pass.rs`). A model is written
//! once, for training and inference on every device; it names no kernel, no backend and no merging method. Module fields
//! carry timm's names, so a parameter's path is its key in a checkpoint; other spellings are translated in
//! [`weights::key_map`].
//!
//! | file or folder | what |
//! |---|---|
//! | `family.rs`, `network.rs` | what a family has of its own; the list of families, and a network of any |
//! | `families/` | one file or folder per family, one table of names |
//! | `stems/`, `blocks/`, `experts/`, `heads/`, `positions/` | what families are made of |
//! | `pass.rs`, `recompute.rs` | one run through the blocks; gradient checkpointing |
//! | `registry/`, `config_json/`, `open.rs`, `weights/` | from a name or a folder to a network with its weights |
//! | `model.rs`, `recheck.rs`, `input.rs` | a model that is ready to be used, and what it takes |
//! | `zero_shot/` | classes by their names, for a model of images and texts |
//! | `flops.rs` | what a pass costs |
#![deny(missing_docs)]

mod blocks;
mod config_json;
mod embedded;
mod experts;
mod families;
mod family;
mod finite;
mod flops;
mod generate;
mod heads;
mod input;
mod model;
mod network;
mod open;
mod open_text;
mod pass;
mod positions;
mod recheck;
mod recompute;
mod registry;
mod stems;
mod teach;
pub mod weights;
mod zero_shot;

pub use blocks::{
    Attention, AttentionPool, Begun, Block, BlockConfig, BranchesBlock, Context, EncoderBlock, FeedForward,
    Gate, LogitScale, Memory, MlpConfig, NormConfig, NormKind, Order as BlockOrder, ParallelBlock, QkNorm,
    QkvBias, RelativePositionBias,
};
pub use config_json::{ConfigureError, timm_config};
pub use embedded::EMBEDDED;
pub use experts::{
    Buffers, ExpertsConfig, Group, MixtureOfExperts, Order, Placement, RouterTraining, Routing, RoutingError,
};
pub use families::lv_vit::{LvVit, LvVitConfig};
pub use families::pali::{Pali, PaliConfig};
pub use families::sam_vit::{Distances, SamVit, SamVitConfig, WindowBlock, Windows};
pub use families::st_vit::{StVit, StVitConfig, TubePool, TubePositions};
pub use families::t2t_vit::{T2tVit, T2tVitConfig};
pub use families::text::{
    AnswerLength, Buckets, Decoder, DecoderConfig, DecoderKind, DecoderState, Projection, Text, TextConfig,
    TextPool, TextPositions,
};
pub use families::vilt::{Vilt, ViltConfig};
pub use families::vit::{
    AttentionPoolConfig, ClassToken, DistillationHead, HeadInput, NormPlace, Pool, PreLogits, Sizes, Vit,
    VitBlock, VitConfig, Wiring,
};
pub use family::{
    Family, FamilyConfig, Heads, ImageSizeError, Part, PartKind, PoolOverride, Shape, ShapeOverrides,
};
pub use finite::NotFinite;
pub use flops::{BlockCost, Convention, Cost, ExpertCost, HeadCost, JoiningCost, UnknownConvention, Work};
pub use generate::{GenerateError, GenerateOptions, Generated, Hypothesis, MostTokens, Stopping};
pub use input::{Batch, Input, InputShape, Texts};
pub use model::{Measured, Model, Probability};
pub use network::{Body, Config, Network};
pub use open::{
    Described, ModelError, ModelOptions, TRAINED_WITH, Weights, configured, describe, describe_with_progress,
};
pub use pass::{DropRates, Output, Pass, Probe, Read};
pub use positions::{
    Absolute, AxisOrder, Frequencies, PositionConfig, Relative, Resampling, RotaryConfig, RotaryEmbedding,
    RotaryShape,
};
pub use recheck::top2_margin;
pub use registry::{Architecture, UnknownModel, architecture, architectures};
pub use stems::{
    BatchNorm, ConvStem, Convolution, PatchEmbed, TokenAttention, TokenTransformer, TokensToToken, TubeEmbed,
    TubeProjection,
};
pub use teach::Answers;
pub use tokmerge_nn::{LayerScale, Linear, Mlp, Norm, parameters};
pub use tokmerge_ops::{Activation, Isa, IsaError, Precision, UnknownPrecision, peak};
pub use weights::{LoadError, LoadReport, Unused, load, load_with};
pub use zero_shot::{ClassTexts, Template, ZeroShot, ZeroShotError};
