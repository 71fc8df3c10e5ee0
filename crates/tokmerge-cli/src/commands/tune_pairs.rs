//! `tokmerge tune PAIRS.csv` of a model of texts.

use super::tune::TuneArgs;
use crate::args::batch_of;
use crate::output;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::process::ExitCode;
use tokmerge::tune::{PairsOptions, PairsOutcome, search_pairs};
use tokmerge::{AtomicFile, PairsAccuracy, read_pairs};

pub(crate) fn run(args: &TuneArgs) -> Result<ExitCode> {
    let Some(min_spearman) = args.goal.min_spearman else {
        bail!(
            "pairs of sentences are searched for --min-spearman, e.g. --min-spearman 80; give it in place of other goals"
        );
    };
    output::refuse_inputs("--output", &args.output, [args.dir.as_path()])?;
    let mut pairs = read_pairs(&args.dir)?;
    if let Some(limit) = args.limit {
        pairs.truncate(limit);
    }
    let model = args.preprocess.apply(args.model.open()?)?;
    model.warm_up();
    let options = PairsOptions {
        min_spearman,
        time_budget: args.time_budget,
        seed: args.seed,
        batch_size: batch_of(args.batch_size, 32, model.media()),
        convention: args.shown.convention,
    };
    let mut best = f64::INFINITY;
    let outcome = search_pairs(&model, pairs, options, &mut |found| {
        if found.spearman >= min_spearman && found.gmacs < best {
            best = found.gmacs;
            output::note(format!(
                "{}: Spearman {:.2}, {:.4} GMACs",
                found.merge, found.spearman, found.gmacs
            ));
        }
    })?;
    print(args, &outcome)?;
    let Some(choice) = &outcome.choice else {
        output::note("nothing that was tried saves anything at this goal; merge nothing");
        return Ok(ExitCode::FAILURE);
    };
    AtomicFile::replace(&args.output, choice.spec().to_toml())
        .with_context(|| args.output.display().to_string())?;
    output::note(format!("{}: {choice}; give it as --merge", args.output.display()));
    Ok(ExitCode::SUCCESS)
}

fn print(args: &TuneArgs, outcome: &PairsOutcome) -> Result<()> {
    if args.shown.json {
        let value = json!({
            "choice": outcome.choice.as_ref().map(ToString::to_string),
            "held_out": outcome.held_out,
            "measured": outcome.measured,
        });
        return output::line(value.to_string());
    }
    let unmerged = outcome.held_out.first().map_or(0.0, |found| found.gmacs);
    let row = |found: &PairsAccuracy| {
        let (low, high) = found.spearman_interval;
        vec![
            found.merge.clone(),
            format!("{:.2}", found.spearman),
            format!("{low:.1} to {high:.1}"),
            format!("{:.4}", found.mean_cosine),
            format!("{:.4}", found.gmacs),
            format!("{:.1}", 100.0 * (1.0 - found.gmacs / unmerged)),
        ]
    };
    output::line(format!(
        "{} ways were measured on half of the pairs; on the {} others:",
        outcome.measured.len() - 1,
        outcome.held_out.first().map_or(0, |found| found.pairs)
    ))?;
    let header = ["merge", "Spearman", "95 % interval", "cosine", "GMACs", "saved %"];
    output::line(output::table(&header, &outcome.held_out.iter().map(row).collect::<Vec<_>>()))
}
