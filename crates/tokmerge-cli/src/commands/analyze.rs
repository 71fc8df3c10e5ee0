//! `tokmerge analyze`.

use crate::args::{ImagesArgs, LayersArgs, ModelArgs, ReportArgs, TokensArgs, bind, must_exist};
use crate::output;
use crate::progress::{Progress, note_stray};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use tokmerge::analysis::{
    InformationLoss, LayerLoss, MergeProfile, MergedTokens, exponential_fit, information_loss,
    loss_per_layer, merged_tokens,
};
use tokmerge::plot::{Chart, Scale};
use tokmerge::{ImageFolder, Limits, Model, Reading, Sample, loss_chart, merges_chart};

/// `tokmerge analyze layers`.
pub(crate) fn layers(args: &LayersArgs) -> Result<ExitCode> {
    args.report.check()?;
    let folder = args.images.open()?;
    let model = args.preprocess.apply(args.model.open()?)?;
    // Refuses before files are made.
    InformationLoss::new(&model, &args.thresholds)?;
    let files = args.report.create()?;
    let samples = args.images.samples(folder);
    let mut progress = Progress::of(samples.len());
    let reading = args.images.reading(args.preprocess.limits());
    let losses = information_loss(&model, &args.thresholds, samples, reading, &mut progress);
    progress.clear();
    let losses = losses?;
    progress.report_failures();
    let scale = if args.log { Scale::Log } else { Scale::Linear };
    files
        .write(&args.report, &loss_chart(&model.name(), &losses, scale), |csv| write_losses(csv, &losses))?;
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
    let folder = args.images.open()?;
    let model = args.preprocess.apply(args.model.open()?)?;
    bind(&model, &methods)?;
    MergedTokens::new(&model, &methods)?;
    let files = args.report.create()?;
    let samples = args.images.samples(folder);
    let mut progress = Progress::of(samples.len());
    let reading = args.images.reading(args.preprocess.limits());
    let profiles = merged_tokens(&model, &methods, samples, reading, &mut progress);
    progress.clear();
    let profiles = profiles?;
    progress.report_failures();
    files
        .write(&args.report, &merges_chart(&model.name(), &profiles), |csv| write_profiles(csv, &profiles))?;
    if args.report.json {
        print_json(profiles.iter().map(serde_json::to_value), &model, &args.model)?;
    } else {
        output::line(heading(&model, &args.model, profiles.first().map_or(0, |profile| profile.images)))?;
        profiles.iter().try_for_each(print_profile)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl ImagesArgs {
    fn open(&self) -> Result<ImageFolder> {
        must_exist(&self.dir, "folder")?;
        Ok(ImageFolder::open(&self.dir)?)
    }

    fn samples(&self, folder: ImageFolder) -> Vec<Sample> {
        note_stray(&folder, &self.dir);
        let folder = match self.limit {
            Some(limit) => folder.limit(limit),
            None => folder,
        };
        folder.samples().to_vec()
    }

    fn reading(&self, limits: Limits) -> Reading {
        Reading { batch_size: self.batch_size, workers: self.workers, limits }
    }
}

/// The files of a report, open before the work begins.
struct Files {
    chart: File,
    csv: Option<csv::Writer<File>>,
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
        let path: &Path = &self.output;
        let chart = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Files { chart, csv: self.csv.as_deref().map(output::csv_file).transpose()? })
    }
}

impl Files {
    fn write(
        mut self,
        args: &ReportArgs,
        chart: &Chart,
        rows: impl FnOnce(csv::Writer<File>) -> Result<()>,
    ) -> Result<()> {
        let written = self.chart.write_all(chart.to_svg().as_bytes());
        written.with_context(|| format!("cannot write {}", args.output.display()))?;
        match self.csv {
            Some(csv) => rows(csv).context("cannot write the --csv file"),
            None => Ok(()),
        }
    }
}

fn heading(model: &Model, args: &ModelArgs, images: usize) -> String {
    format!("{}, {}, {images} images", model.name(), args.dtype.name())
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

fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn write_losses(mut writer: csv::Writer<File>, losses: &[LayerLoss]) -> Result<()> {
    writer.write_record([
        "layer",
        "threshold",
        "distance",
        "merged",
        "distance_per_token",
        "agreement",
        "images",
        "merge",
    ])?;
    for loss in losses {
        writer.write_record([
            loss.layer.to_string(),
            loss.threshold.to_string(),
            loss.distance.to_string(),
            loss.merged.to_string(),
            cell(loss.per_token),
            cell(loss.agreement),
            loss.images.to_string(),
            loss.merge.clone(),
        ])?;
    }
    Ok(writer.flush()?)
}

fn write_profiles(mut writer: csv::Writer<File>, profiles: &[MergeProfile]) -> Result<()> {
    writer.write_record([
        "merge",
        "layer",
        "threshold",
        "merged",
        "merged_deviation",
        "merged_min",
        "merged_max",
        "tokens",
        "error",
        "error_per_merge",
        "images",
    ])?;
    for profile in profiles {
        for layer in &profile.layers {
            writer.write_record([
                profile.merge.clone(),
                layer.layer.to_string(),
                cell(layer.threshold),
                layer.merged.mean.to_string(),
                layer.merged.deviation.to_string(),
                layer.merged.min.to_string(),
                layer.merged.max.to_string(),
                layer.tokens.to_string(),
                layer.error.to_string(),
                cell(layer.error_per_merge),
                profile.images.to_string(),
            ])?;
        }
    }
    Ok(writer.flush()?)
}
