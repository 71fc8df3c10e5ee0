//! `tokmerge info`.

use crate::args::{MergeArgs, OutputArgs, at_least_one, epochs, images, img_size, width};
use crate::output;
use crate::progress::Downloads;
use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use std::process::ExitCode;
use tokmerge::{
    Amount, Architecture, Buffers, Config, Cost, Group, InputShape, LayerTokens, Media, Method, ModelOptions,
    Order, Processor, Reduction, Routing, ShapeOverrides, Weights, describe_with_progress,
};

#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// timm name such as vit_large_patch16_224, local-dir:PATH, or hf-hub:org/name[@rev]
    #[arg(value_name = "MODEL", required_unless_present = "model_option")]
    pub(crate) model: Option<String>,
    /// The same as MODEL, written as for other commands
    #[arg(short, long = "model", id = "model_option", value_name = "MODEL", conflicts_with = "model")]
    pub(crate) model_option: Option<String>,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Side of the input image, or HEIGHTxWIDTH
    #[arg(long, value_name = "SIZE", value_parser = img_size)]
    pub(crate) img_size: Option<(usize, usize)>,
    /// Outputs of the head [default: the model's own]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) num_classes: Option<usize>,
    /// The same share of the channels in every layer, such as 75%: a narrower model, which would have to be trained anew
    /// [default: all]
    #[arg(long, value_name = "SHARE", value_parser = width)]
    pub(crate) width: Option<f64>,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What training would cost, as PatchMerger's Tables 1 and 2 count it.
#[derive(Args, Debug)]
pub(crate) struct TrainingArgs {
    /// Show what training costs: 2 operations per multiply-add, and a backward pass of twice the forward pass
    #[arg(long, requires_all = ["images", "epochs"])]
    pub(crate) training: bool,
    /// Images, or whatever the model takes, per epoch, e.g. 1281167 or 304.4e6
    #[arg(long, value_name = "N", value_parser = images, requires = "training")]
    pub(crate) images: Option<f64>,
    /// Epochs
    #[arg(long, value_name = "N", value_parser = epochs, requires = "training")]
    pub(crate) epochs: Option<f64>,
    /// The same per step, to show the number of steps
    #[arg(short, long, value_name = "N", value_parser = at_least_one, requires = "training")]
    pub(crate) batch_size: Option<usize>,
    /// Capacity of V-MoE's experts in training, all of which is counted, filled or not; group=batch is counted without
    /// rounding [default: capacity=1.05,group=batch]
    #[arg(long, value_name = "SPEC", requires = "training")]
    pub(crate) routing: Option<Routing>,
}

