//! `tokmerge ask`.

use crate::args::{MergeArgs, ModelArgs, OutputArgs, PreprocessArgs, at_least_one, beams, bind};
use crate::output;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::{Answered, AnsweredBy, AskOptions, GenerateOptions, Model, MostTokens};

#[derive(Args, Debug)]
pub(crate) struct AskArgs {
    /// The picture (JPEG, PNG, WebP, BMP); - reads it from standard input
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// What is asked about it, in quotes; may be repeated
    #[arg(required = true, value_name = "QUESTION")]
    pub(crate) questions: Vec<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Answers to show per question; of a model that writes, as many as --beams at most
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) topk: usize,
    /// Longest side of the picture in pixels, of which whole patches are kept [default: 5/3 of the shorter side as
    /// transformers rounds it, which is 639 for ViLT-B/32; its paper has 640]
    #[arg(long, value_name = "PIXELS", value_parser = at_least_one)]
    pub(crate) long_side: Option<usize>,
    /// Of a model that writes answers: beginnings that are followed side by side; 1 takes the most likely token each time
    /// [default: 1]
    #[arg(long, value_name = "N", value_parser = beams)]
    pub(crate) beams: Option<usize>,
    /// Of a model that writes answers: tokens of an answer at most [default: 20]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_new_tokens: Option<usize>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

pub(crate) fn run(args: &AskArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    let model = args.preprocess.apply(args.model.open()?)?;
    let mut processor = tokmerge::question_processor(&model)?.clone();
    if let Some(longer) = args.long_side {
        processor = processor.with_longer(longer)?;
    }
    let options = options(args, &model)?;
    let image = processor.picture.clone();
    let model = model.with_processor(processor.into());
    let decoding = args.preprocess.decoding();
    let picture = match args.image == Path::new("-") {
        true => image.read(io::stdin().lock(), &decoding).context("standard input (-)")?,
        false => image.open(&args.image, &decoding)?,
    };
    let named = || args.image.display().to_string();
    let (batch, questions) = tokmerge::questions(&model, &picture, &args.questions).with_context(named)?;
    for (text, question) in args.questions.iter().zip(&questions).filter(|(_, question)| question.is_cut) {
        output::note(format!(
            "note: the end of a question is left out, since {} has room for {} tokens of it: {}",
            model.name(),
            question.tokens.len(),
            beginning(text)
        ));
    }
    let reductions = bind(&model, &methods)?;
    // So that the first question's time is like the others'.
    model.warm_up();
    for (method, reduction) in methods.iter().zip(&reductions) {
        let merge = method.to_string();
        let answered = tokmerge::answer_batch(&model, reduction, batch.clone(), &options)?;
        for ((question, asked), result) in args.questions.iter().zip(&questions).zip(&answered) {
            if args.output.json {
                let (path, cut) = (named(), asked.is_cut);
                output::json(&Row { path, question, cut, merge: &merge, result })?;
            } else {
                output::line(text(question, &merge, result, &options.convention.to_string()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wanted of the answers. Refuses settings of writing where nothing is written.
fn options(args: &AskArgs, model: &Model) -> Result<AskOptions> {
    let AskOptions { writing, .. } = AskOptions::default();
    let given = [("--beams", args.beams), ("--max-new-tokens", args.max_new_tokens)];
    let given = given.into_iter().find_map(|(flag, value)| Some((flag, value?)));
    if let Some((flag, value)) = given.filter(|_| !model.config().writes()) {
        bail!(
            "{flag} is {value}, and {} writes nothing: it chooses among the answers that it knows; leave {flag} out",
            model.name()
        );
    }
    let writing = GenerateOptions {
        beams: args.beams.unwrap_or(writing.beams),
        length: args.max_new_tokens.map_or(writing.length, MostTokens::Fixed),
        ..writing
    };
    Ok(AskOptions { topk: args.topk, writing, convention: args.output.convention })
}

/// What is answered to one question by one method.
#[derive(Serialize)]
struct Row<'a> {
    path: String,
    question: &'a str,
    /// Whether its end is left out.
    cut: bool,
    merge: &'a str,
    #[serde(flatten)]
    result: &'a Answered,
}

/// A question, or its beginning where it is long.
fn beginning(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn text(question: &str, merge: &str, result: &Answered, convention: &str) -> String {
    let mut lines = vec![format!(
        "{}  [{merge}: {} tokens left, {:.2} GMACs ({convention}), {:.1} ms]",
        beginning(question),
        result.tokens.last().unwrap_or(&0),
        result.gmacs,
        result.ms
    )];
    lines.extend(result.top.iter().map(|answer| match answer.by {
        AnsweredBy::Choice { probability, .. } => {
            format!("  {:>5.1} %  {}", 100.0 * probability, answer.answer)
        }
        AnsweredBy::Writing { score, .. } => format!("  {score:>7.3}  {}", answer.answer),
    }));
    lines.join("\n")
}
