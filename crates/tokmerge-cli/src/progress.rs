//! What a user sees while images are worked through, and which could not be read.

use crate::output;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokmerge::train::{self, Event};
use tokmerge::tune::compare::CompareWatcher;
use tokmerge::tune::{Goal, Point, SearchOptions, Watcher};
use tokmerge::{ClassFolder, DownloadProgress, Downloaded, Media, MediaError, Observer};

/// Unreadable files named at most; the count is always given.
const NAMED_FAILURES: usize = 10;

/// A bar on a terminal, nothing elsewhere; remembers failures.
pub(crate) struct Progress {
    bar: ProgressBar,
    media: Media,
    items: usize,
    failures: Vec<String>,
}

impl Progress {
    pub(crate) fn of(media: Media, items: usize) -> Self {
        let template = format!("{{bar:30}} {{pos}}/{{len}} {}, {{per_sec}}, {{eta}} left", media.words());
        let bar = ProgressBar::new(items as u64);
        let bar = ProgressStyle::with_template(&template).map_or(bar.clone(), |style| bar.with_style(style));
        Self { bar, media, items, failures: Vec::new() }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Names the files that could not be read.
    pub(crate) fn report_failures(&self) {
        let (failures, items, words) = (&self.failures, self.items, self.media.words());
        if failures.is_empty() {
            return;
        }
        output::note(format!(
            "warning: {} of {items} {words} could not be read and are left out:",
            failures.len()
        ));
        for failure in failures.iter().take(NAMED_FAILURES) {
            output::note(format!("  {failure}"));
        }
        if failures.len() > NAMED_FAILURES {
            output::note(format!("  and {} more", failures.len() - NAMED_FAILURES));
        }
    }
}

impl Observer for Progress {
    fn done(&mut self, images: usize) {
        self.bar.inc(images as u64);
    }

    fn failed(&mut self, _: &Path, error: &MediaError) {
        self.failures.push(error.to_string());
    }
}

/// How a search goes: stage, measurements, time left and the best so far.
pub(crate) struct SearchProgress {
    bar: ProgressBar,
    /// Of the held-out images, once the search is over.
    held_out: Progress,
    goal: Option<Goal>,
    batch_size: usize,
    unmerged: Point,
    stage: String,
    best: Option<Point>,
}

impl SearchProgress {
    /// The time counts from here on.
    pub(crate) fn new(options: SearchOptions, unmerged: &Point, media: Media, held_out: usize) -> Self {
        let deadline = Instant::now() + options.time_budget;
        let left = move |_: &ProgressState, out: &mut dyn Write| {
            let left = deadline.saturating_duration_since(Instant::now()).as_secs();
            let _ = write!(out, "{}:{:02}", left / 60, left % 60);
        };
        let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg} ({left} left)");
        let bar = ProgressBar::new(0);
        let bar = style.map_or(bar.clone(), |style| bar.with_style(style.with_key("left", left)));
        bar.enable_steady_tick(Duration::from_secs(1));
        Self {
            bar,
            held_out: Progress::of(media, held_out),
            goal: options.goal,
            batch_size: options.batch_size,
            unmerged: unmerged.clone(),
            stage: String::new(),
            best: None,
        }
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
        self.held_out.clear();
    }

    pub(crate) fn report_failures(&self) {
        self.held_out.report_failures();
    }

    /// Whether a point comes up to the goal, and how good it is then: the larger the better.
    fn worth(&self, point: &Point) -> Option<f64> {
        let (cheap, good) = (-point.gmacs, point.expected_agreement);
        let (reached, worth) = match self.goal {
            Some(Goal::MaxDrop(points)) => (point.expected_drop.is_some_and(|drop| drop <= points), cheap),
            Some(Goal::MinAgreement(percent)) => (good >= percent, cheap),
            Some(Goal::Gmacs(ratio)) => (point.gmacs <= ratio * self.unmerged.gmacs, good),
            Some(Goal::Latency(ms)) => (1e3 * point.seconds * self.batch_size as f64 <= ms, good),
            Some(Goal::Speedup(factor)) => (point.unmerged_seconds / point.seconds >= factor, good),
            None => (false, good),
        };
        reached.then_some(worth)
    }

    fn show(&self) {
        let best = self.best.as_ref().map_or_else(String::new, |best| {
            let part = best.gmacs / self.unmerged.gmacs;
            format!(", best {part:.2} of the GMACs at {:.1} % agreement", best.expected_agreement)
        });
        self.bar.set_message(format!("{}{best}", self.stage));
    }
}

impl Observer for SearchProgress {
    fn done(&mut self, images: usize) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
            self.held_out.bar.reset();
        }
        self.held_out.done(images);
    }

    fn failed(&mut self, path: &Path, error: &MediaError) {
        self.held_out.failed(path, error);
    }
}

impl Watcher for SearchProgress {
    fn measured(&mut self, point: &Point, done: usize, planned: usize) {
        self.bar.set_length(planned as u64);
        self.bar.set_position(done as u64);
        let best = self.best.as_ref().and_then(|best| self.worth(best));
        if self.worth(point).is_some_and(|worth| best.is_none_or(|best| worth > best)) {
            self.best = Some(point.clone());
        }
        self.show();
    }

    fn stage(&mut self, what: &str) {
        what.clone_into(&mut self.stage);
        self.show();
    }
}

