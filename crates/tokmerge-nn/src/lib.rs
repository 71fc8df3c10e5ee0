//! Layers, parameters by path, and random numbers: what models and merging methods are built from.
//!
//! Field names are PyTorch's and timm's, so that a parameter's path in a module is its key in a checkpoint.
#![deny(missing_docs)]

mod layers;
pub mod parameters;
mod random;
mod transparent;

pub use layers::{
    Bias, GatedMlp, LayerScale, Linear, Mlp, Norm, constant_parameter, normal_parameter, zeros_parameter,
};
pub use random::Random;

#[doc(hidden)]
pub mod __private {
    pub use burn;
}
