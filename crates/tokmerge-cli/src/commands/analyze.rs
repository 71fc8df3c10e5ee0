//! `tokmerge analyze`.

use crate::args::{
    MergeArgs, ModelArgs, PreprocessArgs, at_least_one, batch_of, batch_size, bind, must_exist, threshold,
};
use crate::output::{self, CsvFile, ResultFile};
use crate::progress::{Progress, note_left_out};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use tokmerge::analysis::{
    InformationLoss, LayerLoss, MergeProfile, MergedTokens, exponential_fit, information_loss,
    loss_per_layer, merged_tokens,
};
use tokmerge::plot::{Chart, Scale};
use tokmerge::{ClassFolder, Media, Model, Reading, Sample, loss_chart, merges_chart};

#[derive(Subcommand, Debug)]
pub(crate) enum AnalyzeCommand {
    /// Merge in one layer at a time and measure how far the output moves, at several thresholds (ATM, Figure 2)
    Layers(LayersArgs),
    /// Count merged tokens and merging errors in every layer (ATM, Figure 6)
    Tokens(TokensArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LayersArgs {
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Merge pairs of tokens that are more similar than this: from -1 to 1, several separated by commas
    #[arg(
        long,
        value_name = "COSINE,...",
        value_delimiter = ',',
        default_value = "0.8,0.85,0.9,0.95",
        value_parser = threshold,
        allow_hyphen_values = true
    )]
    pub(crate) thresholds: Vec<f64>,
    /// Draw on a logarithmic axis, on which an exponential curve is a straight line
    #[arg(long)]
    pub(crate) log: bool,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

#[derive(Args, Debug)]
pub(crate) struct TokensArgs {
    #[command(flatten)]
    pub(crate) images: ImagesArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) merge: MergeArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

/// Which images are looked at, and how they are read.
#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Folder of images; labels are not needed
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Items per forward pass [default: 32, of clips 1]
    #[arg(short, long, value_name = "N", value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Threads that read images; 0 reads between forward passes [default: one per thread that computes]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    /// Use this many images, spread evenly over the folder
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
}

