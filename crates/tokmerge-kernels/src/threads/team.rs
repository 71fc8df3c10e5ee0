//! A team of threads for many short parallel regions in a row.
//!
//! A forward pass of one image is some fifty regions of a few hundred microseconds, with little between them. Handing
//! each to a thread pool from outside costs two context switches. Here the caller takes part in the work, and
//! whoever waits looks out for a moment before going to sleep: the helpers for the next region, the caller for the
//! helpers' last tasks. Longer would take time from others; giving up the core in between would cost a whole time
//! slice whenever somebody else is busy on it.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a thread looks out before it sleeps.
const PATIENCE: Duration = Duration::from_micros(100);
/// Looks between two readings of the clock.
const LOOKS: usize = 32;
/// How long the caller sleeps at most before it looks again.
const NAP: Duration = Duration::from_millis(1);

/// The lowest bit of the state: the region takes helpers.
const OPEN: usize = 1;
/// One helper at work. The bits above count the regions.
const HELPER: usize = 2;
const REGION: usize = 1 << 16;
const HELPERS_MASK: usize = REGION - HELPER;
/// More helpers than that would run into the count of regions.
const MAX_HELPERS: usize = 1024;

/// A region: `task(0) .. task(tasks - 1)`, claimed one by one by the caller and its helpers.
#[derive(Clone)]
struct Region {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    caller: Thread,
}

struct Shared {
    /// `OPEN`, helpers at work, number of the region.
    state: AtomicUsize,
    /// Written by the caller while the region is closed and no helper is at work.
    region: UnsafeCell<Option<Region>>,
    next: AtomicUsize,
    /// Whether the caller sleeps until the last helper has left.
    caller_sleeps: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `region` is written only by the holder of the team's lock while no helper is at work, and read by helpers
// that entered the region afterwards (release and acquire on `state`); what its pointer refers to is `Sync` and
// outlives the region, since `run` waits for all helpers.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

struct Helper {
    thread: Thread,
    asleep: Arc<AtomicBool>,
}

type Hook = Box<dyn Fn(usize) + Send + Sync>;

/// What a helper does first.
static START: OnceLock<Hook> = OnceLock::new();

/// Has every helper thread call `hook` with its number, from 1 (0 is the caller), before it takes part in anything; for
/// example to stay on a core.
///
/// Returns whether it will: there is one hook in a process, and helpers that run already have begun without it.
pub fn on_helper_start(hook: impl Fn(usize) + Send + Sync + 'static) -> bool {
    TEAM.get().is_none() && START.set(Box::new(hook)).is_ok()
}

/// The helpers; whoever holds the lock has the team.
pub(crate) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<Helper>,
}

impl Team {
    fn new(helpers: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicUsize::new(0),
            region: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        // A system without threads gets a team of one.
        let helpers = (0..helpers.min(MAX_HELPERS)).map_while(|index| {
            let (shared, asleep) = (shared.clone(), Arc::new(AtomicBool::new(false)));
            let flag = asleep.clone();
            let name = format!("tokmerge-{}", index + 1);
            let life = move || {
                if let Some(hook) = START.get() {
                    hook(index + 1);
                }
                shared.help(&flag);
            };
            let helper = thread::Builder::new().name(name).spawn(life).ok()?;
            Some(Helper { thread: helper.thread().clone(), asleep })
        });
        let helpers = helpers.collect();
        Self { shared, helpers }
    }

    /// Runs `task(0)`, …, `task(tasks - 1)` on the caller and the helpers; returns when all are done.
    ///
    /// # Panics
    /// With what a task panicked with.
    fn run(&mut self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes; `run` does not return, not even by unwinding, before every helper has
        // left the region, so that nobody calls `task` after its end.
        let task: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(task) };
        let region = Region { task, tasks, caller: thread::current() };
        let shared = &*self.shared;
        // SAFETY: `&mut self` is the only caller; the last region is closed and was left by all.
        unsafe { *shared.region.get() = Some(region.clone()) };
        shared.next.store(0, Ordering::Relaxed);
        let number = shared.state.load(Ordering::Relaxed) & !(REGION - 1);
        shared.state.store(number.wrapping_add(REGION) | OPEN, Ordering::SeqCst);
        for helper in self.helpers.iter().take(tasks - 1) {
            // Either this sees the flag, or the helper, after raising it, sees the region.
            if helper.asleep.swap(false, Ordering::SeqCst) {
                helper.thread.unpark();
            }
        }
        shared.work(&region);
        shared.state.fetch_and(!OPEN, Ordering::SeqCst);
        let busy = || shared.state.load(Ordering::SeqCst) & HELPERS_MASK != 0;
        if !look_out(|| !busy()) {
            shared.caller_sleeps.store(true, Ordering::SeqCst);
            while busy() {
                thread::park_timeout(NAP);
            }
            shared.caller_sleeps.store(false, Ordering::SeqCst);
        }
        let panic = shared.panic.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

/// Waits a moment for `ready`; whether it was.
fn look_out(ready: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
    }
}

