//! Scenes as files.

use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::questions::{ANSWERS, Asked, KINDS, Questions};
use crate::{CLASSES, Clips, MOTIONS, Scenes};

/// Why scenes were not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A folder could not be made.
    #[error("{}: cannot be created ({source}); name a folder that may be written to", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A picture could not be written.
    #[error("{}: cannot be written ({source}); check permissions and free space", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: image::ImageError,
    },
    /// A list could not be written.
    #[error("{}: cannot be written ({source}); check permissions and free space", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something that is no clip has the place of one.
    #[error("{}: is not a folder of nothing but frames, and is left as it is; name another folder", path.display())]
    Foreign {
        /// What is in the way.
        path: PathBuf,
    },
    /// A clip that was there before could not be replaced.
    #[error("{}: cannot be replaced ({source}); check permissions", path.display())]
    Replace {
        /// The folder of its frames.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Writes scenes as PNG files, one folder per class: `dir/CLASS/INDEX.png`.
///
/// Every class gets its folder, with or without pictures, so that the sorted folders give the indices of
/// [`CLASSES`]. Files of the same name are replaced, others are left alone.
///
/// # Errors
/// When a folder or a file cannot be written; what was written before stays.
pub fn write(scenes: &Scenes, dir: impl AsRef<Path>, indices: Range<u64>) -> Result<(), WriteError> {
    let folders = CLASSES.map(|class| dir.as_ref().join(class));
    folders.iter().try_for_each(|folder| create(folder))?;
    for index in indices {
        let scene = scenes.draw(index);
        save(folders[scene.class].join(format!("{index:07}.png")), &scene.pixels, scene.side)?;
    }
    Ok(())
}

/// Writes clips as folders of PNG files, one folder per class: `dir/CLASS/INDEX/FRAME.png`, frames counted from 1.
///
/// Every class gets its folder, with or without clips, so that the sorted folders give the indices of [`MOTIONS`].
/// A clip is complete once its folder is there: its frames are written to `.INDEX.partial` beside it first. A clip of the
/// same index is replaced whole, whatever its number of frames; others are left alone.
///
/// # Errors
/// When a folder or a file cannot be written, or something other than a folder of frames is where a clip belongs; what was
/// written before stays.
pub fn write_clips(clips: &Clips, dir: impl AsRef<Path>, indices: Range<u64>) -> Result<(), WriteError> {
    let folders = MOTIONS.map(|class| dir.as_ref().join(class));
    folders.iter().try_for_each(|folder| create(folder))?;
    let mut pixels = vec![0; clips.frame_len()];
    for index in indices {
        let (class, film) = clips.film(index);
        let path = folders[class].join(format!("{index:07}"));
        let aside = folders[class].join(format!(".{index:07}.partial"));
        is_clip_or_nothing(&path)?;
        remove(&aside)?;
        create(&aside)?;
        for frame in 0..clips.frames() {
            film.frame(frame, clips.frames(), &mut pixels);
            save(aside.join(format!("{:04}.png", frame + 1)), &pixels, clips.side())?;
        }
        remove(&path)?;
        std::fs::rename(&aside, &path).map_err(|source| WriteError::Replace { path, source })?;
    }
    Ok(())
}

/// Writes questions as a list and their pictures as PNG files: `dir/questions.jsonl`, an object a line with `image`, `question`,
/// `answer` and `kind`; `dir/images/INDEX.png`; and `dir/answers.txt`, the [`ANSWERS`] in their order, one a line.
///
/// The list is written last, under another name first, so that one that is there is whole. It has these questions alone; pictures
/// of other indices are left alone.
///
/// # Errors
/// When a folder or a file cannot be written; what was written before stays.
pub fn write_questions(
    questions: &Questions,
    dir: impl AsRef<Path>,
    indices: Range<u64>,
) -> Result<(), WriteError> {
    let dir = dir.as_ref();
    let images = dir.join("images");
    create(&images)?;
    let mut pixels = vec![0; questions.side() * questions.side() * 3];
    let mut list = String::new();
    for index in indices {
        let Asked { kind, text, answer } = questions.draw_into(index, &mut pixels);
        let name = format!("{index:07}.png");
        // Nothing of what is ever asked has to be escaped.
        list += &format!(
            "{{\"image\": \"images/{name}\", \"question\": \"{text}\", \"answer\": \"{}\", \"kind\": \"{}\"}}\n",
            ANSWERS[answer], KINDS[kind]
        );
        save(images.join(name), &pixels, questions.side())?;
    }
    write_text(&dir.join("answers.txt"), &(ANSWERS.join("\n") + "\n"))?;
    let (path, aside) = (dir.join("questions.jsonl"), dir.join(".questions.jsonl.partial"));
    write_text(&aside, &list)?;
    std::fs::rename(&aside, &path).map_err(|source| WriteError::List { path, source })
}

fn write_text(path: &Path, text: &str) -> Result<(), WriteError> {
    std::fs::write(path, text).map_err(|source| WriteError::List { path: path.to_owned(), source })
}

fn create(folder: &Path) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(|source| WriteError::Folder { path: folder.to_owned(), source })
}

fn save(path: PathBuf, pixels: &[u8], side: usize) -> Result<(), WriteError> {
    let side = side as u32;
    image::save_buffer(&path, pixels, side, side, image::ColorType::Rgb8)
        .map_err(|source| WriteError::Picture { path, source })
}

/// Removes a clip, if there is one.
fn remove(path: &Path) -> Result<(), WriteError> {
    if !is_clip_or_nothing(path)? {
        return Ok(());
    }
    std::fs::remove_dir_all(path).map_err(|source| WriteError::Replace { path: path.to_owned(), source })
}

/// Whether there is a folder of frames; an error when there is something else.
fn is_clip_or_nothing(path: &Path) -> Result<bool, WriteError> {
    let foreign = || WriteError::Foreign { path: path.to_owned() };
    let failed = |source| WriteError::Replace { path: path.to_owned(), source };
    // A link leads to what somebody else keeps.
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.is_dir() => return Err(foreign()),
        Ok(_) => {}
    }
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_file = entry.file_type().map_err(failed)?.is_file();
        if !is_file || !is_frame(&entry.file_name()) {
            return Err(foreign());
        }
    }
    Ok(true)
}

/// Whether a file has the name of a frame: `0001.png`.
fn is_frame(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_suffix(".png"));
    number.is_some_and(|number| number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()))
}
