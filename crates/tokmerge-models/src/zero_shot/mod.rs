//! Classes by their names (zero-shot classification, CLIP): an image is compared with what is said of each class.

mod error;
mod open;
mod texts;

use crate::flops::Convention;
use crate::input::Batch;
use crate::model::{Model, Probability};
use tokmerge_data::Processor;
use tokmerge_data::text::{TextError, TokenIds};
use tokmerge_merge::Reduction;
use tokmerge_nn::{Bias, Linear, parameters};
use tokmerge_ops::Precision;

pub use error::ZeroShotError;
pub use texts::{ClassTexts, Template};

/// A model of images and texts: both towers, and how what they say is compared.
#[derive(Clone, Debug)]
pub struct ZeroShot {
    images: Model,
    texts: Model,
    comparison: Comparison,
}

/// How an image is compared with a text: `scale * cosine + bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Comparison {
    scale: f32,
    bias: Option<f32>,
    probability: Probability,
}

/// Texts that pass through the text tower at a time.
const BATCH: usize = 32;

impl ZeroShot {
    /// The image tower, a model without a classifier.
    #[must_use]
    pub fn images(&self) -> &Model {
        &self.images
    }

    /// The text tower. Nothing merges in it: its answer is read off a place.
    #[must_use]
    pub fn texts(&self) -> &Model {
        &self.texts
    }

    /// What a cosine is multiplied by: `exp(logit_scale)`.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.comparison.scale
    }

    /// What is added then (SigLIP).
    #[must_use]
    pub fn bias(&self) -> Option<f32> {
        self.comparison.bias
    }

    /// What logits say: CLIP's, which of the texts fits best; SigLIP's, of each whether it fits.
    #[must_use]
    pub fn probability(&self) -> Probability {
        self.comparison.probability
    }

    /// The vectors of texts, each of length 1 and as long as an image's embedding.
    ///
    /// # Errors
    /// When there is no tokenizer, nothing is left of a text, or a value is not finite.
    pub fn text_vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ZeroShotError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for texts in texts.chunks(BATCH) {
            let texts: Vec<TokenIds> =
                texts.iter().map(|text| self.tokens(text)).collect::<Result<_, _>>()?;
            let batch = Batch { texts, ..Batch::default() };
            let measured = self.texts.measure(batch, &Reduction::none(), Convention::default())?;
            vectors.extend(measured.embeddings.into_iter().map(unit));
        }
        Ok(vectors)
    }

    fn tokens(&self, text: &str) -> Result<TokenIds, ZeroShotError> {
        let Processor::Text(processor) = self.texts.processor() else { unreachable!("a tower of texts") };
        processor.encode(text).map_err(|source| match source {
            TextError::NoTokenizer => ZeroShotError::Tokenizer(source),
            source => ZeroShotError::Text { text: text.to_owned(), source },
        })
    }

    /// The vectors of what is said of classes: [`text_vectors`](Self::text_vectors) of their texts.
    ///
    /// # Errors
    /// As [`text_vectors`](Self::text_vectors).
    pub fn class_vectors(&self, classes: &ClassTexts) -> Result<Vec<Vec<f32>>, ZeroShotError> {
        self.text_vectors(classes.texts())
    }

    /// The image tower with these classes: a model as any other, whose logits are `scale * cosine + bias`. The texts pass
    /// through their tower once, here.
    ///
    /// # Errors
    /// As [`text_vectors`](Self::text_vectors).
    pub fn classifier(&self, classes: &ClassTexts) -> Result<Model, ZeroShotError> {
        let Comparison { scale, bias, probability } = self.comparison;
        let vectors = self.class_vectors(classes)?;
        let width = self.images.config().shape().embedding;
        // Cosines close to each other are told apart, whatever the model computes in.
        let (given, precision) = (Bias::when(bias.is_some()), Precision::F32);
        let head = Linear::new(width, vectors.len(), given, precision, self.images.device());
        let weight: Vec<f32> = vectors.iter().flatten().map(|value| scale * value).collect();
        let head = parameters::load(head, |path, shape| match path {
            "bias" => bias.map(|bias| vec![bias; shape[0]]),
            _ => Some(weight.clone()),
        });
        let network = self.images.network().clone().with_unit_head(head);
        let network = network.ok_or_else(|| ZeroShotError::NoTextTower(self.images.name()))?;
        Ok(self.images.clone().with_classes(network, classes.names().to_vec(), probability))
    }
}

/// A vector of length 1 in this direction.
fn unit(vector: Vec<f32>) -> Vec<f32> {
    let square = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
    let length = square.sqrt().max(1e-12);
    vector.into_iter().map(|value| (f64::from(value) / length) as f32).collect()
}
