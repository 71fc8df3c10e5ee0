//! `tokmerge bleu`.

use crate::output;
use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::metrics::{Bleu, ChrF, Tokenizer, lines};

#[derive(Args, Debug)]
pub(crate) struct BleuArgs {
    /// What is judged, one text a line
    #[arg(value_name = "HYPOTHESES")]
    pub(crate) hypotheses: PathBuf,
    /// What it should say: files with as many lines
    #[arg(required = true, value_name = "REFERENCES")]
    pub(crate) references: Vec<PathBuf>,
    /// The measure: bleu, chrf, or chrf++ with words too
    #[arg(long, value_enum, default_value_t = Measure::Bleu)]
    pub(crate) metric: Measure,
    /// How BLEU cuts texts into words, as sacrebleu calls it
    #[arg(long, value_parser = tokenizer(), default_value = "13a")]
    pub(crate) tokenize: Tokenizer,
    /// Judge every line by itself; of BLEU with the orders that it has
    #[arg(long)]
    pub(crate) sentence: bool,
    /// Print one JSON object per score to standard output, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    /// BLEU with exponential smoothing.
    Bleu,
    /// F-score of runs of characters.
    Chrf,
    /// The same with words.
    #[value(name = "chrf++")]
    ChrfWords,
}

fn tokenizer() -> impl TypedValueParser<Value = Tokenizer> {
    const ALL: [Tokenizer; 3] = [Tokenizer::V13a, Tokenizer::International, Tokenizer::None];
    PossibleValuesParser::new(ALL.map(Tokenizer::name)).map(|text| {
        let found = ALL.into_iter().find(|value| value.name() == text);
        found.unwrap_or_else(|| unreachable!("{text} is one of the possible values"))
    })
}

pub(crate) fn run(args: &BleuArgs) -> Result<ExitCode> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    let texts = read(&args.hypotheses)?;
    let hypotheses = lines(&texts);
    let references = args.references.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let references: Vec<Vec<&str>> = references.iter().map(|text| lines(text)).collect();
    for (path, reference) in args.references.iter().zip(&references) {
        if reference.len() != hypotheses.len() {
            bail!(
                "{} has {} lines and {} has {}; a reference has a line for every text",
                path.display(),
                reference.len(),
                args.hypotheses.display(),
                hypotheses.len()
            );
        }
    }
    let columns: Vec<&[&str]> = references.iter().map(Vec::as_slice).collect();
    if args.sentence {
        for (index, hypothesis) in hypotheses.iter().enumerate() {
            let references: Vec<&str> = columns.iter().map(|column| column[index]).collect();
            let (score, shown, signature) = sentence(args, hypothesis, &references)?;
            print(args, Some(index + 1), score, &shown, &signature)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let count = columns.len();
    let (score, shown, signature) = match args.metric {
        Measure::Bleu => {
            let bleu = Bleu { tokenizer: args.tokenize, ..Bleu::default() };
            let found = bleu.corpus(&hypotheses, &columns)?;
            (found.score, found.to_string(), bleu.signature(count))
        }
        Measure::Chrf | Measure::ChrfWords => {
            let found = chrf(args.metric).corpus(&hypotheses, &columns)?;
            (found.score, found.to_string(), chrf(args.metric).signature(count))
        }
    };
    print(args, None, score, &shown, &signature)?;
    Ok(ExitCode::SUCCESS)
}

fn chrf(metric: Measure) -> ChrF {
    if metric == Measure::ChrfWords { ChrF::CharactersAndWords } else { ChrF::Characters }
}

fn sentence(args: &BleuArgs, hypothesis: &str, references: &[&str]) -> Result<(f64, String, String)> {
    let count = references.len();
    Ok(match args.metric {
        Measure::Bleu => {
            let bleu = Bleu { tokenizer: args.tokenize, ..Bleu::of_sentences() };
            let found = bleu.sentence(hypothesis, references)?;
            (found.score, found.to_string(), bleu.signature(count))
        }
        Measure::Chrf | Measure::ChrfWords => {
            let found = chrf(args.metric).sentence(hypothesis, references)?;
            (found.score, found.to_string(), chrf(args.metric).signature(count))
        }
    })
}

fn print(args: &BleuArgs, line: Option<usize>, score: f64, shown: &str, signature: &str) -> Result<()> {
    if args.json {
        return output::line(json!({"line": line, "score": score, "signature": signature}).to_string());
    }
    match line {
        Some(_) => output::line(shown),
        None => output::line(format!("{shown}\n{signature}")),
    }
}
