//! `tokmerge eval`.

use super::eval_files::{Labelling, Outputs};
use super::{eval_list, eval_pairs, eval_questions, eval_written};
use crate::args::{
    ClassArgs, ClassOrderArgs, Given, MergeArgs, ModelArgs, OutputArgs, PreprocessArgs, Wanted, at_least_one,
    batch_of, batch_size, bind, must_exist,
};
use crate::output;
use crate::progress::{Progress, note_left_out};
use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use tokmerge::{
    Accuracy, ClassFolder, ClassNames, ClassOrder, Convention, EvalOptions, Labelled, LabelledBy, Labels,
    Media, Model, MultiLabelList, QuestionListForm, Reading, Sample, class_names, evaluate, wilson,
};

#[derive(Args, Debug)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Folder of what the model takes, images, sounds or clips, one sub-folder per class, named as the model's classes or in
    /// their order; or without labels; or a list in CSV of files with several labels each (path,labels, or AudioSet's segments);
    /// or pairs of texts: sentences with scores, or for a model that writes a text, a tab and what is to be written (.tsv);
    /// or for a model of questions about pictures a list of them (.jsonl, .csv, or easy-VQA's or VQA's .json)
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    /// Items per forward pass [default: 32, of clips 1]
    #[arg(short, long, value_name = "N", value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Threads that read files; 0 reads between forward passes [default: one per thread that computes]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Evaluate on this many files, spread evenly over the folder; of questions and pairs of sentences on the first
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// Maps folder names to classes: lines of index<TAB>wnid<TAB>name [default: the model's own names, or ImageNet's]; for
    /// questions the answers that the model's classes are, one a line [default: the model's own]
    #[arg(long, value_name = "FILE", env = "TOKMERGE_LABELS")]
    pub(crate) labels: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) classes: ClassArgs,
    #[command(flatten)]
    pub(crate) class_order: ClassOrderArgs,
    /// Write the path, label or labels, and top five classes of every file, with logits; of every question the top five answers
    #[arg(long, value_name = "FILE")]
    pub(crate) predictions: Option<PathBuf>,
    /// Write the results as CSV, with timm's columns and some of our own
    #[arg(long, value_name = "FILE")]
    pub(crate) results_file: Option<PathBuf>,
    /// Longest side of a picture in pixels, for a model of questions about pictures, as in tokmerge ask
    #[arg(long, value_name = "PIXELS", value_parser = at_least_one)]
    pub(crate) long_side: Option<usize>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

pub(crate) fn run(args: &EvalArgs) -> Result<ExitCode> {
    let methods = args.merge.methods(&["none"])?;
    must_exist(&args.dir, "file or folder")?;
    let media = args.model.media().ok();
    if media == Some(Media::Question) {
        return eval_questions::run(args, &methods);
    }
    if args.long_side.is_some() {
        bail!("--long-side is for models of questions about pictures; leave it out, or use --img-size");
    }
    if args.dir.is_file() && media == Some(Media::Text) {
        args.given.refuse(&["workers"], "is for files that are decoded, and pairs of texts are one file")?;
        return match args.model.writes()? {
            true => eval_written::run(args, &methods),
            false => eval_pairs::run(args, &methods),
        };
    }
    if MultiLabelList::is_list(&args.dir) {
        return eval_list::run(args, &methods);
    }
    if args.dir.is_file() && QuestionListForm::of(&args.dir).is_some() {
        bail!(
            "{}: lists of questions about pictures are for models that answer them, and {} takes {}; give a model such as \
             vilt_b32",
            args.dir.display(),
            args.model.name(),
            media.map_or("something else", Media::words)
        );
    }
    args.model.refuse_without(Wanted::Classes)?;
    let folder = args.model.folder(&args.dir, args.class_order.order())?;
    let names = args.labels.as_ref().map(ClassNames::open).transpose()?;
    let (model, given) = args.classes.open_for(&args.model, &folder)?;
    // Names without ids are the model's own now.
    let names = names.or(given.filter(ClassNames::has_ids));
    let models = args.preprocess.apply_each(&model)?;
    let model = &models[0].1;
    model.require_head()?;
    let reductions = bind(model, &methods)?;
    note_left_out(&folder, &args.dir);
    let folder = match args.limit {
        Some(limit) => folder.limit(limit),
        None => folder,
    };
    let (samples, labels) = labelled(&folder, names.as_ref(), model)?;
    if args.predictions.is_some() && models.len() > 1 {
        bail!(
            "--predictions is written for one number of --clips, and {} are given; write each alone",
            models.len()
        );
    }
    let progress = Progress::of(model.media(), samples.len() * models.len());
    let files = samples.iter().map(|sample| sample.path.as_path());
    let mut outputs = Outputs::begin(args, Labelling::One, &methods, progress, files)?;
    let options = args.options(model.media());
    let mut each = || -> Result<Vec<(Option<usize>, Accuracy)>> {
        let mut all = Vec::new();
        for (clips, model) in &models {
            let model = args.preprocess.for_folder(model.clone(), &folder)?;
            let found = evaluate(&model, &reductions, samples.clone(), labels, options, &mut outputs)?;
            all.extend(found.into_iter().map(|accuracy| (*clips, accuracy)));
        }
        Ok(all)
    };
    let results = each();
    outputs.clear();
    let results = results?;
    outputs.finish(model, results.iter().map(|(_, result)| result), args.output.convention)?;
    print(args, model, &results)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what every method made of something, a line of JSON each.
pub(crate) fn print_json<T: Serialize>(args: &EvalArgs, model: &Model, found: &[T]) -> Result<()> {
    #[derive(Serialize)]
    struct Row<'a, T> {
        model: String,
        dtype: &'static str,
        #[serde(flatten)]
        accuracy: &'a T,
    }
    let dtype = args.model.dtype.name();
    found.iter().try_for_each(|accuracy| output::json(&Row { model: model.name(), dtype, accuracy }))
}

