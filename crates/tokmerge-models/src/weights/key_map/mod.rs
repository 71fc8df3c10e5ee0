//! How checkpoints spell the names of parameters. One file per spelling; ours is timm's.
//!
//! A [`Spelling`] is a spelling found in a file. For every path of our models it says where the values are and what is
//! to be done to them ([`Source`]), for every tensor of the file what it is ([`Role`]), and how many classes the file's
//! head has. Whoever opens a model asks nobody else for names.
//!
//! A new spelling is a file here and a line in [`KEY_MAPS`].

mod bert;
mod hugging_face;
mod hugging_face_aimv2;
mod hugging_face_clip;
mod hugging_face_clip_text;
mod kwt;
mod mae_st;
mod marian;
mod meta;
mod names;
mod open_clip;
mod own;
mod pali;
mod sam_vit;
mod source;
mod swag;
mod t5;
mod timm;
mod torchvision;
mod vilt;

#[cfg(test)]
pub(crate) mod tests;

pub use names::Names;
pub use source::{Part, Source, Transform, Values};
use tokmerge_checkpoint::quoted;

/// A way to spell names.
///
/// All names are those inside the wrapper ([`Names`]).
pub trait KeyMap: Sync {
    /// What errors and reports call it.
    fn name(&self) -> &'static str;

    /// Names of which each file of this spelling has one, right after wrapper and base.
    fn anchors(&self) -> &'static [&'static str];

    /// Modules that may hold the encoder beside the head, each with its dot.
    fn bases(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether a file that has one of the anchors is of this spelling.
    fn recognises(&self, file: &Names) -> bool;

    /// Where the values of a parameter are; `None` if the file does not have it.
    fn source(&self, path: &str, file: &Names) -> Option<Source>;

    /// What a tensor is.
    fn role(&self, name: &str, file: &Names) -> Role;

    /// Outputs of the classifier in the file; `None` if there is none.
    fn head(&self, file: &Names) -> Option<usize>;
}

/// What a tensor of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A weight: one that no parameter takes does not fit the model.
    Weight,
    /// A weight of the classifier: left aside by a model without one.
    Head,
    /// Nothing that an image encoder reads: masks, decoders, text towers, indices.
    Ignored,
}

/// All spellings. The first that recognises a file is taken, so the particular ones come first.
pub const KEY_MAPS: &[&dyn KeyMap] = &[
    &own::LV_VIT,
    &kwt::Kwt,
    &mae_st::MaeSt,
    &sam_vit::SamVit,
    &vilt::Vilt,
    // Of parts that other spellings would recognise.
    &pali::Pali,
    &own::PALI,
    &own::TEXTS,
    &own::T2T_VIT,
    &meta::Meta,
    &timm::Timm,
    &hugging_face::HuggingFace,
    &hugging_face_clip::HuggingFaceClip,
    &hugging_face_aimv2::HuggingFaceAimv2,
    &open_clip::OpenClip,
    &torchvision::Torchvision,
    &swag::Swag,
    // Models of images have towers of text beside them.
    &t5::T5,
    &bert::Bert,
    &marian::Marian,
    &hugging_face_clip_text::HuggingFaceClipText,
];

/// Spellings of text towers, in files that hold an image tower too.
const TEXT_TOWERS: &[&dyn KeyMap] = &[&hugging_face_clip_text::HuggingFaceClipText];

/// A file whose names are understood.
#[derive(Clone)]
pub struct Spelling {
    map: &'static dyn KeyMap,
    names: Names,
    /// What the names of another model in the file begin with, which is left aside.
    raw: Option<String>,
}

/// Modules of averaged weights and of the raw ones beside them, by the last word before the names of the model: the
/// reference evaluates the former.
const AVERAGED: &[(&str, &[&str])] = &[
    ("teacher", &["student"]),
    ("teacher_model", &["student_model", "model"]),
    ("model_ema", &["model"]),
    ("ema_model", &["model", "online_model"]),
    ("ema", &["model", "net"]),
    ("module_ema", &["module"]),
    ("target_encoder", &["encoder", "context_encoder"]),
];

/// Why the names of a file are not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpellingError {
    /// No spelling recognises them.
    #[error(
        "tensors are named like {examples}, which is no spelling of a model known here ({known}); convert \
         the weights to timm's or transformers' names"
    )]
    Unknown {
        /// Some names.
        examples: String,
        /// The spellings.
        known: String,
    },
    /// Several models in one file.
    #[error(
        "the file holds several models, below {wrappers}; choose one as `state_dict`, or save it on its own"
    )]
    Several {
        /// What precedes the names of each.
        wrappers: String,
    },
}

