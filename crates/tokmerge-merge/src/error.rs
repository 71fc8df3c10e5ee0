//! Why a method does not fit a model.

use crate::ScheduleError;

/// A method that does not fit a model.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named in the messages")]
pub enum BindError {
    /// The schedule does not fit.
    #[error("{merge}: {source}")]
    Schedule { merge: String, source: ScheduleError },
    /// A layer is asked to remove more tokens than there are. `most` is half of those that may merge.
    #[error(
        "{merge}: layer {layer} is to remove {remove} tokens, but the image has {tokens} of which {prefix} never merge; r must be below {tokens}, and a layer never removes more than half of the others, {most} here"
    )]
    TooMany { merge: String, layer: usize, remove: usize, tokens: usize, prefix: usize, most: usize },
    /// A merger has no layer to stand at. `layer` is counted as the method counts it.
    #[error(
        "{merge}: there is no place at layer {layer}; the model has layers 1 to {depth}, and tokens merged after the last one would never be used"
    )]
    NoSuchLayer { merge: String, layer: usize, depth: usize },
    /// Two mergers in one place.
    #[error("{merge}: layer {layer} is listed twice; list every layer once")]
    LayerTwice { merge: String, layer: usize },
    /// Merging cannot be right in this model.
    #[error("{merge}: merging cannot be right in this model, because {reason}; use none")]
    Unmergeable { merge: String, reason: &'static str },
    /// The model's blocks need positions, and the method's tokens have none.
    #[error(
        "{merge}: the tokens that it makes have no positions, but every block of this model needs them; use a method that keeps positions, e.g. tome:r=8{or}"
    )]
    LosesPositions { merge: String, or: &'static str },
    /// The method asks what words attend to, and the model reads none beside its patches.
    #[error(
        "{merge}: it keeps the patches that the words of a question attend to, and this model takes no questions; use it with one that does, e.g. vilt_b32, or another method, e.g. tome:r=8"
    )]
    NoWords { merge: String },
    /// The method asks what the class token attends to, and the model has none in front.
    #[error(
        "{merge}: it keeps what the class token of an image attends to, and this model has none in front; use a method that compares tokens, e.g. tome:r=8"
    )]
    NoClassToken { merge: String },
    /// The method asks the block before, and there is none.
    #[error(
        "{merge}: in layer 1 it has to know the attention of the layer before, and there is none; begin with layer 2"
    )]
    NoLayerBefore { merge: String },
    /// The method merges rows and columns, and the model's patches are no grid of one size.
    #[error(
        "{merge}: it works on the rows and columns of a grid of patches, and this model takes no pictures of one size; use a method that compares tokens, e.g. tome:r=8"
    )]
    NoGrid { merge: String },
    /// The method drops patches, and the model reads texts.
    #[error(
        "{merge}: it learns which patches to drop, and this model reads words alone; use a method that merges tokens, e.g. tome:r=8"
    )]
    NoPatches { merge: String },
    /// Patches stop anywhere, and the model's answer is made of them.
    #[error(
        "{merge}: its patches stop in any layer, and the answer of this model is made of patches; use it with a model that reads its class token alone, e.g. deit_small_patch16_224, or another method, e.g. tome:r=8"
    )]
    ReadsPatches { merge: String },
    /// The method works between the products of attention, if only in training, and the model's blocks compute them at once.
    #[error(
        "{merge}: it works between the softmax of attention and its values, where the blocks of this model do not stop; use another method, e.g. tome:r=8"
    )]
    ClosedSoftmax { merge: String },
    /// The method looks at the keys of a block before that attends, and the model's blocks compute all at once.
    #[error(
        "{merge}: it chooses by queries and keys of a block before that attends, where the blocks of this model do not stop; use another method, e.g. evit:keep=70%"
    )]
    ClosedKeys { merge: String },
    /// An option of texts, and the model takes none, or does not ask.
    #[error("{merge}: {option} {rule}; leave {option_name} out", option_name = option.split('=').next().unwrap_or(option))]
    NotOfTexts { merge: String, option: &'static str, rule: &'static str },
}
