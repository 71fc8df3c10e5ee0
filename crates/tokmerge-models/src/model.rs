//! A model that is ready to be used: network, preprocessing and class names.

use crate::finite::{NotFinite, rows_of};
use crate::flops::Convention;
use crate::input::{Batch, InputShape};
use crate::network::{Config, Network};
use crate::open::ModelError;
use crate::pass::{Output, Pass};
use crate::recheck::rechecked;
use crate::registry::Architecture;
use crate::weights::LoadReport;
use burn::tensor::Device;
use serde::Serialize;
use std::time::Instant;
use tokmerge_data::{
    ImageError, Media, MediaError, Prepared, Preprocess, PreprocessError, PreprocessOverrides, Processor, Rgb,
};
use tokmerge_merge::{BindError, LayerTokens, Method, ModelFacts, Reduction, Trace};
use tokmerge_nn::parameters;

/// A model that is ready to be used.
#[derive(Clone, Debug)]
pub struct Model {
    network: Network,
    architecture: Architecture,
    class_names: Vec<String>,
    /// What the weights were trained with.
    trained_with: Method,
    probability: Probability,
    report: LoadReport,
    notes: Vec<String>,
    device: Device,
}

/// What logits say of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probability {
    /// One of the classes is right: a softmax over all.
    #[default]
    Softmax,
    /// Each class is right or not by itself: a sigmoid of its logit (SigLIP).
    Sigmoid,
}

impl Probability {
    /// The probabilities that logits of one item say.
    #[must_use]
    pub fn of(self, logits: &[f32]) -> Vec<f32> {
        match self {
            Self::Softmax => softmax(logits),
            Self::Sigmoid => logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
        }
    }
}

/// What a batch gave, and what that took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Of every item; the embedding of a model without a classifier.
    pub logits: Vec<Vec<f32>>,
    /// The embedding of every item.
    pub embeddings: Vec<Vec<f32>>,
    /// Tokens of every item that the MLP of each block sees.
    pub tokens: Vec<Vec<usize>>,
    /// Tokens of every item after the last block.
    pub tokens_left: Vec<usize>,
    /// Billions of multiply-adds of every item.
    pub gmacs: Vec<f64>,
    /// Millions of values that products write, of every item.
    pub mega_activations: Vec<f64>,
    /// Seconds of the whole batch, reading its results included.
    pub seconds: f64,
}

impl Measured {
    /// Of items with so many views each: the logarithm of the mean of their probabilities in place of logits, mean
    /// embeddings, the tokens of the first view, and the costs of all.
    fn of_views(self, views: usize, classifies: bool) -> Self {
        let mean = |rows: &[Vec<f32>]| -> Vec<f32> {
            let sum = |at: usize| rows.iter().map(|row| row[at]).sum::<f32>() / rows.len() as f32;
            (0..rows[0].len()).map(sum).collect()
        };
        let means = |rows: &[Vec<f32>]| rows.chunks(views).map(mean).collect::<Vec<_>>();
        let logits = if classifies {
            let probabilities: Vec<Vec<f32>> = self.logits.iter().map(|logits| softmax(logits)).collect();
            let logarithms = |row: Vec<f32>| row.into_iter().map(|p| p.max(f32::MIN_POSITIVE).ln()).collect();
            means(&probabilities).into_iter().map(logarithms).collect()
        } else {
            means(&self.logits)
        };
        let sums = |values: &[f64]| values.chunks(views).map(|views| views.iter().sum()).collect();
        Self {
            logits,
            embeddings: means(&self.embeddings),
            tokens: self.tokens.into_iter().step_by(views).collect(),
            tokens_left: self.tokens_left.into_iter().step_by(views).collect(),
            gmacs: sums(&self.gmacs),
            mega_activations: sums(&self.mega_activations),
            seconds: self.seconds,
        }
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

impl Model {
    /// A model made of a network and what is known of it, for weights that come from no file.
    #[must_use]
    pub fn from_parts(
        network: Network,
        architecture: Architecture,
        class_names: Vec<String>,
        trained_with: Method,
        device: &Device,
    ) -> Self {
        let report = LoadReport::default();
        let notes = Vec::new();
        let (probability, device) = (Probability::Softmax, device.clone());
        Self { network, architecture, class_names, trained_with, probability, report, notes, device }
    }

    pub(crate) fn with_report(self, report: LoadReport, notes: Vec<String>) -> Self {
        Self { report, notes, ..self }
    }

    /// The same with another network of the same input, and classes by other names.
    pub(crate) fn with_classes(
        mut self,
        network: Network,
        class_names: Vec<String>,
        probability: Probability,
    ) -> Self {
        self.architecture.config = network.config().clone();
        Self { network, class_names, probability, ..self }
    }

    /// What its logits say of classes.
    #[must_use]
    pub fn probability(&self) -> Probability {
        self.probability
    }

    /// What a user should know of how it was opened, a line each: which of several weights were taken, what was assumed.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The method that the weights were trained with; [`Method::None`] if nobody says.
    #[must_use]
    pub fn trained_with(&self) -> &Method {
        &self.trained_with
    }

    /// Name, shape and preprocessing.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Where it runs.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Its shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.architecture.config
    }

    /// What it takes.
    #[must_use]
    pub fn input(&self) -> InputShape {
        match (self.config().shape().input, self.processor()) {
            (InputShape::Text { vocabulary, .. }, Processor::Text(processor)) => {
                InputShape::Text { vocabulary, most: processor.max_tokens() }
            }
            (shape, _) => shape,
        }
    }

    /// Name and tag, as timm writes them ([`Architecture::full_name`]).
    #[must_use]
    pub fn name(&self) -> String {
        self.architecture.full_name()
    }

    /// How what it takes is prepared.
    #[must_use]
    pub fn processor(&self) -> &Processor {
        &self.architecture.processor
    }

    /// What it takes: images or sounds.
    #[must_use]
    pub fn media(&self) -> Media {
        self.processor().media()
    }

    /// How images of one size are prepared for it; `None` for a model that takes anything else.
    #[must_use]
    pub fn preprocess(&self) -> Option<&Preprocess> {
        self.processor().preprocess()
    }

    /// The same model with what it takes prepared in another way, which must give what it takes.
    #[must_use]
    pub fn with_processor(mut self, processor: Processor) -> Self {
        self.architecture.processor = processor;
        self
    }

    /// The same model with the user's settings of preprocessing in place of its own.
    ///
    /// # Errors
    /// When they make no sense, or are settings of images and it takes something else.
    pub fn with_overrides(self, overrides: &PreprocessOverrides) -> Result<Self, PreprocessError> {
        let processor = self.processor().with(overrides)?;
        Ok(self.with_processor(processor))
    }

    /// Outputs of the classifier; 0 without one.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.config().shape().classes
    }

