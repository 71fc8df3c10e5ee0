//! Folders of images or sounds: one sub-folder per class, or flat and unlabelled.
//!
//! As torchvision's `ImageFolder`: the class sub-folders in order give the class indices, and the files of a class are
//! sorted by folder, then by name. Differences: the order of the classes counts numbers as numbers unless
//! [`ClassOrder::Plain`] is asked for; folders without images are no classes; files and folders whose name begins with a
//! dot, and what archives and systems leave behind, are skipped; JPEG, PNG and WebP content counts whatever the ending;
//! each real folder is visited once per class, so that a loop of symbolic links ends. [`LeftOut`] says what was passed
//! over.

mod error;
mod labelled;
mod listing;
mod order;
mod training;

pub use error::DatasetError;
pub use labelled::{Labelled, LabelledBy};
pub(crate) use listing::frames_in;
pub use listing::{files_in, holds_frames, is_left_behind, path_text};
pub use order::ClassOrder;
pub use training::{Broken, epoch_order};

use crate::Media;
use listing::{Listing, files_below, list, shown};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// File extensions that count as images, in any case; other files do where they begin like a JPEG, PNG or WebP.
pub const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// What the parts of a data set are called.
const PARTS: [&str; 9] =
    ["train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"];

/// One image of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Index of the class, `None` in an unlabelled folder.
    pub label: Option<usize>,
}

/// What lies in a folder and is not in its dataset; hidden files are not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// What was looked for.
    pub media: Media,
    /// Images, or what else was looked for, beside the class folders, which belong to no class.
    pub stray: usize,
    /// Names of folders that hold no images, or that archives and systems leave behind.
    pub folders: BTreeSet<String>,
    /// Files that are no images, by ending.
    pub files: BTreeMap<String, usize>,
}

impl LeftOut {
    /// Nothing, of a folder in which such files are looked for.
    pub(crate) fn of(media: Media) -> Self {
        Self { media, stray: 0, folders: BTreeSet::new(), files: BTreeMap::new() }
    }

    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stray == 0 && self.folders.is_empty() && self.files.is_empty()
    }
}

/// Names shown at most.
const SHOWN: usize = 5;

impl fmt::Display for LeftOut {
    /// `images beside the class folders: 3; folders without images: __MACOSX; files that are no images: 2 .tiff`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: Vec<String>| {
            let more = items.len().saturating_sub(SHOWN);
            let shown = items.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
            if more > 0 { format!("{shown} and {more} more") } else { shown }
        };
        let (mut parts, words) = (Vec::new(), self.media.words());
        if self.stray > 0 {
            parts.push(format!("{words} beside the class folders: {}", self.stray));
        }
        if !self.folders.is_empty() {
            let folders = self.folders.iter().map(|name| name.escape_debug().to_string());
            parts.push(format!("folders without {words}: {}", list(folders.collect())));
        }
        if !self.files.is_empty() {
            let files = self.files.iter().map(|(ending, count)| format!("{count} {ending}"));
            parts.push(format!("files that are no {words}: {}", list(files.collect())));
        }
        f.write_str(&parts.join("; "))
    }
}

/// The images or sounds below a folder, in a fixed order. None is decoded.
#[derive(Debug, Clone)]
pub struct ClassFolder {
    root: PathBuf,
    media: Media,
    class_names: Vec<String>,
    samples: Vec<Sample>,
    left_out: LeftOut,
    order: Option<ClassOrder>,
    orders_differ: bool,
}

impl ClassFolder {
    /// The same folder and classes with other samples of it.
    pub(crate) fn with_samples(&self, samples: Vec<Sample>) -> Self {
        Self { samples, ..self.clone() }
    }

    /// Lists the images below `dir`, with class folders in natural order.
    ///
    /// With images in at least one sub-folder, each sub-folder with images is a class. Otherwise the images in `dir`
    /// itself are the dataset, without labels. [`left_out`](Self::left_out) says what is neither.
    ///
    /// # Errors
    /// When there is no such folder, it holds no images, or it holds the parts of a data set (`train/`, `val/`).
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, DatasetError> {
        Self::open_in(dir, Media::Image, None)
    }

