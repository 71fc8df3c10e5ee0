//! Tests of tokmerge-eval through its public interface: one program, so that it is linked once.

mod analysis;
mod mean_average_precision;
