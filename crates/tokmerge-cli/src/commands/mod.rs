//! One module per command.

pub(crate) mod analyze;
pub(crate) mod ask;
pub(crate) mod bench;
pub(crate) mod bleu;
pub(crate) mod calibrate;
pub(crate) mod classify;
pub(crate) mod compare;
pub(crate) mod demo;
pub(crate) mod embed;
pub(crate) mod eval;
mod eval_files;
mod eval_list;
mod eval_pairs;
mod eval_questions;
mod eval_written;
pub(crate) mod few_shot;
pub(crate) mod generate;
pub(crate) mod info;
pub(crate) mod list;
pub(crate) mod scenes;
pub(crate) mod search;
mod searched;
pub(crate) mod train;
pub(crate) mod tune;
mod tune_pairs;
pub(crate) mod viz;