    /// The same of another kind of files, or in an order that the user asks for, which then decides which folder is which
    /// class ([`labelled`](Self::labelled)).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(
        dir: impl AsRef<Path>,
        media: Media,
        order: Option<ClassOrder>,
    ) -> Result<Self, DatasetError> {
        let root = dir.as_ref().to_path_buf();
        match std::fs::metadata(&root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(DatasetError::Missing { path: root });
            }
            Err(source) => return Err(DatasetError::Io { path: root, source }),
            Ok(found) if !found.is_dir() => return Err(DatasetError::NotADirectory { path: root }),
            Ok(_) => {}
        }
        let mut left_out = LeftOut::of(media);
        let Listing { folders, mut files } = list(&root, &mut left_out)?;
        files.sort_unstable();
        let mut classes = Vec::new();
        for folder in folders {
            let paths = files_below(&folder, &mut left_out)?;
            let name = folder.file_name().unwrap_or_default().to_owned();
            if paths.is_empty() {
                left_out.folders.insert(shown(&name));
            } else {
                classes.push((name, folder, paths));
            }
        }
        if classes.is_empty() {
            if files.is_empty() {
                return Err(DatasetError::Nothing { path: root, media });
            }
            let samples = files.into_iter().map(|path| Sample { path, label: None }).collect();
            let class_names = Vec::new();
            return Ok(Self { root, media, class_names, samples, left_out, order, orders_differ: false });
        }
        left_out.stray = files.len();
        let by = |order: ClassOrder| move |a: &Class, b: &Class| order.compare(&a.0, &b.0);
        let other = match order.unwrap_or_default() {
            ClassOrder::Natural => ClassOrder::Plain,
            ClassOrder::Plain => ClassOrder::Natural,
        };
        classes.sort_by(by(order.unwrap_or_default()));
        let orders_differ = !classes.is_sorted_by(|a, b| by(other)(a, b).is_le());
        check_parts(&root, &classes)?;
        let (mut class_names, mut samples) = (Vec::new(), Vec::new());
        for (label, (name, _, paths)) in classes.into_iter().enumerate() {
            class_names.push(shown(&name));
            samples.extend(paths.into_iter().map(|path| Sample { path, label: Some(label) }));
        }
        Ok(Self { root, media, class_names, samples, left_out, order, orders_differ })
    }

    /// The folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it holds.
    pub fn media(&self) -> Media {
        self.media
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

    /// What lies in the folder and is not in the dataset.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// The order of the class folders.
    pub fn order(&self) -> ClassOrder {
        self.order.unwrap_or_default()
    }

    /// Whether the class folders would be numbered otherwise in the other order.
    pub fn orders_differ(&self) -> bool {
        self.orders_differ
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
        limit(&mut self.samples, count);
        self
    }
}

/// Keeps so many, spread evenly; all of them if there are no more.
pub(crate) fn limit<T: Clone>(samples: &mut Vec<T>, count: usize) {
    let len = samples.len();
    if count < len {
        // In 128 bits the product cannot overflow.
        let at = |i: usize| (i as u128 * len as u128 / count as u128) as usize;
        *samples = (0..count).map(|i| samples[at(i)].clone()).collect();
    }
}

/// The name of a class folder, its path and its images.
type Class = (OsString, PathBuf, Vec<PathBuf>);

