//! `tokmerge eval LIST` of a model that answers questions about pictures.

use super::eval::{EvalArgs, check_count};
use super::eval_written;
use crate::args::bind;
use crate::output::{self, CsvFile};
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::{
    ClassNames, Convention, Media, MediaError, Method, Model, Observer, QuestionList, QuestionListForm,
    QuestionPrediction, QuestionsAccuracy, QuestionsEvaluation, WrittenOptions, evaluate_answers,
    evaluate_questions,
};

pub(crate) fn run(args: &EvalArgs, methods: &[Method]) -> Result<ExitCode> {
    args.refuse_folders()?;
    if args.classes.are_named() {
        bail!(
            "answers are no classes of images and texts; leave --classes and --classes-from out, or use --labels"
        );
    }
    if args.results_file.is_some() {
        bail!(
            "--results-file has the columns of classes, which questions have none of; leave it out, or use --json"
        );
    }
    let list = QuestionList::open(&args.dir)?;
    let list = match args.limit {
        Some(limit) => list.limit(limit),
        None => list,
    };
    let model = args.preprocess.apply(args.model.open()?)?;
    let mut processor = tokmerge::question_processor(&model)?.clone();
    if let Some(longer) = args.long_side {
        processor = processor.with_longer(longer)?;
    }
    let model = model.with_processor(processor.into());
    if model.config().writes() {
        return answers(args, &model, methods, &list);
    }
    let answers = match &args.labels {
        Some(path) => {
            let names = ClassNames::open(path)?;
            check_count(&names, &model)?;
            names.names().to_vec()
        }
        None => model.class_names().to_vec(),
    };
    let reductions = bind(&model, methods)?;
    let mut outputs = Outputs::begin(args, methods, &list, &answers)?;
    let options = args.options(model.media());
    let found = evaluate_questions(&model, &reductions, &list, &answers, options, &mut outputs);
    outputs.progress.clear();
    let found = found.with_context(|| args.dir.display().to_string())?;
    outputs.finish()?;
    note(&model, &list, &found);
    let QuestionsEvaluation { accuracies, unknown, cut } = found;
    print(args, &model, &list, &Shown { accuracies, unknown: Some(unknown), cut, tokens: None })?;
    Ok(ExitCode::SUCCESS)
}

/// The same of a model that writes its answers.
fn answers(args: &EvalArgs, model: &Model, methods: &[Method], list: &QuestionList) -> Result<ExitCode> {
    eval_written::refuse_classes(args)?;
    let reductions = bind(model, methods)?;
    let options = WrittenOptions { convention: args.output.convention, ..WrittenOptions::of_answers() };
    let reading = args.options(model.media()).reading;
    let mut progress = Progress::of(Media::Image, list.runs().count());
    let found = evaluate_answers(model, &reductions, list, &options, reading, &mut progress);
    progress.clear();
    progress.report_failures();
    let found = found?;
    output::note_cut(model, list.questions().len(), found.cut);
    let (tokens, accuracies) =
        found.accuracies.into_iter().map(|found| (found.tokens_per_second, found.answers)).unzip();
    print(args, model, list, &Shown { accuracies, unknown: None, cut: found.cut, tokens: Some(tokens) })?;
    Ok(ExitCode::SUCCESS)
}

/// What is printed of an evaluation.
struct Shown {
    accuracies: Vec<QuestionsAccuracy>,
    /// Of a model that chooses: questions none of whose answers is a class.
    unknown: Option<usize>,
    cut: usize,
    /// Of a model that writes: tokens per second of every method.
    tokens: Option<Vec<f64>>,
}

/// Shows progress, and writes the predictions that were asked for.
struct Outputs<'a> {
    progress: Progress,
    predictions: Option<(CsvFile, PathBuf)>,
    /// Specs of the methods where there are several.
    merges: Vec<String>,
    answers: &'a [String],
}

impl<'a> Outputs<'a> {
    fn begin(
        args: &EvalArgs,
        methods: &[Method],
        list: &QuestionList,
        answers: &'a [String],
    ) -> Result<Self> {
        let progress = Progress::of(Media::Image, list.runs().count());
        let merges: Vec<String> = match methods {
            [_] => Vec::new(),
            several => several.iter().map(ToString::to_string).collect(),
        };
        let predictions = match &args.predictions {
            None => None,
            Some(path) => {
                refuse_what_is_read(args, path, list)?;
                let mut file = output::csv_file(path)?;
                file.write_record(header(&merges)).with_context(|| cannot_write(path))?;
                Some((file, path.clone()))
            }
        };
        Ok(Self { progress, predictions, merges, answers })
    }

