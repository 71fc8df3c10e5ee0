//! Embeddings of many images.
//!
//! - [`Sources`] are files, folders, lists of paths, tar archives and Parquet tables; [`Sources::open`] makes one ordered
//!   list of them, [`Inputs`].
//! - [`embed`] turns the list into parts of vectors, each written aside and renamed, so that a run that was killed goes on
//!   where it was, several processes share the work ([`Shard`]), and rows stand in the order of the list. The parts are
//!   the output, or are joined to one file ([`Target`]). Images that cannot be read are listed beside it.
//! - [`Vectors`] reads vectors back and finds the nearest.
//! - [`stream`] is the pipeline alone: pictures, read and decoded ahead, in order.
#![deny(missing_docs)]

#[cfg(feature = "parquet")]
mod columns;
mod dense;
mod error;
mod output;
mod run;
mod search;
mod settings;
mod source;
mod store;
mod stream;
mod target;
#[cfg(feature = "parquet")]
mod thrift;

pub use error::EmbedError;
pub use run::{Observer, embed};
pub use search::{Neighbour, Vectors};
pub use settings::{Detail, Format, Length, Shard, VectorDtype, Writing};
pub use source::{Inputs, Sources};
pub use store::{Failure, Summary};
pub use stream::{Filled, Loaded, Stream, stream};
pub use target::Target;
