//! Time that does not count what other programs do meanwhile.

use std::time::{Duration, Instant};

/// What `work` returned, and the time that it computed on this thread; where the system does not tell, the time that passed.
pub fn time_of<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let (started, before) = (Instant::now(), computed());
    let result = work();
    let passed = started.elapsed();
    let time = computed().zip(before).map(|(after, before)| after.saturating_sub(before));
    (result, time.unwrap_or(passed))
}

/// The time that this thread has computed since it began, as Linux counts it.
fn computed() -> Option<Duration> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = statistics.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds)).filter(|time| !time.is_zero())
}
