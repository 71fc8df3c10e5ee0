//! `tokmerge bleu`.

use crate::output;
use anyhow::{Context, Result, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::metrics::{Bleu, ChrF, Tokenizer, lines};
use tokmerge::text::{check_text, from_utf8};
use tokmerge::way_out;

#[derive(Args, Debug)]
pub(crate) struct BleuArgs {
    /// What is judged, one text a line; - reads it from standard input
    #[arg(value_name = "HYPOTHESES")]
    pub(crate) hypotheses: PathBuf,
    /// What it should say: files with as many lines, one of which may be - in place of HYPOTHESES
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
    let files = || std::iter::once(&args.hypotheses).chain(&args.references);
    let streams = files().filter(|path| *path == Path::new(STDIN)).count();
    if streams > 1 {
        bail!("standard input (-) is named {streams} times and can be read once; give files for the others");
    }
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
    if !args.sentence {
        return print(args, None, &judge(args, &hypotheses, &columns)?);
    }
    for (index, hypothesis) in hypotheses.iter().enumerate() {
        let references: Vec<&[&str]> = columns.iter().map(|column| &column[index..=index]).collect();
        print(args, Some(index + 1), &judge(args, &[hypothesis], &references)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Stands for standard input.
const STDIN: &str = "-";

/// The text of a file.
fn read(path: &Path) -> Result<String> {
    let read = || -> Result<String> {
        let bytes = match path == Path::new(STDIN) {
            true => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes)?;
                bytes
            }
            false => std::fs::read(path).map_err(|error| anyhow!("{error}{}", way_out(&error)))?,
        };
        check_text(&bytes)?;
        Ok(from_utf8(&bytes)?.to_owned())
    };
    read().with_context(|| path.display().to_string())
}

/// A score in numbers and in words, and how it was computed.
struct Judgement {
    score: f64,
    shown: String,
    signature: String,
}

fn judge(args: &BleuArgs, hypotheses: &[&str], references: &[&[&str]]) -> Result<Judgement> {
    let count = references.len();
    let metric = match args.metric {
        Measure::Bleu => {
            let rule = if args.sentence { Bleu::of_sentences() } else { Bleu::default() };
            let bleu = Bleu { tokenizer: args.tokenize, ..rule };
            let found = bleu.corpus(hypotheses, references)?;
            let (score, shown) = (found.score, found.to_string());
            return Ok(Judgement { score, shown, signature: bleu.signature(count) });
        }
        Measure::Chrf => ChrF::Characters,
        Measure::ChrfWords => ChrF::CharactersAndWords,
    };
    let found = metric.corpus(hypotheses, references)?;
    Ok(Judgement { score: found.score, shown: found.to_string(), signature: metric.signature(count) })
}

fn print(args: &BleuArgs, line: Option<usize>, judgement: &Judgement) -> Result<ExitCode> {
    let Judgement { score, shown, signature } = judgement;
    if args.json {
        output::line(json!({"line": line, "score": score, "signature": signature}).to_string())?;
    } else if line.is_some() {
        output::line(shown)?;
    } else {
        output::line(format!("{shown}\n{signature}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
