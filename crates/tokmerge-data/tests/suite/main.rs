//! Tests of tokmerge-data through its public interface: one program, so that it is linked once.

mod augment;
mod clip;
mod clip_files;
mod common;
mod fast;
mod folders;
mod material;
mod parity;
mod sound;
