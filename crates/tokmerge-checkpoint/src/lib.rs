//! Reads pretrained weights and finds them. Knows no tensor library and no model.
//!
//! - [`Checkpoint`] opens `.safetensors` and PyTorch's zip format (`.pth`, `.pt`, `.bin`, TorchScript), one file or
//!   shards, and lends out [`TensorView`]s; [`save_safetensors`] writes, and [`AtomicFile`] any other file.
//! - [`ModelSource`] says what the user asked for: a model name, `local-dir:PATH` or `hf-hub:org/name@rev`.
//! - [`discover`] finds the weights and configuration in a folder; [`Hub`] does so in the Hugging Face cache,
//!   and downloads what is missing.
//! - [`ModelConfig`] reads `config.json` in timm's and in Hugging Face's form and `open_clip_config.json`; [`Fields`]
//!   reads what a kind of model has of its own.
//!
//! Everything read here is untrusted: every length, offset and shape is checked before use, a pickle is
//! interpreted by an allow-list and never executed, and each error is one line that names the file.
//!
//! ```
//! use std::collections::BTreeMap;
//! use tokmerge_checkpoint::{Checkpoint, TensorView, save_safetensors};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = std::env::temp_dir().join(format!("tokmerge-doc-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! let path = folder.join("tiny.safetensors");
//!
//! let weight = TensorView::from_f32("head.weight", &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?;
//! save_safetensors(&path, [weight], &BTreeMap::new())?;
//!
//! let checkpoint = Checkpoint::open(&path)?;
//! let head = checkpoint.get("head.weight").expect("written above");
//! assert_eq!(head.shape, [2, 3]);
//! assert_eq!(head.to_f32()?[5], 5.0);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```

// Tensor bytes are lent out as they lie in the file, which is little-endian in every format read here.
#[cfg(target_endian = "big")]
compile_error!("tokmerge-checkpoint reads little-endian weights in place and needs a little-endian machine");

mod atomic_file;
mod bytes;
mod checkpoint;
mod config;
mod discover;
mod error;
mod fnv;
mod hub;
mod lock;
mod nearest;
mod pth;
mod safetensors_file;
mod save;
mod sharded;
mod source;
mod tensor;

pub use atomic_file::AtomicFile;
pub use bytes::{OpenMode, read_text};
pub use checkpoint::{Checkpoint, Format, Provenance};
pub use config::{ConfigError, Fields, HfConfig, ModelConfig, OpenClipConfig, PretrainedConfig, TimmConfig};
pub use discover::{Files, discover, discover_config, discover_processor};
pub use error::{CheckpointError, is_obeyed, quoted, shortened};
pub use fnv::Fnv;
pub use hub::{Connectivity, Downloaded, Hub, HubConfig, HubError, Progress, Silent, Token};
pub use lock::{LockError, OutputLock, try_lock};
pub use nearest::{did_you_mean, nearest};
pub use save::save_safetensors;
pub use source::{ModelSource, RepoId, Revision, SourceError};
pub use tensor::{Dtype, TensorView};
