//! Thousands of damaged inputs through every reader: no panic, nothing slow, no memory beyond the limits.

use std::time::Duration;
use tokmerge_hostile::{Counting, TARGETS, Trial};

#[global_allocator]
static MEMORY: Counting = Counting;

/// Inputs altogether.
const CASES: u64 = 5_000;

#[test]
fn damaged_inputs_of_every_kind_are_read_or_refused_in_time_and_memory() {
    Trial::silence_panics();
    let each = CASES.div_ceil(TARGETS.len() as u64);
    let mut faults = Vec::new();
    for target in TARGETS {
        // Unoptimised code takes many times as long, and says nothing about that which people run.
        let longest = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });
        let report = Trial { target, cases: 0..each, longest }.run();
        assert!(!report.findings.is_empty() || report.cases == each, "{} ended early", target.name);
        assert!(report.read > 0, "{} reads none of its inputs", target.name);
        assert!(report.read < each, "{} refuses none of its inputs", target.name);
        faults.extend(report.findings.iter().map(|finding| format!("{}: {finding}", target.name)));
    }
    assert!(faults.is_empty(), "{} of {CASES} inputs:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn memory_is_counted_for_this_thread_alone() {
    let (kept, bytes) = Counting::peak_of(|| {
        drop(vec![0_u8; 1 << 20]);
        vec![0_u8; 1 << 10]
    });
    assert_eq!(kept.len(), 1 << 10);
    assert!((1 << 20..1 << 21).contains(&bytes), "{bytes}");
}
