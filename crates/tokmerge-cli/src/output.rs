//! Everything that is printed goes through here.

use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use tokmerge::{Method, Model, Reduction, Spread};

/// Prints a line on standard output.
pub(crate) fn line(text: impl AsRef<str>) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Prints a line on standard error; a closed standard error is nobody's problem.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Says that a method's wish to compute less in the last layer was not followed.
pub(crate) fn note_kept_patches(model: &str, reduction: &Reduction) {
    if reduction.method().last_layer() != reduction.last_layer() {
        note(format!(
            "note: the output of {model} is made of patches, so all tokens go through its last MLP (last=keep)"
        ));
    }
}

/// Says that a method runs with weights that mean nothing.
pub(crate) fn note_fresh_weights(model: &Model, method: &Method) {
    if model.has_fresh_weights(method) {
        note(format!(
            "note: {method} has weights of its own, and {} was not trained with them: they are random here, which is \
             good for measuring speed alone; train them with tokmerge train",
            model.name()
        ));
    }
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
    note(format!("error: {}", shown.replace('\n', " ")));
}

/// Creates a CSV file: before the work whose results it is for, so that a mistyped path costs nothing.
pub(crate) fn csv_file(path: &Path) -> Result<csv::Writer<File>> {
    csv::Writer::from_path(path).with_context(|| format!("cannot write {}", path.display()))
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
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let written = std::fs::write(&name, content).and_then(|()| std::fs::rename(&name, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&name);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
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

/// `1.62x (1.58-1.66)`.
pub(crate) fn ratio(spread: &Spread) -> String {
    format!("{:.2}x ({:.2}-{:.2})", spread.median, spread.min, spread.max)
}
