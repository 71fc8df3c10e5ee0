//! Everything that is printed goes through here.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use tokmerge::{AtomicFile, Media, Method, Model, Reduction, Spread, is_obeyed};

/// Prints a line on standard output.
pub(crate) fn line(text: impl AsRef<str>) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(visible(text.as_ref()).as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Prints a line on standard error, settings by their flags; a closed standard error is nobody's problem.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", visible(&with_flags(text.as_ref())));
}

/// The text with control characters, and those that turn the direction of writing, escaped: names of files hold what they
/// like, and terminals obey.
fn visible(text: &str) -> Cow<'_, str> {
    let commands = |c: char| is_obeyed(c) && c != '\n' && c != '\t';
    if !text.contains(commands) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if commands(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Prints a result as a line of JSON on standard output.
pub(crate) fn json(result: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(result)?)
}

/// Settings that messages of the library name in backticks, and that flags of the same name set.
const SETTINGS: [&str; 49] = [
    "batch_size",
    "beams",
    "class_order",
    "column",
    "convention",
    "crop_mode",
    "crop_pct",
    "dense",
    "dtype",
    "extend",
    "files",
    "format",
    "gmacs",
    "grid",
    "ignore_unused",
    "interpolation",
    "labels",
    "latency",
    "layer",
    "limit",
    "long_side",
    "max_drop",
    "max_pixels",
    "max_seconds",
    "max_tokens",
    "mean",
    "merge",
    "min_agreement",
    "min_spearman",
    "model",
    "normalize",
    "output",
    "random_weights",
    "resume",
    "search_images",
    "seed",
    "seeds",
    "set",
    "shard",
    "shard_size",
    "speedup",
    "state_dict",
    "std",
    "template",
    "vector_dtype",
    "weights",
    "workers",
    "x",
    "y",
];

/// A message of the library in the words of the command line: `` `max_drop` `` is `--max-drop`.
fn with_flags(text: &str) -> String {
    SETTINGS.iter().fold(text.to_owned(), |text, setting| {
        text.replace(&format!("`{setting}`"), &format!("--{}", setting.replace('_', "-")))
    })
}

/// Says that a method's wish to compute less in the last layer was not followed.
pub(crate) fn note_kept_patches(model: &str, reduction: &Reduction) {
    if reduction.method().last_layer() != reduction.last_layer() {
        note(format!(
            "note: the output of {model} looks at more than a class token, so all tokens go through its last MLP (last=keep)"
        ));
    }
}

/// Says that a method runs with weights that mean nothing.
pub(crate) fn note_fresh_weights(model: &Model, method: &Method) {
    if model.has_fresh_weights(method) {
        let way_out = match method {
            Method::Foresight(_) => "fit them with tokmerge calibrate",
            _ => "train them with tokmerge train",
        };
        note(format!(
            "note: {method} has weights of its own, and {} was not trained with them: they are random here, which is \
             good for measuring speed alone; {way_out}",
            model.name()
        ));
    }
}

/// Says how many texts or questions are too long for a model.
pub(crate) fn note_cut(model: &Model, all: usize, cut: usize) {
    let Some(texts) = model.processor().words().filter(|_| cut > 0) else { return };
    let (most, room) = (texts.max_tokens(), texts.room());
    let more = match model.media() {
        Media::Text if most < room => format!("; --max-tokens takes up to {room}"),
        _ => String::new(),
    };
    note(format!(
        "note: the end of {cut} of {all} {} is left out, since {} reads {most} tokens of each{more}",
        model.media().words(),
        model.name()
    ));
}

/// Prints an error with its causes in one line.
pub(crate) fn error(error: &anyhow::Error) {
    let mut shown = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Most errors say their cause themselves.
        if !shown.contains(&cause) {
            shown = if shown.is_empty() { cause } else { format!("{shown}: {cause}") };
        }
    }
    note(format!("error: {}", shortened(&shown.replace('\n', " "))));
}

/// At most so many characters of a message are shown: a name from a file may be as long as it likes.
const LONGEST: usize = 1500;

/// A message without its middle, where it is longer than anybody reads: the rule stands in front, the way out behind.
fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= LONGEST {
        return text.to_owned();
    }
    let front: String = text.chars().take(LONGEST * 2 / 3).collect();
    let back: String = text.chars().skip(count - LONGEST / 3).collect();
    format!("{front} [{} characters left out] {back}", count - LONGEST)
}

