//! `tokmerge embed`.

use crate::args::{
    MergeArgs, ModelArgs, OutputArgs, PreprocessArgs, Wanted, at_least_one, batch_of, batch_size, bind,
};
use crate::output;
use anyhow::{Result, anyhow, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tokmerge::embedding::{
    Detail, EmbedError, Failure, Filled, Format, Inputs, Length, Observer, Shard, Sources, Summary, Target,
    VectorDtype, Writing, embed, stream,
};
use tokmerge::{Batch, EMBEDDED, Measured, Media, Model, Reading, Reduction};

#[derive(Args, Debug)]
pub(crate) struct EmbedArgs {
    /// What the model takes, images, sounds or clips: files, folders with all below them, WebDataset's .tar shards, Parquet
    /// tables with a column of them; - reads one from standard input. Of texts files with one a line; - reads such lines
    #[arg(required_unless_present = "files", value_name = "SOURCE")]
    pub(crate) sources: Vec<PathBuf>,
    /// A file with paths of what the model takes, one a line
    #[arg(long, value_name = "LIST")]
    pub(crate) files: Option<PathBuf>,
    /// Column of images in Parquet tables [default: image, or the only one of its type]
    #[arg(long, value_name = "NAME")]
    pub(crate) column: Option<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Items per forward pass [default: 32, of clips 1]
    #[arg(short, long, value_name = "N", value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Threads that read and decode files [default: the number of computing threads]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) workers: Option<usize>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where vectors are written to, and how.
#[derive(Args, Debug)]
pub(crate) struct WriteArgs {
    /// Write the vectors to a .parquet, .npy, .jsonl or .csv file, or to a folder (ends with / or is one) as part-NNNNN
    /// files; the same command again does what is missing [default: print them]
    #[arg(short = 'o', long = "output", value_name = "PATH", id = "output")]
    pub(crate) to: Option<PathBuf>,
    /// Format of the parts in a folder
    #[arg(long, value_parser = named(Format::ALL, Format::name), requires = "output")]
    pub(crate) format: Option<Format>,
    /// What numbers of vectors are stored in
    #[arg(
        long,
        value_parser = named(VectorDtype::ALL, VectorDtype::name),
        default_value = "f32",
        requires = "output"
    )]
    pub(crate) vector_dtype: VectorDtype,
    /// Scale vectors to length 1 (L2)
    #[arg(long)]
    pub(crate) normalize: bool,
    /// Also write a feature of every patch, [N, patches, C], to a .dense.npy file: tokens after the last block, before its
    /// norm, brought back to where they merged from
    #[arg(long, requires = "output")]
    pub(crate) dense: bool,
    /// Items per part: at most this many are embedded again after a run was killed
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = at_least_one, requires = "output")]
    pub(crate) shard_size: usize,
    /// Do only part I of every N parts, for several processes on one output: 0/2 and 1/2
    #[arg(long, value_name = "I/N", requires = "output")]
    pub(crate) shard: Option<Shard>,
}

impl WriteArgs {
    fn length(&self) -> Length {
        if self.normalize { Length::Unit } else { Length::Own }
    }
}

/// One of some values, by name.
fn named<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.map(name)).map(move |text| {
        let found = all.into_iter().find(|value| name(*value) == text);
        found.unwrap_or_else(|| unreachable!("{text} is one of the possible values"))
    })
}

/// Images per forward pass of what is printed.
const BATCH: usize = 8;

/// Numbers of a vector that are shown to people.
const SHOWN: usize = 4;

pub(crate) fn run(args: &EmbedArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    let target = args.write.to.as_deref().map(|path| target(args, path)).transpose()?;
    if target.is_some() && methods.len() > 1 {
        bail!(
            "--output takes one --merge, and {} are given; write each to an output of its own",
            methods.len()
        );
    }
    args.model.refuse_without(Wanted::Vectors)?;
    let media = args.model.media();
    let sources = Sources {
        paths: args.sources.clone(),
        list: args.files.clone(),
        column: args.column.clone(),
        media: media.as_ref().map_or(Media::Image, |media| *media),
    };
    let inputs = match (sources.open(), media) {
        // Of a model that nobody knows the sources cannot be judged.
        (Err(EmbedError::Text { .. }), Err(unknown)) => return Err(unknown),
        (inputs, _) => inputs?,
    };
    inputs.notes().iter().for_each(|text| output::note(format!("note: {text}")));
    let model = args.preprocess.apply(args.model.open_or_demo()?)?;
    let reductions = bind(&model, &methods)?;
    let workers = args.model.threads.workers(args.workers);
    let decoding = args.preprocess.decoding();
    let reading = Reading { batch_size: batch_of(args.batch_size, 32, model.media()), workers, decoding };
    match (&target, reductions.as_slice()) {
        (Some(target), [reduction]) => write(args, &model, reduction, &inputs, target, reading),
        _ => print(args, &model, &reductions, &inputs, reading),
    }
}

