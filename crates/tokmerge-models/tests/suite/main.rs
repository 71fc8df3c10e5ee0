//! Tests of tokmerge-models through its public interface: one program, so that it is linked once.

mod common;
mod config_json;
mod contract;
mod costs;
mod experts;
mod folders;
mod gradients;
mod kinds;
mod learned;
mod loading;
mod masks;
mod own_folders;
mod pali;
mod parity;
mod questions;
mod real;
mod recheck;
mod registry;
mod rivals;
mod sounds;
mod stems;
mod texts;
mod waiting;
mod zero_shot;
