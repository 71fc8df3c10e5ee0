//! `tokmerge generate`.

use crate::args::{
    Given, MergeArgs, ModelArgs, OutputArgs, PreprocessArgs, at_least_one, batch_size, beams, bind,
    command_for,
};
use crate::output;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::json;
use std::io::{BufRead, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tokmerge::metrics::{Bleu, ChrF};
use tokmerge::text::{Lines, TextError, TextProcessor, TokenIds, read_lines};
use tokmerge::{GenerateOptions, Model, MostTokens, Reduction, Stopping, way_out};

#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Files with one text a line; - reads them from standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Beginnings that are followed side by side; 1 takes the most likely token each time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = beams)]
    pub(crate) beams: usize,
    /// Tokens of a text that is written at most [default: two and a half times those of its source, and five]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_new_tokens: Option<usize>,
    /// With --beams: sums of log probabilities are divided by the number of tokens to this power
    #[arg(long, value_name = "POWER", default_value_t = 1.0)]
    pub(crate) length_penalty: f64,
    /// With --beams: stop once as many texts are finished as there are beams
    #[arg(long)]
    pub(crate) early_stopping: bool,
    /// Texts per forward pass of the encoder
    #[arg(short, long, value_name = "N", default_value_t = 32, value_parser = batch_size)]
    pub(crate) batch_size: usize,
    /// Texts to read at most
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// A text, where it is from, and its tokens.
struct Source {
    key: String,
    text: String,
    tokens: TokenIds,
}

/// What a method has written of all texts.
struct Written {
    texts: Vec<String>,
    tokens: usize,
    tokens_left: usize,
    seconds: f64,
}

pub(crate) fn run(args: &GenerateArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    if !args.length_penalty.is_finite() {
        bail!("--length-penalty is {}, and a finite number is needed", args.length_penalty);
    }
    if args.beams == 1 {
        let rule = "is for several beams, and --beams is 1 (give 2 or more)";
        args.given.refuse(&["length_penalty", "early_stopping"], rule)?;
    }
    args.given.refuse(&["convention"], "is for operations, which generate does not count")?;
    let model = args.preprocess.apply(args.model.open()?)?;
    let Some(processor) = model.processor().text() else {
        let instead = command_for(model.media(), model.config());
        bail!("{} takes {}, and generate is for texts; use {instead}", model.name(), model.media().words());
    };
    if processor.tokenizer().is_none() {
        bail!("{}: {}", model.name(), TextError::NoTokenizer);
    }
    let reductions = bind(&model, &methods)?;
    let (sources, code) = read(args, processor)?;
    if sources.is_empty() {
        if code == ExitCode::FAILURE {
            return Ok(code);
        }
        let files: Vec<String> = args.files.iter().map(|file| file.display().to_string()).collect();
        bail!("{}: no text is there; write one a line", files.join(", "));
    }
    let cut = sources.iter().filter(|source| source.tokens.is_cut).count();
    output::note_cut(&model, sources.len(), cut);
    let mut all: Vec<Written> = Vec::new();
    for reduction in &reductions {
        all.push(write(args, &model, processor, reduction, &sources)?);
    }
    for (index, (written, reduction)) in all.iter().zip(&reductions).enumerate() {
        summarise(index, written, reduction, &all[0]);
    }
    Ok(code)
}

/// All texts; what is wrong with a line is said, and the others go on.
fn read(args: &GenerateArgs, processor: &TextProcessor) -> Result<(Vec<Source>, ExitCode)> {
    let (mut sources, mut code) = (Vec::new(), ExitCode::SUCCESS);
    let most = args.limit.unwrap_or(usize::MAX);
    for path in &args.files {
        let shown = path.display();
        let mut take = |lines: Lines<Box<dyn BufRead>>| -> Result<()> {
            for (index, line) in lines.enumerate() {
                if sources.len() >= most {
                    break;
                }
                let key = format!("{shown}:{}", index + 1);
                let line = line.with_context(|| shown.to_string())?;
                let tokens = line.and_then(|text| Ok((processor.encode(&text)?, text)));
                match tokens {
                    Ok((tokens, text)) => sources.push(Source { key, text, tokens }),
                    Err(error) => {
                        output::error(&anyhow!("{key}: {error}"));
                        code = ExitCode::FAILURE;
                    }
                }
            }
            Ok(())
        };
        if path == Path::new("-") {
            take(Lines::open(Box::new(stdin().lock()) as Box<dyn BufRead>).context("standard input (-)")?)?;
        } else {
            let lines = read_lines(path).map_err(|error| anyhow!("{shown}: {error}{}", way_out(&error)));
            take(lines?.boxed())?;
        }
    }
    Ok((sources, code))
}

fn write(
    args: &GenerateArgs,
    model: &Model,
    processor: &TextProcessor,
    reduction: &Reduction,
    sources: &[Source],
) -> Result<Written> {
    let options = GenerateOptions {
        beams: args.beams,
        length: args.max_new_tokens.map_or(MostTokens::OfSource, MostTokens::Fixed),
        length_penalty: args.length_penalty,
        stopping: if args.early_stopping { Stopping::Early } else { Stopping::NoneBetter },
    };
    let tokenizer = processor.tokenizer().context("there is no tokenizer.json beside the model")?;
    let merge = reduction.method().to_string();
    let end = model.network().decoder().map(|(decoder, _)| decoder.config().end);
    let mut written = Written { texts: Vec::new(), tokens: 0, tokens_left: 0, seconds: 0.0 };
    for chunk in sources.chunks(args.batch_size) {
        let tokens: Vec<TokenIds> = chunk.iter().map(|source| source.tokens.clone()).collect();
        let start = Instant::now();
        let generated = model.generate(&tokens, reduction, &options)?;
        written.seconds += start.elapsed().as_secs_f64();
        for (item, (source, texts)) in chunk.iter().zip(&generated.texts).enumerate() {
            let [best, ..] = &texts[..] else { bail!("{}: nothing was written", source.key) };
            let text = tokenizer.decode(best.words(end))?.trim().to_owned();
            let left = generated.trace.tokens_left(item, source.tokens.len());
            written.tokens += source.tokens.len();
            written.tokens_left += left;
            if args.output.json {
                let row = json!({
                    "path": source.key,
                    "merge": merge,
                    "source": source.text,
                    "text": text,
                    "ids": best.ids,
                    "score": best.score,
                    "tokens": source.tokens.len(),
                    "tokens_left": left,
                });
                output::line(row.to_string())?;
            } else {
                output::line(&text)?;
            }
            written.texts.push(text);
        }
    }
    Ok(written)
}

/// Says how fast it was, and how near to what the first method has written.
fn summarise(index: usize, written: &Written, reduction: &Reduction, first: &Written) {
    let Written { texts, tokens, tokens_left, seconds } = written;
    let mut line = format!(
        "{}: {} texts, {:.1} texts per second, {:.1} of {:.1} tokens left",
        reduction.method(),
        texts.len(),
        texts.len() as f64 / seconds,
        *tokens_left as f64 / texts.len().max(1) as f64,
        *tokens as f64 / texts.len().max(1) as f64,
    );
    if index > 0 {
        let references: Vec<&str> = first.texts.iter().map(String::as_str).collect();
        let bleu = Bleu::default().corpus(texts, &[&references]);
        let chrf = ChrF::Characters.corpus(texts, &[&references]);
        if let (Ok(bleu), Ok(chrf)) = (bleu, chrf) {
            line.push_str(&format!("; against the first: BLEU {:.2}, chrF {:.2}", bleu.score, chrf.score));
        }
    }
    output::note(line);
}
