//! Runs cases and watches over them.

use crate::{Counting, Mutations, Outcome, Target, time_of};
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How a target is tried.
pub struct Trial {
    /// What is tried.
    pub target: &'static Target,
    /// The cases, by number.
    pub cases: Range<u64>,
    /// The longest that a case may take.
    pub longest: Duration,
}

/// What a trial came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases that returned.
    pub cases: u64,
    /// Those that were read, not refused.
    pub read: u64,
    /// The slowest, and its number.
    pub slowest: (Duration, u64),
    /// The most memory that one took, and its number.
    pub greediest: (usize, u64),
    /// What went wrong.
    pub findings: Vec<Finding>,
}

/// A case that went wrong.
#[derive(Debug)]
pub struct Finding {
    /// Its number.
    pub case: u64,
    /// How.
    pub fault: Fault,
}

/// How a case goes wrong.
#[derive(Debug)]
pub enum Fault {
    /// The reader panicked, here and with these words.
    Panic(String),
    /// It took this long.
    Slow(Duration),
    /// It did not return.
    Hang,
    /// It took this many bytes.
    Memory(usize),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case {} ", self.case)?;
        match &self.fault {
            Fault::Panic(words) => write!(f, "panicked {words}"),
            Fault::Slow(time) => write!(f, "took {time:?}"),
            Fault::Hang => f.write_str("did not return"),
            Fault::Memory(bytes) => write!(f, "took {bytes} bytes"),
        }
    }
}

/// After so many findings there is enough to repair.
const ENOUGH: usize = 20;
/// What has not returned after so many times the longest will not.
const HUNG: u32 = 30;

/// No case is running.
const IDLE: u64 = u64::MAX;

impl Trial {
    /// Runs the cases on a thread of its own.
    #[must_use]
    pub fn run(self) -> Report {
        let mutations = Mutations::new(self.target);
        let (case, report) = (Arc::new(AtomicU64::new(IDLE)), Arc::new(Mutex::new(Report::default())));
        let (finished, ended) = mpsc::channel();
        let (longest, cases) = (self.longest, self.cases.clone());
        let (running, written) = (Arc::clone(&case), Arc::clone(&report));
        std::thread::spawn(move || {
            for number in cases {
                let input = mutations.case(number);
                running.store(number, Ordering::SeqCst);
                let tried = try_once(self.target, &input, longest);
                running.store(IDLE, Ordering::SeqCst);
                let mut report = written.lock().unwrap_or_else(PoisonError::into_inner);
                report.add(number, tried, self.target.memory, longest);
                if report.findings.len() >= ENOUGH {
                    break;
                }
            }
            // Nobody waits any more if a case hung and then returned.
            let _ = finished.send(());
        });
        let mut seen = (IDLE, Instant::now());
        while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_millis(50)) {
            let now = case.load(Ordering::SeqCst);
            if now != seen.0 {
                seen = (now, Instant::now());
            } else if now != IDLE && seen.1.elapsed() > longest * HUNG {
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                report.findings.push(Finding { case: now, fault: Fault::Hang });
                return std::mem::take(&mut report);
            }
        }
        std::mem::take(&mut report.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What one case came to.
struct Tried {
    outcome: Result<Outcome, String>,
    time: Duration,
    bytes: usize,
}

fn try_once(target: &Target, input: &[u8], longest: Duration) -> Tried {
    let mut tried = timed(target, input);
    if tried.time > longest {
        // A busy machine can hold up any.
        let (again, computed) = time_of(|| timed(target, input));
        tried.time = tried.time.min(again.time).min(computed);
    }
    tried
}

fn timed(target: &Target, input: &[u8]) -> Tried {
    PANIC.set(None);
    let started = Instant::now();
    let (outcome, bytes) = Counting::peak_of(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let time = started.elapsed();
    Tried { outcome: outcome.map_err(|_| last_panic()), time, bytes }
}

thread_local! {
    /// The last panic of this thread, in words.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The words of the last panic of this thread, where [`record_panics`] was told to keep them.
pub(crate) fn last_panic() -> String {
    PANIC.with_borrow_mut(Option::take).unwrap_or_else(|| "without words".to_owned())
}

/// Keeps panics of some threads from standard error, and remembers them.
pub(crate) fn record_panics(of_this_thread: impl Fn() -> bool + Send + Sync + 'static) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !of_this_thread() {
            before(panic);
            return;
        }
        let words = panic.to_string().replace('\n', " ").chars().take(600).collect();
        PANIC.with_borrow_mut(|last| *last = Some(words));
    }));
}

impl Trial {
    /// Keeps panics of cases from standard error: they are reported.
    pub fn silence_panics() {
        // The threads of trials have no name, those of tests have.
        record_panics(|| std::thread::current().name().is_none());
    }
}

impl Report {
    fn add(&mut self, case: u64, tried: Tried, memory: usize, longest: Duration) {
        let Tried { outcome, time, bytes } = tried;
        self.cases += 1;
        self.read += u64::from(outcome == Ok(Outcome::Read));
        self.slowest = self.slowest.max((time, case));
        self.greediest = self.greediest.max((bytes, case));
        let mut found = |fault| self.findings.push(Finding { case, fault });
        if let Err(words) = outcome {
            found(Fault::Panic(words));
        }
        if time > longest {
            found(Fault::Slow(time));
        }
        if bytes > memory {
            found(Fault::Memory(bytes));
        }
    }
}
