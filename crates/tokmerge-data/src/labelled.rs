//! Class folders as the classes of a model.

use crate::{ClassNames, DatasetError, ImageFolder, Sample};

/// Images for a model, see [`ImageFolder::labelled`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labelled {
    /// Each label is a class of the model.
    Classes(Vec<Sample>),
    /// The images lie in no class folders: there are no labels.
    Unknown(Vec<Sample>),
}

impl ImageFolder {
    /// The images with the classes of `names` as labels: a class folder is found by its name among the ids (wnids).
    ///
    /// # Errors
    /// When `names` has no ids, or a folder's name is none of them.
    pub fn labelled_by(&self, names: &ClassNames) -> Result<Vec<Sample>, DatasetError> {
        let index = names.index_of_wnid();
        if index.is_empty() {
            return Err(DatasetError::NoIds);
        }
        let class_of = |name: &String| {
            index.get(name.as_str()).copied().ok_or_else(|| DatasetError::UnknownClass {
                path: self.root().to_owned(),
                name: name.clone(),
            })
        };
        let class_of: Vec<usize> = self.class_names().iter().map(class_of).collect::<Result<_, _>>()?;
        let relabel = |sample: &Sample| Sample {
            path: sample.path.clone(),
            label: sample.label.map(|label| class_of[label]),
        };
        Ok(self.samples().iter().map(relabel).collect())
    }

    /// The images for a model of `classes` classes, with its classes as labels as far as that can be known: by the ids
    /// of `names` where there are some, else the folders in order where there are as many as classes.
    ///
    /// # Errors
    /// When a folder's name is no id of `names`, or without ids the number of class folders is not the model's.
    pub fn labelled(&self, names: Option<&ClassNames>, classes: usize) -> Result<Labelled, DatasetError> {
        if self.class_names().is_empty() {
            return Ok(Labelled::Unknown(self.samples().to_vec()));
        }
        if let Some(names) = names.filter(|names| names.wnid(0).is_some()) {
            return self.labelled_by(names).map(Labelled::Classes);
        }
        if self.class_names().len() != classes {
            return Err(DatasetError::ClassCount { folders: self.class_names().len(), classes });
        }
        Ok(Labelled::Classes(self.samples().to_vec()))
    }
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

    #[test]
    fn folders_are_the_models_classes_by_id_or_by_number() {
        let dir = tree(&["n02/a.png", "n07/b.png"]);
        let folder = ImageFolder::open(dir.path()).unwrap();
        let names = |text: &str| ClassNames::parse(text).unwrap();
        let labels = |labelled: Result<Labelled, DatasetError>| match labelled.unwrap() {
            Labelled::Classes(samples) => samples.iter().map(|sample| sample.label.unwrap()).collect(),
            Labelled::Unknown(_) => Vec::new(),
        };
        let ids = names("0\tn07\tx\n1\tn01\ty\n2\tn02\tz\n");
        assert_eq!(labels(folder.labelled(Some(&ids), 3)), [2, 0]);
        assert_eq!(labels(folder.labelled(None, 2)), [0, 1]);
        assert_eq!(
            labels(folder.labelled(Some(&names("x\ny\n")), 2)),
            [0, 1],
            "names without ids map nothing"
        );
        let error = |labelled: Result<Labelled, DatasetError>| labelled.unwrap_err().to_string();
        assert!(error(folder.labelled(None, 1000)).contains("has 2 classes but the model 1000"));
        assert!(error(folder.labelled(Some(&names("0\tn02\tx\n")), 1)).contains("folder n07 is not an id"));
        assert!(folder.labelled_by(&names("x\ny\n")).unwrap_err().to_string().contains("no ids"));
        let flat = tree(&["a.png"]);
        let flat = ImageFolder::open(flat.path()).unwrap();
        assert_eq!(flat.labelled(Some(&ids), 3).unwrap(), Labelled::Unknown(flat.samples().to_vec()));
    }
}
