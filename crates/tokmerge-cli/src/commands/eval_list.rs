//! `tokmerge eval LIST.csv`: files with several labels each.

use super::eval::{EvalArgs, JsonRow, check_count};
use super::eval_files::{Labelling, Outputs};
use crate::args::bind;
use crate::output;
use crate::progress::Progress;
use anyhow::{Result, bail};
use std::process::ExitCode;
use tokmerge::{ClassNames, ListEvaluation, Method, Model, MultiLabelList, evaluate_lists};

pub(crate) fn run(args: &EvalArgs, methods: &[Method]) -> Result<ExitCode> {
    let list = args.dir.display();
    if args.classes.are_named() {
        bail!(
            "{list} is a list, and its labels are those of a table of the model's own classes; give it as --labels, and no class names"
        );
    }
    args.refuse_folders()?;
    let Some(labels) = &args.labels else {
        bail!(
            "{list} is a list, and --labels must say which classes there are; give the table of the model's classes, e.g. class_labels_indices.csv"
        );
    };
    let names = ClassNames::open(labels)?;
    let found = MultiLabelList::open(&args.dir, &names)?;
    let models = args.preprocess.apply_each(&args.model.open()?)?;
    let [(_, model)] = &models[..] else {
        bail!(
            "a list is evaluated with one number of --clips, and {} are given; give each alone",
            models.len()
        );
    };
    model.require_head()?;
    check_count(&names, model)?;
    let reductions = bind(model, methods)?;
    if let Some(missing) = found.missing() {
        output::note(format!("note: {list}: {missing}"));
    }
    let found = match args.limit {
        Some(limit) => found.limit(limit),
        None => found,
    };
    let files = found.samples();
    let progress = Progress::of(model.media(), files.len());
    let paths = files.iter().map(|file| file.path.as_path());
    let mut outputs = Outputs::begin(args, Labelling::Several, methods, progress, paths)?;
    let evaluation = evaluate_lists(model, &reductions, files, args.options(model.media()), &mut outputs);
    outputs.clear();
    let evaluation = evaluation?;
    outputs.finish(model, evaluation.accuracies.iter(), args.output.convention)?;
    print(args, model, &evaluation)?;
    Ok(ExitCode::SUCCESS)
}

fn print(args: &EvalArgs, model: &Model, evaluation: &ListEvaluation) -> Result<()> {
    let results = &evaluation.accuracies;
    if args.output.json {
        return results.iter().try_for_each(|accuracy| {
            output::json(&JsonRow {
                model: model.name(),
                clips: None,
                accuracy,
                convention: args.output.convention,
                dtype: args.model.dtype.name(),
            })
        });
    }
    output::line(format!(
        "{}, {}, {} {}, batch {}, {} threads",
        model.name(),
        args.model.dtype.name(),
        results.first().map_or(0, |result| result.images),
        model.media().words(),
        args.options(model.media()).reading.batch_size,
        args.model.threads.count()
    ))?;
    let gmacs = format!("GMACs ({})", args.output.convention);
    let header = ["merge", "mAP %", &gmacs, "tokens left", "model items/s"];
    let rows: Vec<Vec<String>> = results
        .iter()
        .map(|result| {
            let precision = result.mean_average_precision;
            vec![
                result.merge.clone(),
                precision.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2}")),
                output::gmacs(result.gmacs),
                format!("{:.1}", result.mean_tokens),
                format!("{:.1}", result.model_images_per_second),
            ]
        })
        .collect();
    output::line(output::table(&header, &rows))?;
    let without = evaluation.precisions.first().map_or(0, |precision| precision.without_items());
    if without > 0 {
        let classes = model.classes();
        output::note(format!(
            "note: {without} of {classes} classes are in none of the files, and the mean leaves them out"
        ));
    }
    Ok(())
}
