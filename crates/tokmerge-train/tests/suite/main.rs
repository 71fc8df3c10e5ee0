//! Tests of tokmerge-train through its public interface: one program, so that it is linked once.

mod common;
mod experts;
mod learned;
mod lora;
mod media;
mod outputs;
mod passes;
mod questions;
mod recipes;
mod resume;
mod texts;
mod training;
