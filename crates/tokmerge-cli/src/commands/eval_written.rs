//! `tokmerge eval PAIRS.tsv` of a model that writes: texts with what is to be written of them.

use super::eval::{EvalArgs, print_json};
use crate::args::{batch_of, bind};
use crate::output;
use crate::progress::Progress;
use anyhow::Result;
use std::process::ExitCode;
use tokmerge::text::read_text_pairs;
use tokmerge::{Media, Method, Model, WrittenAccuracy, WrittenOptions, evaluate_written};

pub(crate) fn run(args: &EvalArgs, methods: &[Method]) -> Result<ExitCode> {
    refuse_classes(args)?;
    let mut pairs = read_text_pairs(&args.dir)?;
    if let Some(limit) = args.limit {
        pairs.truncate(limit);
    }
    let model = args.preprocess.apply(args.model.open()?)?;
    let reductions = bind(&model, methods)?;
    let options = WrittenOptions {
        batch_size: batch_of(args.batch_size, 32, model.media()),
        convention: args.output.convention,
        ..WrittenOptions::default()
    };
    let mut progress = Progress::of(Media::Text, pairs.len());
    let found = evaluate_written(&model, &reductions, &pairs, &options, &mut progress);
    progress.clear();
    let found = found?;
    if let Some(first) = found.first() {
        output::note_cut(&model, first.texts, first.cut_texts);
    }
    print(args, &model, &found, &options)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses flags that are for classes.
pub(crate) fn refuse_classes(args: &EvalArgs) -> Result<()> {
    args.refuse_classes(
        "is for classes, and a model that writes has none (tokmerge generate or ask shows what is written)",
    )
}

fn print(args: &EvalArgs, model: &Model, found: &[WrittenAccuracy], options: &WrittenOptions) -> Result<()> {
    let dtype = args.model.dtype.name();
    if args.output.json {
        return print_json(args, model, found);
    }
    output::line(format!(
        "{}, {dtype}, {} {}, batch {}, {} threads",
        model.name(),
        found.first().map_or(0, |found| found.texts),
        model.media().words(),
        options.batch_size,
        args.model.threads.count()
    ))?;
    let gmacs = format!("GMACs ({})", args.output.convention);
    let header =
        ["merge", "BLEU", "chrF", "exact %", "agreement %", &gmacs, "tokens left", "texts/s", "tokens/s"];
    let rows = found.iter().map(|found| {
        vec![
            found.merge.clone(),
            format!("{:.2}", found.bleu),
            format!("{:.2}", found.chrf),
            format!("{:.1}", found.exact),
            format!("{:.1}", found.agreement),
            format!("{:.3}", found.gmacs),
            format!("{:.1}", found.mean_tokens),
            format!("{:.1}", found.texts_per_second),
            format!("{:.0}", found.tokens_per_second),
        ]
    });
    output::line(output::table(&header, &rows.collect::<Vec<_>>()))
}
