//! The commands.

use crate::commands::analyze::AnalyzeCommand;
use crate::commands::ask::AskArgs;
use crate::commands::bench::BenchArgs;
use crate::commands::bleu::BleuArgs;
use crate::commands::calibrate::CalibrateArgs;
use crate::commands::classify::ClassifyArgs;
use crate::commands::compare::CompareArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::embed::EmbedArgs;
use crate::commands::eval::EvalArgs;
use crate::commands::few_shot::FewShotArgs;
use crate::commands::generate::GenerateArgs;
use crate::commands::info::InfoArgs;
use crate::commands::list::ListArgs;
use crate::commands::report::RunsArgs;
use crate::commands::scenes::ScenesArgs;
use crate::commands::search::SearchArgs;
use crate::commands::sweep::SweepArgs;
use crate::commands::train::TrainArgs;
use crate::commands::tune::TuneArgs;
use crate::commands::viz::VizArgs;
use clap::{Parser, Subcommand};

/// Makes pretrained Transformers for images, sounds, video and text faster by merging their redundant tokens.
#[derive(Parser, Debug)]
#[command(name = "tokmerge", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Classify images, sounds or clips
    Classify(ClassifyArgs),
    /// Answer questions about a picture
    Ask(AskArgs),
    /// Turn images, sounds, clips or texts into embeddings, the vectors that a classifier would read
    Embed(EmbedArgs),
    /// Find what is nearest to an image, a sound, a clip or a text, among embeddings in a file
    Search(SearchArgs),
    /// Write a text for every line of a file: translations, or whatever the model was trained to write
    Generate(GenerateArgs),
    /// Judge texts by references: BLEU and chrF as sacrebleu has them
    Bleu(BleuArgs),
    /// Measure accuracy with and without merging: on a folder of images, sounds or clips, a list of files or of questions about
    /// pictures, scored pairs of sentences, or texts with what is to be written of them
    Eval(EvalArgs),
    /// Few-shot accuracy of a model's features, with a linear head fitted in closed form
    FewShot(FewShotArgs),
    /// Measure speed on random input, with and without merging
    Bench(BenchArgs),
    /// Show, layer by layer, what merging costs and where tokens merge
    #[command(subcommand)]
    Analyze(AnalyzeCommand),
    /// Find the merging that saves the most at a given loss, or loses the least at a given cost
    Tune(TuneArgs),
    /// Fit the weights of foresight to a model, by what it attends to on some images without labels
    Calibrate(CalibrateArgs),
    /// Compare the methods at the same cost on one model, side by side and with what chance does
    Compare(CompareArgs),
    /// Draw results of several runs and models in one chart, with Pareto fronts and 95 % intervals, and training curves
    Report(RunsArgs),
    /// Train a model on images, sounds, clips, texts or questions about pictures, following a recipe
    Train(TrainArgs),
    /// Fine-tune a model from existing weights, following a recipe
    Finetune(TrainArgs),
    /// Train a recipe with every combination of some values and several seeds, and sum up mean and deviation
    Sweep(SweepArgs),
    /// Generate a data set to train and measure on: drawn pictures or clips, one folder per class, questions about pictures, or
    /// sentences
    Scenes(ScenesArgs),
    /// Show merging at work on generated pictures; needs no files and no network
    Demo(DemoArgs),
    /// Show size, cost and token counts of a model, without running it
    Info(InfoArgs),
    /// Draw which patches of an image, a sound or a clip were merged
    Viz(VizArgs),
    /// List the models known by name
    Models(ListArgs),
    /// List the merging methods and their options
    Methods(ListArgs),
}
