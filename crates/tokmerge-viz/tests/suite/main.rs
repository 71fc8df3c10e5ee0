//! Tests of tokmerge-viz through its public interface: one program, so that it is linked once.

mod charts;
mod clips;
mod drawings;
mod spectrograms;
