//! What a merged model is worth: accuracy and agreement on images, speed on this machine.
#![deny(missing_docs)]

mod accuracy;
mod speed;
mod statistics;

pub use accuracy::{Accuracy, EvalError, EvalOptions, Labels, Observer, Prediction, evaluate, top};
pub use speed::{BenchOptions, Speed, bench};
pub use statistics::{Spread, wilson};
