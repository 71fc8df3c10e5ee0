//! Input that means harm, for everything that reads bytes or text from outside.
//!
//! A [`Target`] is a reader with valid inputs to begin with. Two tools run it: libFuzzer, which looks for new paths
//! (`just fuzz TARGET MINUTES`, the folder `fuzz/`), and [`Trial`], which needs no special compiler and repeats every case
//! from its number ([`Mutations`]): in `cargo test` some thousands, in `examples/hostile.rs` as many as asked for.
//!
//! Whatever the input, a reader
//!
//! - returns: within a second, without a panic;
//! - takes no more memory than [`Target::memory`] says;
//! - returns something consistent, or an error of one line, of bounded length, without control characters.
//!
//! `docs/hostile-inputs.md` says what was tried and what it found. This crate is for development alone.

mod clock;
#[cfg(feature = "models")]
mod embedding;
mod memory;
#[cfg(feature = "models")]
mod models;
mod mutations;
mod random;
mod readers;
mod seeds;
mod trial;
mod zip;

pub use clock::time_of;
pub use memory::Counting;
pub use mutations::Mutations;
pub use trial::{Fault, Finding, Report, Trial};

use std::fmt::Display;
use std::panic::catch_unwind;
use std::sync::Once;

/// A reader, and what to begin with.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called on the command line and in `fuzz/`.
    pub name: &'static str,
    /// Reads an input and looks at all that comes of it.
    ///
    /// # Panics
    /// When what was read is not consistent, or the error is no line that could be shown.
    pub run: fn(&[u8]) -> Outcome,
    /// Valid inputs, and some that are refused late. They come from the fixtures of the project.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Puts right what would let a reader stop at the first changed byte: checksums, lengths in front.
    pub mend: fn(&mut [u8]),
    /// Bytes that it may take beyond its input.
    pub memory: usize,
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was read.
    Read,
    /// It was refused with an error.
    Refused,
}

/// All readers.
pub const TARGETS: &[Target] = &[
    readers::IMAGE,
    readers::SAFETENSORS,
    readers::PYTORCH,
    readers::PICKLE,
    readers::CONFIG,
    readers::PREPROCESSOR,
    readers::LABELS,
    readers::QUESTIONS,
    readers::SOURCE,
    readers::SOUND,
    readers::TOKENIZER,
    #[cfg(feature = "models")]
    models::ARCHITECTURE,
    #[cfg(feature = "models")]
    models::TENSOR_NAMES,
    #[cfg(feature = "models")]
    models::MERGE_SPEC,
    #[cfg(feature = "models")]
    models::MERGE_TOML,
    #[cfg(feature = "models")]
    models::RECIPE,
    #[cfg(feature = "models")]
    models::GRID,
    #[cfg(feature = "models")]
    models::RESULTS,
    #[cfg(feature = "models")]
    embedding::TAR,
    #[cfg(feature = "models")]
    embedding::PARQUET,
    #[cfg(feature = "models")]
    embedding::VECTORS,
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs a target on what libFuzzer came up with, and ends the program where it goes wrong. libFuzzer's own hook would do so
/// for panics too that a reader expects of a decoder and makes an error of.
///
/// # Panics
/// When there is no target of that name.
pub fn fuzz(name: &str, input: &[u8]) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| trial::record_panics(|| true));
    let target = target(name).unwrap_or_else(|| panic!("there is no target {name}"));
    if catch_unwind(|| (target.run)(input)).is_err() {
        #[expect(clippy::print_stderr, reason = "libFuzzer's reports are there")]
        {
            eprintln!("{name} panicked {}", trial::last_panic());
        }
        std::process::abort();
    }
}

/// Leaves an input as it is.
fn as_it_is(_: &mut [u8]) {}

/// The longest error, in bytes. The command line cuts longer ones, but not everybody shows errors through it.
const LONGEST_ERROR: usize = 2000;

/// Looks at an error as a user does.
fn refused(error: &impl Display) -> Outcome {
    let message = error.to_string();
    let beginning: String = message.chars().take(300).collect();
    assert!(!message.contains(char::is_control), "an error with control characters: {beginning:?}");
    assert!(message.len() <= LONGEST_ERROR, "an error of {} bytes: {beginning:?}…", message.len());
    assert!(!message.is_empty(), "an error without words");
    Outcome::Refused
}

/// The text of an input; readers of text are given files that are UTF-8.
fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}