/// Where a study goes.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Where to write the chart, an .svg file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Write the result as CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Print one JSON object per result to standard output, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tokmerge analyze layers`.
pub(crate) fn layers(args: &LayersArgs) -> Result<ExitCode> {
    args.report.check()?;
    let folder = args.images.open(&args.model)?;
    let model = args.preprocess.apply(args.model.open()?)?;
    // Refuses before files are made.
    InformationLoss::new(&model, &args.thresholds)?;
    let files = args.report.create()?;
    let samples = args.images.samples(folder);
    let mut progress = Progress::of(model.media(), samples.len());
    let reading = args.images.reading(model.media(), &args.model, &args.preprocess);
    let losses = information_loss(&model, &args.thresholds, samples, reading, &mut progress);
    progress.clear();
    let losses = losses?;
    progress.report_failures();
    let scale = if args.log { Scale::Log } else { Scale::Linear };
    files.write(&args.report, &loss_chart(&model.name(), &losses, scale), |csv| {
        output::csv_rows(csv, losses.iter().map(LossRow::from))
    })?;
    if args.report.json {
        print_json(losses.iter().map(serde_json::to_value), &model, &args.model)?;
    } else {
        output::line(heading(&model, &args.model, losses.first().map_or(0, |loss| loss.images)))?;
        print_losses(&losses)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `tokmerge analyze tokens`.
pub(crate) fn tokens(args: &TokensArgs) -> Result<ExitCode> {
    args.report.check()?;
    let methods = args.merge.methods(&[])?;
    if methods.is_empty() {
        bail!("there is nothing to count without merging; give a --merge, e.g. tome:r=8 or atm:theta=0.9");
    }
    let folder = args.images.open(&args.model)?;
    let model = args.preprocess.apply(args.model.open()?)?;
    let reductions = bind(&model, &methods)?;
    MergedTokens::new(&model, &reductions)?;
    let files = args.report.create()?;
    let samples = args.images.samples(folder);
    let mut progress = Progress::of(model.media(), samples.len());
    let reading = args.images.reading(model.media(), &args.model, &args.preprocess);
    let profiles = merged_tokens(&model, &reductions, samples, reading, &mut progress);
    progress.clear();
    let profiles = profiles?;
    progress.report_failures();
    files.write(&args.report, &merges_chart(&model.name(), &profiles), |csv| {
        output::csv_rows(csv, profiles.iter().flat_map(profile_rows))
    })?;
    if args.report.json {
        print_json(profiles.iter().map(serde_json::to_value), &model, &args.model)?;
    } else {
        output::line(heading(&model, &args.model, profiles.first().map_or(0, |profile| profile.images)))?;
        profiles.iter().try_for_each(print_profile)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl ImagesArgs {
    fn open(&self, model: &ModelArgs) -> Result<ClassFolder> {
        must_exist(&self.dir, "folder")?;
        model.folder(&self.dir, None)
    }

    fn samples(&self, folder: ClassFolder) -> Vec<Sample> {
        note_left_out(&folder, &self.dir);
        let folder = match self.limit {
            Some(limit) => folder.limit(limit),
            None => folder,
        };
        folder.samples().to_vec()
    }

    fn reading(&self, media: Media, model: &ModelArgs, preprocess: &PreprocessArgs) -> Reading {
        Reading {
            batch_size: batch_of(self.batch_size, 32, media),
            workers: model.threads.workers(self.workers),
            decoding: preprocess.decoding(),
        }
    }
}

/// The files of a report, open before the work begins.
struct Files {
    chart: ResultFile,
    csv: Option<CsvFile>,
}

impl ReportArgs {
    /// Refuses what no file needs to be made for.
    fn check(&self) -> Result<()> {
        output::check_svg(&self.output)?;
        if self.csv.as_ref() == Some(&self.output) {
            bail!("--output and --csv name the same file; give each its own");
        }
        Ok(())
    }

    fn create(&self) -> Result<Files> {
        Ok(Files {
            chart: ResultFile::create(&self.output)?,
            csv: self.csv.as_deref().map(output::csv_file).transpose()?,
        })
    }
}

impl Files {
    fn write(
        mut self,
        args: &ReportArgs,
        chart: &Chart,
        rows: impl FnOnce(CsvFile) -> Result<()>,
    ) -> Result<()> {
        let written = self.chart.write_all(chart.to_svg().as_bytes());
        let cannot = || format!("cannot write {}", args.output.display());
        written.with_context(cannot)?;
        self.chart.finish().with_context(cannot)?;
        match self.csv {
            Some(csv) => rows(csv).context("cannot write the --csv file"),
            None => Ok(()),
        }
    }
}

fn heading(model: &Model, args: &ModelArgs, items: usize) -> String {
    format!("{}, {}, {items} {}", model.name(), args.dtype.name(), model.media().words())
}

/// One object per result, the model named in each.
fn print_json(
    results: impl Iterator<Item = serde_json::Result<Value>>,
    model: &Model,
    args: &ModelArgs,
) -> Result<()> {
    for result in results {
        let mut object = json!({ "model": model.name(), "dtype": args.dtype.name() });
        if let (Value::Object(object), Value::Object(result)) = (&mut object, result?) {
            object.extend(result);
        }
        output::line(object.to_string())?;
    }
    Ok(())
}

/// A row per layer: losses at every threshold and their mean, then merged tokens. Below, how exponential the
/// columns are.
fn print_losses(losses: &[LayerLoss]) -> Result<()> {
    let layers: Vec<&[LayerLoss]> = losses.chunk_by(|a, b| a.layer == b.layer).collect();
    let thresholds: Vec<String> =
        layers.first().into_iter().copied().flatten().map(|loss| loss.threshold.to_string()).collect();
    let means = loss_per_layer(losses);
    let per_token: Vec<Option<f64>> = layers.iter().map(|layer| loss_per_token(layer)).collect();

    let mut header = vec!["layer".to_owned()];
    header.extend(thresholds.iter().map(|threshold| format!("loss at {threshold}")));
    header.push("mean".to_owned());
    header.extend(thresholds.iter().map(|threshold| format!("merged at {threshold}")));
    header.push("loss per token".to_owned());
    let rows: Vec<Vec<String>> = (layers.iter().zip(&means).zip(&per_token))
        .map(|((layer, (number, mean)), per_token)| {
            let mut row = vec![number.to_string()];
            row.extend(layer.iter().map(|loss| small(loss.distance)));
            row.push(small(*mean));
            row.extend(layer.iter().map(|loss| format!("{:.1}", loss.merged)));
            row.push(per_token.map_or_else(|| "-".to_owned(), small));
            row
        })
        .collect();
    output::line(output::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows))?;

    let curve = |value: &dyn Fn(usize) -> Option<f64>| -> Vec<(f64, f64)> {
        let point = |index: usize| Some((layers[index][0].layer as f64, value(index)?));
        (0..layers.len()).filter_map(point).collect()
    };
    let mut fits: Vec<Vec<String>> = Vec::new();
    for (column, threshold) in thresholds.iter().enumerate() {
        let loss = curve(&|index| Some(layers[index][column].distance));
        fits.push(fit_row(threshold, &loss, &curve(&|index| layers[index][column].per_token)));
    }
    fits.push(fit_row("mean", &curve(&|index| Some(means[index].1)), &curve(&|index| per_token[index])));
    output::line("\nfrom layer to layer, if exponential (least squares of the logarithms)")?;
    let header = ["threshold", "loss", "explained", "loss per token", "explained"];
    output::line(output::table(&header, &fits))
}

/// Of all thresholds together; `None` if nothing merged.
fn loss_per_token(layer: &[LayerLoss]) -> Option<f64> {
    let sum = |value: fn(&LayerLoss) -> f64| layer.iter().map(value).sum::<f64>();
    let merged = sum(|loss| loss.merged);
    (merged > 0.0).then(|| sum(|loss| loss.distance) / merged)
}

fn fit_row(name: &str, loss: &[(f64, f64)], per_token: &[(f64, f64)]) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    for curve in [loss, per_token] {
        row.extend(match exponential_fit(curve) {
            Some(fit) => [format!("x {:.2}", fit.factor), format!("{:.0} %", 100.0 * fit.r_squared)],
            None => ["-".to_owned(), "-".to_owned()],
        });
    }
    row
}

fn print_profile(profile: &MergeProfile) -> Result<()> {
    output::line(format!("\n{}", profile.merge))?;
    let header =
        ["layer", "threshold", "merged", "deviation", "min-max", "tokens left", "error", "error per merge"];
    let or_dash = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(|| "-".to_owned(), show);
    let mut rows: Vec<Vec<String>> = profile
        .layers
        .iter()
        .map(|layer| {
            let merged = layer.merged;
            vec![
                layer.layer.to_string(),
                or_dash(layer.threshold, |threshold| format!("{threshold:.3}")),
                format!("{:.1}", merged.mean),
                format!("{:.1}", merged.deviation),
                format!("{}-{}", merged.min, merged.max),
                format!("{:.1}", layer.tokens),
                format!("{:.3}", layer.error),
                or_dash(layer.error_per_merge, |error| format!("{error:.4}")),
            ]
        })
        .collect();
    let merged: f64 = profile.layers.iter().map(|layer| layer.merged.mean).sum();
    let error: f64 = profile.layers.iter().map(|layer| layer.error).sum();
    let mut all = vec![String::new(); header.len()];
    "all".clone_into(&mut all[0]);
    all[2] = format!("{merged:.1}");
    all[6] = format!("{error:.3}");
    rows.push(all);
    output::line(output::table(&header, &rows))
}

/// Three digits, however small.
fn small(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.2e}") }
}

/// What merging in one layer alone costs.
#[derive(Serialize)]
struct LossRow<'a> {
    layer: usize,
    threshold: f64,
    distance: f64,
    merged: f64,
    distance_per_token: Option<f64>,
    agreement: Option<f64>,
    images: usize,
    merge: &'a str,
}

