//! `tokmerge bench`.

use crate::args::{
    MergeArgs, ModelArgs, OutputArgs, at_least_one, batch_of, batch_size, bind, one_of, seconds,
    with_max_tokens,
};
use crate::memory;
use crate::output;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokmerge::train::{Recompute, bench_training};
use tokmerge::{
    BenchOptions, Convention, Isa, Media, Method, Model, PeakOf, Precision, Speed, Spread, bench,
};

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Measure training steps (forward, backward and AdamW) instead
    #[arg(long)]
    pub(crate) train: bool,
    /// Gradient checkpointing: what the backward pass recomputes to save memory, nothing or everything inside blocks
    #[arg(
        long,
        value_parser = one_of::<Recompute>(Recompute::ALL.map(Recompute::name)),
        default_value_t,
        requires = "train"
    )]
    pub(crate) recompute: Recompute,
    /// Items per forward pass [default: 8, of clips 1]
    #[arg(short, long, value_name = "N", value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Tokens of every text [default: 256]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_tokens: Option<usize>,
    /// Seconds to spend on each method
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    pub(crate) duration: f64,
    /// Write the results as CSV, with timm's columns and some of our own
    #[arg(long, value_name = "FILE")]
    pub(crate) results_file: Option<PathBuf>,
    /// Measure this machine's peak throughput, and show results as a share of it
    #[arg(long, conflicts_with = "train")]
    pub(crate) peak: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How long the peak of each dtype is measured.
const PEAK: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    // So that a mistyped method costs no reading of weights.
    let asked = args.merge.methods(&[])?;
    let model = args.model.open()?;
    let methods = match asked.is_empty() {
        true => args.merge.methods(fallback(model.media()))?,
        false => asked,
    };
    let model = match args.max_tokens {
        Some(max_tokens) => with_max_tokens(model, max_tokens)?,
        None => model,
    };
    let reductions = bind(&model, &methods)?;
    let results_file = args.results_file.as_deref().map(output::csv_file).transpose()?;
    let options = BenchOptions {
        batch_size: batch_of(args.batch_size, 8, model.media()),
        duration: Duration::from_secs_f64(args.duration),
        convention: args.output.convention,
        peak: args.peak.then(|| peak_of(args, args.model.dtype)),
    };
    let peaks = if args.peak { peaks(args) } else { Vec::new() };
    let results = if args.train {
        // A model that writes learns from what it is to write.
        if !model.config().writes() {
            if model.media() == Media::Text && model.classes() == 0 {
                bail!(
                    "{} writes nothing and knows no classes, so that there is nothing to train; leave --train out",
                    model.name()
                );
            }
            model.require_head()?;
        } else if args.recompute != Recompute::Nothing {
            bail!(
                "--recompute {} is for models without a decoder, which keeps what its blocks compute; leave it out",
                args.recompute
            );
        }
        memory::keep();
        bench_training(&model, &reductions, options, args.recompute)?
    } else {
        bench(&model, &reductions, options)
    };
    if let Some(file) = results_file {
        let rows = results.iter().map(|speed| CsvRow::new(args, &model, speed));
        output::csv_rows(file, rows).context("cannot write the --results-file")?;
    }
    if args.output.json {
        for speed in &results {
            output::line(as_json(args, &model, speed, &peaks).to_string())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format!(
        "{}{}, {}, batch {}, {}, {} threads, {}; {} over {} rounds",
        if args.train { "training " } else { "" },
        model.name(),
        args.model.dtype.name(),
        batch_of(args.batch_size, 8, model.media()),
        args.model.device.name(),
        args.model.threads.count(),
        Isa::current(),
        output::per_second(model.media()),
        results.first().map_or(0, |speed| speed.batches),
    ))?;
    output::line(table(args, model.media(), &results))?;
    if args.peak {
        output::line(peak_line(args, &peaks))?;
    }
    for verdict in verdicts(&methods, &results, model.media()) {
        output::line(verdict)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is compared where no method is named: of texts, which have any length, a share of the tokens.
fn fallback(media: Media) -> &'static [&'static str] {
    if media == Media::Text { &["none", "tome:r=10%"] } else { &["none", "tome:r=13"] }
}

fn peak_of(args: &BenchArgs, dtype: Precision) -> PeakOf {
    PeakOf { precision: dtype, threads: args.model.threads.count() }
}

/// Operations per second of each dtype that the instruction set has products of.
fn peaks(args: &BenchArgs) -> Vec<(Precision, f64)> {
    let measure = |dtype| Some((dtype, peak_of(args, dtype).measure(PEAK)?));
    Precision::ALL.into_iter().filter_map(measure).collect()
}

/// What the shares are shares of, and what has none.
fn peak_line(args: &BenchArgs, peaks: &[(Precision, f64)]) -> String {
    let isa = Isa::current();
    let shown = |dtype: Precision| match peaks.iter().find(|(of, _)| *of == dtype) {
        Some((_, peak)) => format!("{} {:.0} GFLOP/s", dtype.name(), peak / 1e9),
        None => format!("{} none ({isa} has no such products here)", dtype.name()),
    };
    format!(
        "Peak of {} threads, products in registers only: {}. Shares are of the {} peak measured in each round; a multiply-add counts as 2.",
        args.model.threads.count(),
        Precision::ALL.map(shown).join(", "),
        args.model.dtype.name(),
    )
}

/// The most memory that this process has had so far; `None` on systems without `/proc`.
fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

fn as_json(args: &BenchArgs, model: &Model, speed: &Speed, peaks: &[(Precision, f64)]) -> serde_json::Value {
    let mut object = json!({
        "model": model.name(),
        "train": args.train,
        "merge": speed.merge,
        "batch_size": batch_of(args.batch_size, 8, model.media()),
        "dtype": args.model.dtype.name(),
        "device": args.model.device.name(),
        "threads": args.model.threads.count(),
        "images_per_second": speed.images_per_second.median,
        "min": speed.images_per_second.min,
        "max": speed.images_per_second.max,
        "ms_per_batch": speed.ms_per_batch,
        "gmacs": speed.gmacs,
        "convention": args.output.convention,
        "tokens": speed.tokens,
        "speedup": speed.speedup,
        "isa": Isa::current().to_string(),
        "peak_memory_mib": peak_memory_mib(),
    });
    if args.peak {
        let peaks: serde_json::Map<_, _> =
            peaks.iter().map(|(dtype, peak)| (dtype.name().to_owned(), json!(peak))).collect();
        object["peak_flops_per_second"] = peaks.into();
        object["peak_share"] = json!(speed.peak_share);
    }
    object
}

fn table(args: &BenchArgs, media: Media, results: &[Speed]) -> String {
    let gmacs = format!("GMACs ({})", args.output.convention);
    let per_second = output::per_second(media);
    let mut header =
        vec!["merge", per_second.as_str(), "min", "max", "ms/batch", &gmacs, "tokens left", "speed-up"];
    if args.peak {
        header.push("% of peak");
    }
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|speed| {
            let mut row = vec![
                speed.merge.clone(),
                format!("{:.1}", speed.images_per_second.median),
                format!("{:.1}", speed.images_per_second.min),
                format!("{:.1}", speed.images_per_second.max),
                format!("{:.1}", speed.ms_per_batch),
                output::gmacs(speed.gmacs),
                format!("{:.0}", speed.tokens),
                speed.speedup.as_ref().map_or_else(|| "-".to_owned(), output::ratio),
            ];
            if args.peak {
                let share = |share: &Spread| {
                    format!("{:.1} ({:.1}-{:.1})", 1e2 * share.median, 1e2 * share.min, 1e2 * share.max)
                };
                row.push(speed.peak_share.as_ref().map_or_else(|| "-".to_owned(), share));
            }
            row
        })
        .collect();
    output::table(&header, &rows)
}