impl Spelling {
    /// The spelling of a file, by the names and shapes of its tensors.
    ///
    /// # Errors
    /// When no spelling is recognised, or the file holds several models.
    pub fn detect<'a>(
        tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Self, SpellingError> {
        Self::detect_among(KEY_MAPS, tensors)
    }

    /// The spelling of the text tower in a file of two towers; `detect` finds the image tower there.
    ///
    /// # Errors
    /// When the file holds no text tower, or several.
    pub fn detect_text_tower<'a>(
        tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Self, SpellingError> {
        Self::detect_among(TEXT_TOWERS, tensors)
    }

    fn detect_among<'a>(
        maps: &[&'static dyn KeyMap],
        tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Self, SpellingError> {
        let all = Names::new(tensors);
        for map in maps {
            let mut seen = all.seen_by(map.anchors(), map.bases());
            seen.retain(|names| map.recognises(names));
            match seen.len() {
                0 => {}
                1 => return Ok(Self { map: *map, names: seen.remove(0), raw: None }),
                _ => {
                    if let [one, other] = &seen[..]
                        && let Some((averaged, raw)) = averaged(one, other)
                    {
                        return Ok(Self { map: *map, names: averaged.clone(), raw: Some(raw) });
                    }
                    let wrappers = seen.iter().map(|names| format!("{}{}", names.wrapper(), names.base()));
                    return Err(SpellingError::Several { wrappers: shown(wrappers, " and ") });
                }
            }
        }
        let examples = shown(all.iter().map(str::to_owned), ", ");
        let known: Vec<_> = maps.iter().map(|map| map.name()).collect();
        Err(SpellingError::Unknown { examples, known: known.join(", ") })
    }

    /// What precedes the names of averaged weights and of the raw ones beside them, where the file holds both and the
    /// averaged ones are taken.
    #[must_use]
    pub fn averaged(&self) -> Option<(&str, &str)> {
        self.raw.as_deref().map(|raw| (self.names.wrapper(), raw))
    }

    /// What the spelling is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.map.name()
    }

    /// The file's names, seen through the wrapper.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Where the values of a parameter are, by names as the file has them; `None` if it does not have the parameter.
    #[must_use]
    pub fn source(&self, path: &str) -> Option<Source> {
        self.map.source(path, &self.names).map(|source| source.on_disk(&self.names))
    }

    /// The shape that a parameter has in the file.
    #[must_use]
    pub fn shape(&self, path: &str) -> Option<Vec<usize>> {
        self.source(path)?.shape(&self.names)
    }

    /// What a tensor is, by its name in the file.
    #[must_use]
    pub fn role(&self, on_disk: &str) -> Role {
        // transformers writes the registers of a model without any.
        let is_empty = self.names.shape_on_disk(on_disk).is_some_and(|shape| shape.contains(&0));
        if self.raw.as_ref().is_some_and(|raw| on_disk.starts_with(raw.as_str())) {
            return Role::Ignored;
        }
        match self.names.inside(on_disk) {
            _ if is_empty || is_ignored(on_disk) => Role::Ignored,
            Some(name) => self.map.role(name, &self.names),
            None if self.is_beside_encoder(on_disk) => Role::Ignored,
            None => Role::Weight,
        }
    }

    /// Whether a tensor belongs to what is saved beside an encoder: the heads of self-distillation beside the `backbone.`
    /// of DINO and its kin, the decoder beside the `image_encoder.` of Segment Anything.
    fn is_beside_encoder(&self, on_disk: &str) -> bool {
        const BESIDE: &[(&str, &[&str])] = &[
            ("backbone.", &["head.", "dino_head.", "ibot_head."]),
            ("image_encoder.", &["prompt_encoder.", "mask_decoder."]),
        ];
        BESIDE.iter().any(|(encoder, beside)| {
            let around = self.names.wrapper().strip_suffix(encoder);
            let name = around.and_then(|around| on_disk.strip_prefix(around));
            name.is_some_and(|name| beside.iter().any(|module| name.starts_with(module)))
        })
    }

    /// Outputs of the classifier in the file; `None` if there is none.
    #[must_use]
    pub fn head(&self) -> Option<usize> {
        self.map.head(&self.names)
    }
}

impl std::fmt::Debug for Spelling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spelling").field("map", &self.name()).field("wrapper", &self.names.wrapper()).finish()
    }
}

