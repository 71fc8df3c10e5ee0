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
use tokmerge::runs::{self, Curve, Curves, Front, Lines, Progress, Report, Results, View, X, Y};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tokmerge report vit-s.csv vit-b.csv -o front.svg -o front.md
      accuracy over GMACs of two models, from files that tokmerge eval --results-file wrote
  tokmerge report accuracy.csv speed.csv --x images_per_second -o speed.svg
      the same over speed, which tokmerge bench --results-file measured
  tokmerge report ViT-S=a.csv ViT-B=b.csv --y agreement --front line --lines method -o methods.svg
  tokmerge report runs/none runs/stm --x step --y loss -o loss.svg
      losses of two runs of tokmerge train")]
pub(crate) struct RunsArgs {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Results: files that eval, bench or few-shot wrote with --results-file or --json, tables or JSON of compare or tune, and
    /// folders of train or sweep; LABEL=PATH gives the model a name
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<String>,
    /// What results cost, or with step and epoch the course of training
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
    /// Draw the mean loss of every N steps [default: as many as leave two hundred points]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) smooth: Option<usize>,
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
    match asked {
        Asked::Curves(x, y) => {
            let curves = Curves::new(&results.runs, x, y, args.smooth)?;
            results.notes.iter().for_each(|note| output::note(format!("note: {note}")));
            args.write(
                &files,
                &curves.chart(args.title(), args.log),
                |picture| curves.to_markdown(args.title(), picture, &command_line(&[])),
                || curves.to_csv(),
            )?;
            args.print_curves(&curves)?;
        }
        Asked::Points(view) => {
            let report = Report::new(results, view)?;
            report.notes.iter().for_each(|note| output::note(format!("note: {note}")));
            args.write(
                &files,
                &report.chart(args.title(), args.log),
                |picture| report.to_markdown(args.title(), picture, &command_line(&[])),
                || report.to_csv(),
            )?;
            args.print(&report)?;
        }
    }
    Ok(ExitCode::SUCCESS)
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
}

impl RunsArgs {
    fn asked(&self) -> Result<Asked> {
        match (self.x, self.y) {
            (X::Cost(x), Some(Y::Loss)) => bail!(
                "--y loss is the course of training, and --x {} a cost; give --x step or epoch",
                x.name()
            ),
            (X::Cost(x), y) => {
                self.given.refuse(&["smooth"], "is for losses over steps (--x step)")?;
                let y = y.and_then(|y| match y {
                    Y::Quality(quality) => Some(quality),
                    Y::Loss => None,
                });
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
                Ok(Asked::Points(View { x, y, lines, front }))
            }
            (X::Progress(x), y) => {
                self.given
                    .refuse(&["lines", "front"], format!("is for costs, and --x {} is none", x.name()))?;
                let y = match y {
                    None | Some(Y::Loss) => Curve::Loss,
                    Some(Y::Quality(quality)) => Curve::Quality(quality),
                };
                if (x, y) != (Progress::Step, Curve::Loss) {
                    self.given.refuse(&["smooth"], "is for losses over steps (--x step)")?;
                }
                Ok(Asked::Curves(x, y))
            }
        }
    }

    fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    fn write(
        &self,
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
}

fn table(header: &[String], rows: &[Vec<String>]) -> String {
    output::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

/// The name of a picture that lies in the folder of a page.
fn beside(page: &Path, picture: &Path) -> Option<String> {
    let name = picture.file_name().filter(|_| page.parent() == picture.parent());
    name.map(|name| name.to_string_lossy().into_owned())
}
