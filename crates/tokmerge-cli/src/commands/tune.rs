//! `tokmerge tune`.

use crate::args::{
    ClassArgs, ClassOrderArgs, Given, ModelArgs, OutputArgs, PreprocessArgs, at_least_one, batch_of,
    batch_size, duration, must_exist,
};
use crate::commands::eval::labelled;
use crate::commands::searched::{self, check_labels};
use crate::output;
use crate::progress::{SearchProgress, note_left_out};
use crate::shell::quoted;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokmerge::plot::Chart;
use tokmerge::tune::{
    Decision, Fingerprint, Goal, GoalError, Outcome, Search, SearchOptions, Split, Tuner, report, search,
};
use tokmerge::{ClassNames, EvalOptions, Labels, Media, Model, Precision, Reading};

#[derive(Args, Debug)]
pub(crate) struct TuneArgs {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Folder of images like those the model will see; only --max-drop needs labels. Of texts a file of scored pairs of sentences
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) goal: GoalArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// How to search: guided; by random ToMe schedules for an overview (ToMe, Figure 2); or all thresholds in the grid of ATM's
    /// appendix D, of which the best in each of --trials ranges of cost are measured
    #[arg(long, value_enum, default_value_t = SearchKind::Guided)]
    pub(crate) search: SearchKind,
    /// Random schedules to measure, or ranges of cost of the grid [default of the grid: 24]
    #[arg(long, value_name = "N", value_parser = at_least_one, required_if_eq("search", "random"))]
    pub(crate) trials: Option<usize>,
    /// Random seed, which also decides which images are searched on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// When to stop searching: a number of seconds, or with a unit (s, m or h), e.g. 8m
    #[arg(long, value_name = "TIME", default_value = "480", value_parser = duration)]
    pub(crate) time_budget: Duration,
    /// Use this many images in all, spread evenly over the folder
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// Search on this many images and hold out the others [default: three quarters, at most 256; random: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) search_images: Option<usize>,
    /// Do not run images with an unclear answer a second time, unmerged
    #[arg(long)]
    pub(crate) no_recheck: bool,
    /// Images per forward pass when speed is measured [default: 8, of clips 1]
    #[arg(short, long, value_name = "N", value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Maps folder names to classes: lines of index<TAB>wnid<TAB>name
    #[arg(long, value_name = "FILE", env = "TOKMERGE_LABELS")]
    pub(crate) labels: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) classes: ClassArgs,
    #[command(flatten)]
    pub(crate) class_order: ClassOrderArgs,
    /// Where to write the result, a .toml file for --merge; a chart, tables and the search journal are written beside it
    /// (.svg, .csv, .json, .journal.jsonl)
    #[arg(short, long, value_name = "FILE", default_value = "merge.toml")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) shown: OutputArgs,
}

/// The goal of tuning: one of these.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct GoalArgs {
    /// Cheapest method that loses at most this many points of top-1 accuracy; needs labelled images
    #[arg(long, value_name = "POINTS", allow_negative_numbers = true)]
    max_drop: Option<f64>,
    /// Cheapest method that agrees with the unmerged model on at least this percentage of images
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    min_agreement: Option<f64>,
    /// Of texts, on scored pairs of sentences: cheapest method that leaves at least this rank correlation, times 100
    #[arg(long, value_name = "POINTS", allow_negative_numbers = true)]
    pub(crate) min_spearman: Option<f64>,
    /// Best method at this fraction of the unmerged model's GMACs, e.g. 0.7
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true)]
    gmacs: Option<f64>,
    /// Best method that takes at most this many milliseconds per batch on this machine
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    latency: Option<f64>,
    /// Best method that is at least this many times as fast as the unmerged model on this machine
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    speedup: Option<f64>,
}