/// Of two models in a file the one of averaged weights, and what the names of the other begin with.
fn averaged<'n>(one: &'n Names, other: &'n Names) -> Option<(&'n Names, String)> {
    let modules = |names: &'n Names| names.wrapper().split('.').collect::<Vec<_>>();
    let (ones, others) = (modules(one), modules(other));
    // The first module in which they differ says what they are: `teacher.backbone.` and `student.backbone.`.
    let at = ones.iter().zip(&others).position(|(a, b)| a != b)?;
    [(one, &ones, &others), (other, &others, &ones)].into_iter().find_map(|(names, own, raw)| {
        let known = AVERAGED.iter().any(|(averaged, raws)| *averaged == own[at] && raws.contains(&raw[at]));
        known.then(|| (names, format!("{}.", raw[..=at].join("."))))
    })
}

/// A few names for a message.
fn shown(names: impl Iterator<Item = String>, between: &str) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = names.take(SHOWN).map(|name| quoted(&name)).collect();
    shown.join(between)
}

/// Tensors that no encoder reads under whatever spelling: tables that follow from the shape, masks, counters,
/// temperatures of contrastive training.
fn is_ignored(on_disk: &str) -> bool {
    const LAST: &[&str] = &[
        "mask_token",
        "relative_position_index",
        "position_ids",
        "num_batches_tracked",
        "logit_scale",
        "logit_bias",
        "bias_mask",
        "periods",
        "inv_freq",
        "freqs_cos",
        "freqs_sin",
        "attn_mask",
    ];
    let last = on_disk.rsplit('.').next().unwrap_or(on_disk);
    LAST.contains(&last)
}

/// The index of a block and the rest of a path below `blocks.`: `blocks.3.norm1.weight` is `("3", "norm1.weight")`.
fn block_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("blocks.")?.split_once('.')
}

/// Module and tensor of a path: `attn.qkv.weight` is `("attn.qkv", "weight")`.
fn module_and_tensor(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// One tensor, if the file has it.
fn one(file: &Names, name: String) -> Option<Source> {
    file.has(&name).then(|| Source::tensor(name))
}

/// Tensors below each other, if the file has them all.
fn stack<const N: usize>(file: &Names, names: [String; N]) -> Option<Source> {
    let all = names.iter().all(|name| file.has(name));
    all.then(|| Source::stack(names.map(Part::Tensor).to_vec()))
}

/// The bias of queries, keys and values below each other. Zeros take the place of those that a model does without: of
/// keys (BEiT), or of any (DINOv3).
fn qkv_bias(file: &Names, q: String, k: String, v: String) -> Option<Source> {
    let shape = [&q, &k, &v].into_iter().find_map(|name| file.shape(name))?.to_vec();
    let part = |name: String| if file.has(&name) { Part::Tensor(name) } else { Part::Zeros(shape.clone()) };
    Some(Source::stack(vec![part(q), part(k), part(v)]))
}

/// A tensor of a block of transformers' BERT and its kin: queries, keys and values stacked from `attention`, and every other
/// of our modules under the name that `modules` gives it there.
fn bert_block(
    file: &Names,
    (index, path): (&str, &str),
    attention: &str,
    modules: &[(&str, &str)],
) -> Option<Source> {
    let at = |module: &str, tensor: &str| format!("{}encoder.layer.{index}.{module}.{tensor}", file.base());
    let (module, tensor) = module_and_tensor(path);
    if module == "attn.qkv" {
        let part = |part: &str| at(&format!("{attention}.{part}"), tensor);
        return stack(file, ["query", "key", "value"].map(part));
    }
    let (_, theirs) = modules.iter().find(|(ours, _)| *ours == module)?;
    one(file, at(theirs, tensor))
}

/// A tensor with leading dimensions of 1 added or taken away until it has `rank` of them.
fn with_rank(file: &Names, name: String, rank: usize) -> Option<Source> {
    let shape = file.shape(&name)?;
    let own: Vec<usize> = shape.iter().copied().skip_while(|length| *length == 1).collect();
    let mut wanted = vec![1; rank.saturating_sub(own.len())];
    wanted.extend_from_slice(&own);
    let source = Source::tensor(name.clone());
    Some(if shape == wanted { source } else { source.then(Transform::Reshape(wanted)) })
}

/// Rows of a matrix: outputs of a linear layer.
fn rows(file: &Names, name: &str) -> Option<usize> {
    match file.shape(name)? {
        [rows, _] => Some(*rows),
        _ => None,
    }
}
