//! Folders of images: one sub-folder per class, or flat and unlabelled.
//!
//! As torchvision's `ImageFolder`: the class sub-folders sorted by name give the class indices, and the
//! files of a class are sorted by folder, then by name. Differences: files and folders whose name begins
//! with a dot are skipped, a class folder without images keeps its index instead of failing, and each real
//! folder is visited once per class, so that a loop of symbolic links ends.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::ImageError;

/// File extensions that count as images, in any case.
pub const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// One image of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Index of the class, `None` in an unlabelled folder.
    pub label: Option<usize>,
}

/// The images below a folder, in a fixed order. Only names are read, no image is opened.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    root: PathBuf,
    class_names: Vec<String>,
    samples: Vec<Sample>,
    stray: usize,
}

/// Why a folder is no dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// Nothing has that name.
    #[error("{}: no such directory; name the folder that holds the class folders or the images", path.display())]
    Missing {
        /// The name.
        path: PathBuf,
    },
    /// It is a file.
    #[error("{}: is a file, and a dataset is a directory; name the folder that holds it", path.display())]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// No file has one of the known extensions.
    #[error(
        "{}: holds no images; looked in it and below for files ending in .{} (any case)",
        path.display(), EXTENSIONS.join(", .")
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// A folder could not be listed.
    #[error("{}: cannot be listed ({source}); check its permissions", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A split would leave training or validation without images.
    #[error(
        "validation cannot be {validation} of {images} images; it lies between 0 and 1 and leaves an image for each \
         part, e.g. 0.1 of 100"
    )]
    Split {
        /// The part asked for.
        validation: f64,
        /// Images in the folder.
        images: usize,
    },
    /// An image cannot be decoded, and broken ones were to be refused.
    #[error("{source}; or skip broken files")]
    Broken {
        /// The first of them, with its path.
        source: Box<ImageError>,
    },
    /// The labels have no ids to find the class folders by.
    #[error(
        "the labels have no ids to find the class folders by; give a file with index<TAB>wnid<TAB>name lines, or none"
    )]
    NoIds,
    /// A class folder has the name of no class.
    #[error(
        "{}: folder {name} is not an id in the labels; folders must be named by their second column", path.display()
    )]
    UnknownClass {
        /// The dataset.
        path: PathBuf,
        /// The class folder.
        name: String,
    },
    /// Class folders that cannot be the model's classes.
    #[error(
        "the folder has {folders} classes but the model {classes}: sorted folders would not be the model's classes; \
         give labels with index<TAB>wnid<TAB>name lines whose wnids are the folders' names"
    )]
    ClassCount {
        /// Class folders.
        folders: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// No image can be decoded.
    #[error("none of {count} images can be decoded; the first: {source}")]
    AllBroken {
        /// How many there are.
        count: usize,
        /// The first of them, with its path.
        source: Box<ImageError>,
    },
}

impl ImageFolder {
    /// The same folder and classes with other samples of it.
    pub(crate) fn with_samples(&self, samples: Vec<Sample>) -> Self {
        Self { samples, ..self.clone() }
    }

    /// Lists the images below `dir`.
    ///
    /// With images in at least one sub-folder, each sub-folder is a class, and images beside the
    /// sub-folders are left out and counted in [`stray`](Self::stray). Otherwise the images in `dir`
    /// itself are the dataset, without labels.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, DatasetError> {
        let root = dir.as_ref().to_path_buf();
        match std::fs::metadata(&root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(DatasetError::Missing { path: root });
            }
            Err(source) => return Err(DatasetError::Io { path: root, source }),
            Ok(found) if !found.is_dir() => return Err(DatasetError::NotADirectory { path: root }),
            Ok(_) => {}
        }
        let Listing { folders, images } = list(&root)?;
        let mut samples = Vec::new();
        for (label, folder) in folders.iter().enumerate() {
            let paths = images_below(folder)?.into_iter();
            samples.extend(paths.map(|path| Sample { path, label: Some(label) }));
        }
        if !samples.is_empty() {
            let name = |p: &PathBuf| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let class_names = folders.iter().map(name).collect();
            return Ok(Self { root, class_names, samples, stray: images.len() });
        }
        if images.is_empty() {
            return Err(DatasetError::NoImages { path: root });
        }
        let samples = images.into_iter().map(|path| Sample { path, label: None }).collect();
        Ok(Self { root, class_names: Vec::new(), samples, stray: 0 })
    }

    /// The folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Names of the class folders in the order of their indices; empty without labels.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none, which only [`limit`](Self::limit) to 0 brings about.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Images beside the class folders, which belong to no class and are left out.
    pub fn stray(&self) -> usize {
        self.stray
    }

    /// Image `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn sample(&self, index: usize) -> Sample {
        self.samples[index].clone()
    }

    /// All images, in order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Keeps `count` images, evenly strided over the sorted list: image `i * len / count` for each `i`.
    ///
    /// A limit of at least the number of classes thus covers every class where classes are of equal size,
    /// and the same limit always keeps the same images. A limit above `len` changes nothing.
    #[must_use]
    pub fn limit(mut self, count: usize) -> Self {
        let len = self.samples.len();
        if count < len {
            // In 128 bits the product cannot overflow.
            let at = |i: usize| (i as u128 * len as u128 / count as u128) as usize;
            self.samples = (0..count).map(|i| self.samples[at(i)].clone()).collect();
        }
        self
    }
}