impl GoalArgs {
    /// The goal, if one was given and makes sense.
    pub(crate) fn goal(&self) -> Result<Option<Goal>> {
        let goals = [
            self.max_drop.map(Goal::MaxDrop),
            self.min_agreement.map(Goal::MinAgreement),
            self.gmacs.map(Goal::Gmacs),
            self.latency.map(Goal::Latency),
            self.speedup.map(Goal::Speedup),
        ];
        Ok(goals.into_iter().flatten().next().map(Goal::validate).transpose()?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SearchKind {
    Guided,
    Random,
    Grid,
}

/// Ranges of cost of the grid where nobody says otherwise.
const RANGES: usize = 24;

pub(crate) fn run(args: &TuneArgs) -> Result<ExitCode> {
    if args.model.media().is_ok_and(|media| media == Media::Text) {
        must_exist(&args.dir, "file of pairs of sentences")?;
        if args.dir.is_dir() {
            bail!(
                "{}: is a folder, and a model of texts is tuned on a file of scored pairs of sentences; give that",
                args.dir.display()
            );
        }
        return super::tune_pairs::run(args);
    }
    if args.goal.min_spearman.is_some() {
        bail!(
            "--min-spearman is for a model of texts and a file of scored pairs of sentences; give these, or another goal"
        );
    }
    let goal = args.goal.goal()?;
    let kind = args.kind(goal)?;
    let files = Files::of(&args.output)?;
    must_exist(&args.dir, "folder")?;
    let folder = args.model.folder(&args.dir, args.class_order.order())?;
    if matches!(goal, Some(Goal::MaxDrop(_))) && folder.class_names().is_empty() {
        return Err(GoalError::NoLabels.into());
    }
    let names = args.labels.as_ref().map(ClassNames::open).transpose()?;
    let inputs = args.model.files();
    let inputs = || inputs.iter().chain(&args.labels).chain(args.classes.file()).map(PathBuf::as_path);
    files.check(inputs)?;
    note_left_out(&folder, &args.dir);
    let folder = match args.limit {
        Some(limit) => folder.limit(limit),
        None => folder,
    };
    // Refuses what is too little before the model is opened.
    Split::new(folder.samples().to_vec(), kind, args.search_images, args.seed)?;

    let (model, given) = args.classes.open_for(&args.model, &folder)?;
    // Names without ids are the model's own now.
    let names = names.or(given.filter(ClassNames::has_ids));
    let model = args.preprocess.apply(model)?;
    model.require_head()?;
    let model = args.preprocess.for_folder(model, &folder)?;
    let (samples, labels) = labelled(&folder, names.as_ref(), &model)?;
    check_labels(&samples, labels, &model)?;
    let Split { search: searched, held_out } = Split::new(samples, kind, args.search_images, args.seed)?;
    if held_out.is_empty() && goal.is_some() {
        output::note(format!(
            "note: all {} images are searched on and none is held out, so nothing proves the choice; give more images, or a smaller --search-images",
            searched.len()
        ));
    }
    let images = searched::read(&model, searched, "search on", (&args.model, &args.preprocess))?;
    let convention = args.shown.convention;
    let fingerprint = Fingerprint::of(&model, args.model.dtype.name(), convention, &images, &args.dir);
    let journal = searched::journal(&files.journal, &fingerprint)?;
    let mut tuner = Tuner::new(&model, images, labels == Labels::Trusted, convention, journal)?;
    let options = SearchOptions {
        goal,
        search: kind,
        seed: args.seed,
        time_budget: args.time_budget,
        batch_size: batch_of(args.batch_size, 8, model.media()),
        recheck: !args.no_recheck,
    };
    let eval = EvalOptions {
        reading: Reading {
            batch_size: batch_of(args.batch_size, 8, model.media()),
            workers: args.model.threads.workers(None),
            decoding: args.preprocess.decoding(),
        },
        convention,
    };
    let mut progress = SearchProgress::new(options, tuner.unmerged(), model.media(), held_out.len());
    let outcome = search(&mut tuner, held_out, eval, options, &mut progress);
    progress.clear();
    let outcome = outcome?;
    progress.report_failures();

    let setting = args.setting(&model);
    files.write(&Written {
        json: &report::to_json(&outcome, &setting)?,
        csv: &report::to_csv(&outcome)?,
        chart: &report::chart(&outcome, &setting),
        toml: report::to_toml(&outcome, &setting)?,
    })?;
    if args.shown.json {
        output::line(report::to_json(&outcome, &setting)?.to_string())?;
    } else {
        print(args, model.media(), &files, &outcome, &setting)?;
    }
    if outcome.choice().is_none() {
        files.note_left();
    }
    Ok(ExitCode::SUCCESS)
}

impl TuneArgs {
    /// How to search, where that and the goal go together.
    fn kind(&self, goal: Option<Goal>) -> Result<Search> {
        match (self.search, self.trials, goal) {
            (SearchKind::Guided, None, None) => bail!(
                "there is nothing to reach: give one of --max-drop, --min-agreement, --gmacs, --latency or --speedup, e.g. --min-agreement 99, or --search random --trials N or --search grid to look around"
            ),
            (SearchKind::Guided, Some(_), _) => bail!(
                "--trials counts random schedules, or ranges of the grid; give --search random or grid with it, or --time-budget for a longer guided search"
            ),
            (SearchKind::Guided, None, Some(_)) => Ok(Search::Guided),
            (SearchKind::Grid, trials, _) => Ok(Search::Grid { trials: trials.unwrap_or(RANGES) }),
            // clap asks for the trials.
            (SearchKind::Random, trials, _) => Ok(Search::Random { trials: trials.unwrap_or(1) }),
        }
    }

    pub(super) fn setting(&self, model: &Model) -> report::Setting {
        searched::setting(&self.model, self.shown.convention, self.seed, model)
    }

    /// A command line that uses what was found, with the model and the preprocessing of this one.
    pub(super) fn usage(&self, media: Media) -> String {
        let Self { model, preprocess, .. } = self;
        let three = |values: &Option<Vec<f32>>| {
            let words = values.as_ref()?.iter().map(ToString::to_string).collect::<Vec<_>>();
            Some(words.join(" "))
        };
        let path = |path: &PathBuf| quoted(&path.display().to_string());
        let options = [
            ("--model", model.model.as_deref().map(quoted)),
            ("--weights", model.weights.as_ref().map(path)),
            ("--random-weights", model.random_weights.then(String::new)),
            ("--img-size", model.img_size.map(|(height, width)| format!("{height}x{width}"))),
            ("--dtype", (model.dtype != Precision::F32).then(|| model.dtype.name().to_owned())),
            ("--crop-pct", preprocess.crop_pct.map(|crop_pct| crop_pct.to_string())),
            ("--crop-mode", preprocess.crop_mode.map(|mode| mode.name().to_owned())),
            ("--interpolation", preprocess.interpolation.map(|filter| filter.name().to_owned())),
            ("--mean", three(&preprocess.mean)),
            ("--std", three(&preprocess.std)),
            ("--max-tokens", preprocess.max_tokens.map(|tokens| tokens.to_string())),
            ("--merge", Some(path(&self.output))),
        ];
        let example = match media {
            Media::Image => "classify photo.jpg",
            Media::Sound => "classify sound.wav",
            Media::Text => "embed texts.txt",
            _ => "classify clip.mp4",
        };
        let mut usage = format!("tokmerge {example}");
        for (option, value) in options {
            if let Some(value) = value {
                usage.extend([" ", option]);
                usage.extend((!value.is_empty()).then_some([" ", &value]).into_iter().flatten());
            }
        }
        usage
    }
}

/// What is written of a search.
pub(super) struct Written<'a> {
    pub(super) json: &'a serde_json::Value,
    pub(super) csv: &'a [u8],
    pub(super) chart: &'a Chart,
    /// The choice, if there is one.
    pub(super) toml: Option<String>,
}

/// Where results go.
pub(super) struct Files {
    toml: PathBuf,
    svg: PathBuf,
    csv: PathBuf,
    json: PathBuf,
    journal: PathBuf,
}

impl Files {
    pub(super) fn of(output: &Path) -> Result<Self> {
        if !output.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml")) {
            bail!("{}: what --merge reads is written as TOML; name it *.toml", output.display());
        }
        let beside = |ending: &str| output.with_extension(ending);
        Ok(Self {
            toml: output.to_owned(),
            svg: beside("svg"),
            csv: beside("csv"),
            json: beside("json"),
            journal: beside("journal.jsonl"),
        })
    }

    /// A mistyped path must not cost a search.
    pub(super) fn check<'p, I: Iterator<Item = &'p Path>>(&self, inputs: impl Fn() -> I) -> Result<()> {
        for path in [&self.toml, &self.svg, &self.csv, &self.json, &self.journal] {
            output::refuse_inputs("--output", path, inputs())?;
            output::check_writable(path)?;
        }
        let of_tuning = |text: Vec<u8>| report::is_json(&text) || report::pairs::is_json(&text);
        if self.json.exists() && !std::fs::read(&self.json).is_ok_and(of_tuning) {
            bail!("{}: is there, and no tuning wrote it; give --output another name", self.json.display());
        }
        Ok(())
    }

    pub(super) fn write(&self, written: &Written<'_>) -> Result<()> {
        let json = serde_json::to_string_pretty(written.json);
        let json = json.with_context(|| format!("cannot write {}", self.json.display()))?;
        output::write_whole(&self.json, json + "\n")?;
        output::write_whole(&self.csv, written.csv)?;
        output::write_whole(&self.svg, written.chart.to_svg())?;
        match &written.toml {
            Some(toml) => output::write_whole(&self.toml, toml),
            None => Ok(()),
        }
    }

    /// Says that a file of an earlier search is not of this one, which chose nothing.
    pub(super) fn note_left(&self) {
        if self.toml.exists() {
            output::note(format!(
                "note: {} is from an earlier run and was left as it is",
                self.toml.display()
            ));
        }
    }
}

fn print(
    args: &TuneArgs,
    media: Media,
    files: &Files,
    outcome: &Outcome,
    setting: &report::Setting,
) -> Result<()> {
    output::line(format!(
        "{}, {}, {} measurements on {} {}",
        setting.model,
        setting.dtype,
        outcome.points.len(),
        outcome.search_images,
        media.words()
    ))?;
    let (header, mut rows) = report::front_table(outcome, setting);
    // Specs are of very different lengths: to the left, as the first column is.
    let widest = rows.iter().filter_map(|row| row.last()).map(|spec| spec.chars().count()).max().unwrap_or(0);
    let left = |cell: &mut String| *cell = format!("{cell:<widest$}");
    let mut header = header;
    header.iter_mut().last().map(left);
    rows.iter_mut().filter_map(|row| row.last_mut()).for_each(left);
    output::line(output::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows))?;
    output::line("")?;
    for sentence in report::verdict(outcome, setting) {
        output::line(sentence)?;
    }
    if outcome.cut_short {
        output::line(format!(
            "Time ran out before the search was done; the same command with a longer --time-budget goes on from {}.",
            files.journal.display()
        ))?;
    }
    if matches!(outcome.decision, Some(Decision::Merge(_))) {
        output::line(format!("Use it: {}", args.usage(media)))?;
    }
    Ok(())
}
