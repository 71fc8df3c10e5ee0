//! Transformers that leave room for token merging.
//!
//! A block has two halves, attention and MLP, and the encoder owns the seam between them: see [`encode`]. A
//! model is written once, for training and inference on every device; it names no kernel, no backend and no
//! merging method. Module fields carry timm's names, so a parameter's path is its key in a checkpoint; other
//! spellings are translated in `key_map`.
#![deny(missing_docs)]

mod blocks;
mod configure;
mod embedded;
mod encoder;
mod experts;
mod families;
mod flops;
mod key_map;
mod load;
mod model;
mod pos_embed;
mod registry;

pub use blocks::{Attention, Block, FeedForward, LayerNorm, LayerScale, Linear, Mlp, PatchEmbed};
pub use configure::{ConfigureError, timm_config};
pub use embedded::EMBEDDED;
pub use encoder::{Encoded, EncoderBlock, StochasticDepth, Watch, encode, encode_for, encode_stochastic};
pub use experts::{
    Buffers, ExpertsConfig, Group, MixtureOfExperts, Order, Placement, RouterTraining, Routing, RoutingError,
};
pub use families::vit::{
    ClassToken, Classified, ImageSizeError, NormPlace, Pool, Predicted, Trained, Vit, VitConfig,
};
pub use flops::{Convention, Cost, ExpertCost};
pub use key_map::KeyMap;
pub use load::{LoadError, LoadReport, load, parameters};
pub use model::{Described, Model, ModelError, ModelOptions, TRAINED_WITH, Weights, describe, gap};
pub use registry::{Architecture, UnknownModel, architecture, architectures};
pub use tokmerge_ops::{Activation, Isa, IsaError, Precision, peak};