struct Listing {
    folders: Vec<PathBuf>,
    images: Vec<PathBuf>,
}

/// Folders and images directly in `dir`, each sorted by name; symbolic links count as what they lead to.
fn list(dir: &Path) -> Result<Listing, DatasetError> {
    let failed = |source| DatasetError::Io { path: dir.to_path_buf(), source };
    let (mut folders, mut images) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        // A link that leads nowhere, or round in a circle, is neither folder nor image.
        let Ok(found) = std::fs::metadata(&path) else { continue };
        if hidden {
            continue;
        } else if found.is_dir() {
            folders.push(path);
        } else if found.is_file() && has_image_extension(&path) {
            images.push(path);
        }
    }
    folders.sort();
    images.sort();
    Ok(Listing { folders, images })
}

fn has_image_extension(path: &Path) -> bool {
    let is = |extension: &OsStr| EXTENSIONS.iter().any(|e| extension.eq_ignore_ascii_case(e));
    path.extension().is_some_and(is)
}

/// Images in `dir` and the folders below it: those of a folder first, then those of its sub-folders.
fn images_below(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let (mut pending, mut seen, mut found) = (vec![dir.to_path_buf()], HashSet::new(), Vec::new());
    while let Some(folder) = pending.pop() {
        let real = folder.canonicalize();
        let real = real.map_err(|source| DatasetError::Io { path: folder.clone(), source })?;
        if seen.insert(real) {
            let Listing { folders, images } = list(&folder)?;
            found.extend(images);
            pending.extend(folders.into_iter().rev());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        dir
    }

    fn listed(folder: &ImageFolder) -> Vec<(String, Option<usize>)> {
        let name = |p: &Path| p.strip_prefix(folder.root()).unwrap().to_string_lossy().into_owned();
        folder.samples().iter().map(|s| (name(&s.path), s.label)).collect()
    }

    #[test]
    fn classes_are_sorted_folders_and_files_follow_in_order() {
        let dir = tree(&[
            "n02/b.JPG",
            "n02/a.png",
            "n01/z/deep.webp",
            "n01/c.jpeg",
            "n01/.hidden.jpg",
            "n01/notes.txt",
            "n03/only.txt",
            "n10/x.BmP",
            ".git/y.png",
            "beside.png",
        ]);
        let folder = ImageFolder::open(dir.path()).unwrap();
        assert_eq!(folder.class_names(), ["n01", "n02", "n03", "n10"]);
        let expected =
            [("n01/c.jpeg", 0), ("n01/z/deep.webp", 0), ("n02/a.png", 1), ("n02/b.JPG", 1), ("n10/x.BmP", 3)];
        assert_eq!(listed(&folder), expected.map(|(n, l)| (n.to_string(), Some(l))));
        assert_eq!((folder.len(), folder.stray()), (5, 1));
        assert_eq!(folder.sample(4).label, Some(3));
    }

    #[test]
    fn a_flat_folder_has_no_labels() {
        let dir = tree(&["b.png", "a.jpg", "readme.md"]);
        let folder = ImageFolder::open(dir.path()).unwrap();
        assert_eq!(listed(&folder), [("a.jpg".to_string(), None), ("b.png".to_string(), None)]);
        assert!(folder.class_names().is_empty());
    }

    #[test]
    fn errors_name_the_folder_and_what_was_looked_for() {
        let dir = tree(&["file.txt"]);
        let text = |p: &Path| ImageFolder::open(p).unwrap_err().to_string();
        assert!(text(dir.path()).contains(".jpg, .jpeg, .png, .webp, .bmp"));
        assert!(text(&dir.path().join("file.txt")).contains("is a file"));
        assert!(text(&dir.path().join("gone")).contains("gone: no such directory"));
        assert!(text(tempfile::tempdir().unwrap().path()).contains("no images"));
    }

    #[test]
    fn a_limit_is_strided_over_all_classes() {
        let names: Vec<String> = (0..60).map(|i| format!("c{:02}/{i:03}.jpg", i / 3)).collect();
        let dir = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let folder = ImageFolder::open(dir.path()).unwrap();
        let labels = |n: usize| -> Vec<usize> {
            folder.clone().limit(n).samples().iter().filter_map(|s| s.label).collect()
        };
        assert_eq!(labels(20), (0..20).collect::<Vec<_>>());
        assert_eq!(labels(7).len(), 7);
        assert_eq!(labels(1000).len(), 60);
        assert!(folder.clone().limit(0).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn loops_of_links_and_pipes_do_not_hang() {
        let dir = tree(&["a/1.jpg", "b/2.jpg", "b/sub/3.jpg"]);
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(dir.path().join(to), dir.path().join(at)).unwrap()
        };
        link("a", "a/self");
        link("b", "a/b");
        link("a", "b/sub/a");
        link("nowhere", "a/dangling.jpg");
        link("round.jpg", "round.jpg");
        let folder = ImageFolder::open(dir.path()).unwrap();
        assert_eq!(folder.class_names(), ["a", "b"]);
        // Each class follows its links once.
        assert_eq!(folder.len(), 6);
    }
}
