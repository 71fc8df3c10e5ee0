//! Tests of tokmerge-checkpoint through its public interface: one program, so that it is linked once.

mod common;
mod hub;
mod pth;
mod real;
mod safetensors;
