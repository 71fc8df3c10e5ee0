//! `tokmerge calibrate`.

use crate::args::{ModelArgs, PreprocessArgs, at_least_one, must_exist};
use crate::commands::searched;
use crate::output;
use crate::progress::note_left_out;
use crate::shell::quoted;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::train::save_with_mergers;
use tokmerge::tune::{FEWEST_IMAGES, Foreseen, Search, Split, foresee};
use tokmerge::{Media, Method};

/// How much merges where nobody says otherwise.
const EXAMPLE: &str = "foresight:limit=0.05";

#[derive(Args, Debug)]
pub(crate) struct CalibrateArgs {
    /// Folder of images like those the model will see; labels are not needed
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Look at this many images, drawn by --seed; compare and tune look for settings on the same and measure on others
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub(crate) images: usize,
    /// Random seed that decides which images are looked at
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where to write the model with its new weights, a new folder that --model local-dir:FOLDER opens
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: PathBuf,
    /// Print one JSON object to standard output, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

pub(crate) fn run(args: &CalibrateArgs) -> Result<ExitCode> {
    if args.model.media().is_ok_and(|media| media != Media::Image) {
        bail!("calibrate looks at images alone, and the model takes something else; give a model of images");
    }
    if args.images < FEWEST_IMAGES {
        bail!(
            "--images {} is not allowed; --images takes a whole number of at least {FEWEST_IMAGES}",
            args.images
        );
    }
    check_new(&args.output)?;
    must_exist(&args.dir, "folder")?;
    let folder = args.model.folder(&args.dir, None)?;
    note_left_out(&folder, &args.dir);
    let Split { search: samples, .. } =
        Split::new(folder.samples().to_vec(), Search::Guided, Some(args.images), args.seed)?;
    let model = args.preprocess.apply(args.model.open()?)?;
    let images = searched::read(&model, samples, "look at", (&args.model, &args.preprocess))?;
    let found = foresee(&model, &images)?;
    let method: Method = EXAMPLE.parse()?;
    save_with_mergers(&model, found.mergers.clone(), &method, &args.output)?;
    if args.json {
        output::json(&json!({
            "model": model.name(),
            "images": images.len(),
            "explained": found.explained,
            "tolerance": found.tolerance,
            "output": args.output,
        }))?;
    } else {
        print(args, &found, images.len())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing that is there is written over.
fn check_new(folder: &Path) -> Result<()> {
    let empty = || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if folder.exists() && !empty() {
        bail!("{}: is there already; give --output the name of a new folder", folder.display());
    }
    Ok(())
}

fn print(args: &CalibrateArgs, found: &Foreseen, images: usize) -> Result<()> {
    output::line(format!(
        "Later attention on the tokens of {images} images, and how much each layer stands:"
    ))?;
    let layers = found.explained.iter().zip(&found.tolerance).enumerate();
    let row = |(layer, (explained, tolerance)): (usize, (&f64, &f64))| {
        vec![(layer + 1).to_string(), format!("{:.0} %", 100.0 * explained), format!("{tolerance:.2}")]
    };
    output::line(output::table(&["layer", "explained", "tolerance"], &layers.map(row).collect::<Vec<_>>()))?;
    output::line("")?;
    let folder = quoted(&format!("local-dir:{}", args.output.display()));
    output::line(format!("Use it: tokmerge classify photo.jpg --model {folder} --merge {EXAMPLE}"))
}