pub(crate) fn run(args: &InfoArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    let model = args.model.as_ref().or(args.model_option.as_ref()).cloned().unwrap_or_default();
    // Shapes need no weights.
    let options =
        ModelOptions { img_size: args.img_size, weights: Weights::Random, ..ModelOptions::new(&model) };
    let mut architecture = describe_with_progress(&options, &Downloads::default())?.architecture;
    if let Some(width) = args.width {
        let overrides = ShapeOverrides::of_width(&architecture.config.shape(), width);
        let narrowed = architecture.config.clone().with_overrides(&overrides);
        architecture.config = narrowed.map_err(|reason| anyhow!("--width: {reason}; leave it out"))?;
        // Nothing that is published is as narrow.
        architecture.tag = String::new();
    }
    if let Some(classes) = args.num_classes {
        if architecture.config.writes() {
            bail!("--num-classes is {classes}, and {model} writes texts and has no classes; leave it out");
        }
        architecture.config = architecture.config.with_num_classes(classes);
        architecture.config.check().map_err(|reason| anyhow!("--num-classes {classes}: {reason}"))?;
    }
    let training = Training::of(&args.training, &architecture)?;
    let config = &architecture.config;
    let (convention, media) = (args.output.convention, architecture.processor.media());
    let parameters = config.parameters();
    let counted = methods.iter().map(|method| Counted::new(method, &architecture, args));
    let counted = counted.collect::<Result<Vec<_>>>()?;
    // Most methods have no parameters: then the line about the model says it all.
    let merger_parameters = counted.iter().any(|counted| counted.merger_parameters > 0);
    let writes = counted.iter().any(|counted| counted.with_decoder.is_some());
    let mut rows = Vec::new();
    for (method, counted) in methods.iter().zip(counted) {
        let trained = training.as_ref().map(|training| training.exaflops(&counted));
        if args.output.json {
            let mut value = json!({
                "model": model,
                "merge": method.to_string(),
                "params": parameters,
                "merger_params": counted.merger_parameters,
                "img_size": [config.shape().img_size().0, config.shape().img_size().1],
                "tokens": counted.tokens(),
                "thresholds": thresholds(&counted.reduction),
                "gmacs": counted.gmacs,
                "gmacs_with_decoder": counted.with_decoder,
                "convention": convention,
            });
            if let Some(joined) = counted.joined() {
                value["joined"] = json!(joined);
            }
            if let (Some(training), Some(exaflops)) = (&training, trained) {
                value["training"] = training.json(exaflops);
            }
            output::line(value.to_string())?;
        } else {
            let gmacs = counted.gmacs.map(output::gmacs);
            let mut row = vec![method.to_string()];
            if merger_parameters {
                row.push(format!("{parameters} + {}", counted.merger_parameters));
            }
            row.push(gmacs.unwrap_or_else(|| "measure with eval".to_owned()));
            if writes {
                row.push(counted.with_decoder.map_or_else(|| "-".to_owned(), output::gmacs));
            }
            if let Some(exaflops) = trained {
                let unknown = || format!("as the {} allow", media.words());
                row.push(exaflops.map_or_else(unknown, shown));
            }
            row.push(counted.listed(media));
            rows.push(row);
        }
    }
    if !args.output.json {
        output::line(summary(&architecture.size_name(), &architecture.tag, config, &architecture.processor))?;
        output::line(format!("preprocessing: {}", architecture.processor))?;
        if let Some(training) = &training {
            output::line(training.summary(media))?;
        }
        let gmacs = format!("GMACs ({convention})");
        let written = format!("and writing {} tokens", written_tokens(config));
        let shown = [
            Some("merge"),
            merger_parameters.then_some("parameters"),
            Some(gmacs.as_str()),
            writes.then_some(written.as_str()),
            training.as_ref().map(|_| "training ExaFLOPs"),
            Some("tokens after each block"),
        ];
        let header: Vec<&str> = shown.into_iter().flatten().collect();
        output::line(output::table(&header, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A method on a model. Thresholds remove as many tokens as the item allows: then there is nothing to count here.
struct Counted {
    reduction: Reduction,
    layers: Option<Vec<LayerTokens>>,
    /// What training works on: all tokens where they are masked rather than dropped.
    layers_in_training: Option<Vec<LayerTokens>>,
    gmacs: Option<f64>,
    /// The same with a decoder that writes as many tokens as the text has that the encoder reads.
    with_decoder: Option<f64>,
    /// Parameters that the method adds to the model's.
    merger_parameters: usize,
}

impl Counted {
    fn new(method: &Method, architecture: &Architecture, args: &InfoArgs) -> Result<Self> {
        let config = &architecture.config;
        let reduction = Reduction::bind(method.clone(), &config.facts())?;
        output::note_kept_patches(&architecture.size_name(), &reduction);
        let layers = reduction.expected_tokens(config.tokens(), config.depth());
        let convention = args.output.convention;
        let gmacs = layers.as_ref().map(|layers| config.cost().gmacs(layers, &reduction, convention));
        let left = layers.as_ref().and_then(|layers| layers.last()).map(|last| match method.inflates() {
            true => last.entered,
            false => last.fed,
        });
        let writing = left.and_then(|left| config.writing_cost(left, written_tokens(config)));
        let with_decoder = gmacs.zip(writing).map(|(gmacs, work)| gmacs + work.count(convention) / 1e9);
        let merger_parameters = config.merger_parameters(method);
        let layers_in_training = match reduction.relaxes() {
            true => Some(config.facts().unmerged()),
            false => layers.clone(),
        };
        Ok(Self { reduction, layers, layers_in_training, gmacs, with_decoder, merger_parameters })
    }

    fn tokens(&self) -> Option<Vec<usize>> {
        self.layers.as_ref().map(|layers| layers.iter().map(|layer| layer.fed).collect())
    }

    /// Tokens that join before each block, behind what merges there; none in most models.
    fn joined(&self) -> Option<Vec<usize>> {
        let joined =
            self.layers.as_ref().map(|layers| layers.iter().map(|layer| layer.joined).collect::<Vec<_>>());
        joined.filter(|joined| joined.iter().any(|tokens| *tokens > 0))
    }

    fn listed(&self, media: Media) -> String {
        if let Some(layers) = &self.layers {
            // Others that have joined are named apart.
            let mut joined = 0;
            return list(layers.iter().map(|layer| {
                joined += layer.joined;
                if joined > 0 { format!("{}+{joined}", layer.fed - joined) } else { layer.fed.to_string() }
            }));
        }
        let thresholds = thresholds(&self.reduction);
        let each = thresholds.iter().flatten().map(|threshold| match threshold {
            Some(threshold) => format!("{threshold:.3}"),
            None => "-".to_owned(),
        });
        format!("as the {} allows, above {}", media.word(), list(each))
    }
}

/// Tokens of a text that is written, where one is: as many as one that is read has at most.
fn written_tokens(config: &Config) -> usize {
    config.room().min(config.tokens())
}

/// A training run that is to be counted.
struct Training {
    cost: Cost,
    images: f64,
    epochs: f64,
    batch_size: Option<usize>,
}

impl Training {
    fn of(args: &TrainingArgs, architecture: &Architecture) -> Result<Option<Self>> {
        let (Some(images), Some(epochs)) = (args.images, args.epochs) else { return Ok(None) };
        let mut cost = architecture.config.cost();
        match (&mut cost.experts, args.routing) {
            (Some(experts), routing) => experts.routing = routing.unwrap_or(PRETRAINING),
            (None, Some(routing)) => bail!(
                "{} has no experts among which tokens could be distributed (--routing {routing}); leave --routing out",
                architecture.name
            ),
            (None, None) => {}
        }
        Ok(Some(Self { cost, images, epochs, batch_size: args.batch_size }))
    }

    /// Operations of the whole run, in 10^18.
    fn exaflops(&self, counted: &Counted) -> Option<f64> {
        let layers = counted.layers_in_training.as_ref();
        let per_image = layers.map(|layers| self.cost.training_flops(layers, &counted.reduction));
        per_image.map(|flops| flops * self.images * self.epochs / 1e18)
    }

    fn steps(&self) -> Option<f64> {
        self.batch_size.map(|batch_size| (self.images / batch_size as f64).floor() * self.epochs)
    }

    fn routing(&self) -> Option<Routing> {
        self.cost.experts.as_ref().map(|experts| experts.routing)
    }

    fn summary(&self, media: Media) -> String {
        let Self { images, epochs, .. } = self;
        let steps = self.steps().map_or_else(String::new, |steps| format!(", {steps:.0} steps"));
        let routing = self.routing().map_or_else(String::new, |routing| format!(", routing {routing}"));
        format!(
            "training: {images} {}, {epochs} epochs{steps}{routing}; 2 operations per multiply-add, backward twice forward",
            media.words()
        )
    }

    fn json(&self, exaflops: Option<f64>) -> Value {
        json!({
            "exaflops": exaflops,
            "images": self.images,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "steps": self.steps(),
            "routing": self.routing().map(|routing| routing.to_string()),
        })
    }
}

/// V-MoE's capacity in pretraining, in groups so large that rounding does not show.
const PRETRAINING: Routing =
    Routing::Buffers(Buffers { factor: 1.05, group: Group::Batch, order: Order::Position });

/// Two decimals, as the paper prints them, but three digits of small numbers.
fn shown(exaflops: f64) -> String {
    if exaflops >= 1.0 { format!("{exaflops:.2}") } else { format!("{exaflops:.2e}") }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(" ")
}

/// The similarity above which each layer merges, if that is how the method decides.
fn thresholds(reduction: &Reduction) -> Option<Vec<Option<f32>>> {
    let threshold = |amount: &Amount| match amount {
        Amount::Above(threshold) => Some(*threshold),
        _ => None,
    };
    let thresholds: Vec<_> = reduction.amounts().iter().map(threshold).collect();
    thresholds.iter().any(Option::is_some).then_some(thresholds)
}

fn summary(name: &str, tag: &str, config: &Config, processor: &Processor) -> String {
    let (shape, facts) = (config.shape(), config.facts());
    let (height, width) = shape.img_size();
    let input = match (shape.input, processor) {
        (InputShape::Clip { frames, .. }, _) => format!("{frames} frames of {height}x{width} pixels"),
        (InputShape::Text { vocabulary, .. }, _) => format!("texts of a vocabulary of {vocabulary}"),
        (InputShape::Question { patch, most, room, .. }, _) => {
            format!(
                "questions of at most {room} tokens about images of at most {most} patches of {patch}x{patch} pixels"
            )
        }
        (InputShape::ImageQuestion { room, .. }, _) => {
            format!("questions of at most {room} tokens about images of {height}x{width} pixels")
        }
        (_, Processor::Sound(_)) => format!("spectrograms of {height}x{width} values"),
        _ => format!("{height}x{width} pixels"),
    };
    let plural = if shape.heads == 1 { "" } else { "s" };
    let tag = if tag.is_empty() { String::new() } else { format!(" ({tag})") };
    let experts = config.experts().map_or_else(String::new, |experts| {
        let blocks = experts.placement.blocks(facts.depth);
        let blocks = list(blocks.iter().map(|block| (block + 1).to_string()));
        format!(", {} experts in blocks {blocks} of which a token uses {}", experts.experts, experts.chosen)
    });
    let first = facts.joining.map_or(facts.depth, |joining| joining.layer);
    let (then, join) = facts.joining.map_or_else(Default::default, |joining| {
        let then = format!(", then {} blocks of {} channels", facts.depth - first, joining.channels);
        (then, format!(", which at most {} join that never merge,", joining.tokens))
    });
    format!(
        "{name}{tag}: {:.2} M parameters, {first} blocks of {} channels and {} head{plural}{experts}{then}, {} tokens ({} never merge){join} for {input}",
        config.parameters() as f64 / 1e6,
        shape.channels,
        shape.heads,
        facts.tokens,
        facts.prefix,
    )
}
