//! Writes the seeds of a target into a folder, where libFuzzer begins with them: `seeds TARGET FOLDER`.
#![allow(clippy::print_stderr, reason = "this is its output")]

use std::process::ExitCode;
use tokmerge_hostile::target;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = &arguments[..] else {
        eprintln!("usage: seeds TARGET FOLDER");
        return ExitCode::FAILURE;
    };
    let Some(target) = target(name) else {
        eprintln!("there is no target {name}");
        return ExitCode::FAILURE;
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        let mut seeds = (target.seeds)().into_iter().enumerate();
        seeds.try_for_each(|(number, seed)| std::fs::write(format!("{folder}/seed-{number:03}"), seed))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{folder}: {error}");
            ExitCode::FAILURE
        }
    }
}
