//! `tokmerge scenes`.

use crate::args::one_of;
use crate::output;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::scenes::questions::{ANSWERS, KINDS, Questions};
use tokmerge::scenes::sentences::Sentences;
use tokmerge::scenes::{
    CLASSES, Clips, DEFAULT_CLIP_SIDE, DEFAULT_FRAMES, DEFAULT_SIDE, MOTIONS, Scenes, Split, write,
    write_clips, write_questions,
};

#[derive(Args, Debug)]
pub(crate) struct ScenesArgs {
    /// Folder to write to; with --sentences a file
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Draw clips in which something moves, as folders of frames, in place of pictures
    #[arg(long)]
    pub(crate) clips: bool,
    /// Draw pictures of several things and ask about them: a list, questions.jsonl, which tokmerge eval reads
    #[arg(long, conflicts_with = "clips")]
    pub(crate) questions: bool,
    /// Make up sentences in two languages in place of pictures: a file of pairs, which tokmerge eval reads
    #[arg(long, conflicts_with_all = ["clips", "questions", "side"])]
    pub(crate) sentences: bool,
    /// Frames of a clip [default: 16]
    #[arg(long, value_name = "N", requires = "clips", conflicts_with_all = ["questions", "sentences"])]
    pub(crate) frames: Option<usize>,
    /// Pictures, clips or sentences; each question has a picture of its own
    #[arg(long, value_name = "N", default_value_t = 2400)]
    pub(crate) images: u64,
    /// Index of the first, from 0
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub(crate) first: u64,
    /// Width and height in pixels [default: 96, of clips 64]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) side: Option<usize>,
    /// Which: for validation, for training (those that data.train = "scenes:N", "clips:N", "questions:N" or "sentences:N"
    /// in a recipe draws), or samples
    #[arg(
        long,
        value_parser = one_of::<Split>(Split::ALL.map(Split::name)),
        default_value_t = Split::Validation
    )]
    pub(crate) split: Split,
}

pub(crate) fn run(args: &ScenesArgs) -> Result<ExitCode> {
    let Some(end) = args.first.checked_add(args.images) else {
        bail!(
            "--first {} and --images {} go beyond the last picture, {}",
            args.first,
            args.images,
            u64::MAX - 1
        );
    };
    let (images, dir) = (args.images, args.dir.display());
    let exists = |path: &Path| match path.exists() {
        true => bail!("{} exists already; give another name, or remove it", path.display()),
        false => Ok(()),
    };
    if images == 0 {
        bail!("--images is 0, and at least one is drawn");
    }
    if args.sentences {
        exists(&args.dir)?;
        Sentences::of(args.split)
            .write(&args.dir, args.first..end)
            .with_context(|| format!("{dir} cannot be written"))?;
        output::note(format!("{images} sentences, in two languages each, are in {dir}"));
        return Ok(ExitCode::SUCCESS);
    }
    if args.questions {
        exists(&args.dir.join("questions.jsonl"))?;
        let questions = Questions::of(args.split).with_side(args.side.unwrap_or(DEFAULT_SIDE))?;
        write_questions(&questions, &args.dir, args.first..end)?;
        output::note(format!(
            "{images} questions of {} kinds, with {} answers, are in {dir}",
            KINDS.len(),
            ANSWERS.len()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let (words, classes) = if args.clips {
        let clips = Clips::of(args.split).with_side(args.side.unwrap_or(DEFAULT_CLIP_SIDE))?;
        let clips = clips.with_frames(args.frames.unwrap_or(DEFAULT_FRAMES))?;
        write_clips(&clips, &args.dir, args.first..end)?;
        ("clips", MOTIONS.len())
    } else {
        let scenes = Scenes::of(args.split).with_side(args.side.unwrap_or(DEFAULT_SIDE))?;
        write(&scenes, &args.dir, args.first..end)?;
        ("pictures", CLASSES.len())
    };
    output::note(format!("{images} {words} of {classes} classes are in {dir}"));
    Ok(ExitCode::SUCCESS)
}