/// Refuses a folder whose class folders are the parts of a data set, with the classes inside.
fn check_parts(root: &Path, classes: &[Class]) -> Result<(), DatasetError> {
    let is_part = |(name, ..): &Class| PARTS.iter().any(|part| name.eq_ignore_ascii_case(part));
    let is_nested = |(_, folder, images): &Class| images.iter().any(|image| image.parent() != Some(folder));
    if classes.iter().all(is_part) && (classes.len() > 1 || classes.iter().any(is_nested)) {
        let parts = classes.iter().map(|(name, ..)| shown(name)).collect();
        return Err(DatasetError::SplitRoot { path: root.to_owned(), parts });
    }
    Ok(())
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

    fn listed(folder: &ClassFolder) -> Vec<(String, Option<usize>)> {
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
        let folder = ClassFolder::open(dir.path()).unwrap();
        assert_eq!(folder.class_names(), ["n01", "n02", "n10"]);
        let expected =
            [("n01/c.jpeg", 0), ("n01/z/deep.webp", 0), ("n02/a.png", 1), ("n02/b.JPG", 1), ("n10/x.BmP", 2)];
        assert_eq!(listed(&folder), expected.map(|(n, l)| (n.to_string(), Some(l))));
        assert_eq!((folder.len(), folder.sample(4).label), (5, Some(2)));
        let left_out = "images beside the class folders: 1; folders without images: n03; files that are no images: 2 .txt";
        assert_eq!(folder.left_out().to_string(), left_out);
        assert!(!folder.orders_differ());
    }

    #[test]
    fn numbers_count_as_numbers_unless_asked_otherwise() {
        let names: Vec<String> = (0..12).map(|class| format!("{class}/x.png")).collect();
        let dir = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let natural = ClassFolder::open(dir.path()).unwrap();
        assert_eq!(natural.class_names()[2..4], ["2", "3"]);
        let plain = ClassFolder::open_in(dir.path(), Media::Image, Some(ClassOrder::Plain)).unwrap();
        assert_eq!(plain.class_names()[2..4], ["10", "11"]);
        assert!(natural.orders_differ() && plain.orders_differ());
    }

    #[test]
    fn what_archives_and_systems_leave_is_no_class() {
        let dir =
            tree(&["ant/x.png", "ant/@eaDir/x.png", "__MACOSX/ant/._x.png", "@eaDir/y.jpg", "empty/z.TIFF"]);
        let folder = ClassFolder::open(dir.path()).unwrap();
        assert_eq!((folder.class_names(), folder.len()), (["ant".to_owned()].as_slice(), 1));
        let left_out = folder.left_out();
        assert!(left_out.folders.iter().eq(["@eaDir", "__MACOSX", "empty"]));
        assert_eq!(left_out.files, [(".tiff".to_owned(), 1)].into());
    }

    #[test]
    fn content_counts_whatever_the_ending() {
        let dir = tree(&["a/x.png", "a/notes"]);
        let png: &[u8] = b"\x89PNG\r\n\x1A\n";
        for (name, start) in
            [("a/y.jfif", &b"\xFF\xD8\xFF\xE0"[..]), ("a/z", png), ("a/w.jpe", b"\xFF\xD8\xFF\xDB")]
        {
            std::fs::write(dir.path().join(name), start).unwrap();
        }
        let folder = ClassFolder::open(dir.path()).unwrap();
        assert_eq!(folder.len(), 4);
        assert_eq!(folder.left_out().to_string(), "files that are no images: 1 without a known ending");
    }

    #[test]
    fn the_root_of_a_data_set_is_refused() {
        let error = |files: &[&str]| {
            let dir = tree(files);
            ClassFolder::open(dir.path()).map(|folder| folder.class_names().len()).map_err(|e| e.to_string())
        };
        let refused = error(&["train/ant/x.png", "Val/ant/y.png", "notes/a.txt"]).unwrap_err();
        assert!(
            refused.contains("did you mean") && refused.contains("Val or ") && refused.contains("train?")
        );
        assert!(error(&["train/ant/x.png"]).is_err() && error(&["test/x.png", "train/y.png"]).is_err());
        assert_eq!(error(&["train/x.png", "tram/y.png"]), Ok(2), "a train is a class among others");
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_text_stay_apart() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        for name in [&b"\xFFa"[..], b"\xFEa"] {
            let class = dir.path().join(std::ffi::OsStr::from_bytes(name));
            if std::fs::create_dir(&class).is_err() {
                return; // A file system of text alone.
            }
            std::fs::write(class.join("x.png"), b"x").unwrap();
        }
        assert_eq!(ClassFolder::open(dir.path()).unwrap().class_names(), ["\\xfea", "\\xffa"]);
    }

    #[test]
    fn a_flat_folder_has_no_labels() {
        let dir = tree(&["b.png", "a.jpg", "readme.md"]);
        let folder = ClassFolder::open(dir.path()).unwrap();
        assert_eq!(listed(&folder), [("a.jpg".to_string(), None), ("b.png".to_string(), None)]);
        assert!(folder.class_names().is_empty());
    }

    #[test]
    fn errors_name_the_folder_and_what_was_looked_for() {
        let dir = tree(&["file.txt"]);
        let text = |p: &Path| ClassFolder::open(p).unwrap_err().to_string();
        assert!(text(dir.path()).contains(".jpg, .jpeg, .png, .webp, .bmp"));
        assert!(text(&dir.path().join("file.txt")).contains("is a file"));
        assert!(text(&dir.path().join("gone")).contains("gone: no such directory"));
        assert!(text(tempfile::tempdir().unwrap().path()).contains("no images"));
    }

    #[test]
    fn a_limit_is_strided_over_all_classes() {
        let names: Vec<String> = (0..60).map(|i| format!("c{:02}/{i:03}.jpg", i / 3)).collect();
        let dir = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let folder = ClassFolder::open(dir.path()).unwrap();
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
        let folder = ClassFolder::open(dir.path()).unwrap();
        assert_eq!(folder.class_names(), ["a", "b"]);
        // Each class follows its links once.
        assert_eq!(folder.len(), 6);
    }
}
