//! Scenes as files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::{CLASSES, Scenes};

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
    for folder in &folders {
        std::fs::create_dir_all(folder)
            .map_err(|source| WriteError::Folder { path: folder.clone(), source })?;
    }
    for index in indices {
        let scene = scenes.draw(index);
        let path = folders[scene.class].join(format!("{index:07}.png"));
        let side = scene.side as u32;
        image::save_buffer(&path, &scene.pixels, side, side, image::ColorType::Rgb8)
            .map_err(|source| WriteError::Picture { path, source })?;
    }
    Ok(())
}
