//! Tests of tokmerge-scenes through its public interface: one program, so that it is linked once.

mod clips;
mod questions;
mod scenes;
