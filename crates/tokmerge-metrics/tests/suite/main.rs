//! Tests of tokmerge-metrics through its public interface: one program, so that it is linked once.

mod sacrebleu;
mod vqa;
