//! What stands before the blocks: from an input to tokens.

mod class_token;
mod conv;
mod patches;
pub(crate) mod tokens_to_token;
mod tubes;

pub(crate) use class_token::with_class_token;
pub(crate) use conv::ConvStemShape;
pub use conv::{BatchNorm, ConvStem, Convolution};
pub use patches::PatchEmbed;
pub use tokens_to_token::{TokenAttention, TokenTransformer, TokensToToken};
pub use tubes::{TubeEmbed, TubeProjection};
