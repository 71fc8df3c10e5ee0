//! Arguments that several commands share. Those of one command alone are beside it. Names are timm's where timm has the
//! option.

mod classes;
mod given;
mod images;
mod labels;
mod merge;
mod model;
mod output;
mod preprocess;
mod values;

pub(crate) use classes::ClassArgs;
pub(crate) use given::Given;
pub(crate) use images::{all_prepared, picture, prepared};
pub(crate) use labels::ClassOrderArgs;
pub(crate) use merge::{MergeArgs, bind, method};
pub(crate) use model::{DeviceArgs, ModelArgs, ThreadArgs, Wanted, command_for};
pub(crate) use output::OutputArgs;
pub(crate) use preprocess::{PreprocessArgs, with_max_tokens};
pub(crate) use values::{
    at_least_one, batch_of, batch_size, beams, duration, epochs, images, img_size, must_exist, one_of,
    seconds, threshold, width,
};
