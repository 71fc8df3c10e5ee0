//! Files of results whose endings say what they are: pages, charts and tables.

use crate::output;
use anyhow::{Result, bail};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a file of results is, by its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Markdown.
    Page,
    /// SVG.
    Chart,
    /// CSV.
    Table,
}

/// What writes such files, and how they are recognised by their beginnings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours {
    /// In a word, for messages.
    pub(crate) what: &'static str,
    pub(crate) page: fn(&str) -> bool,
    pub(crate) chart: fn(&str) -> bool,
    pub(crate) table: fn(&str) -> bool,
}

impl Kind {
    fn of(path: &Path, what: &str) -> Result<Self> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        Ok(match ending.as_deref() {
            Some("md") => Self::Page,
            Some("svg") => Self::Chart,
            Some("csv") => Self::Table,
            _ => bail!(
                "{}: a {what} is written as a page, a chart or a table; name it *.md, *.svg or *.csv",
                path.display()
            ),
        })
    }
}

impl Ours {
    /// Whether such a file was written by what this is of.
    fn wrote(&self, kind: Kind, path: &Path) -> bool {
        const BEGINNING: u64 = 1 << 16;
        let mut beginning = Vec::new();
        let read = File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut beginning));
        let text = String::from_utf8_lossy(&beginning);
        let is = match kind {
            Kind::Page => self.page,
            Kind::Chart => self.chart,
            Kind::Table => self.table,
        };
        read.is_ok() && is(&text)
    }
}

/// Where results go.
#[derive(Debug)]
pub(crate) struct ResultFiles {
    files: Vec<(Kind, PathBuf)>,
    ours: Ours,
}

impl ResultFiles {
    /// Files by their endings.
    pub(crate) fn of(outputs: &[PathBuf], ours: &Ours) -> Result<Self> {
        let file = |path: &PathBuf| Ok((Kind::of(path, ours.what)?, path.clone()));
        Ok(Self { files: outputs.iter().map(file).collect::<Result<_>>()?, ours: *ours })
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().map(|(_, path)| path)
    }

    /// The first file of a kind.
    pub(crate) fn first(&self, kind: Kind) -> Option<&Path> {
        self.files.iter().find(|(of, _)| *of == kind).map(|(_, path)| path.as_path())
    }

    /// Refuses files that are read, cannot be written, or hold something else, before there is anything to write.
    pub(crate) fn check<'p, I: Iterator<Item = &'p Path>>(&self, inputs: impl Fn() -> I) -> Result<()> {
        for path in self.paths() {
            output::refuse_inputs("--output", path, inputs())?;
            output::check_writable(path)?;
        }
        match self.files.iter().find(|(kind, path)| path.is_file() && !self.ours.wrote(*kind, path)) {
            Some((_, path)) => bail!(
                "{}: is there, and no {} wrote it; give --output another name",
                path.display(),
                self.ours.what
            ),
            None => Ok(()),
        }
    }

    /// Writes each as a whole or not at all.
    pub(crate) fn write(&self, content: impl Fn(Kind, &Path) -> Result<Vec<u8>>) -> Result<()> {
        for (kind, path) in &self.files {
            output::write_whole(path, content(*kind, path)?)?;
        }
        Ok(())
    }
}
