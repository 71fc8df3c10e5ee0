//! Reading fields while keeping account of which were read, so that the others can be named.

use std::cell::RefCell;
use std::collections::BTreeSet;
use tokmerge_checkpoint::{ConfigError, Fields};
use tokmerge_ops::Activation;

/// More than any model has.
const MAX_CHANNELS: usize = 1 << 16;
const MAX_DEPTH: usize = 1024;

/// Fields that change no output: how a model was made, trained and written.
const HARMLESS: &[&str] = &[
    "_name_or_path",
    "add_cross_attention",
    "add_fpn",
    "apply_layernorm",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "auxiliary_channels",
    "auxiliary_concat_input",
    "auxiliary_loss_weight",
    "auxiliary_num_convs",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cross_attention_hidden_size",
    "dense_act_fn",
    "drop_path_rate",
    "dropout",
    "dropout_rate",
    "dtype",
    "encoder_stride",
    "eos_token_id",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_encoder_decoder",
    "is_gated_act",
    "label2id",
    "layer_scale_init_value",
    "layerscale_value",
    "logit_scale_init_value",
    "mask_ratio",
    "model_type",
    "n_positions",
    "norm_pix_loss",
    "num_labels",
    "out_features",
    "out_indices",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pad_token_id",
    "pool_scales",
    "pooler_act",
    "pooler_output_size",
    "pos_embed_jitter",
    "pos_embed_rescale",
    "pos_embed_shift",
    "problem_type",
    "reshape_hidden_states",
    "return_dict",
    "semantic_loss_ignore_index",
    "sep_token_id",
    "stage_names",
    "task_specific_params",
    "tie_word_embeddings",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_auxiliary_head",
    "use_cache",
    "use_mask_token",
    "vocab_size",
];

/// Starts of such fields.
const HARMLESS_STARTS: &[&str] = &["decoder_", "_attn_implementation", "_commit_hash"];

/// Values of `hidden_act`.
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

/// The fields of an object, and which of them were read.
pub(in super::super) struct Reader<'a> {
    fields: Fields<'a>,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    pub(in super::super) fn new(fields: Fields<'a>) -> Self {
        Self { fields, read: RefCell::default() }
    }

    /// The fields, one of which is about to be read.
    pub(in super::super) fn field(&self, name: &str) -> &Fields<'a> {
        self.read.borrow_mut().insert(name.to_owned());
        &self.fields
    }

    /// Names of fields that were neither read nor are known to change nothing.
    pub(in super::super) fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let is_harmless = |name: &str| {
            HARMLESS.contains(&name) || HARMLESS_STARTS.iter().any(|start| name.starts_with(start))
        };
        let names = self.fields.iter().map(|(name, _)| name);
        names.filter(|name| !read.contains(*name) && !is_harmless(name)).map(str::to_owned).collect()
    }

    pub(in super::super) fn channels(&self, name: &str, default: usize) -> Result<usize, ConfigError> {
        self.field(name).size(name, default, MAX_CHANNELS)
    }

    pub(in super::super) fn depth(&self, name: &str, default: usize) -> Result<usize, ConfigError> {
        self.field(name).size(name, default, MAX_DEPTH)
    }

    pub(in super::super) fn count(&self, name: &str, default: usize) -> Result<usize, ConfigError> {
        self.field(name).count(name, default, MAX_DEPTH)
    }

    pub(in super::super) fn flag(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        self.field(name).flag(name, default)
    }

    pub(in super::super) fn eps(&self, name: &str, default: f64) -> Result<f64, ConfigError> {
        self.field(name).eps(name, default)
    }

    /// Height and width, in this order.
    pub(in super::super) fn sides(&self, name: &str, default: usize) -> Result<(usize, usize), ConfigError> {
        let [height, width] = self.field(name).sides(name, [default; 2])?;
        Ok((height, width))
    }

    pub(in super::super) fn activation(
        &self,
        name: &str,
        default: Activation,
    ) -> Result<Activation, ConfigError> {
        self.field(name).choice(name, default, ACTIVATIONS)
    }

    /// Channels and heads, where the heads divide the channels.
    pub(in super::super) fn heads(
        &self,
        name: &str,
        default: usize,
        channels: usize,
    ) -> Result<usize, ConfigError> {
        let heads = self.channels(name, default)?;
        if channels.is_multiple_of(heads) {
            return Ok(heads);
        }
        Err(self.fields.refuse(name, format!("is {heads}, which does not divide {channels} channels")))
    }
}
