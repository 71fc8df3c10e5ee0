//! `tokmerge report`.

use crate::args::{Given, at_least_one, one_of};
use crate::output;
use crate::result_files::{Kind, Ours, ResultFiles};
use crate::shell::command_line;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::plot::Chart;
use tokmerge::runs::{
    self, Cost, Curve, Curves, Front, Lines, Progress, Report, Results, Schedules, Seeds, Selection, View, X,
    Y,
};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tokmerge report vit-s.csv vit-b.csv -o front.svg -o front.md
      accuracy over GMACs of two models, from files that tokmerge eval --results-file wrote
  tokmerge report accuracy.csv speed.csv --x images_per_second -o speed.svg
      the same over speed, which tokmerge bench --results-file measured
  tokmerge report ViT-S=a.csv ViT-B=b.csv --y agreement --front line --lines method -o methods.svg
  tokmerge report runs/none runs/stm --x step --y loss -o loss.svg
      losses of two runs of tokmerge train
  tokmerge report schedules.csv --x layer --best 20 -o best.svg
      how many tokens the best schedules merge in every layer, of a tokmerge tune --search random")]
pub(crate) struct RunsArgs {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Results: files that eval, bench or few-shot wrote with --results-file or --json, tables or JSON of compare or tune, and
    /// folders of train or sweep; LABEL=PATH gives the model a name
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<String>,
    /// What results cost; with step and epoch the course of training; with layer how many tokens the best schedules merge in
    /// every layer
    #[arg(long, value_name = "AXIS", value_parser = one_of::<X>(X::names()), default_value = "gmacs")]
    pub(crate) x: X,
    /// How good they are, or loss for the course of training [default: the first of these that all results have; of training
    /// the loss]
    #[arg(long, value_name = "AXIS", value_parser = one_of::<Y>(Y::names()))]
    pub(crate) y: Option<Y>,
    /// What makes a line: every method on every model, every model, or every method
    #[arg(long, value_enum, default_value_t = LineKind::Each)]
    pub(crate) lines: LineKind,
    /// Which Pareto front is drawn: one of all results, one of every line, or none
    #[arg(long, value_enum, default_value_t = FrontKind::Overall)]
    pub(crate) front: FrontKind,
    /// Draw costs, or losses, on a logarithmic axis
    #[arg(long)]
    pub(crate) log: bool,
    /// With --x layer: the cost that schedules are put into ranges by [default: speedup where it is known, else gmacs]
    #[arg(long, value_name = "COST", value_parser = one_of::<Cost>(Cost::ALL.map(Cost::name)))]
    pub(crate) by: Option<Cost>,
    /// With --x layer: ranges of that cost
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) ranges: usize,
    /// With --x layer: schedules of every range that count, those with the best --y
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    pub(crate) best: usize,
    /// Draw the mean loss of every N steps [default: as many as leave two hundred points]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) smooth: Option<usize>,
    /// Of the course of training: runs that differ in nothing but their seed apart, or their mean
    #[arg(long, value_enum, default_value_t = SeedsKind::Apart)]
    pub(crate) seeds: SeedsKind,
    /// Title of the chart and the page
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// Where to write the result, may be repeated: a chart (.svg), a page (.md) that shows the first chart, or a table (.csv)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Vec<PathBuf>,
    /// Print one JSON object per result or curve to standard output, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// What makes a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LineKind {
    /// Every method on every model.
    Each,
    /// Every model, whatever the method.
    Model,
    /// Every method, whatever the model.
    Method,
}

/// What becomes of runs of one recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SeedsKind {
    /// Each is a curve.
    Apart,
    /// They are one, their mean.
    Mean,
}

/// Which front is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FrontKind {
    /// One of all results.
    Overall,
    /// One of every line.
    Line,
    /// None.
    None,
}

/// By what files of reports are recognised. Charts are like those of other commands.
const OURS: Ours =
    Ours { what: "report", page: runs::is_page, chart: |text| text.starts_with("<svg"), table: runs::is_csv };

