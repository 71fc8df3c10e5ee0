//! How many frames a video file has, and how fast they follow each other, without decoding it.
//!
//! Packets are counted, not read from a header: many containers have no such number, and some a wrong one.

use std::io::{BufRead, Read};
use std::path::Path;

use super::ffmpeg::Ffmpeg;
use super::{ClipError, ClipLimits};

/// Set in packets that are decoded and not shown.
const DISCARD: u64 = 4;

/// The longest line, in bytes.
const LINE: u64 = 1 << 12;

/// Lines beside those of packets, at most.
const OTHER_LINES: usize = 1000;

/// What a file says about its video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Packets {
    pub(super) count: usize,
    /// On average; none where there is no time.
    pub(super) fps: Option<f64>,
}

impl Packets {
    /// Counts those of the first track of video.
    pub(super) fn count(ffmpeg: &Ffmpeg, path: &Path, limits: &ClipLimits) -> Result<Self, ClipError> {
        let mut process = ffmpeg.start(path, &["-c", "copy", "-f", "framecrc"])?;
        let (mut seen, mut line) = (Seen::default(), Vec::new());
        while process.out()?.take(LINE).read_until(b'\n', &mut line)? > 0 {
            seen.add(&String::from_utf8_lossy(&line), limits)?;
            line.clear();
        }
        let ended = process.finish()?;
        if !ended.succeeded() {
            return Err(if ended.line_with("matches no streams").is_some() {
                ClipError::NoVideo
            } else if ended.line_with("not on whitelist").is_some() {
                let reason = "it is no MP4, Matroska, WebM, AVI, GIF, MPEG, FLV, ASF or Ogg".to_owned();
                ClipError::Refused { reason }
            } else {
                ClipError::Refused { reason: ended.reason() }
            });
        }
        let cut = ["partial file", "ended prematurely"].iter().find_map(|text| ended.line_with(text));
        match cut {
            Some(reason) => Err(ClipError::CutOff { reason }),
            None if seen.count == 0 => Err(ClipError::NoFrames),
            None => Ok(Self { count: seen.count, fps: seen.fps() }),
        }
    }
}

/// Lines of `framecrc` so far.
#[derive(Default)]
struct Seen {
    /// Seconds of a unit of time.
    unit: f64,
    count: usize,
    lines: usize,
    /// When packets are shown, and when they are decoded: in some containers not every packet has both.
    times: [Option<(i64, i64)>; 2],
}