    /// Refuses a model without a classifier: its outputs are no predictions.
    ///
    /// # Errors
    /// When the weights have none.
    pub fn require_head(&self) -> Result<(), ModelError> {
        if self.classes() == 0 { Err(ModelError::NoHead(self.name())) } else { Ok(()) }
    }

    /// Names of the classes, where the model's metadata has them.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// What became of every tensor of the weights file.
    #[must_use]
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// Number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        parameters::count(&self.network)
    }

    /// What a reduction needs to know of it. Weights that were trained with merging attend in proportion to sizes, also
    /// where the published ones do not (MAE).
    #[must_use]
    pub fn facts(&self) -> ModelFacts {
        self.config().facts_after(&self.trained_with)
    }

    /// A method, bound to this model. A method with weights gets those that were trained with the model's, also with other
    /// options where they stand at the same places and have the same shapes, or fresh ones
    /// ([`has_fresh_weights`](Self::has_fresh_weights)).
    ///
    /// # Errors
    /// When the method does not fit the model.
    pub fn bind(&self, method: &Method) -> Result<Reduction, BindError> {
        let reduction = Reduction::bind(method.clone(), &self.facts())?;
        let trained = self.network.mergers().clone();
        Ok(reduction.with_mergers(match method == &self.trained_with {
            true => trained,
            false => trained.fitted(method, self.config().merger_shape(), &self.device),
        }))
    }

    /// Several methods, bound to this model in their order.
    ///
    /// # Errors
    /// When one does not fit the model.
    pub fn bind_all(&self, methods: &[Method]) -> Result<Vec<Reduction>, BindError> {
        methods.iter().map(|method| self.bind(method)).collect()
    }

    /// Whether a method would run with weights that nobody has trained.
    #[must_use]
    pub fn has_fresh_weights(&self, method: &Method) -> bool {
        let (mergers, shape) = (self.network.mergers(), self.config().merger_shape());
        method.has_weights() && method != &self.trained_with && !mergers.fit(method, shape, &self.device)
    }

    /// Brings the weights into the form that the kernels want, which the first pass would do otherwise: runs one blank
    /// item. Times taken after that are those of a model in use.
    pub fn warm_up(&self) {
        let mut blank = self.input().random(1, 0);
        blank.values.fill(0.0);
        let _ = self.run(blank, Pass::head(&Reduction::none())).logits.into_data();
    }

    /// Images as the model takes them.
    ///
    /// # Errors
    /// When an image cannot be brought to the model's input size, or the model takes no images.
    pub fn prepare(&self, images: &[Rgb]) -> Result<Batch, PreprocessError> {
        let Processor::Image(processor) = self.processor() else {
            return Err(PreprocessError::TakesNoImages { media: self.media().words() });
        };
        let fitted = images.iter().map(|image| Ok(Prepared::Picture(processor.fit(image)?)));
        let fitted: Vec<Prepared> = fitted.collect::<Result<_, PreprocessError>>()?;
        match self.batch(&fitted) {
            Ok(batch) => Ok(batch),
            Err(MediaError::Image(ImageError::Preprocess(error))) => Err(error),
            Err(other) => unreachable!("a picture was fitted by the same processor: {other}"),
        }
    }

    /// What was read and prepared by the model's [`processor`](Self::processor), as a batch.
    ///
    /// # Errors
    /// When it was prepared for another model.
    pub fn batch(&self, prepared: &[Prepared]) -> Result<Batch, MediaError> {
        let views = self.processor().views();
        let mut batch = Batch { views: (views > 1).then_some(views), ..Batch::default() };
        for item in prepared {
            let besides = self.processor().normalise(item, &mut batch.values)?;
            batch.add(besides);
        }
        Ok(batch)
    }

    /// Runs a batch, preprocessed. Where the method asks for it and no probe looks on, items whose answer is unclear run
    /// once more without merging ([`Method::recheck`]).
    ///
    /// # Panics
    /// When the batch is not a whole number of items of the model's input.
    #[must_use]
    pub fn run(&self, batch: impl Into<Batch>, pass: Pass<'_>) -> Output {
        let (batch, shape) = (batch.into(), self.input());
        let recheck =
            pass.reduction.method().recheck().filter(|_| self.classes() > 1 && pass.probe.is_none());
        let Some(least) = recheck else {
            return self.network.run(batch.into_input(&shape, &self.device), pass);
        };
        let output = self.network.run(batch.clone().into_input(&shape, &self.device), pass);
        rechecked(&self.network, &batch, (&shape, &self.device), output, least)
    }

    /// Runs a batch, reads what comes out, and counts what that took. Of items with several views ([`Batch::views`]) it is
    /// the mean over them: logits are then logarithms of mean probabilities.
    ///
    /// # Errors
    /// When an output is not finite.
    ///
    /// # Panics
    /// When the batch is not a whole number of items of the model's input.
    pub fn measure(
        &self,
        batch: impl Into<Batch>,
        reduction: &Reduction,
        convention: Convention,
    ) -> Result<Measured, NotFinite> {
        let batch = batch.into();
        let views = batch.views.unwrap_or(1);
        let start = Instant::now();
        let output = self.run(batch, Pass::head(reduction));
        let [inputs, _] = output.logits.dims();
        let pooled = output.pooled.clone();
        let (logits, trace) = output.into_logits();
        let logits = rows_of(logits);
        let seconds = start.elapsed().as_secs_f64();
        let embeddings = rows_of(pooled);
        NotFinite::check(&logits).map_err(|wrong| wrong.of_views(views))?;
        NotFinite::check(&embeddings).map_err(|wrong| wrong.of_views(views))?;
        let layers: Vec<_> = (0..inputs).map(|input| self.layer_tokens(&trace, input)).collect();
        let cost = self.config().cost();
        let measured = Measured {
            logits,
            embeddings,
            tokens: layers.iter().map(|layers| layers.iter().map(|layer| layer.fed).collect()).collect(),
            tokens_left: (0..inputs).map(|input| self.tokens_left(&trace, input)).collect(),
            gmacs: (0..inputs).map(|input| self.gmacs(&trace, input, reduction, convention)).collect(),
            mega_activations: layers.iter().map(|layers| cost.mega_activations(layers)).collect(),
            seconds,
        };
        Ok(if views > 1 { measured.of_views(views, self.classes() > 0) } else { measured })
    }

    /// Tokens that the blocks see of one item of a pass: what the method is counted by.
    #[must_use]
    pub fn layer_tokens(&self, trace: &Trace, item: usize) -> Vec<LayerTokens> {
        trace.layer_tokens(item, self.config().tokens(), self.config().depth())
    }

    /// Tokens of one item after the last block.
    #[must_use]
    pub fn tokens_left(&self, trace: &Trace, item: usize) -> usize {
        trace.tokens_left(item, self.config().tokens())
    }

    /// Billions of multiply-adds of one item of a pass, a second look at it included.
    #[must_use]
    pub fn gmacs(&self, trace: &Trace, item: usize, reduction: &Reduction, convention: Convention) -> f64 {
        let first = self.config().cost().gmacs(&self.layer_tokens(trace, item), reduction, convention);
        match trace.rechecked().binary_search(&item) {
            Ok(_) => first + self.config().unmerged_gmacs(convention),
            Err(_) => first,
        }
    }
}
