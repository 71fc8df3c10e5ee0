//! How checkpoints spell the names of parameters. One file per spelling; ours is timm's.

mod hugging_face;
mod timm;

/// Where a parameter's values are in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Under one name.
    One(String),
    /// Under several, to be stacked along the first dimension.
    Stacked(Vec<String>),
}

/// A spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMap {
    /// timm's, which is ours.
    Timm,
    /// Hugging Face's ViT and DeiT.
    HuggingFace,
}

impl KeyMap {
    /// The spelling that a checkpoint uses, by its names.
    #[must_use]
    pub fn detect<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let hugging_face = names.into_iter().any(hugging_face::recognises);
        if hugging_face { Self::HuggingFace } else { Self::Timm }
    }

    /// Where the values of a parameter (by its path in our model) are, given the names that there are.
    pub(crate) fn key(self, path: &str, exists: &dyn Fn(&str) -> bool) -> Key {
        match self {
            Self::Timm => timm::key(path, exists),
            Self::HuggingFace => hugging_face::key(path, exists),
        }
    }

    /// Tensors that checkpoints of this spelling carry and a classifier does not need.
    pub(crate) fn is_expendable(self, name: &str) -> bool {
        match self {
            Self::Timm => timm::is_expendable(name),
            Self::HuggingFace => hugging_face::is_expendable(name),
        }
    }

    /// Tensors of the classifier's head.
    pub(crate) fn is_head(self, name: &str) -> bool {
        match self {
            Self::Timm => timm::is_head(name),
            Self::HuggingFace => hugging_face::is_head(name),
        }
    }
}