impl<'a> From<&'a LayerLoss> for LossRow<'a> {
    fn from(loss: &'a LayerLoss) -> Self {
        Self {
            layer: loss.layer,
            threshold: loss.threshold,
            distance: loss.distance,
            merged: loss.merged,
            distance_per_token: loss.per_token,
            agreement: loss.agreement,
            images: loss.images,
            merge: &loss.merge,
        }
    }
}

/// What merges in one layer.
#[derive(Serialize)]
struct ProfileRow<'a> {
    merge: &'a str,
    layer: usize,
    threshold: Option<f64>,
    merged: f64,
    merged_deviation: f64,
    merged_min: f64,
    merged_max: f64,
    tokens: f64,
    error: f64,
    error_per_merge: Option<f64>,
    images: usize,
}

/// A row for every layer.
fn profile_rows(profile: &MergeProfile) -> impl Iterator<Item = ProfileRow<'_>> {
    profile.layers.iter().map(|layer| ProfileRow {
        merge: &profile.merge,
        layer: layer.layer,
        threshold: layer.threshold,
        merged: layer.merged.mean,
        merged_deviation: layer.merged.deviation,
        merged_min: layer.merged.min,
        merged_max: layer.merged.max,
        tokens: layer.tokens,
        error: layer.error,
        error_per_merge: layer.error_per_merge,
        images: profile.images,
    })
}
