//! Tests of tokmerge-embed through its public interface: one program, so that it is linked once.

mod common;
mod sources;
mod tables;
