//! Processes of `ffmpeg`.

use std::ffi::OsString;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use super::ClipError;
use super::error::one_line;

/// Names the program.
const VARIABLE: &str = "TOKMERGE_FFMPEG";

/// Containers of video. A playlist is none: it would make `ffmpeg` open what it names.
const FORMATS: &str = "mov,matroska,webm,avi,gif,mpegts,mpeg,flv,asf,ogg";

/// Bytes of what `ffmpeg` writes about errors that are kept, of the end.
const KEPT: usize = 1 << 14;

/// Characters of a line of it that are told.
const TOLD: usize = 200;

/// How lines begin that say no more than that it stopped.
const CONSEQUENCES: [&str; 6] = [
    "Error opening",
    "Error while processing",
    "Terminating thread",
    "Task finished",
    "Conversion failed",
    "Last message repeated",
];

/// The program.
pub(super) struct Ffmpeg {
    program: PathBuf,
}

impl Ffmpeg {
    /// The one that is named, or that of the environment.
    pub(super) fn find(named: Option<&Path>) -> Self {
        let variable = || std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
        let named = named.map(Path::to_path_buf).or_else(variable);
        Self { program: named.unwrap_or_else(|| PathBuf::from("ffmpeg")) }
    }

    /// Starts it on the first track of video of a file; what it writes as `output` says comes through a pipe.
    pub(super) fn start(&self, path: &Path, output: &[&str]) -> Result<Running, ClipError> {
        // Without it, a name like `concat:a` or `-y` would be more than a name.
        let mut file = OsString::from("file:");
        file.push(path);
        let mut command = Command::new(&self.program);
        command.args([
            "-v",
            "error",
            "-nostdin",
            "-protocol_whitelist",
            "file",
            "-format_whitelist",
            FORMATS,
        ]);
        command.arg("-i").arg(file).args(["-map", "0:V:0"]).args(output).arg("-");
        command.env("AV_LOG_FORCE_NOCOLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = || self.program.clone();
        let mut child =
            command.spawn().map_err(|source| ClipError::NoFfmpeg { program: program(), source })?;
        let out = child.stdout.take().map(|pipe| BufReader::with_capacity(1 << 16, pipe));
        let errors = child.stderr.take().map(|pipe| std::thread::spawn(move || drain(pipe)));
        Ok(Running { child, out, errors })
    }
}

/// A process, killed and waited for when it is dropped.
pub(super) struct Running {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    errors: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// What it writes.
    pub(super) fn out(&mut self) -> std::io::Result<&mut BufReader<ChildStdout>> {
        self.out.as_mut().ok_or_else(|| std::io::Error::other("ffmpeg has no pipe"))
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) -> std::io::Result<Ended> {
        // Closed first, so that it does not wait for a reader.
        self.out = None;
        let status = self.child.wait()?;
        let errors = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ok(Ended { status, errors: String::from_utf8_lossy(&errors).into_owned() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.out = None;
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(thread) = self.errors.take() {
            let _ = thread.join();
        }
    }
}

/// How a process ended.
pub(super) struct Ended {
    status: ExitStatus,
    errors: String,
}

impl Ended {
    /// Whether it had nothing to complain about.
    pub(super) fn well(&self) -> bool {
        self.status.success() && self.errors.trim().is_empty()
    }

    /// Whether it went on to the end of what there was.
    pub(super) fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// The last line that contains `text`.
    pub(super) fn line_with(&self, text: &str) -> Option<String> {
        self.errors.lines().rev().find(|line| line.contains(text)).map(told)
    }

    /// Its last line that says more than that it stopped.
    pub(super) fn reason(&self) -> String {
        let lines: Vec<String> = self.errors.lines().map(told).filter(|line| !line.is_empty()).collect();
        let says_more = |line: &&String| !CONSEQUENCES.iter().any(|start| line.starts_with(start));
        let particular = lines.iter().rev().find(says_more);
        match particular.or(lines.last()) {
            Some(line) => line.clone(),
            None => format!("ffmpeg ended with {}", self.status),
        }
    }
}

/// A line without the part of the program that it came from, which has another address each time.
fn told(line: &str) -> String {
    let mut line = line.trim();
    while let Some((_, rest)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) {
        line = rest;
    }
    one_line(&line.chars().take(TOLD).collect::<String>())
}

/// Reads to the end, and keeps the last bytes.
fn drain(mut pipe: ChildStderr) -> Vec<u8> {
    let (mut kept, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = pipe.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    kept
}