impl Shared {
    /// Claims and runs tasks until none is left.
    fn work(&self, region: &Region) {
        // SAFETY: `Team::run` keeps what the pointer refers to alive while the region is open or has helpers.
        let task = unsafe { &*region.task };
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= region.tasks {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(index))) {
                *self.panic.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(panic);
            }
        }
    }

    /// Joins the region if it is open and another one than `last`; its number then.
    fn enter(&self, last: usize) -> Option<usize> {
        let state = self.state.load(Ordering::SeqCst);
        let number = state & !(REGION - 1);
        if state & OPEN == 0 || number == last {
            return None;
        }
        let joined =
            self.state.compare_exchange(state, state + HELPER, Ordering::Acquire, Ordering::Relaxed).is_ok();
        joined.then_some(number)
    }

    /// The life of a helper.
    fn help(&self, asleep: &AtomicBool) {
        let mut last = 0;
        loop {
            let number = self.next_region(last, asleep);
            // SAFETY: this helper is counted in `state`, so the caller does not change the region.
            let region = unsafe { (*self.region.get()).clone() };
            if let Some(region) = &region {
                self.work(region);
            }
            let left = self.state.fetch_sub(HELPER, Ordering::SeqCst);
            let last_to_leave = left & (HELPERS_MASK | OPEN) == HELPER;
            if let Some(region) = region
                && last_to_leave
                && self.caller_sleeps.load(Ordering::SeqCst)
            {
                region.caller.unpark();
            }
            last = number;
        }
    }

    /// Waits for a region to join; its number.
    fn next_region(&self, last: usize, asleep: &AtomicBool) -> usize {
        loop {
            let joined = Cell::new(None);
            let join = || {
                joined.set(self.enter(last));
                joined.get().is_some()
            };
            if !look_out(join) {
                asleep.store(true, Ordering::SeqCst);
                // A region that was opened before the flag could be seen is found here.
                if join() {
                    asleep.store(false, Ordering::SeqCst);
                }
                while asleep.load(Ordering::SeqCst) {
                    thread::park();
                }
            }
            if let Some(number) = joined.get() {
                return number;
            }
        }
    }
}

/// The team of this process.
static TEAM: OnceLock<Mutex<Team>> = OnceLock::new();

/// Runs the tasks on the team of this process, of `threads` threads with the caller; false, with nothing done, if
/// someone else has it.
pub(crate) fn run(threads: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) -> bool {
    let team = TEAM.get_or_init(|| Mutex::new(Team::new(threads - 1)));
    let mut team: MutexGuard<'_, Team> = match team.try_lock() {
        Ok(team) => team,
        Err(TryLockError::Poisoned(team)) => team.into_inner(),
        Err(TryLockError::WouldBlock) => return false,
    };
    team.run(tasks, task);
    true
}

#[cfg(test)]
mod tests {
    use super::Team;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn every_task_runs_once_awake_or_asleep() {
        for helpers in [0, 1, 3] {
            let mut team = Team::new(helpers);
            for round in 0..300 {
                if round % 100 == 99 {
                    std::thread::sleep(Duration::from_millis(2));
                }
                let tasks = 1 + round % 7;
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                team.run(tasks, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_after_all_tasks() {
        let mut team = Team::new(2);
        let done = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            team.run(9, &|i| {
                assert!(i != 4, "task four");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert!(result.is_err());
        assert_eq!(done.load(Ordering::Relaxed), 8);
        team.run(2, &|_| {});
    }
}
