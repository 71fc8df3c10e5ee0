//! Pipes of a process that may stop writing and never end.

use std::io::{BufRead, Error, ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Bytes of a portion.
const PORTION: usize = 1 << 16;

/// Portions that wait to be read.
const WAITING: usize = 4;

/// Nothing whole came in time.
#[derive(Debug, thiserror::Error)]
#[error("nothing came for {} s", .0.as_secs())]
pub(super) struct Stalled(pub(super) Duration);

/// What a process writes. A read that has not ended by the deadline is an error with [`Stalled`] in it.
///
/// A thread of its own waits for the process, and is left to itself where that never ends: a program that the process
/// has started may hold the pipe open.
pub(super) struct Pipe {
    portions: Receiver<std::io::Result<Vec<u8>>>,
    portion: Vec<u8>,
    /// How much of the portion has been read.
    read: usize,
    patience: Duration,
    deadline: Instant,
}

impl Pipe {
    pub(super) fn new(mut from: impl Read + Send + 'static, patience: Duration) -> Self {
        let (sender, portions) = sync_channel(WAITING);
        std::thread::spawn(move || {
            loop {
                let mut portion = vec![0; PORTION];
                let read = match from.read(&mut portion) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    read => read,
                };
                let is_last = !matches!(read, Ok(1..));
                let sent = sender.send(read.map(|count| {
                    portion.truncate(count);
                    portion
                }));
                if is_last || sent.is_err() {
                    return;
                }
            }
        });
        Self { portions, portion: Vec::new(), read: 0, patience, deadline: Instant::now() + patience }
    }

    /// What follows has as long again.
    pub(super) fn wait_anew(&mut self) {
        self.deadline = Instant::now() + self.patience;
    }
}

impl BufRead for Pipe {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.read == self.portion.len() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            self.portion = match self.portions.recv_timeout(left) {
                Ok(portion) => portion?,
                Err(RecvTimeoutError::Disconnected) => Vec::new(),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::new(ErrorKind::TimedOut, Stalled(self.patience)));
                }
            };
            self.read = 0;
        }
        Ok(&self.portion[self.read..])
    }

    fn consume(&mut self, count: usize) {
        self.read = (self.read + count).min(self.portion.len());
    }
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out these portions, and then waits.
    struct Waits(Vec<&'static [u8]>);

    impl Read for Waits {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                std::thread::sleep(Duration::from_secs(1000));
            }
            let mut next = self.0.remove(0);
            next.read(into)
        }
    }

    #[test]
    fn everything_is_read_in_order_and_the_end_is_an_end() {
        let bytes: Vec<u8> = (0..5 * PORTION + 7).map(|at| (at * at / 7) as u8).collect();
        let mut pipe = Pipe::new(std::io::Cursor::new(bytes.clone()), Duration::from_secs(60));
        let mut line = Vec::new();
        pipe.read_until(bytes[3], &mut line).unwrap();
        let mut rest = Vec::new();
        pipe.read_to_end(&mut rest).unwrap();
        assert!([line, rest].concat() == bytes);
        assert_eq!(pipe.read(&mut [0; 9]).unwrap(), 0);
    }

    #[test]
    fn a_read_ends_at_the_deadline_and_what_came_before_is_kept() {
        let mut pipe = Pipe::new(Waits(vec![b"one\ntw"]), Duration::from_millis(200));
        let mut line = Vec::new();
        pipe.read_until(b'\n', &mut line).unwrap();
        assert_eq!(line, b"one\n");
        let error = pipe.read_until(b'\n', &mut line).unwrap_err();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Stalled>()), "{error}");
        pipe.wait_anew();
        let begun = Instant::now();
        assert_eq!(pipe.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() >= Duration::from_millis(190));
    }
}
