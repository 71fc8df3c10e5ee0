//! `tokmerge bench`.

use crate::args::{BenchArgs, Dtype, RecomputeName, bind};
use crate::memory;
use crate::output;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;
use tokmerge::train::{Recompute, bench_training};
use tokmerge::{BenchOptions, Isa, Method, Model, PeakOf, Speed, Spread, bench};

/// How long the peak of each dtype is measured.
const PEAK: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none", "tome:r=13"])?;
    let model = args.model.open()?;
    bind(&model, &methods)?;
    let results_file = args.results_file.as_deref().map(output::csv_file).transpose()?;
    let options = BenchOptions {
        batch_size: args.batch_size,
        duration: Duration::from_secs_f64(args.duration),
        convention: args.output.convention(),
        peak: args.peak.then(|| peak_of(args, args.model.dtype)),
    };
    let peaks = if args.peak { peaks(args) } else { Vec::new() };
    let results = if args.train {
        model.require_head()?;
        memory::keep();
        bench_training(&model, &methods, options, recompute(args.recompute))?
    } else {
        bench(&model, &methods, options)?
    };
    if let Some(file) = results_file {
        write_csv(file, args, &model, &results).context("cannot write the --results-file")?;
    }
    if args.output.json {
        for speed in &results {
            output::line(as_json(args, &model, speed, &peaks).to_string())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format!(
        "{}{}, {}, batch {}, {}, {} threads, {}; img/s over {} rounds",
        if args.train { "training " } else { "" },
        model.name(),
        args.model.dtype.name(),
        args.batch_size,
        args.model.device.0,
        args.model.threads.count(),
        Isa::current(),
        results.first().map_or(0, |speed| speed.batches),
    ))?;
    output::line(table(args, &results))?;
    if args.peak {
        output::line(peak_line(args, &peaks))?;
    }
    for verdict in verdicts(&methods, &results) {
        output::line(verdict)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn recompute(name: RecomputeName) -> Recompute {
    match name {
        RecomputeName::Nothing => Recompute::Nothing,
        RecomputeName::Blocks => Recompute::Blocks,
    }
}

fn peak_of(args: &BenchArgs, dtype: Dtype) -> PeakOf {
    PeakOf { precision: dtype.precision(), threads: args.model.threads.count() }
}

/// Operations per second of each dtype that the instruction set has products of.
fn peaks(args: &BenchArgs) -> Vec<(Dtype, f64)> {
    let measure = |dtype| Some((dtype, peak_of(args, dtype).measure(PEAK)?));
    Dtype::ALL.into_iter().filter_map(measure).collect()
}

/// What the shares are shares of, and what has none.
fn peak_line(args: &BenchArgs, peaks: &[(Dtype, f64)]) -> String {
    let isa = Isa::current();
    let shown = |dtype: Dtype| match peaks.iter().find(|(of, _)| *of == dtype) {
        Some((_, peak)) => format!("{} {:.0} GFLOP/s", dtype.name(), peak / 1e9),
        None => format!("{} none ({isa} has no such products here)", dtype.name()),
    };
    format!(
        "Peak of {} threads, products in registers only: {}. Shares are of the {} peak measured in each round; a multiply-add counts as 2.",
        args.model.threads.count(),
        Dtype::ALL.map(shown).join(", "),
        args.model.dtype.name(),
    )
}

/// The most memory that this process has had so far; `None` on systems without `/proc`.
fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

fn as_json(args: &BenchArgs, model: &Model, speed: &Speed, peaks: &[(Dtype, f64)]) -> serde_json::Value {
    let mut object = json!({
        "model": model.name(),
        "train": args.train,
        "merge": speed.merge,
        "batch_size": args.batch_size,
        "dtype": args.model.dtype.name(),
        "device": args.model.device.0,
        "threads": args.model.threads.count(),
        "images_per_second": speed.images_per_second.median,
        "min": speed.images_per_second.min,
        "max": speed.images_per_second.max,
        "ms_per_batch": speed.ms_per_batch,
        "gmacs": speed.gmacs,
        "convention": args.output.convention(),
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

fn table(args: &BenchArgs, results: &[Speed]) -> String {
    let gmacs = format!("GMACs ({})", args.output.convention());
    let mut header = vec!["merge", "img/s", "min", "max", "ms/batch", &gmacs, "tokens left", "speed-up"];
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
                format!("{:.2}", speed.gmacs),
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
fn verdicts(methods: &[Method], results: &[Speed]) -> Vec<String> {
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
                    "{} does not pay here: it runs at {:.2} of the unmerged speed, though its operations promise {promise:.2}x; do not merge, or merge more, on larger images or batches.",
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
fn write_csv(
    mut writer: csv::Writer<File>,
    args: &BenchArgs,
    model: &Model,
    results: &[Speed],
) -> Result<()> {
    writer.write_record([
        "model",
        "infer_img_size",
        "infer_samples_per_sec",
        "infer_step_time",
        "infer_batch_size",
        "param_count",
        "infer_gmacs",
        "infer_macts",
        "merge",
        "dtype",
        "device",
        "threads",
        "min",
        "max",
        "convention",
    ])?;
    for speed in results {
        writer.write_record([
            model.name(),
            model.config().img_size.0.to_string(),
            format!("{:.2}", speed.images_per_second.median),
            format!("{:.3}", speed.ms_per_batch),
            args.batch_size.to_string(),
            format!("{:.2}", model.parameters() as f64 / 1e6),
            format!("{:.2}", speed.gmacs),
            format!("{:.2}", speed.mega_activations),
            speed.merge.clone(),
            args.model.dtype.name().to_owned(),
            args.model.device.0.clone(),
            args.model.threads.count().to_string(),
            format!("{:.2}", speed.images_per_second.min),
            format!("{:.2}", speed.images_per_second.max),
            args.output.convention().to_string(),
        ])?;
    }
    Ok(writer.flush()?)
}