impl Seen {
    /// A line: `#tb 0: 1/15360`, `#dimensions 0: 452x256`, or `0, dts, pts, duration, size, checksum[, F=0xflags]`.
    fn add(&mut self, line: &str, limits: &ClipLimits) -> Result<(), ClipError> {
        self.lines += 1;
        // Twice, since packets that are not shown do not count as frames.
        if self.lines > limits.max_frames.saturating_mul(2).saturating_add(OTHER_LINES) {
            return Err(ClipError::Babble);
        }
        if let Some(about) = line.strip_prefix('#') {
            let value = about.split_once(": ").map_or("", |(_, value)| value.trim());
            if about.starts_with("tb ")
                && let Some((above, below)) = value.split_once('/')
            {
                self.unit = number(above).zip(number(below)).map_or(0.0, |(a, b)| a as f64 / b as f64);
            }
            if about.starts_with("dimensions ")
                && let Some((width, height)) = value.split_once('x')
            {
                let side = |text| number(text).and_then(|side| usize::try_from(side).ok()).unwrap_or(0);
                check_pixels(side(width), side(height), limits)?;
            }
            return Ok(());
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [_, dts, pts, duration, _, _, more @ ..] = fields.as_slice() else { return Ok(()) };
        let flags = more.iter().find_map(|field| field.strip_prefix("F=0x"));
        if flags.and_then(|flags| u64::from_str_radix(flags, 16).ok()).is_some_and(|f| f & DISCARD != 0) {
            return Ok(());
        }
        self.count += 1;
        if self.count > limits.max_frames {
            return Err(ClipError::TooManyFrames { max_frames: limits.max_frames });
        }
        // The smallest number says that there is no time.
        let time = |text: &str| number(text).filter(|&time| time != i64::MIN);
        for (times, at) in self.times.iter_mut().zip([pts, dts]) {
            if let Some(at) = time(at) {
                let end = at.saturating_add(number(duration).unwrap_or(0).max(0));
                let (first, last) = times.unwrap_or((at, end));
                *times = Some((first.min(at), last.max(end)));
            }
        }
        if self.seconds() > limits.max_seconds as f64 {
            return Err(ClipError::TooLong { max_seconds: limits.max_seconds });
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        let lengths = self.times.iter().flatten().map(|(first, end)| end.saturating_sub(*first));
        lengths.max().unwrap_or(0) as f64 * self.unit
    }

    /// Frames per second. Times that are rounded to a coarse unit, as in Matroska and GIF, give the usual rate that is
    /// nearest, where one is as near as that rounding allows.
    fn fps(&self) -> Option<f64> {
        let seconds = self.seconds();
        let fps = self.count as f64 / seconds;
        if !super::sampling::is_rate(fps) {
            return None;
        }
        let whole = fps.round();
        let film = |rate: f64| rate * 1000.0 / 1001.0;
        let usual = [whole, film(24.0), film(30.0), film(48.0), film(60.0), film(120.0)];
        let away = |rate: &f64| (rate - fps).abs();
        let nearest =
            usual.into_iter().filter(|&rate| rate >= 1.0).min_by(|a, b| away(a).total_cmp(&away(b)));
        let within = fps * 2.0 * self.unit / seconds;
        Some(nearest.filter(|rate| away(rate) <= within).unwrap_or(fps))
    }
}

/// Refuses frames that are too large.
pub(super) fn check_pixels(width: usize, height: usize, limits: &ClipLimits) -> Result<(), ClipError> {
    let max_pixels = limits.max_pixels;
    match (width as u64).checked_mul(height as u64) {
        Some(pixels) if pixels <= max_pixels => Ok(()),
        _ => Err(ClipError::TooManyPixels { width, height, max_pixels }),
    }
}

fn number(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(unit: &str, times: impl Iterator<Item = (i64, i64)>) -> Seen {
        let mut seen = Seen::default();
        seen.add(&format!("#tb 0: {unit}\n"), &ClipLimits::default()).unwrap();
        for (at, duration) in times {
            let line = format!("0, {at}, {at}, {duration}, 9, 0x1\n");
            seen.add(&line, &ClipLimits::default()).unwrap();
        }
        seen
    }

    #[test]
    fn rates_are_found_from_times_however_coarse() {
        let milliseconds = |rate: f64, count: i64| {
            seen("1/1000", (0..count).map(move |at| ((at as f64 * 1e3 / rate).round() as i64, 33)))
        };
        assert_eq!(milliseconds(30.0, 300).fps(), Some(30.0));
        assert_eq!(milliseconds(30_000.0 / 1001.0, 300).fps(), Some(30_000.0 / 1001.0));
        assert_eq!(seen("1/12800", (0..50).map(|at| (at * 512, 512))).fps(), Some(25.0));
        assert_eq!(seen("1/100", (0..40).map(|at| (at * 10 / 3, 3))).fps(), Some(30.0));
        let slow = seen("1/1000", (0..10).map(|at| (at * 2345, 2345))).fps().unwrap();
        assert!((slow - 1000.0 / 2345.0).abs() < 1e-12, "{slow}");
        assert_eq!(seen("1/1000", [(0, 0)].into_iter()).fps(), None, "a single frame without a duration");
    }

    #[test]
    fn packets_that_are_not_shown_are_not_counted_and_times_may_be_absent() {
        let mut seen = seen("1/30", [(5, 1), (6, 1)].into_iter());
        let limits = ClipLimits::default();
        seen.add("0, 0, 0, 1, 9, 0x1, F=0x5", &limits).unwrap();
        seen.add("0, 7, -9223372036854775808, 1, 9, 0x1, F=0x0, S=1, more, 0x2", &limits).unwrap();
        assert_eq!((seen.count, seen.fps()), (3, Some(30.0)));
    }

    #[test]
    fn limits_are_met_while_packets_are_counted() {
        let mut seen = seen("1/1", (0..3).map(|at| (at, 1)));
        let limits = ClipLimits { max_seconds: 3, max_frames: 9, max_pixels: 99, ..ClipLimits::default() };
        let error = |seen: &mut Seen, line: &str, limits| seen.add(line, &limits).unwrap_err().to_string();
        assert!(error(&mut seen, "0, 3, 3, 1, 9, 0x1", limits).contains("longer than 3 s"));
        let fewer = ClipLimits { max_frames: 4, ..limits };
        assert!(error(&mut seen, "0, 4, 4, 1, 9, 0x1", fewer).contains("more than 4 frames"));
        assert!(error(&mut seen, "#dimensions 0: 10x10", limits).contains("10x10 pixels"));
    }
}