/// Where vectors go; refuses what could only fail later.
fn target(args: &EmbedArgs, path: &Path) -> Result<Target> {
    let target = Target::of(path)?;
    if let (Some(asked), Some(ending)) = (args.write.format, target.format())
        && asked != ending
    {
        bail!(
            "--format {} does not fit --output {}; leave it out, or give another ending",
            asked.name(),
            path.display()
        );
    }
    if let Target::File(file) = &target {
        let (list, model) = (args.files.as_deref(), args.model.files());
        let inputs = args.sources.iter().map(PathBuf::as_path).chain(list);
        output::refuse_inputs("--output", file, inputs.chain(model.iter().map(PathBuf::as_path)))?;
    }
    Ok(target)
}

fn write(
    args: &EmbedArgs,
    model: &Model,
    reduction: &Reduction,
    inputs: &Inputs,
    target: &Target,
    reading: Reading,
) -> Result<ExitCode> {
    let writing = Writing {
        format: target.format().or(args.write.format).unwrap_or_default(),
        dtype: args.write.vector_dtype,
        length: args.write.length(),
        detail: if args.write.dense { Detail::Patches } else { Detail::Image },
        shard_size: args.write.shard_size,
        shard: args.write.shard.unwrap_or(Shard::WHOLE),
        made_with: made_with(&args.model),
    };
    let mut progress = EmbedProgress::of(model.media());
    let summary = embed(model, reduction, inputs, target, &writing, reading, &mut progress);
    progress.bar.finish_and_clear();
    let summary = summary?;
    if let Some(first) = summary.first_error.as_ref().filter(|_| summary.rows == 0 && summary.is_complete()) {
        bail!("none of {} {} could be read; the first: {first}", inputs.len(), model.media().words());
    }
    let path = target.path();
    if args.output.json {
        output::line(result(path, model, reduction, &summary).to_string())?;
    }
    output::note(format!("{}: {}", path.display(), said(&summary, &progress)));
    output::note_cut(model, progress.items, progress.cut);
    if summary.errors > 0 {
        let errors = target.errors(&summary);
        let words = model.media().words();
        output::note(format!("note: {} {words} could not be read: {}", summary.errors, errors.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the vectors depend on, as it was asked for.
fn made_with(args: &ModelArgs) -> Map<String, Value> {
    let mut made_with = Map::new();
    let side = args.img_size.map(|(height, width)| format!("{height}x{width}"));
    let settings = [
        ("model", json!(args.model.as_deref().unwrap_or(EMBEDDED))),
        ("weights", json!(args.weights.as_ref().map(|path| path.display().to_string()))),
        ("random_weights", json!(args.random_weights)),
        ("state_dict", json!(args.state_dict)),
        ("img_size", json!(side)),
        ("dtype", json!(args.dtype.name())),
        ("routing", json!(args.routing.to_string())),
    ];
    made_with.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    made_with
}

fn result(path: &Path, model: &Model, reduction: &Reduction, summary: &Summary) -> Value {
    json!({
        "output": path.display().to_string(),
        "model": model.name(),
        "merge": reduction.method().to_string(),
        "vectors": summary.rows,
        "errors": summary.errors,
        "parts_done": summary.parts_done,
        "parts": summary.parts,
        "complete": summary.is_complete(),
    })
}

fn said(summary: &Summary, progress: &EmbedProgress) -> String {
    let vectors = format!("{} vectors", summary.rows);
    let left = summary.parts - summary.parts_done;
    let rest = if left > 0 {
        format!(", {left} of {} parts are left to other processes", summary.parts)
    } else {
        String::new()
    };
    match progress.pace() {
        Some(pace) => format!("{vectors}{rest} ({pace})"),
        None => format!("{vectors}{rest}; nothing was left to do"),
    }
}

/// A bar on a terminal, nothing elsewhere.
struct EmbedProgress {
    bar: ProgressBar,
    started: Instant,
    /// What is embedded.
    words: &'static str,
    /// How many of them in this run.
    items: usize,
    /// Texts whose end is left out.
    cut: usize,
}

impl EmbedProgress {
    fn of(media: Media) -> Self {
        let words = media.words();
        let template = format!("{{bar:30}} {{pos}}/{{len}} {words}, {{per_sec}}, {{eta}} left{{msg}}");
        let bar = ProgressBar::new(0);
        let bar = ProgressStyle::with_template(&template).map_or(bar.clone(), |style| bar.with_style(style));
        Self { bar, started: Instant::now(), words, items: 0, cut: 0 }
    }

    /// Items per second of this run.
    fn pace(&self) -> Option<String> {
        let rate = self.items as f64 / self.started.elapsed().as_secs_f64();
        (self.items > 0).then(|| format!("{rate:.1} {} per second", self.words))
    }
}

impl Observer for EmbedProgress {
    fn begin(&mut self, items: usize, done: usize) {
        self.bar.set_length(items as u64);
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
        self.started = Instant::now();
        if done > 0 && done < items {
            let words = self.words;
            self.bar.suspend(|| output::note(format!("note: {done} of {items} {words} are done already")));
        }
    }

    fn done(&mut self, items: usize) {
        self.items += items;
        self.bar.inc(items as u64);
    }

    fn failed(&mut self, _: &Failure) {
        let failed =
            self.bar.message().split_whitespace().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0);
        self.bar.set_message(format!(", {} broken", failed + 1));
    }

    fn cut(&mut self, texts: usize) {
        self.cut += texts;
    }
}

fn print(
    args: &EmbedArgs,
    model: &Model,
    reductions: &[Reduction],
    inputs: &Inputs,
    reading: Reading,
) -> Result<ExitCode> {
    let processor = model.processor();
    let reading = Reading { batch_size: BATCH, ..reading };
    let all = 0..inputs.len();
    // What goes wrong here is no error of the stream, and keeps its own causes.
    stream(inputs, std::slice::from_ref(&all), processor, reading, |images| {
        let mut work = || {
            let (mut code, mut items, mut cut) = (ExitCode::SUCCESS, 0, 0);
            loop {
                let filled = Filled::take(images, BATCH, BATCH, processor);
                if filled.taken() == 0 {
                    output::note_cut(model, items, cut);
                    return Ok(code);
                }
                items += filled.keys.len();
                cut += filled.cut();
                for (_, _, reason) in filled.broken {
                    output::error(&anyhow!(reason));
                    code = ExitCode::FAILURE;
                }
                if !filled.keys.is_empty() {
                    print_batch(args, model, reductions, &filled.batch, &filled.keys)?;
                }
            }
        };
        Ok(work())
    })?
}

fn print_batch(
    args: &EmbedArgs,
    model: &Model,
    reductions: &[Reduction],
    batch: &Batch,
    keys: &[String],
) -> Result<()> {
    for reduction in reductions {
        let merge = reduction.method().to_string();
        let found = model.measure(batch.clone(), reduction, args.output.convention);
        let mut found = found.map_err(|error| {
            let key = keys[error.position].clone();
            error.in_file(Path::new(&key))
        })?;
        for embedding in &mut found.embeddings {
            *embedding = args.write.length().of(embedding);
        }
        for (item, key) in keys.iter().enumerate() {
            output::line(if args.output.json {
                json(key, &merge, &found, item).to_string()
            } else {
                text(key, &merge, &found, item)
            })?;
        }
    }
    Ok(())
}

fn json(path: &str, merge: &str, found: &Measured, item: usize) -> Value {
    json!({
        "path": path,
        "merge": merge,
        "embedding": found.embeddings[item],
        "tokens_left": found.tokens_left[item],
        "gmacs": found.gmacs[item],
    })
}

fn text(path: &str, merge: &str, found: &Measured, item: usize) -> String {
    let embedding = &found.embeddings[item];
    let start: Vec<String> = embedding.iter().take(SHOWN).map(|value| format!("{value:.4}")).collect();
    let norm = embedding.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    format!(
        "{path}  [{merge}: {} tokens left] {} numbers, length {norm:.3}: {} ...; --json prints them all",
        found.tokens_left[item],
        embedding.len(),
        start.join(" ")
    )
}
