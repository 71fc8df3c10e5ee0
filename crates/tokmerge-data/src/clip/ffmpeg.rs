//! Processes of `ffmpeg`.

use std::ffi::OsString;
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::ClipError;
use super::error::one_line;
use super::pipe::{Pipe, Stalled};

/// Names the program.
const VARIABLE: &str = "TOKMERGE_FFMPEG";

/// Containers of video. A playlist is none: it would make `ffmpeg` open what it names.
const FORMATS: &str = "mov,matroska,webm,avi,gif,mpegts,mpeg,flv,asf,ogg";

/// Bytes of what `ffmpeg` writes about errors that are kept, of the end.
const KEPT: usize = 1 << 14;

/// Between two looks at whether it has ended.
const GLANCE: Duration = Duration::from_millis(1);

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
    patience: Duration,
}

impl Ffmpeg {
    /// The one that is named, or that of the environment. Its processes have so long for every line and every frame.
    pub(super) fn find(named: Option<&Path>, patience: Duration) -> Self {
        let variable = || std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
        let named = named.map(Path::to_path_buf).or_else(variable);
        Self { program: named.unwrap_or_else(|| PathBuf::from("ffmpeg")), patience }
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
        let out = child.stdout.take().map(|pipe| Pipe::new(pipe, self.patience));
        let errors = child.stderr.take().map(drained);
        Ok(Running { child, out, errors, patience: self.patience })
    }
}

/// A process, killed and waited for when it is dropped.
pub(super) struct Running {
    child: Child,
    out: Option<Pipe>,
    /// All that is kept of what it says about errors, once that is all.
    errors: Option<Receiver<Vec<u8>>>,
    patience: Duration,
}

impl Running {
    /// What it writes, and as long as ever for what comes next.
    pub(super) fn out(&mut self) -> std::io::Result<&mut Pipe> {
        let out = self.out.as_mut().ok_or_else(|| Error::other("ffmpeg has no pipe"))?;
        out.wait_anew();
        Ok(out)
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) -> std::io::Result<Ended> {
        // Closed first, so that it does not wait for a reader.
        self.out = None;
        let deadline = Instant::now() + self.patience;
        let stalled = || Error::new(ErrorKind::TimedOut, Stalled(self.patience));
        let errors = match self.errors.take() {
            Some(errors) => errors.recv_timeout(self.patience).map_err(|_| stalled())?,
            None => Vec::new(),
        };
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => return Err(stalled()),
                None => std::thread::sleep(GLANCE),
            }
        };
        Ok(Ended { status, errors: String::from_utf8_lossy(&errors).into_owned() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.out = None;
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
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

/// Reads to the end, and sends the last bytes.
fn drained(mut pipe: ChildStderr) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let (mut kept, mut chunk) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            kept.extend_from_slice(&chunk[..count]);
            if kept.len() > 2 * KEPT {
                kept.drain(..kept.len() - KEPT);
            }
        }
        // Nobody may want to know.
        let _ = sender.send(kept);
    });
    receiver
}
