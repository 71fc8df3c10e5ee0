//! `tokmerge info`.

use crate::args::InfoArgs;
use crate::output;
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;
use tokmerge::{Amount, ModelOptions, Reduction, VitConfig, Weights, describe};

pub(crate) fn run(args: &InfoArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    let model = args.model.as_ref().or(args.model_option.as_ref()).cloned().unwrap_or_default();
    // Shapes need no weights.
    let options =
        ModelOptions { img_size: args.img_size, weights: Weights::Random, ..ModelOptions::new(&model) };
    let architecture = describe(&options)?.architecture;
    let config = &architecture.config;
    let convention = args.output.convention();
    let mut rows = Vec::new();
    for method in &methods {
        let reduction = Reduction::bind(method.clone(), &config.seat())?;
        output::note_kept_patches(&architecture.name, &reduction);
        // Thresholds remove as many tokens as the image has: then there is nothing to count here.
        let layers = reduction.expected_tokens(config.tokens(), config.depth);
        let tokens: Option<Vec<usize>> =
            layers.as_ref().map(|layers| layers.iter().map(|layer| layer.fed).collect());
        let gmacs = layers.map(|layers| config.cost().gmacs(&layers, &reduction, convention));
        let thresholds = thresholds(&reduction);
        if args.output.json {
            let value = json!({
                "model": model,
                "merge": method.to_string(),
                "params": config.parameters(),
                "img_size": [config.img_size.0, config.img_size.1],
                "tokens": tokens,
                "thresholds": thresholds,
                "gmacs": gmacs,
                "convention": convention,
            });
            output::line(value.to_string())?;
        } else {
            let listed = match (&tokens, &thresholds) {
                (Some(tokens), _) => list(tokens.iter().map(ToString::to_string)),
                (None, thresholds) => format!(
                    "as the image allows, above {}",
                    list(thresholds.iter().flatten().map(|threshold| match threshold {
                        Some(threshold) => format!("{threshold:.3}"),
                        None => "-".to_owned(),
                    }))
                ),
            };
            let gmacs = gmacs.map_or_else(|| "measure with eval".to_owned(), |gmacs| format!("{gmacs:.2}"));
            rows.push(vec![method.to_string(), gmacs, listed]);
        }
    }
    if !args.output.json {
        output::line(summary(&architecture.name, &architecture.tag, config))?;
        output::line(format!("preprocessing: {}", architecture.preprocess))?;
        let gmacs = format!("GMACs ({convention})");
        output::line(output::table(&["merge", &gmacs, "tokens after each block"], &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(" ")
}

/// The similarity above which each layer merges, if that is how the method decides.
fn thresholds(reduction: &Reduction) -> Option<Vec<Option<f32>>> {
    let threshold = |amount: &Amount| match amount {
        Amount::Above(threshold) => Some(*threshold),
        Amount::Count(_) => None,
    };
    let thresholds: Vec<_> = reduction.amounts().iter().map(threshold).collect();
    thresholds.iter().any(Option::is_some).then_some(thresholds)
}

fn summary(name: &str, tag: &str, config: &VitConfig) -> String {
    let (height, width) = config.img_size;
    let tag = if tag.is_empty() { String::new() } else { format!(" ({tag})") };
    format!(
        "{name}{tag}: {:.2} M parameters, {} blocks of {} channels and {} heads, {} tokens ({} never merge) for {height}x{width} pixels",
        config.parameters() as f64 / 1e6,
        config.depth,
        config.embed_dim,
        config.num_heads,
        config.tokens(),
        config.prefix(),
    )
}