/// How a comparison goes: what is being measured, and how much is left of it.
pub(crate) struct CompareProgress {
    bar: ProgressBar,
}

impl CompareProgress {
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg} ({elapsed})");
        let bar = ProgressBar::new(0);
        let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
        bar.enable_steady_tick(Duration::from_secs(1));
        Self { bar }
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl CompareWatcher for CompareProgress {
    fn doing(&mut self, what: &str, done: usize, planned: usize) {
        self.bar.set_length(planned as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(what.to_owned());
    }
}

/// Shows downloads: a bar for every file on a terminal, nothing elsewhere.
#[derive(Default)]
pub(crate) struct Downloads {
    /// The file that is coming, and its bar.
    current: Mutex<Option<(String, ProgressBar)>>,
}

impl DownloadProgress for Downloads {
    fn downloaded(&self, so_far: Downloaded<'_>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(file, _)| file != so_far.file) {
            let bar = ProgressBar::no_length();
            let style =
                ProgressStyle::with_template("{msg}: {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
            let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
            bar.set_message(format!("downloading {}", so_far.file));
            if let Some((_, done)) = current.replace((so_far.file.to_owned(), bar)) {
                done.finish_and_clear();
            }
        }
        if let Some((_, bar)) = &*current {
            so_far.total.into_iter().for_each(|total| bar.set_length(total));
            bar.set_position(so_far.received);
        }
    }
}

impl Drop for Downloads {
    fn drop(&mut self) {
        let current = self.current.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bar)) = current.take() {
            bar.finish_and_clear();
        }
    }
}

/// Says what lies in `dir` and is not looked at.
pub(crate) fn note_left_out(folder: &ClassFolder, dir: &Path) {
    if !folder.left_out().is_empty() {
        output::note(format!("note: left out in {}: {}", dir.display(), folder.left_out()));
    }
}

/// How training goes: steps, loss, speed, time left, and the last validation.
pub(crate) struct TrainProgress {
    bar: ProgressBar,
    media: Media,
    epochs: usize,
    /// Smoothed, so that it can be read.
    loss: Option<f64>,
    validated: String,
    failures: usize,
}

impl TrainProgress {
    pub(crate) fn new(media: Media, done: usize, steps: usize, epochs: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:20} step {pos}/{len}, {msg} ({eta} left)");
        let bar = ProgressBar::new(steps as u64);
        let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
        bar.set_position(done as u64);
        bar.reset_eta();
        Self { bar, media, epochs, loss: None, validated: String::new(), failures: 0 }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
        if self.failures > NAMED_FAILURES {
            let words = self.media.words();
            output::note(format!("warning: {} {words} could not be read in all", self.failures));
        }
    }

    /// Names what could not be read, up to a number, and what comes of that.
    fn failed(&mut self, reason: &str, then: &str) {
        self.failures += 1;
        if self.failures <= NAMED_FAILURES {
            self.note(&format!("warning: {reason}; {then}"));
        }
    }

    /// A line above the bar; without a terminal a line.
    fn note(&self, text: &str) {
        self.bar.suspend(|| output::note(text));
    }
}

impl train::Observer for TrainProgress {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Step { step, epoch, loss, images_per_second, .. } => {
                let smooth = self.loss.map_or(loss, |smooth| 0.95 * smooth + 0.05 * loss);
                self.loss = Some(smooth);
                self.bar.set_position(step as u64);
                self.bar.set_message(format!(
                    "epoch {epoch}/{}, loss {smooth:.3}, {images_per_second:.1} {}{}",
                    self.epochs,
                    output::per_second(self.media),
                    self.validated
                ));
            }
            Event::Unreadable(reason) => {
                self.failed(reason, &format!("another {} takes its place", self.media.word()));
            }
            Event::LeftOut(reason) => self.failed(reason, "it is left out of validations"),
            Event::Validated(validation) => {
                let results = validation.accuracies.iter();
                let shown = results.map(|accuracy| {
                    let percent = accuracy.top1.or(accuracy.mean_average_precision).unwrap_or(0.0);
                    match accuracy.bleu {
                        Some(bleu) => format!("{} BLEU {bleu:.1}", accuracy.merge),
                        None => format!("{} {percent:.1} %", accuracy.merge),
                    }
                });
                let shown = shown.collect::<Vec<_>>().join(", ");
                let loss = self.loss.map_or_else(String::new, |loss| format!(", loss {loss:.3}"));
                self.note(&format!(
                    "epoch {}, step {}{loss}, {}: {shown}",
                    validation.epoch,
                    validation.step,
                    validation.of.name()
                ));
                self.validated = format!(", {shown}");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Downloads;
    use tokmerge::{DownloadProgress, Downloaded};

    #[test]
    fn every_file_that_is_downloaded_has_its_bar() {
        let downloads = Downloads::default();
        let at = |file, received, total| {
            downloads.downloaded(Downloaded { file, received, total });
            let (file, bar) = downloads.current.lock().unwrap().clone().unwrap();
            (file, bar.position(), bar.length())
        };
        assert_eq!(at("config.json", 5, None), ("config.json".to_owned(), 5, None));
        assert_eq!(at("a.safetensors", 10, Some(40)), ("a.safetensors".to_owned(), 10, Some(40)));
        assert_eq!(at("a.safetensors", 40, Some(40)), ("a.safetensors".to_owned(), 40, Some(40)));
    }
}
