//! `tokmerge classify`.

use super::eval::check_count;
use crate::args::{
    ClassArgs, MergeArgs, ModelArgs, OutputArgs, PreprocessArgs, Wanted, all_prepared, at_least_one, bind,
};
use crate::output;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use tokmerge::{ClassNames, ClassNamesSource, Classification};

#[derive(Args, Debug)]
pub(crate) struct ClassifyArgs {
    /// What the model takes: images (JPEG, PNG, WebP, BMP), sounds (WAV, FLAC, MP3, Ogg, M4A) or clips (video files, folders
    /// of frames); - reads one from standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Classes to show per image
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) topk: usize,
    /// Class names: lines of index<TAB>wnid<TAB>name, one name per line, or JSON
    #[arg(long, value_name = "FILE", env = "TOKMERGE_LABELS")]
    pub(crate) labels: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) classes: ClassArgs,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Files held in memory at a time, decoded.
const BATCH: usize = 8;

pub(crate) fn run(args: &ClassifyArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    args.model.refuse_without(Wanted::Classes)?;
    let names = args.labels.as_ref().map(ClassNames::open).transpose()?;
    let names = names.as_ref().map_or(ClassNamesSource::Model, ClassNamesSource::File);
    let model = args.preprocess.apply(args.classes.open_or_demo(&args.model)?)?;
    model.require_head()?;
    if let ClassNamesSource::File(names) = names {
        check_count(names, &model)?;
    }
    let reductions = bind(&model, &methods)?;
    // So that the first item's time is like the others'.
    model.warm_up();
    let convention = args.output.convention;
    let mut code = ExitCode::SUCCESS;
    for paths in args.images.chunks(BATCH) {
        let (readable, prepared) = all_prepared(paths, &model, &args.preprocess);
        if prepared.len() < paths.len() {
            code = ExitCode::FAILURE;
        }
        if prepared.is_empty() {
            continue;
        }
        let batch = model.batch(&prepared)?;
        for (method, reduction) in methods.iter().zip(&reductions) {
            let merge = method.to_string();
            let results =
                tokmerge::classify_batch(&model, reduction, batch.clone(), names, args.topk, convention)?;
            for (path, result) in readable.iter().zip(results) {
                if args.output.json {
                    output::json(&Row { path, merge: &merge, result: &result })?;
                } else {
                    output::line(text(path, &merge, &result, &convention.to_string()))?;
                }
            }
        }
    }
    Ok(code)
}

/// What is known of one file by one method.
#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    merge: &'a str,
    #[serde(flatten)]
    result: &'a Classification,
}

fn text(path: &str, merge: &str, result: &Classification, convention: &str) -> String {
    let mut lines = vec![format!(
        "{path}  [{merge}: {} tokens left, {:.2} GMACs ({convention}), {:.1} ms]",
        result.tokens.last().unwrap_or(&0),
        result.gmacs,
        result.ms
    )];
    lines.extend(
        result.top.iter().map(|ranked| format!("  {:>5.1} %  {}", 100.0 * ranked.probability, ranked.label)),
    );
    lines.join("\n")
}