/// Says plainly where merging does not pay.
fn verdicts(methods: &[Method], results: &[Speed], media: Media) -> Vec<String> {
    let larger = match media {
        Media::Text => "longer texts or larger batches".to_owned(),
        Media::Image | Media::Question => "larger images or batches".to_owned(),
        other => format!("longer {} or larger batches", other.words()),
    };
    let Some(unmerged) = methods.iter().position(|method| *method == Method::None) else {
        return vec!["Add --merge none to see what merging gains.".to_owned()];
    };
    let promised = |speed: &Speed| results[unmerged].gmacs / speed.gmacs;
    results
        .iter()
        .filter_map(|speed| {
            let ratio = speed.speedup?;
            let promise = promised(speed);
            if ratio.median < 1.0 {
                Some(format!(
                    "{} does not pay here: it runs at {:.2} of the unmerged speed, though its operations promise {promise:.2}x; do not merge, or merge more, on {larger}.",
                    speed.merge, ratio.median
                ))
            } else if ratio.median < 1.02 {
                Some(format!(
                    "{} hardly pays here: {:.2}x, where its operations promise {promise:.2}x.",
                    speed.merge, ratio.median
                ))
            } else {
                None
            }
        })
        .collect()
}

/// timm's columns, then ours.
#[derive(Serialize)]
struct CsvRow<'a> {
    model: String,
    infer_img_size: usize,
    infer_samples_per_sec: String,
    infer_step_time: String,
    infer_batch_size: usize,
    param_count: String,
    infer_gmacs: String,
    infer_macts: String,
    merge: &'a str,
    dtype: &'static str,
    device: &'static str,
    threads: usize,
    min: String,
    max: String,
    convention: Convention,
    train: bool,
}

impl<'a> CsvRow<'a> {
    fn new(args: &BenchArgs, model: &Model, speed: &'a Speed) -> Self {
        Self {
            model: model.name(),
            infer_img_size: model.config().shape().img_size().0,
            infer_samples_per_sec: format!("{:.2}", speed.images_per_second.median),
            infer_step_time: format!("{:.3}", speed.ms_per_batch),
            infer_batch_size: batch_of(args.batch_size, 8, model.media()),
            param_count: format!("{:.2}", model.parameters() as f64 / 1e6),
            infer_gmacs: output::gmacs(speed.gmacs),
            infer_macts: format!("{:.2}", speed.mega_activations),
            merge: &speed.merge,
            dtype: args.model.dtype.name(),
            device: args.model.device.name(),
            threads: args.model.threads.count(),
            min: format!("{:.2}", speed.images_per_second.min),
            max: format!("{:.2}", speed.images_per_second.max),
            convention: args.output.convention,
            train: args.train,
        }
    }
}