/// Flags that are for classes.
const OF_CLASSES: [&str; 7] =
    ["labels", "classes", "classes_from", "template", "class_order", "predictions", "results_file"];

impl EvalArgs {
    /// Refuses flags that are for classes where there are none; the rule says of what.
    pub(super) fn refuse_classes(&self, rule: &str) -> Result<()> {
        self.given.refuse(&OF_CLASSES, rule)
    }

    /// Refuses what is said of class names or class folders where labels stand in a list.
    pub(super) fn refuse_folders(&self) -> Result<()> {
        self.given
            .refuse(&["template", "class_order"], "is for class names and class folders, and this is a list")
    }

    /// How a model that takes such files is evaluated.
    pub(crate) fn options(&self, media: Media) -> EvalOptions {
        EvalOptions {
            reading: Reading {
                batch_size: batch_of(self.batch_size, 32, media),
                workers: self.model.threads.workers(self.workers),
                decoding: self.preprocess.decoding(),
            },
            convention: self.output.convention,
        }
    }
}

/// Samples whose labels are the model's classes, as far as that can be known.
pub(crate) fn labelled(
    folder: &ClassFolder,
    given: Option<&ClassNames>,
    model: &Model,
) -> Result<(Vec<Sample>, Labels)> {
    if let Some(names) = given {
        check_count(names, model)?;
        if names.has_ids() && !folder.class_names().is_empty() {
            return Ok((folder.labelled_by(names)?, Labels::Trusted));
        }
    }
    let known = class_names(model);
    match folder.labelled(given.or(known.as_ref()), model.classes())? {
        Labelled::Classes { samples, by } => {
            note_order(folder, by);
            Ok((samples, Labels::Trusted))
        }
        Labelled::Unknown(samples) => {
            if given.is_some() {
                output::note("note: the images lie in no class folders, so the names have nothing to map");
            }
            Ok((samples, Labels::Ignored))
        }
    }
}

/// Refuses names of another number of classes.
pub(crate) fn check_count(names: &ClassNames, model: &Model) -> Result<()> {
    if names.len() != model.classes() {
        bail!(
            "--labels names {} classes but the model has {}; give the names of the classes it was trained on",
            names.len(),
            model.classes()
        );
    }
    Ok(())
}

/// Says in which order folders became classes, where that is not plain.
fn note_order(folder: &ClassFolder, by: LabelledBy) {
    if let LabelledBy::Order(order) = by
        && folder.orders_differ()
    {
        let example = match order {
            ClassOrder::Natural => "2 before 10; --class-order plain for 10 before 2",
            ClassOrder::Plain => "10 before 2; --class-order natural for 2 before 10",
        };
        output::note(format!(
            "note: the class folders are taken as classes in {} order ({example})",
            order.name()
        ));
    }
}

fn print(args: &EvalArgs, model: &Model, results: &[(Option<usize>, Accuracy)]) -> Result<()> {
    if args.output.json {
        return results.iter().try_for_each(|(clips, accuracy)| {
            output::json(&JsonRow {
                model: model.name(),
                clips: *clips,
                accuracy,
                convention: args.output.convention,
                dtype: args.model.dtype.name(),
            })
        });
    }
    let (items, words) = (results.first().map_or(0, |(_, result)| result.images), model.media().words());
    let per_second = output::per_second(model.media());
    let rate = format!("model {per_second}");
    let with_clips = results.iter().any(|(clips, _)| clips.is_some());
    output::line(format!(
        "{}, {}, {items} {words}, batch {}, {} threads",
        model.name(),
        args.model.dtype.name(),
        args.options(model.media()).reading.batch_size,
        args.model.threads.count()
    ))?;
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    let gmacs = format!("GMACs ({})", args.output.convention);
    let header =
        ["merge", "top-1 %", "top-5 %", "agreement %", "(95 % interval)", &gmacs, "tokens left", &rate];
    let header: Vec<&str> = with_clips.then_some("clips").into_iter().chain(header).collect();
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|(clips, result)| {
            let hits = (result.agreement * result.images as f64 / 100.0).round() as usize;
            let (low, high) = wilson(hits, result.images);
            let clips = clips.map(|clips| clips.to_string());
            let row = vec![
                result.merge.clone(),
                percent(result.top1),
                percent(result.top5),
                format!("{:.1}", result.agreement),
                format!("{low:.1}-{high:.1}"),
                output::gmacs(result.gmacs),
                format!("{:.1}", result.mean_tokens),
                format!("{:.1}", result.model_images_per_second),
            ];
            clips.into_iter().chain(row).collect()
        })
        .collect();
    output::line(output::table(&header, &rows))?;
    if let Some((_, result)) = results.first() {
        output::line(format!(
            "{rate}: forward passes alone; the whole run, reading and all methods: {:.1} {per_second}",
            result.run_images_per_second
        ))?;
    }
    Ok(())
}

/// A result with its setting.
#[derive(Serialize)]
pub(crate) struct JsonRow<'a> {
    pub(crate) model: String,
    /// Views along the time of a clip, where several numbers are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clips: Option<usize>,
    #[serde(flatten)]
    pub(crate) accuracy: &'a Accuracy,
    pub(crate) convention: Convention,
    pub(crate) dtype: &'static str,
}
