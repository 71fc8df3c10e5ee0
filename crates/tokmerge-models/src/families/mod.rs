//! One file or folder per family of models.

mod encoder;
pub(crate) mod lv_vit;
pub(crate) mod pali;
pub(crate) mod sam_vit;
pub(crate) mod st_vit;
pub(crate) mod t2t_vit;
pub(crate) mod text;
pub(crate) mod vilt;
pub(crate) mod vit;