pub(crate) fn run(args: &RunsArgs) -> Result<ExitCode> {
    let files = ResultFiles::of(&args.output, &OURS)?;
    let inputs: Vec<(Option<&str>, &Path)> = args.runs.iter().map(|run| input(run)).collect();
    let read = inputs.iter().flat_map(|(_, path)| [path.to_path_buf(), path.join("sweep.csv")]);
    let read: Vec<PathBuf> = read.collect();
    files.check(|| read.iter().map(PathBuf::as_path))?;
    let asked = args.asked()?;
    let mut results = Results::default();
    for (label, path) in inputs {
        results.read(label, path)?;
    }
    let (title, command) = (args.title(), command_line(&[]));
    match asked {
        Asked::Curves(x, y) => {
            let curves = Curves::new(&results.runs, x, y, args.smooth, args.seeds())?;
            note(&results.notes);
            write(
                &files,
                &curves.chart(title, args.log),
                |picture| curves.to_markdown(title, picture, &command),
                || curves.to_csv(),
            )?;
            args.print_curves(&curves)?;
        }
        Asked::Points(view) => {
            let report = Report::new(results, view)?;
            note(&report.notes);
            write(
                &files,
                &report.chart(title, args.log),
                |picture| report.to_markdown(title, picture, &command),
                || report.to_csv(),
            )?;
            args.print(&report)?;
        }
        Asked::Schedules(selection) => {
            let schedules = Schedules::new(results, selection)?;
            note(&schedules.notes);
            write(
                &files,
                &schedules.chart(title),
                |picture| schedules.to_markdown(title, picture, &command),
                || schedules.to_csv(),
            )?;
            args.print_schedules(&schedules)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn note(notes: &[String]) {
    notes.iter().for_each(|note| output::note(format!("note: {note}")));
}

/// Writes a chart, a page that shows it where they lie in one folder, and a table.
fn write(
    files: &ResultFiles,
    chart: &Chart,
    page: impl Fn(Option<&str>) -> String,
    table: impl Fn() -> Result<Vec<u8>, csv::Error>,
) -> Result<()> {
    let picture = files.first(Kind::Chart);
    files.write(|kind, path| {
        Ok(match kind {
            Kind::Chart => chart.to_svg().into_bytes(),
            Kind::Page => page(picture.and_then(|picture| beside(path, picture)).as_deref()).into_bytes(),
            Kind::Table => table().with_context(|| format!("cannot write {}", path.display()))?,
        })
    })
}

/// A label, where one is given, and a path. What exists as a path is one.
fn input(text: &str) -> (Option<&str>, &Path) {
    match text.split_once('=') {
        Some((label, path)) if !label.is_empty() && !Path::new(text).exists() => {
            (Some(label), Path::new(path))
        }
        _ => (None, Path::new(text)),
    }
}

/// What is to be drawn.
enum Asked {
    Points(View),
    Curves(Progress, Curve),
    Schedules(Selection),
}

/// Flags that are for points, and for schedules.
const OF_POINTS: [&str; 2] = ["lines", "front"];
const OF_SCHEDULES: [&str; 3] = ["by", "ranges", "best"];

impl RunsArgs {
    fn asked(&self) -> Result<Asked> {
        if self.x != X::Layer {
            self.given.refuse(&OF_SCHEDULES, "is for schedules (--x layer)")?;
        }
        if (self.x, self.y.unwrap_or(Y::Loss)) != (X::Progress(Progress::Step), Y::Loss) {
            self.given.refuse(&["smooth"], "is for losses over steps (--x step)")?;
        }
        if !matches!(self.x, X::Progress(_)) {
            self.given.refuse(&["seeds"], "is for the course of training (--x step or epoch)")?;
        }
        let quality = match self.y {
            Some(Y::Quality(quality)) => Some(quality),
            Some(Y::Loss) | None => None,
        };
        let is_loss = self.y == Some(Y::Loss);
        match self.x {
            X::Cost(_) | X::Layer if is_loss => {
                bail!("--y loss is the course of training, and --x {} is not; give --x step or epoch", self.x)
            }
            X::Cost(x) => {
                let lines = match self.lines {
                    LineKind::Each => Lines::Each,
                    LineKind::Model => Lines::Model,
                    LineKind::Method => Lines::Method,
                };
                let front = match self.front {
                    FrontKind::Overall => Front::Overall,
                    FrontKind::Line => Front::Line,
                    FrontKind::None => Front::None,
                };
                Ok(Asked::Points(View { x, y: quality, lines, front }))
            }
            X::Progress(x) => {
                self.given.refuse(&OF_POINTS, format!("is for costs, and --x {} is none", x.name()))?;
                Ok(Asked::Curves(x, quality.map_or(Curve::Loss, Curve::Quality)))
            }
            X::Layer => {
                self.given.refuse(&OF_POINTS, "is for costs, and --x layer is none")?;
                self.given.refuse(&["log"], "is for costs and losses")?;
                let Self { by: cost, ranges, best, .. } = *self;
                Ok(Asked::Schedules(Selection { cost, quality, ranges, best }))
            }
        }
    }

    fn seeds(&self) -> Seeds {
        match self.seeds {
            SeedsKind::Apart => Seeds::Apart,
            SeedsKind::Mean => Seeds::Mean,
        }
    }

    fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    fn print(&self, report: &Report) -> Result<()> {
        if self.json {
            return report.placed.iter().try_for_each(|placed| output::json(&report.json(placed)));
        }
        let (header, rows) = report.cells();
        output::line(table(&header, &rows))?;
        output::line("")?;
        let notes = report.notes.len();
        let sentences = report.reading();
        sentences[..sentences.len() - notes].iter().try_for_each(output::line)
    }

    fn print_curves(&self, curves: &Curves) -> Result<()> {
        if self.json {
            return curves.lines.iter().try_for_each(|line| {
                output::json(&json!({"line": line.name, "measure": curves.y.name(), "points": line.points}))
            });
        }
        let (header, rows) = curves.cells();
        output::line(table(&header, &rows))
    }

    fn print_schedules(&self, schedules: &Schedules) -> Result<()> {
        if self.json {
            return schedules.ranges.iter().try_for_each(|range| {
                output::json(&json!({
                    "cost": schedules.cost.name(),
                    "from": range.from,
                    "to": range.to,
                    "count": range.count,
                    "best": range.best,
                    "quality": schedules.quality.name(),
                    "mean": range.mean,
                    "merged": range.merged,
                }))
            });
        }
        let (header, rows) = schedules.cells();
        output::line(table(&header, &rows))
    }
}

fn table(header: &[String], rows: &[Vec<String>]) -> String {
    output::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

/// The name of a picture that lies in the folder of a page.
fn beside(page: &Path, picture: &Path) -> Option<String> {
    let name = picture.file_name().filter(|_| page.parent() == picture.parent());
    name.map(|name| name.to_string_lossy().into_owned())
}
