//! `tokmerge info`.

use crate::args::InfoArgs;
use crate::output;
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;
use tokmerge::{ModelOptions, Reduction, VitConfig, Weights, describe};

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
        let Some(layers) = reduction.expected_tokens(config.tokens(), config.depth) else {
            anyhow::bail!("{method}: the number of tokens depends on the image; measure it with eval");
        };
        let tokens: Vec<usize> = layers.iter().map(|layer| layer.fed).collect();
        let gmacs = config.cost().gmacs(&layers, &reduction, convention);
        if args.output.json {
            let value = json!({
                "model": model,
                "merge": method.to_string(),
                "params": config.parameters(),
                "img_size": [config.img_size.0, config.img_size.1],
                "tokens": tokens,
                "gmacs": gmacs,
                "convention": convention,
            });
            output::line(value.to_string())?;
        } else {
            let listed: Vec<String> = tokens.iter().map(ToString::to_string).collect();
            rows.push(vec![method.to_string(), format!("{gmacs:.2}"), listed.join(" ")]);
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