    /// Puts the file in its place and says what was not read.
    fn finish(self) -> Result<()> {
        if let Some((file, path)) = self.predictions {
            output::finish_csv(file).with_context(|| cannot_write(&path))?;
        }
        self.progress.report_failures();
        Ok(())
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// Refuses predictions in place of what is read.
fn refuse_what_is_read(args: &EvalArgs, path: &Path, list: &QuestionList) -> Result<()> {
    let lists = QuestionListForm::ALL.map(|form| args.dir.join("questions").with_extension(form.ending()));
    let files = args.model.files();
    let inputs = files.iter().chain(&args.labels).chain(&lists).chain([&args.dir]).map(PathBuf::as_path);
    let name = path.file_name();
    let pictures = list.pictures().iter().filter(|picture| picture.file_name() == name);
    output::refuse_inputs("--predictions", path, inputs.chain(pictures.map(PathBuf::as_path)))
}

fn header(merges: &[String]) -> Vec<String> {
    let mut header = ["image", "question", "kind", "answers", "score"].map(str::to_owned).to_vec();
    header.extend((1..=5).map(|rank| format!("answer{rank}")));
    header.extend((1..=5).map(|rank| format!("logit{rank}")));
    header.extend((!merges.is_empty()).then(|| "merge".to_owned()));
    header
}

impl Observer for Outputs<'_> {
    fn done(&mut self, pictures: usize) {
        self.progress.done(pictures);
    }

    fn failed(&mut self, path: &Path, error: &MediaError) {
        self.progress.failed(path, error);
    }

    /// Several answers have semicolons between them, as in lists.
    fn answered(&mut self, prediction: QuestionPrediction<'_>) -> Result<(), String> {
        let Some((file, path)) = &mut self.predictions else { return Ok(()) };
        let QuestionPrediction { question, picture, method, top, score } = prediction;
        let kind = question.kind.clone().unwrap_or_default();
        let answers = question.answers.join(";");
        let mut row =
            vec![picture.display().to_string(), question.text.clone(), kind, answers, score.to_string()];
        let at = |rank: usize| top.get(rank);
        let answer = |(class, _): &(usize, f32)| self.answers.get(*class).cloned().unwrap_or_default();
        row.extend((0..5).map(|rank| at(rank).map_or_else(String::new, answer)));
        row.extend((0..5).map(|rank| at(rank).map_or_else(String::new, |(_, logit)| logit.to_string())));
        row.extend(self.merges.get(method).cloned());
        file.write_record(row).map_err(|error| format!("{}: {error}", cannot_write(path)))
    }
}

/// What a user should know of the list.
fn note(model: &Model, list: &QuestionList, found: &QuestionsEvaluation) {
    let (all, name) = (list.questions().len(), model.name());
    if found.unknown > 0 {
        output::note(format!(
            "note: {} of {all} questions have no answer that is a class of {name}, so that every answer to them is wrong",
            found.unknown
        ));
    }
    output::note_cut(model, all, found.cut);
}

fn print(args: &EvalArgs, model: &Model, list: &QuestionList, found: &Shown) -> Result<()> {
    let (dtype, convention) = (args.model.dtype.name(), args.output.convention);
    let results = &found.accuracies;
    if args.output.json {
        let (unknown_answers, cut_questions) = (found.unknown, found.cut);
        return results.iter().enumerate().try_for_each(|(index, accuracy)| {
            let model = model.name();
            let tokens_per_second = found.tokens.as_ref().map(|tokens| tokens[index]);
            output::json(&Row {
                model,
                accuracy,
                tokens_per_second,
                unknown_answers,
                cut_questions,
                convention,
                dtype,
            })
        });
    }
    output::line(format!(
        "{}, {dtype}, {} questions about {} images, batch {}, {} threads",
        model.name(),
        results.first().map_or(0, |result| result.questions),
        list.pictures().len(),
        args.options(model.media()).reading.batch_size,
        args.model.threads.count()
    ))?;
    let gmacs = format!("GMACs ({convention})");
    let mut header = vec![
        "merge",
        "accuracy %",
        "95 % interval",
        "agreement %",
        &gmacs,
        "tokens left",
        "model questions/s",
    ];
    if found.tokens.is_some() {
        header.push("written tokens/s");
    }
    let row = |(index, result): (usize, &QuestionsAccuracy)| {
        let (low, high) = result.interval;
        let mut row = vec![
            result.merge.clone(),
            format!("{:.1}", result.accuracy),
            format!("{low:.1}-{high:.1}"),
            format!("{:.1}", result.agreement),
            format!("{:.3}", result.gmacs),
            format!("{:.1}", result.mean_tokens),
            format!("{:.1}", result.model_questions_per_second),
        ];
        row.extend(found.tokens.as_ref().map(|tokens| format!("{:.0}", tokens[index])));
        row
    };
    output::line(output::table(&header, &results.iter().enumerate().map(row).collect::<Vec<_>>()))?;
    let Some(first) = results.first() else { return Ok(()) };
    if !first.kinds.is_empty() {
        output::line(format!("\n{}", of_kinds(results)))?;
    }
    output::line(format!(
        "model questions/s: passes of the model alone; the whole run, reading and all methods: {:.1} questions/s",
        first.run_questions_per_second
    ))
}

/// A row for each kind, a column for each method.
fn of_kinds(results: &[QuestionsAccuracy]) -> String {
    let header: Vec<&str> =
        ["kind", "questions"].into_iter().chain(results.iter().map(|result| result.merge.as_str())).collect();
    let kinds = results.first().map_or(&[][..], |first| &first.kinds);
    let row = |(at, kind): (usize, &tokmerge::KindAccuracy)| {
        let percent = results.iter().map(|result| format!("{:.1}", result.kinds[at].accuracy));
        [kind.kind.clone(), kind.questions.to_string()].into_iter().chain(percent).collect()
    };
    let rows: Vec<Vec<String>> = kinds.iter().enumerate().map(row).collect();
    output::table(&header, &rows)
}

/// A result with its setting.
#[derive(Serialize)]
struct Row<'a> {
    model: String,
    #[serde(flatten)]
    accuracy: &'a QuestionsAccuracy,
    /// Of a model that writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_second: Option<f64>,
    /// Questions of the list none of whose answers is a class of the model, which chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_answers: Option<usize>,
    /// Questions whose end is left out.
    cut_questions: usize,
    convention: Convention,
    dtype: &'static str,
}
