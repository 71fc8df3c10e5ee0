//! The `tokmerge` command line.
//!
//! `main` is the table of contents: one module per command with its arguments, those that commands share in `args`, and
//! nothing that a library user would miss: everything real is in the `tokmerge` crate.

mod args;
mod cli;
mod commands;
mod memory;
mod output;
mod progress;
mod result_files;
mod shell;

use clap::Parser;
use cli::{Cli, Command};
use commands::analyze::AnalyzeCommand;
use std::process::ExitCode;

/// Buffers come and go in the same sizes all the time; this allocator keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = tokmerge::Isa::from_env().map_err(anyhow::Error::from).and_then(|_| match cli.command {
        Command::Classify(args) => commands::classify::run(&args),
        Command::Ask(args) => commands::ask::run(&args),
        Command::Embed(args) => commands::embed::run(&args),
        Command::Search(args) => commands::search::run(args),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Bleu(args) => commands::bleu::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::FewShot(args) => commands::few_shot::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Analyze(AnalyzeCommand::Layers(args)) => commands::analyze::layers(&args),
        Command::Analyze(AnalyzeCommand::Tokens(args)) => commands::analyze::tokens(&args),
        Command::Tune(args) => commands::tune::run(&args),
        Command::Calibrate(args) => commands::calibrate::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Train(args) => commands::train::run(&args, commands::train::Weights::Optional),
        Command::Finetune(args) => commands::train::run(&args, commands::train::Weights::Required),
        Command::Sweep(args) => commands::sweep::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
        Command::Scenes(args) => commands::scenes::run(&args),
        Command::Info(args) => commands::info::run(&args),
        Command::Viz(args) => commands::viz::run(&args),
        Command::Models(args) => commands::list::models(&args),
        Command::Methods(args) => commands::list::methods(&args),
    });
    match result {
        Ok(code) => code,
        // Whoever reads our output has had enough: not an error.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}
