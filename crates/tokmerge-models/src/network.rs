//! The list of families, and a network of any of them.

use crate::experts::{ExpertsConfig, RouterTraining, Routing};
use crate::family::{Family, FamilyConfig, Heads, ImageSizeError, Part, PartKind, Shape, ShapeOverrides};
use crate::flops::{Convention, Cost, Work};
use crate::heads::prefix_rows;
use crate::input::{Input, InputShape};
use crate::pass::{DropRates, Output, Pass, encode, resume};
use crate::positions::Absolute;
use crate::recompute;
use crate::registry::Spelling;
use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Gradients, Tensor};
use std::fmt;
use tokmerge_merge::{
    Evidence, MergerShape, Mergers, Method, ModelFacts, Readout, Reduction, Tokens, Trace, Training,
};
use tokmerge_nn::{Bias, Linear, parameters, transparent_module};
use tokmerge_ops::Precision;

/// Makes the enums over all families, and what they have in common.
macro_rules! families {
    ($($(#[$doc:meta])* $module:ident: $family:ident($model:ident, $config:ident)),+ $(,)?) => {
        $(use crate::families::$module::{$config, $model};)+

        /// How the families write down names and arguments.
        pub(crate) const SPELLINGS: &[Spelling] = &[$(crate::families::$module::SPELLING),+];

        /// A network of some family. Parameters have the paths that they have in the family's own module.
        #[derive(Clone, Debug)]
        #[expect(clippy::large_enum_variant, reason = "there is one of a model")]
        pub enum Body {
            $($(#[$doc])* $family($model),)+
        }
        transparent_module!(Body { $($family),+ });

        /// The shape of a network of some family.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(clippy::large_enum_variant, reason = "there is one of a model")]
        pub enum Config {
            $($(#[$doc])* $family($config),)+
        }

        $(impl From<$config> for Config {
            fn from(config: $config) -> Self {
                Self::$family(config)
            }
        })+

        /// Evaluates an expression with the family's own model or configuration.
        macro_rules! each {
            ($self:expr, $inner:ident => $of:expr) => {
                match $self {
                    $(Self::$family($inner) => $of,)+
                }
            };
        }

        impl Body {
            fn of(config: &Config, precision: Precision, device: &Device) -> Self {
                match config {
                    $(Config::$family(config) => Self::$family(config.init(precision, device)),)+
                }
            }
        }

        impl Config {
            /// The same for images of another size; absolute positions are resampled when weights load.
            ///
            /// # Errors
            /// When no token would be left of such an image.
            pub fn with_img_size(self, size: (usize, usize)) -> Result<Self, ImageSizeError> {
                Ok(match self {
                    $(Self::$family(config) => Self::$family(config.with_img_size(size)?),)+
                })
            }

            /// The same in another shape, for training.
            ///
            /// # Errors
            /// For a change that the family does not know, or that makes no model.
            pub fn with_overrides(self, overrides: &ShapeOverrides) -> Result<Self, String> {
                let takes_clips = matches!(self.shape().input, InputShape::Clip { .. });
                if let (Some(frames), false) = (overrides.num_frames, takes_clips) {
                    return Err(format!("num_frames is {frames}, and the model takes no clips; leave it out"));
                }
                Ok(match self {
                    $(Self::$family(config) => Self::$family(config.with_overrides(overrides)?),)+
                })
            }

            /// Small shapes of every family of the list ([`FamilyConfig::examples`]).
            #[must_use]
            pub fn examples() -> Vec<Self> {
                let mut all = Vec::new();
                $(all.extend($config::examples().into_iter().map(Self::from));)+
                all
            }

            /// The same with another number of classes; 0 for none.
            #[must_use]
            pub fn with_num_classes(self, classes: usize) -> Self {
                match self {
                    $(Self::$family(config) => Self::$family(config.with_num_classes(classes)),)+
                }
            }

            /// Parts that weights of other models can begin.
            #[must_use]
            pub fn parts(&self) -> &'static [Part] {
                match self {
                    $(Self::$family(config) => config.parts(),)+
                }
            }

            /// The same with a part as another model is, whose weights are to begin it.
            ///
            /// # Errors
            /// Says what is wrong with the model.
            pub fn with_part(self, part: PartKind, model: &Self) -> Result<Self, String> {
                Ok(match self {
                    $(Self::$family(config) => Self::$family(config.with_part(part, model)?),)+
                })
            }

            /// The same, of weights as they are saved: what was resampled when they were loaded is so in the file.
            #[must_use]
            pub(crate) fn saved(self) -> Self {
                match self {
                    $(Self::$family(config) => Self::$family(config.saved()),)+
                }
            }

            /// The same as a file of weights has it, which `has` the parameters of some paths.
            #[must_use]
            pub(crate) fn fitted(self, has: &dyn Fn(&str) -> bool) -> Self {
                match self {
                    $(Self::$family(config) => Self::$family(config.fitted(has)),)+
                }
            }

            /// The same with the pool of another of its family, its norms left where they are, for families that can.
            #[must_use]
            pub(crate) fn pooled_like(self, other: &Self) -> Self {
                match (self, other) {
                    $((Self::$family(config), Self::$family(other)) => {
                        Self::$family(config.pooled_like(other))
                    })+
                    (config, _) => config,
                }
            }

            /// The same with a projection after the pool, for a family that can have one.
            #[must_use]
            pub(crate) fn with_projection(self, width: usize, bias: Bias) -> Self {
                match self {
                    $(Self::$family(config) => Self::$family(config.with_projection(width, bias)),)+
                }
            }
        }
    };
}

families! {
    /// Vision Transformers as timm builds them, and what differs from them in blocks, positions and heads alone.
    vit: Vit(Vit, VitConfig),
    /// LV-ViT: a stem of convolutions, and a second head that looks at every patch.
    lv_vit: LvVit(LvVit, LvVitConfig),
    /// T2T-ViT: stages in front that make tokens of overlapping tokens.
    t2t_vit: T2tVit(T2tVit, T2tVitConfig),
    /// Vision Transformers over space and time: clips in, tubes of frames as patches.
    st_vit: StVit(StVit, StVitConfig),
    /// Segment Anything's image encoder: attention within windows, a neck of convolutions. Nothing merges in it.
    sam_vit: SamVit(SamVit, SamVitConfig),
    /// Transformers of texts: BERT, T5, Marian, the text towers of CLIP and SigLIP.
    text: Text(Text, TextConfig),
    /// ViLT: the words of a question and the patches of a picture in one encoder.
    vilt: Vilt(Vilt, ViltConfig),
    /// PaLI: a tower of images, and a language model that writes answers about them.
    pali: Pali(Pali, PaliConfig),
}

impl Config {
    /// What a reduction needs to know of the network.
    #[must_use]
    pub fn facts(&self) -> ModelFacts {
        each!(self, config => config.facts())
    }

    /// The same of weights that were trained with a method; with [`Method::None`] nobody says.
    #[must_use]
    pub fn facts_after(&self, method: &Method) -> ModelFacts {
        let training = match method {
            Method::None => Training::WithoutMerging,
            _ => Training::WithMerging,
        };
        ModelFacts { training, ..self.facts() }
    }

    /// Sizes that users ask for.
    #[must_use]
    pub fn shape(&self) -> Shape {
        each!(self, config => config.shape())
    }

    /// What a forward pass costs.
    #[must_use]
    pub fn cost(&self) -> Cost {
        each!(self, config => config.cost())
    }

    /// Why there can be no such network.
    ///
    /// # Errors
    /// The rule that is broken, and the value that breaks it.
    pub fn check(&self) -> Result<(), String> {
        each!(self, config => config.check())?;
        self.check_bounds()
    }

    /// Refuses numbers beyond those of any model, before memory is taken for them.
    fn check_bounds(&self) -> Result<(), String> {
        const MOST_WEIGHTS: f64 = (1u64 << 36) as f64;
        let Shape { channels, mlp_hidden, embedding, classes, .. } = self.shape();
        let (height, width) = self.shape().img_size();
        let bounds = [
            ("side of an image", height.max(width), 1 << 14),
            ("number of channels", channels.max(embedding), 1 << 16),
            ("hidden size of an MLP", mlp_hidden, 1 << 20),
            ("number of classes", classes, 1 << 20),
            ("number of blocks", self.depth(), 1 << 10),
            ("number of tokens", self.tokens(), 1 << 22),
        ];
        if let Some((what, value, most)) = bounds.into_iter().find(|(_, value, most)| value > most) {
            return Err(format!("a {what} of {value} is beyond that of any model; at most {most} is taken"));
        }
        let [channels, hidden, depth] = [channels, mlp_hidden, self.depth()].map(|size| size as f64);
        let weights = depth * channels * (4.0 * channels + 2.0 * hidden);
        if weights > MOST_WEIGHTS {
            return Err(format!(
                "{weights:.1e} weights are beyond those of any model; at most {MOST_WEIGHTS:.1e} are taken"
            ));
        }
        Ok(())
    }

    /// What writing a text of `written` tokens costs behind an encoder that leaves `memory`; `None` of a model that writes
    /// none.
    #[must_use]
    pub fn writing_cost(&self, memory: usize, written: usize) -> Option<Work> {
        match self {
            Self::Text(text) => text.writing_cost(memory, written),
            Self::Pali(pali) => pali.text.writing_cost(memory, written),
            _ => None,
        }
    }

    /// Whether it writes texts.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.writing_cost(1, 1).is_some()
    }

    /// Tokens of a text or a question that there is room for; 0 of a model that takes something else.
    #[must_use]
    pub fn room(&self) -> usize {
        match self {
            Self::Text(text) => text.room,
            Self::Vilt(vilt) => vilt.room,
            Self::Pali(pali) => pali.text.room,
            _ => 0,
        }
    }

    /// Tokens entering the first block.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.facts().tokens
    }

    /// Blocks (`L`).
    #[must_use]
    pub fn depth(&self) -> usize {
        self.facts().depth
    }

    /// Experts in place of the MLP of some blocks, if there are any.
    #[must_use]
    pub fn experts(&self) -> Option<ExpertsConfig> {
        each!(self, config => config.experts())
    }

    /// Positions that are added to the tokens, and the grid that they are for; `None` for a family that has others.
    pub(crate) fn absolute_positions(&self) -> Option<(Absolute, (usize, usize))> {
        each!(self, config => config.absolute_positions())
    }

    /// The grid that tables of distances are stored for and the model's own, where they are resampled.
    pub(crate) fn table_grids(&self) -> Option<[(usize, usize); 2]> {
        each!(self, config => config.table_grids())
    }

    /// A network with random weights. At [`Precision::Int8`] the stem, the head and attention itself are bf16.
    #[must_use]
    pub fn init(&self, precision: Precision, device: &Device) -> Network {
        let body = Body::of(self, precision, device);
        Network { body, mergers: Mergers::none(), class_head: None, config: self.clone() }
    }

    /// Number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        parameters::count(&self.init(Precision::F32, &Device::default()))
    }

    /// Number of parameters that a method with weights of its own adds; 0 for all other methods.
    #[must_use]
    pub fn merger_parameters(&self, method: &Method) -> usize {
        Mergers::new(method, self.merger_shape(), &Device::default()).parameters()
    }

    /// What weights of a method are made for.
    #[must_use]
    pub fn merger_shape(&self) -> MergerShape {
        let ModelFacts { depth, joining, .. } = self.facts();
        MergerShape { depth, channels: self.shape().channels, joining }
    }

    /// Billions of multiply-adds of one item without merging.
    #[must_use]
    pub fn unmerged_gmacs(&self, convention: Convention) -> f64 {
        self.cost().gmacs(&self.facts().unmerged(), &Reduction::none(), convention)
    }
}

/// A network, and the weights of the merging method that it is trained with.
#[derive(Clone, Debug)]
pub struct Network {
    body: Body,
    mergers: Mergers,
    /// Looks at the class token beside the model's own head, in training alone.
    class_head: Option<Linear>,
    config: Config,
}

impl Network {
    /// Its shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The family's own network.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Weights of the method that this network is trained with; empty if it has none.
    #[must_use]
    pub fn mergers(&self) -> &Mergers {
        &self.mergers
    }

    /// The same with fresh weights of a method in front of its blocks, where the method has some; they are trained, saved
    /// and loaded with the rest.
    #[must_use]
    pub fn with_fresh_mergers(self, method: &Method, device: &Device) -> Self {
        Self { mergers: self.mergers.fitted(method, self.config.merger_shape(), device), ..self }
    }

    /// The same with these weights of a method, which were made for a network of its shape.
    #[must_use]
    pub fn with_mergers(self, mergers: Mergers) -> Self {
        Self { mergers, ..self }
    }

    /// The same with a head that looks at the class token beside its own, `[classes, C]`, or without one. It is trained with the rest,
    /// and answers in [`class_logits`](Self::class_logits) alone.
    #[must_use]
    pub fn with_class_head(self, head: Option<Linear>) -> Self {
        Self { class_head: head, ..self }
    }

    /// What that head says of tokens after the last block, by the class token of each, normalised: `[B, classes]`; `None` without
    /// one.
    #[must_use]
    pub fn class_logits(&self, tokens: &Tokens) -> Option<Tensor<2>> {
        let head = self.class_head.as_ref()?;
        Some(head.forward(self.normed(prefix_rows(tokens, 0))))
    }

    /// The same, distributing tokens among its experts in this way; nothing else about a network without experts.
    #[must_use]
    pub fn with_routing(self, routing: Routing) -> Self {
        self.map_vit(|vit| vit.map_experts(|experts| experts.with_routing(routing)))
    }

    /// The same, its routers trained in this way; nothing else about a network without experts.
    #[must_use]
    pub fn with_router_training(self, training: RouterTraining) -> Self {
        self.map_vit(|vit| vit.map_experts(|experts| experts.with_training(training)))
    }

    /// The same with another classifier, which looks at the embedding at length 1; `None` of a network that is no Vision
    /// Transformer.
    pub(crate) fn with_unit_head(self, head: Linear) -> Option<Self> {
        let Self { body: Body::Vit(vit), mergers, class_head, .. } = self else { return None };
        let vit = vit.with_unit_head(head);
        let config = Config::Vit(vit.config().clone());
        Some(Self { body: Body::Vit(vit), mergers, class_head, config })
    }

    /// The same with every module changed.
    fn each(
        self,
        of_body: impl FnOnce(Body) -> Body,
        of_mergers: impl FnOnce(Mergers) -> Mergers,
        of_head: impl FnOnce(Option<Linear>) -> Option<Linear>,
    ) -> Self {
        let Self { body, mergers, class_head, config } = self;
        Self { body: of_body(body), mergers: of_mergers(mergers), class_head: of_head(class_head), config }
    }

    fn map_vit(self, change: impl FnOnce(Vit) -> Vit) -> Self {
        let body = match self.body {
            Body::Vit(vit) => Body::Vit(change(vit)),
            other => other,
        };
        Self { body, ..self }
    }

    /// Runs a batch.
    ///
    /// # Panics
    /// When the input is not what the network takes, or the reduction was bound to another network.
    #[must_use]
    pub fn run(&self, input: Input, pass: Pass<'_>) -> Output {
        self.body.run(input, pass)
    }

    /// Goes on from the moment in which block `layer` has attended, with the tokens and the evidence that
    /// [`Probe::attended`](crate::Probe::attended) saw, without running the blocks before `layer` again. What the
    /// reduction would have merged there is not merged; the trace begins at `layer`.
    ///
    /// # Panics
    /// When there is no such block, or the evidence is not what the reduction [wants](Reduction::wants) there.
    #[must_use]
    pub fn resume(&self, layer: usize, attended: Tokens, evidence: Evidence, pass: Pass<'_>) -> Output {
        self.body.resume(layer, attended, evidence, pass)
    }

    /// What the head says of tokens after the last block.
    #[must_use]
    pub fn head(&self, tokens: &Tokens) -> Heads {
        self.body.head(tokens)
    }

    /// Rows of tokens after the last block, `[R, C]`, each normalised as the head does it with what it looks at.
    #[must_use]
    pub fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        self.body.normed(rows)
    }

    /// `share` times the gradients of a loss, with the memory of one block (gradient checkpointing): what happens inside
    /// the blocks is forgotten in the forward pass, and all but the last run once more in the backward pass. They merge
    /// then as they did before: nothing is matched a second time ([`Reduction::replaying`]).
    ///
    /// `loss` takes what comes out, with the trace of the last block alone, and leaves what is to be added to it to this; the value
    /// of both comes back, untracked, without `share`. `found` is called with the gradients of one part of the network after the
    /// other; every parameter's gradient is the sum of what it is given.
    ///
    /// # Panics
    /// When the input is not what the network takes, on a device without autodiff, or for a network without blocks.
    pub fn gradients_by_block(
        &self,
        input: Input,
        reduction: &Reduction,
        training: Option<DropRates>,
        share: f64,
        loss: impl FnOnce(&Output) -> Tensor<1>,
        found: &mut dyn FnMut(Gradients),
    ) -> Tensor<1> {
        let first = reduction.clone().with_mergers(self.mergers.valid());
        let again = reduction.clone().with_mergers(self.mergers.clone());
        self.body.gradients_by_block(input, [&first, &again], training, share, loss, found)
    }
}

impl Body {
    fn run(&self, input: Input, pass: Pass<'_>) -> Output {
        each!(self, family => {
            let (tokens, trace) = enter(family, input, pass.reduction);
            let encoded = encode(family, tokens, trace, pass, family.readout());
            encoded.read(family)
        })
    }

    fn resume(&self, layer: usize, attended: Tokens, evidence: Evidence, pass: Pass<'_>) -> Output {
        each!(self, family => resume(family, layer, attended, evidence, pass).read(family))
    }

    fn head(&self, tokens: &Tokens) -> Heads {
        each!(self, family => family.head(tokens))
    }

    fn normed(&self, rows: Tensor<2>) -> Tensor<2> {
        each!(self, family => family.normed(rows))
    }

    /// Which tokens the head's answer is made of.
    #[must_use]
    pub fn readout(&self) -> Readout {
        each!(self, family => family.readout())
    }

    fn gradients_by_block(
        &self,
        input: Input,
        reductions: [&Reduction; 2],
        training: Option<DropRates>,
        share: f64,
        loss: impl FnOnce(&Output) -> Tensor<1>,
        found: &mut dyn FnMut(Gradients),
    ) -> Tensor<1> {
        each!(self, family => {
            let (mut embedded, readout) = (enter(family, input, reductions[0]).0, family.readout());
            if let Some(training) = training {
                embedded = training.drop_embedded(embedded);
            }
            let run = recompute::gradients_by_block;
            run(family, embedded, reductions, training, readout, share, loss, found)
        })
    }
}

/// The tokens that enter the first block: those of a text that never merge in front, if something merges.
fn enter<F: Family>(family: &F, input: Input, reduction: &Reduction) -> (Tokens, Trace) {
    let protected = match &input {
        Input::Texts(texts) => Some(texts.protected(reduction.protects())),
        _ => None,
    };
    let tokens = family.stem(input);
    let mut trace = Trace::of(tokens.layout.clone());
    let tokens = match protected {
        Some(protected) => reduction.protect(tokens, &protected, &mut trace),
        None => tokens,
    };
    (tokens, trace)
}

/// Written out, since the body's parameters are to have no `body.` in front, as in the family's own checkpoints.
impl Module for Network {
    fn num_params(&self) -> usize {
        Module::num_params(&self.body)
            + Module::num_params(&self.mergers)
            + Module::num_params(&self.class_head)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.body.visit(visitor);
        visitor.enter_module("mergers", "Network");
        self.mergers.visit(visitor);
        visitor.exit_module("mergers", "Network");
        visitor.enter_module("class_head", "Network");
        self.class_head.visit(visitor);
        visitor.exit_module("class_head", "Network");
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let body = self.body.map(mapper);
        mapper.enter_module("mergers", "Network");
        let mergers = self.mergers.map(mapper);
        mapper.exit_module("mergers", "Network");
        mapper.enter_module("class_head", "Network");
        let class_head = Module::map(self.class_head, mapper);
        mapper.exit_module("class_head", "Network");
        Self { body, mergers, class_head, config: self.config }
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.class_head.collect_devices(self.mergers.collect_devices(self.body.collect_devices(devices)))
    }

    fn to_device(self, device: &Device) -> Self {
        self.each(
            |body| body.to_device(device),
            |mergers| mergers.to_device(device),
            |head| head.to_device(device),
        )
    }

    fn fork(self, device: &Device) -> Self {
        self.each(|body| body.fork(device), |mergers| mergers.fork(device), |head| head.fork(device))
    }

    fn valid(&self) -> Self {
        let Self { body, mergers, class_head, config } = self;
        Self {
            body: body.valid(),
            mergers: mergers.valid(),
            class_head: class_head.valid(),
            config: config.clone(),
        }
    }

    fn train(self) -> Self {
        self.each(Module::train, Module::train, Module::train)
    }

    fn materialize(self) -> Self {
        self.each(Module::materialize, Module::materialize, Module::materialize)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.body, f)
    }
}

impl ModuleDisplayDefault for Network {
    fn content(&self, content: Content) -> Option<Content> {
        self.body.content(content)
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for Network {}
