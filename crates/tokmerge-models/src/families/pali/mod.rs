//! Models such as PaLI (Chen et al., 2022; Yuan, Fei and Baek, 2024, §4.3): a tower of images, whose tokens a T5 encodes
//! together with a question, and answers in words.
//!
//! The blocks are the tower's, then those of the language encoder. Before the first of the latter stand the tower's last norm,
//! what merges there (`stm:p=2,layer=D+1` with a tower of `D` blocks is the paper's place), the projector, and the question,
//! which joins in front. Attention does not care for the order of rows: image tokens stand at the places from 0 on, however
//! many are left, and the question's behind them.

mod arguments;
mod config;

use crate::blocks::{Context, EncoderBlock};
use crate::families::text::Text;
use crate::families::vit::Vit;
use crate::family::{Family, FamilyConfig, Heads};
use crate::input::Input;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use std::sync::Arc;
use tokmerge_merge::{Readout, Tokens, Waiting};
use tokmerge_nn::{Bias, Linear};
use tokmerge_ops::Precision;

pub(crate) use arguments::SPELLING;
pub use config::PaliConfig;
pub(crate) use config::ROOM;

/// A Transformer of questions about images of one size that writes its answers. All of the tower's parameters are below
/// `tower.`.
#[derive(Module, Debug)]
pub struct Pali {
    /// The image tower, without a head.
    tower: Vit,
    /// From the tower's channels to the encoder's.
    projector: Linear,
    /// Encoder and decoder.
    text: Text,
    #[module(skip)]
    config: PaliConfig,
}

impl Pali {
    fn new(config: &PaliConfig, precision: Precision, device: &Device) -> Self {
        let (from, to) = (config.tower.block.channels, config.text.block.channels);
        Self {
            tower: config.tower.init(precision, device),
            projector: Linear::new(from, to, Bias::Yes, precision.without_int8(), device),
            text: config.text.init(precision, device),
            config: config.clone(),
        }
    }

    /// The shape of this model.
    #[must_use]
    pub fn config(&self) -> &PaliConfig {
        &self.config
    }

    /// The language model.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// Image tokens as the tower leaves them after its last norm, `[T, C]`, as the encoder takes them, `[T, C']`.
    #[must_use]
    pub fn project(&self, x: Tensor<2>) -> Tensor<2> {
        self.projector.forward(x)
    }

    /// Which block of the language encoder block `layer` is; `None` of one of the tower's.
    fn in_text(&self, layer: usize) -> Option<usize> {
        layer.checked_sub(self.tower.depth())
    }
}

impl Family for Pali {
    fn stem(&self, input: Input) -> Tokens {
        let Input::ImageQuestions { images, texts } = input else {
            panic!("the model takes questions about images of one size")
        };
        texts.assert_known(self.config.text.vocabulary, None);
        let tokens = self.tower.stem(Input::Images(images));
        tokens.joined_later(Waiting { ids: texts.ids.into(), layout: texts.layout })
    }

    fn depth(&self) -> usize {
        self.tower.depth() + self.text.depth()
    }

    fn block(&self, layer: usize) -> &dyn EncoderBlock {
        match self.in_text(layer) {
            Some(layer) => self.text.block(layer),
            None => self.tower.block(layer),
        }
    }

    fn entering(&self, layer: usize, tokens: Tokens) -> Tokens {
        if self.in_text(layer) != Some(0) {
            return tokens;
        }
        let x = self.tower.encoded(&tokens);
        tokens.with(x)
    }

    fn joining(&self, layer: usize, tokens: Tokens) -> Tokens {
        if self.in_text(layer) != Some(0) {
            return tokens;
        }
        let ids: Arc<[u32]> =
            tokens.waiting.as_ref().map_or_else(|| [].into(), |waiting| waiting.ids.clone());
        // Nothing is added for where they stand: blocks look at distances.
        let words = self.text.embed(&ids, &[].into());
        let x = self.project(tokens.x.clone());
        tokens.with(x).join(words)
    }

    fn context(&self, layer: usize, tokens: &Tokens) -> Context {
        match self.in_text(layer) {
            Some(layer) => self.text.context(layer, tokens),
            None => self.tower.context(layer, tokens),
        }
    }

    fn readout(&self) -> Readout {
        Readout::All
    }

    fn head(&self, tokens: &Tokens) -> Heads {
        self.text.head(tokens)
    }

    fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        self.text.normed(rows)
    }
}