/// A file of results: made before the work whose results it is for, so that a mistyped path costs nothing, and put in the
/// place of an older one when it is whole.
#[derive(Debug)]
pub(crate) enum ResultFile {
    /// Written aside.
    Whole(AtomicFile),
    /// A pipe or a device.
    Stream(File),
}

impl ResultFile {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let is_stream = std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        if is_stream {
            return Ok(Self::Stream(OpenOptions::new().write(true).open(path).with_context(cannot)?));
        }
        check_writable(path)?;
        Ok(Self::Whole(AtomicFile::create(path).with_context(cannot)?))
    }

    /// Puts the file in its place.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Whole(file) => Ok(file.finish()?),
            Self::Stream(mut file) => Ok(file.flush()?),
        }
    }
}

impl Write for ResultFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Whole(file) => file.write(bytes),
            Self::Stream(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Whole(file) => file.flush(),
            Self::Stream(file) => file.flush(),
        }
    }
}

/// A CSV file of results.
pub(crate) type CsvFile = csv::Writer<ResultFile>;

/// Creates a CSV file.
pub(crate) fn csv_file(path: &Path) -> Result<CsvFile> {
    Ok(csv::Writer::from_writer(ResultFile::create(path)?))
}

/// Puts a CSV file in its place.
pub(crate) fn finish_csv(file: CsvFile) -> Result<()> {
    file.into_inner().map_err(|error| error.into_error())?.finish()
}

/// Writes rows below the names of their columns, and puts the file in its place.
pub(crate) fn csv_rows(mut file: CsvFile, rows: impl IntoIterator<Item: Serialize>) -> Result<()> {
    for row in rows {
        file.serialize(row)?;
    }
    finish_csv(file)
}

/// Refuses an output that is one of the inputs: the flag, the output, the inputs.
pub(crate) fn refuse_inputs<'p>(
    flag: &str,
    output: &Path,
    inputs: impl IntoIterator<Item = &'p Path>,
) -> Result<()> {
    let Ok(real) = output.canonicalize() else { return Ok(()) };
    for input in inputs {
        if input.canonicalize().is_ok_and(|input| input == real) {
            bail!("{flag} {} would overwrite what is read; give another file", output.display());
        }
    }
    Ok(())
}

/// Refuses a chart that is to be anything but SVG.
pub(crate) fn check_svg(path: &Path) -> Result<()> {
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg")) {
        return Ok(());
    }
    bail!("{}: a chart is written as SVG; name it *.svg", path.display())
}

/// Refuses a file that could not be written, without changing what is there.
pub(crate) fn check_writable(path: &Path) -> Result<()> {
    let existed = path.exists();
    let open = OpenOptions::new().append(true).create(true).open(path);
    open.with_context(|| format!("cannot write {}", path.display()))?;
    if !existed {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Writes a file as a whole or not at all: nobody ever reads half of it.
pub(crate) fn write_whole(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    AtomicFile::replace(path, content).with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Billions of multiply-adds; of small models with a third digit, without which ways of merging look alike.
pub(crate) fn gmacs(gmacs: f64) -> String {
    if gmacs < 1.0 { format!("{gmacs:.3}") } else { format!("{gmacs:.2}") }
}

/// Columns padded to their widest cell: the first to the left, the others to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let render = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| render(row.iter().map(String::as_str).collect()));
    [render(header.to_vec())].into_iter().chain(body).collect::<Vec<_>>().join("\n")
}

/// What is counted in a second.
pub(crate) fn per_second(media: Media) -> String {
    if media == Media::Image { "img/s".to_owned() } else { format!("{}/s", media.words()) }
}

/// `1.62x (1.58-1.66)`.
pub(crate) fn ratio(spread: &Spread) -> String {
    format!("{:.2}x ({:.2}-{:.2})", spread.median, spread.min, spread.max)
}

#[cfg(test)]
mod tests {
    use super::{SETTINGS, with_flags};
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn settings_are_printed_as_flags_and_all_other_words_as_they_are() {
        let text = "`max_drop` -1 is not allowed; `width` is 3; max_drop";
        assert_eq!(with_flags(text), "--max-drop -1 is not allowed; `width` is 3; max_drop");
    }

    #[test]
    fn every_setting_has_its_flag() {
        let command = Cli::command();
        for setting in SETTINGS {
            let flag = setting.replace('_', "-");
            let known = |command: &clap::Command| {
                command.get_arguments().any(|argument| argument.get_long() == Some(flag.as_str()))
            };
            assert!(command.get_subcommands().any(known), "--{flag}");
        }
    }
}
