//! One file per family of models.

pub(crate) mod vit;
