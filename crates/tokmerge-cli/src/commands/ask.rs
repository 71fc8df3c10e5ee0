//! `tokmerge ask`.

use crate::args::{MergeArgs, ModelArgs, OutputArgs, PreprocessArgs, at_least_one, bind};
use crate::output;
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::{Answered, ImageProcessor};

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
    /// Answers to show per question
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) topk: usize,
    /// Longest side of the picture in pixels, of which whole patches are kept [default: 5/3 of the shorter side as
    /// transformers rounds it, which is 639 for ViLT-B/32; its paper has 640]
    #[arg(long, value_name = "PIXELS", value_parser = at_least_one)]
    pub(crate) long_side: Option<usize>,
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
    let image = ImageProcessor::from(processor.picture.clone());
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
    let convention = args.output.convention;
    for (method, reduction) in methods.iter().zip(&reductions) {
        let merge = method.to_string();
        let answered = tokmerge::answer_batch(&model, reduction, batch.clone(), args.topk, convention)?;
        for ((question, asked), result) in args.questions.iter().zip(&questions).zip(&answered) {
            if args.output.json {
                let (path, cut) = (named(), asked.is_cut);
                output::json(&Row { path, question, cut, merge: &merge, result })?;
            } else {
                output::line(text(question, &merge, result, &convention.to_string()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
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
    lines.extend(
        result.top.iter().map(|answer| format!("  {:>5.1} %  {}", 100.0 * answer.probability, answer.answer)),
    );
    lines.join("\n")
}
