//! `tokmerge models` and `tokmerge methods`.

use crate::output;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use std::process::ExitCode;
use tokmerge::{METHODS, MethodInfo, architectures};

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Show only names that contain this; * matches anything
    #[arg(value_name = "PATTERN")]
    pub(crate) pattern: Option<String>,
    /// Print one JSON object per entry
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn models(args: &ListArgs) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for found in architectures().filter(|found| matches(args.pattern.as_deref(), &found.name)) {
        let config = &found.config;
        let gmacs = config.unmerged_gmacs(tokmerge::Convention::Fvcore);
        let (height, width) = config.shape().img_size();
        if args.json {
            let value = json!({
                "model": found.name,
                "tag": found.tag,
                "params": config.parameters(),
                "img_size": [height, width],
                "tokens": config.tokens(),
                "gmacs": gmacs,
                "convention": "fvcore",
            });
            output::line(value.to_string())?;
        }
        rows.push(vec![
            found.name.clone(),
            format!("{:.1}", config.parameters() as f64 / 1e6),
            output::gmacs(gmacs),
            config.tokens().to_string(),
            found.tag.clone(),
        ]);
    }
    if rows.is_empty() {
        let pattern = args.pattern.as_deref().unwrap_or_default();
        bail!("no model matches '{pattern}'; without a pattern all are listed");
    }
    if !args.json {
        let header = ["model", "M params", "GMACs (fvcore)", "tokens", "default weights"];
        output::line(output::table(&header, &rows))?;
        output::line(
            "Other patch and image sizes of these patterns are understood too, and hf-hub:org/name, local-dir:PATH.",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn methods(args: &ListArgs) -> Result<ExitCode> {
    let found: Vec<&MethodInfo> =
        METHODS.iter().filter(|info| matches(args.pattern.as_deref(), info.name)).collect();
    if found.is_empty() {
        let pattern = args.pattern.as_deref().unwrap_or_default();
        bail!("no method matches '{pattern}'; without a pattern all are listed");
    }
    for info in found {
        if args.json {
            let options: Vec<_> = info
                .options
                .iter()
                .map(|option| json!({"name": option.name, "values": option.values, "help": option.help}))
                .collect();
            let value = json!({
                "method": info.name,
                "summary": info.summary,
                "source": info.source,
                "example": info.example,
                "options": options,
            });
            output::line(value.to_string())?;
            continue;
        }
        output::line(format!(
            "{}: {}\n  source:  {}\n  example: --merge {}",
            info.name, info.summary, info.source, info.example
        ))?;
        for option in info.options {
            output::line(format!("  {:<11} {}\n              {}", option.name, option.help, option.values))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A name that contains the pattern, or, with `*` in it, that it describes as a whole.
fn matches(pattern: Option<&str>, name: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    if !pattern.contains('*') {
        return name.contains(pattern);
    }
    let mut rest = name;
    let parts: Vec<&str> = pattern.split('*').collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        match (index, rest.find(part)) {
            (0, Some(0)) | (1.., Some(_)) if !last || rest.ends_with(part) => {
                let at = if last { rest.len() - part.len() } else { rest.find(part).unwrap_or(0) };
                rest = &rest[at + part.len()..];
            }
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("tiny", "vit_tiny_patch16_224", true),
            ("vit_*_224", "vit_tiny_patch16_224", true),
            ("vit_*_384", "vit_tiny_patch16_224", false),
            ("*", "anything", true),
            ("deit*", "vit_tiny", false),
            ("*tiny*", "deit_tiny_x", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(Some(pattern), name), expected, "{pattern} {name}");
        }
    }
}
