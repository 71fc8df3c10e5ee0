//! `tokmerge tune PAIRS.csv` of a model of texts.

use super::tune::{Files, TuneArgs, Written};
use crate::args::batch_of;
use crate::output;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;
use tokmerge::tune::{PairsOptions, PairsOutcome, report, search_pairs};
use tokmerge::{Media, PairsAccuracy, read_pairs};

/// Flags of a search on images.
const OF_IMAGES: [&str; 9] = [
    "search",
    "trials",
    "search_images",
    "no_recheck",
    "labels",
    "classes",
    "classes_from",
    "template",
    "class_order",
];

pub(crate) fn run(args: &TuneArgs) -> Result<ExitCode> {
    let Some(min_spearman) = args.goal.min_spearman else {
        bail!(
            "pairs of sentences are searched for --min-spearman, e.g. --min-spearman 80; give it in place of other goals"
        );
    };
    args.given.refuse(&OF_IMAGES, "is for images, and pairs of sentences are searched here")?;
    let options = PairsOptions {
        min_spearman,
        time_budget: args.time_budget,
        seed: args.seed,
        batch_size: batch_of(args.batch_size, 32, Media::Text),
        convention: args.shown.convention,
    };
    options.validate()?;
    let files = Files::of(&args.output)?;
    let inputs = args.model.files();
    files.check(|| inputs.iter().map(PathBuf::as_path).chain([args.dir.as_path()]))?;
    let mut pairs = read_pairs(&args.dir)?;
    if let Some(limit) = args.limit {
        pairs.truncate(limit);
    }
    let model = args.preprocess.apply(args.model.open()?)?;
    model.warm_up();
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
    let (searched, held_out) = (outcome.measured.first(), outcome.held_out.first());
    let both = || searched.into_iter().chain(held_out);
    let count = |of: fn(&PairsAccuracy) -> usize| both().map(of).sum();
    output::note_cut(&model, count(|found| found.sentences), count(|found| found.cut_sentences));
    let setting = args.setting(&model);
    files.write(&Written {
        json: &report::pairs::to_json(&outcome, &setting)?,
        csv: &report::pairs::to_csv(&outcome)?,
        chart: &report::pairs::chart(&outcome, &setting),
        toml: report::pairs::to_toml(&outcome, &setting)?,
    })?;
    print(args, &outcome, &setting)?;
    if outcome.choice.is_none() {
        files.note_left();
    }
    Ok(ExitCode::SUCCESS)
}

fn print(args: &TuneArgs, outcome: &PairsOutcome, setting: &report::Setting) -> Result<()> {
    if args.shown.json {
        return output::line(report::pairs::to_json(outcome, setting)?.to_string());
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
    output::line(output::table(&header, &outcome.held_out.iter().map(row).collect::<Vec<_>>()))?;
    output::line("")?;
    for sentence in report::pairs::verdict(outcome, setting) {
        output::line(sentence)?;
    }
    if outcome.choice.is_some() {
        output::line(format!("Use it: {}", args.usage(Media::Text)))?;
    }
    Ok(())
}
