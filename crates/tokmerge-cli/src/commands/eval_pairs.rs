//! `tokmerge eval PAIRS.csv` of a model of texts: pairs of sentences with scores.

use super::eval::{EvalArgs, print_json};
use crate::args::{batch_of, bind};
use crate::output;
use crate::progress::Progress;
use anyhow::Result;
use std::process::ExitCode;
use tokmerge::{Media, Method, Model, Observer, PairsAccuracy, evaluate_pairs, read_pairs};

pub(crate) fn run(args: &EvalArgs, methods: &[Method]) -> Result<ExitCode> {
    args.refuse_classes("is for classes, and pairs of sentences have none (--json says everything)")?;
    let mut pairs = read_pairs(&args.dir)?;
    if let Some(limit) = args.limit {
        pairs.truncate(limit);
    }
    let model = args.preprocess.apply(args.model.open()?)?;
    let reductions = bind(&model, methods)?;
    model.warm_up();
    let batch_size = batch_of(args.batch_size, 32, model.media());
    // Sentences that are there twice are embedded once.
    let mut progress = Progress::of(Media::Text, 2 * pairs.len() * reductions.len());
    let found =
        evaluate_pairs(&model, &reductions, &pairs, batch_size, args.output.convention, &mut |done| {
            progress.done(done);
        });
    progress.clear();
    let found = found?;
    if let Some(first) = found.first() {
        output::note_cut(&model, first.sentences, first.cut_sentences);
    }
    print(args, &model, &found, batch_size)?;
    Ok(ExitCode::SUCCESS)
}

fn print(args: &EvalArgs, model: &Model, found: &[PairsAccuracy], batch_size: usize) -> Result<()> {
    let dtype = args.model.dtype.name();
    if args.output.json {
        return print_json(args, model, found);
    }
    output::line(format!(
        "{}, {dtype}, {} pairs of sentences, batch {batch_size}, {} threads",
        model.name(),
        found.first().map_or(0, |found| found.pairs),
        args.model.threads.count()
    ))?;
    let gmacs = format!("GMACs ({})", args.output.convention);
    let header =
        ["merge", "Spearman", "95 % interval", "Pearson", "cosine", &gmacs, "tokens left", "model texts/s"];
    let rows = found.iter().map(|found| {
        let (low, high) = found.spearman_interval;
        vec![
            found.merge.clone(),
            format!("{:.2}", found.spearman),
            format!("{low:.1} to {high:.1}"),
            format!("{:.2}", found.pearson),
            format!("{:.4}", found.mean_cosine),
            format!("{:.3}", found.gmacs),
            format!("{:.1}", found.mean_tokens),
            format!("{:.1}", found.sentences_per_second),
        ]
    });
    output::line(output::table(&header, &rows.collect::<Vec<_>>()))
}
