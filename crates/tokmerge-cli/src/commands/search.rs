//! `tokmerge search`.

use crate::args::{ModelArgs, PreprocessArgs, at_least_one, bind, img_size, method, picture, prepared};
use crate::output;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::embedding::{Neighbour, Vectors};
use tokmerge::text::Lines;
use tokmerge::{Batch, Convention, Media, Model, Prepared, Preprocess, Rgb, contact_sheet, open_image};

#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// What to search for, an image, a sound or a clip, - for one on standard input; among texts the text itself, - for one line on
    /// standard input; with --key the key of a vector in FILE
    #[arg(value_name = "QUERY")]
    pub(crate) query: String,
    /// Vectors that tokmerge embed wrote: a file, or a folder of parts
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Vectors to show, the nearest first
    #[arg(short, long, value_name = "K", default_value_t = 10, value_parser = at_least_one)]
    pub(crate) k: usize,
    /// QUERY is the path or key of a vector in FILE; no model is needed
    #[arg(long)]
    pub(crate) key: bool,
    /// Of images: write the query and the nearest ones beside each other, a .png file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print one JSON object per vector to standard output, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// Merging method [default: the one that FILE was made with]
    #[arg(long, value_name = "SPEC")]
    pub(crate) merge: Option<String>,
    /// [--model is by default the one that FILE was made with]
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
}

/// Pixels of an image on the sheet.
const SIDE: usize = 224;

/// Images in a row of the sheet.
const COLUMNS: usize = 6;

pub(crate) fn run(mut args: SearchArgs) -> Result<ExitCode> {
    if let Some(sheet) = &args.output {
        if !sheet.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")) {
            bail!("{}: a contact sheet is written as PNG; name it *.png", sheet.display());
        }
        output::refuse_inputs("--output", sheet, [Path::new(&args.query), args.file.as_path()])?;
    }
    let vectors = Vectors::open(&args.file)?;
    let limits = args.preprocess.limits();
    let (query, image) = if args.key {
        (vectors.vector(&args.query)?, open_image(&args.query, &limits).ok())
    } else {
        embedding(&mut args, &vectors)?
    };
    let nearest = vectors.nearest(&query, args.k)?;
    if args.json {
        nearest.iter().try_for_each(output::json)?;
    } else {
        let cells = |found: &Neighbour| vec![found.key.clone(), format!("{:.4}", found.cosine)];
        output::line(output::table(&["key", "cosine"], &nearest.iter().map(cells).collect::<Vec<_>>()))?;
    }
    if let Some(sheet) = &args.output {
        let images = nearest.iter().map(|found| open_image(&found.key, &limits).ok());
        let images: Vec<Option<Rgb>> = [image].into_iter().chain(images).collect();
        contact_sheet(&images, SIDE, COLUMNS, sheet)?;
        let missing = images.iter().filter(|image| image.is_none()).count();
        if missing > 0 {
            output::note(format!(
                "note: {missing} of {} images are no files here, and are gray",
                images.len()
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The vector of what is searched for, by the model that the others are from unless another is asked for, and the image if
/// it is one.
fn embedding(args: &mut SearchArgs, vectors: &Vectors) -> Result<(Vec<f32>, Option<Rgb>)> {
    let own = args.model.model.is_none() && args.model.weights.is_none();
    if own {
        take_over(&mut args.model, vectors).with_context(|| {
            format!("{} does not say which model it is from; give --model", args.file.display())
        })?;
        args.preprocess.no_exif |= vectors.setting("exif").and_then(Value::as_bool) == Some(false);
    }
    let mut model = args.model.open()?;
    let preprocess = vectors.setting("preprocess").filter(|_| own);
    if let Some(preprocess) =
        preprocess.and_then(|found| serde_json::from_value::<Preprocess>(found.clone()).ok())
    {
        model = model.with_processor(preprocess.into());
    }
    let model: Model = args.preprocess.apply(model)?;
    let merge = args.merge.as_deref().or_else(|| vectors.setting("merge")?.as_str()).unwrap_or("none");
    let reductions = bind(&model, &[method(merge)?])?;
    let query = Path::new(&args.query);
    let (batch, image) = match model.media() {
        Media::Image => {
            let image = picture(query, &model, &args.preprocess)?;
            (model.prepare(std::slice::from_ref(&image))?, Some(image))
        }
        Media::Text if args.output.is_none() => (text_batch(&args.query, &model)?, None),
        media if args.output.is_some() => {
            bail!("--output draws images, and these are vectors of {}; leave it out", media.words());
        }
        _ => (model.batch(&[prepared(query, &model, &args.preprocess)?])?, None),
    };
    let mut measured = model.measure(batch, &reductions[0], Convention::Fvcore)?;
    Ok((measured.embeddings.swap_remove(0), image))
}

/// The query itself as a text, or the line on standard input.
fn text_batch(query: &str, model: &Model) -> Result<Batch> {
    let processor = model.processor().text().context("a model of texts")?;
    let encoded = match query {
        "-" => processor.encode(&one_line(io::stdin().lock())?).context(STDIN)?,
        query => processor.encode(query)?,
    };
    output::note_cut(model, 1, usize::from(encoded.is_cut));
    Ok(model.batch(&[Prepared::Text(encoded)])?)
}

/// How messages call standard input.
const STDIN: &str = "standard input (-)";

/// The only line of a stream that is not empty.
fn one_line(source: impl BufRead) -> Result<String> {
    let mut found = None;
    for line in Lines::open(source).context(STDIN)? {
        let line = line.context(STDIN)?.context(STDIN)?;
        if line.trim().is_empty() {
            continue;
        }
        if found.replace(line).is_some() {
            bail!("{STDIN}: has several lines, and one text is searched for; give a line at a time");
        }
    }
    found.with_context(|| format!("{STDIN}: holds no text; give a line of it"))
}

/// Takes over the model that the vectors are from; `None` where they do not say it.
fn take_over(args: &mut ModelArgs, vectors: &Vectors) -> Option<()> {
    let text = |name: &str| vectors.setting(name)?.as_str().map(str::to_owned);
    args.model = Some(text("model")?);
    args.weights = text("weights").map(PathBuf::from);
    args.random_weights = vectors.setting("random_weights").and_then(Value::as_bool) == Some(true);
    args.state_dict = text("state_dict");
    args.img_size = text("img_size").and_then(|size| img_size(&size).ok());
    args.dtype = text("dtype").and_then(|dtype| dtype.parse().ok()).unwrap_or(args.dtype);
    args.routing = text("routing").and_then(|routing| routing.parse().ok()).unwrap_or(args.routing);
    Some(())
}
