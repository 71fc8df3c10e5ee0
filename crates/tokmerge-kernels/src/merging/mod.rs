//! Which tokens are alike, and rows that become fewer.

pub(crate) mod cosines;
pub(crate) mod matching;
pub(crate) mod rows;
