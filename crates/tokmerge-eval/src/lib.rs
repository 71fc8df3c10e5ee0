//! What a merged model is worth: accuracy and agreement on images, speed on this machine, and in which layers
//! merging costs what.
#![deny(missing_docs)]

mod accuracy;
pub mod analysis;
mod batches;
mod speed;
mod statistics;

pub use accuracy::{Accuracy, EvalError, EvalOptions, Labels, Observer, Prediction, evaluate, top};
pub use batches::Reading;
pub use speed::{BenchOptions, PeakOf, Speed, bench};
pub use statistics::{Moments, Spread, wilson};
