//! Tests of tokmerge-kernels through its public interface: one program, so that it is linked once.

mod attention;
mod backward;
mod common;
mod convolution;
mod lengths;
mod linear;
mod merging;
mod pairs;
mod random_shapes;
mod rotation;
mod self_attention;
mod turns;
