//! Class folders as the classes of a model.

use super::{ClassFolder, ClassOrder, DatasetError, Sample};
use crate::ClassNames;
use crate::labels::{NameIndex, NamedClass};

/// Images for a model, see [`ClassFolder::labelled`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labelled {
    /// Each label is a class of the model.
    Classes {
        /// The images.
        samples: Vec<Sample>,
        /// How it is known.
        by: LabelledBy,
    },
    /// The images lie in no class folders: there are no labels.
    Unknown(Vec<Sample>),
}

/// How a class folder became a class of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelledBy {
    /// Its name is the id or the name of the class.
    Name,
    /// Its name is the index of the class.
    Index,
    /// Its place among the class folders in this order is that of the class.
    Order(ClassOrder),
}

impl ClassFolder {
    /// The images with the classes of `names` as labels: a class folder is found by its name among ids (wnids) and names.
    ///
    /// # Errors
    /// When a folder's name is none of them, or that of several.
    pub fn labelled_by(&self, names: &ClassNames) -> Result<Vec<Sample>, DatasetError> {
        self.labelled_in(&NameIndex::of(names), names)
    }

    fn labelled_in(&self, index: &NameIndex, names: &ClassNames) -> Result<Vec<Sample>, DatasetError> {
        let class_of = |name: &String| match index.find(name) {
            Some(NamedClass::One(class)) => Ok(class),
            Some(NamedClass::Several(first, second)) => Err(DatasetError::AmbiguousClass {
                path: self.root().to_owned(),
                name: name.clone(),
                classes: (first, second),
            }),
            None => Err(DatasetError::UnknownClass {
                path: self.root().to_owned(),
                name: name.clone(),
                near: nearest(name, names),
            }),
        };
        let class_of: Vec<usize> = self.class_names().iter().map(class_of).collect::<Result<_, _>>()?;
        Ok(self.relabelled(&class_of))
    }

    /// The images for a model of `classes` classes, with its classes as labels as far as that can be known:
    ///
    /// - in an order that was asked for ([`open_in`](Self::open_in)): by their place in it;
    /// - else by name, where a folder has the id or the name of one of `names`: then all must, or where `names` have ids;
    /// - else as indices, where the names are the numbers from 0 to one less than their number;
    /// - else by their place in natural order, where there are as many as classes.
    ///
    /// # Errors
    /// When a folder's name is none of `names` although that of another is, it is that of several, or the folders must be
    /// classes by their place and their number is not the model's.
    pub fn labelled(&self, names: Option<&ClassNames>, classes: usize) -> Result<Labelled, DatasetError> {
        if self.class_names().is_empty() {
            return Ok(Labelled::Unknown(self.samples().to_vec()));
        }
        if self.order.is_none() {
            if let Some(names) = names {
                let index = NameIndex::of(names);
                if self.class_names().iter().any(|name| index.find(name).is_some()) {
                    let samples = self.labelled_in(&index, names)?;
                    return Ok(Labelled::Classes { samples, by: LabelledBy::Name });
                }
            }
            if let Some(indices) = self.indices().filter(|indices| indices.len() <= classes) {
                return Ok(Labelled::Classes { samples: self.relabelled(&indices), by: LabelledBy::Index });
            }
        }
        if self.class_names().len() != classes {
            return Err(DatasetError::ClassCount { folders: self.class_names().len(), classes });
        }
        let by = LabelledBy::Order(self.order());
        Ok(Labelled::Classes { samples: self.samples().to_vec(), by })
    }

    /// The folders' names as indices, where they are the numbers from 0, each once.
    fn indices(&self) -> Option<Vec<usize>> {
        let names = self.class_names();
        let indices = names.iter().map(|name| number(name)).collect::<Option<Vec<_>>>()?;
        let mut sorted = indices.clone();
        sorted.sort_unstable();
        sorted.iter().copied().eq(0..names.len()).then_some(indices)
    }

