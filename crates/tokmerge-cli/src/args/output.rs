//! How results are shown.

use super::values::one_of;
use clap::Args;
use tokmerge::Convention;

/// How results are shown.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// Print one JSON object per result to standard output, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// How operations are counted: fvcore (multiply-adds, and 5 per LayerNorm element), macs (multiply-adds alone), or
    /// macs+norm (multiply-adds, and 1 per LayerNorm element)
    #[arg(
        long,
        value_parser = one_of::<Convention>(Convention::ALL.map(Convention::name)),
        default_value_t = Convention::Fvcore
    )]
    pub(crate) convention: Convention,
}
