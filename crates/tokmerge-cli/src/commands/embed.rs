//! `tokmerge embed`.

use crate::args::{MergeArgs, ModelArgs, OutputArgs, PreprocessArgs, bind, pictures};
use crate::output;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use tokmerge::Measured;

#[derive(Args, Debug)]
pub(crate) struct EmbedArgs {
    /// Images: JPEG, PNG, WebP or BMP; - reads one from standard input
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Images held in memory at a time, decoded.
const BATCH: usize = 8;

/// Numbers of a vector that are shown to people.
const SHOWN: usize = 4;

pub(crate) fn run(args: &EmbedArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    let model = args.preprocess.apply(args.model.open_or_demo()?)?;
    let reductions = bind(&model, &methods)?;
    let convention = args.output.convention;
    let mut code = ExitCode::SUCCESS;
    for paths in args.images.chunks(BATCH) {
        let (readable, images) = pictures(paths, &model, &args.preprocess);
        if images.len() < paths.len() {
            code = ExitCode::FAILURE;
        }
        if images.is_empty() {
            continue;
        }
        for (method, reduction) in methods.iter().zip(&reductions) {
            let found = model.measure(model.prepare(&images)?, reduction, convention)?;
            for (item, path) in readable.iter().enumerate() {
                output::line(if args.output.json {
                    json(path, &method.to_string(), &found, item).to_string()
                } else {
                    text(path, &method.to_string(), &found, item)
                })?;
            }
        }
    }
    Ok(code)
}

fn json(path: &str, merge: &str, found: &Measured, item: usize) -> serde_json::Value {
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
