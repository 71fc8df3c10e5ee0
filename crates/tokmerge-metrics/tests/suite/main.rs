//! Tests of tokmerge-metrics through its public interface: one program, so that it is linked once.

mod common;
mod sacrebleu;
mod vqa;
