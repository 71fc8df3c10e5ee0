//! `tokmerge classify`.

use crate::args::ClassifyArgs;
use crate::output;
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;
use tokmerge::{ClassNames, ClassNamesSource, Classification, open_image};

pub(crate) fn run(args: &ClassifyArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    let names = args.labels.as_ref().map(ClassNames::open).transpose()?;
    let names = names.as_ref().map_or(ClassNamesSource::Model, ClassNamesSource::File);
    let model = args.preprocess.apply(args.model.open()?)?;
    model.require_head()?;
    let limits = args.preprocess.limits();
    let (mut paths, mut images, mut failed) = (Vec::new(), Vec::new(), 0);
    for path in &args.images {
        match open_image(path, &limits) {
            Ok(image) => {
                paths.push(path.display().to_string());
                images.push(image);
            }
            Err(error) => {
                output::error(&error.into());
                failed += 1;
            }
        }
    }
    for method in &methods {
        let reduction = model.bind(method)?;
        let convention = args.output.convention();
        let results = tokmerge::classify(&model, &reduction, &images, names, args.topk, convention)?;
        for (path, result) in paths.iter().zip(results) {
            if args.output.json {
                output::line(json(path, &method.to_string(), &result).to_string())?;
            } else {
                output::line(text(path, &method.to_string(), &result, &convention.to_string()))?;
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn json(path: &str, merge: &str, result: &Classification) -> serde_json::Value {
    let top: Vec<_> = result
        .top
        .iter()
        .map(|ranked| {
            json!({
                "index": ranked.index,
                "label": ranked.label,
                "probability": ranked.probability,
                "logit": ranked.logit,
            })
        })
        .collect();
    json!({
        "path": path,
        "merge": merge,
        "top": top,
        "gmacs": result.gmacs,
        "tokens": result.tokens,
        "ms": result.ms,
    })
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
