//! Runs damaged inputs through readers: `hostile TARGET FIRST COUNT`, or `hostile TARGET CASE FILE` to write an input to a
//! file. `hostile` alone lists the targets.
#![allow(clippy::print_stdout, reason = "this is its output")]

use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokmerge_hostile::{Counting, Mutations, TARGETS, Trial, target};

#[global_allocator]
static MEMORY: Counting = Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [name, first, last] = words[..] else {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        return ExitCode::SUCCESS;
    };
    let (Some(target), Ok(first)) = (target(name), first.parse::<u64>()) else {
        println!("usage: hostile TARGET FIRST COUNT | hostile TARGET CASE FILE");
        return ExitCode::FAILURE;
    };
    let Ok(count) = last.parse::<u64>() else {
        return match std::fs::write(last, Mutations::new(target).case(first)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{last}: {error}");
                ExitCode::FAILURE
            }
        };
    };
    Trial::silence_panics();
    let started = Instant::now();
    let report = Trial { target, cases: first..first + count, longest: Duration::from_secs(1) }.run();
    println!(
        "{name}: {} cases in {:.1} s, {} read, slowest {:.1} ms (case {}), most memory {:.1} MiB (case {}), {} findings",
        report.cases,
        started.elapsed().as_secs_f64(),
        report.read,
        report.slowest.0.as_secs_f64() * 1e3,
        report.slowest.1,
        report.greediest.0 as f64 / f64::from(1 << 20),
        report.greediest.1,
        report.findings.len()
    );
    report.findings.iter().for_each(|finding| println!("  {finding}"));
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