    fn relabelled(&self, class_of: &[usize]) -> Vec<Sample> {
        let relabel = |sample: &Sample| Sample {
            path: sample.path.clone(),
            label: sample.label.map(|label| class_of[label]),
        };
        self.samples().iter().map(relabel).collect()
    }
}

/// A number of nothing but digits.
fn number(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The class whose name differs in a letter or two.
fn nearest(name: &str, names: &ClassNames) -> Option<String> {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_lowercase();
    let near = names
        .names()
        .iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate));
    near.filter(|(distance, _)| *distance <= name.len() / 3).min().map(|(_, name)| name.clone())
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

    fn names(text: &str) -> ClassNames {
        ClassNames::parse(text).unwrap()
    }

    /// Labels, and how they are known.
    fn labels(
        files: &[&str],
        order: Option<ClassOrder>,
        names: Option<&ClassNames>,
        classes: usize,
    ) -> String {
        let dir = tree(files);
        let folder = ClassFolder::open_in(dir.path(), crate::Media::Image, order).unwrap();
        match folder.labelled(names, classes) {
            Ok(Labelled::Classes { samples, by }) => {
                let labels: Vec<usize> = samples.iter().map(|sample| sample.label.unwrap()).collect();
                format!("{labels:?} {by:?}")
            }
            Ok(Labelled::Unknown(samples)) => format!("{} without labels", samples.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_decide_then_numbers_then_order() {
        let ids = names("0\tn07\tx\n1\tn01\ty\n2\tn02\tz\n");
        assert_eq!(labels(&["n02/a.png", "n07/b.png"], None, Some(&ids), 3), "[2, 0] Name");
        let pets = names("dog\ncat\nAfrican ant, Ant\n");
        let folders = ["Cat/a.png", "african_ant/b.png", "dog/c.png"];
        assert_eq!(labels(&folders, None, Some(&pets), 3), "[1, 2, 0] Name");
        assert_eq!(labels(&["ant/a.png"], None, Some(&pets), 3), "[2] Name");
        assert_eq!(labels(&["x/a.png", "y/a.png"], None, Some(&names("a\nb\n")), 2), "[0, 1] Order(Natural)");
        assert_eq!(labels(&["x/a.png", "y/a.png"], None, None, 2), "[0, 1] Order(Natural)");
        assert_eq!(labels(&["a.png"], None, Some(&ids), 3), "1 without labels");
        let twelve: Vec<String> = (0..12).map(|class| format!("{class}/x.png")).collect();
        let twelve: Vec<&str> = twelve.iter().map(String::as_str).collect();
        assert_eq!(labels(&twelve, None, None, 12), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] Index");
        assert_eq!(labels(&["0/x.png", "1/x.png"], None, None, 5), "[0, 1] Index", "others have no images");
        assert_eq!(labels(&["9/x.png", "10/x.png"], None, None, 2), "[0, 1] Order(Natural)");
        let plain = Some(ClassOrder::Plain);
        assert_eq!(labels(&["9/x.png", "10/y.png"], plain, None, 2), "[0, 1] Order(Plain)");
        assert_eq!(
            labels(&["cat/x.png", "dog/y.png"], plain, Some(&names("dog\ncat\n")), 2),
            "[0, 1] Order(Plain)"
        );
    }

    #[test]
    fn folders_that_cannot_be_the_classes_are_refused() {
        let pets = names("dog\ncat\nant\n");
        let error = labels(&["dog/a.png", "catt/b.png"], None, Some(&pets), 3);
        assert!(error.contains("folder catt") && error.contains("did you mean cat?"), "{error}");
        let cranes = labels(&["crane/a.png"], None, Some(ClassNames::imagenet_1k()), 1000);
        assert!(cranes.contains("classes 134 and 517"), "{cranes}");
        let count = labels(&["x/a.png", "y/a.png"], None, None, 1000);
        assert!(count.contains("has 2 classes but the model 1000"), "{count}");
        let numbers = labels(&["0/a.png", "1/a.png", "2/a.png"], None, None, 2);
        assert!(numbers.contains("has 3 classes but the model 2"), "{numbers}");
    }
}
