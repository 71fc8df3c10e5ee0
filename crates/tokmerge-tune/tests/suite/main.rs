//! Tests of tokmerge-tune through its public interface: one program, so that it is linked once.

mod common;
mod compare;
mod journal;
mod search;
