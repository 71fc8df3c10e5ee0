//! Classes by their names, for a model of images and texts.

use super::ModelArgs;
use crate::output;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;
use tokmerge::{ClassFolder, ClassNames, ClassTexts, Labelled, LabelledBy, Model, Template, ZeroShotError};

/// Classes by their names.
#[derive(Args, Debug)]
pub(crate) struct ClassArgs {
    /// Class names, separated by commas, for a model of images and texts (CLIP, SigLIP), which compares images with them
    #[arg(long, value_name = "NAME,...", conflicts_with_all = ["classes_from", "labels"])]
    classes: Option<String>,
    /// The same from a file: one name per line, or any other form that --labels takes
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    classes_from: Option<PathBuf>,
    /// What is said of a class, {} standing for its name, e.g. "a photo of a {}." [default: {}, the name alone; for folders "a
    /// photo of a {}."]
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
}

impl ClassArgs {
    /// Files that are read.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.classes_from.as_ref()
    }

    /// Whether classes are named.
    pub(crate) fn are_named(&self) -> bool {
        self.classes.is_some() || self.classes_from.is_some()
    }

    fn names(&self) -> Result<Option<ClassNames>> {
        let names = |list: &String| ClassNames::from_names(list.split(',').map(str::to_owned).collect());
        Ok(match &self.classes_from {
            Some(path) => Some(ClassNames::open(path)?),
            None => self.classes.as_ref().map(names),
        })
    }

    fn template(&self, otherwise: Template) -> Result<Template> {
        Ok(self.template.as_ref().map_or(Ok(otherwise), |template| template.parse())?)
    }

    /// Opens the model with the classes that are named; the model that comes with tokmerge where none is.
    pub(crate) fn open_or_demo(&self, args: &ModelArgs) -> Result<Model> {
        let template = self.template(Template::default())?;
        match self.names()? {
            Some(names) => with_classes(args, &names, &template),
            None => self.without_template(args.open_or_demo()?),
        }
    }

    /// Opens the model for a folder of class folders: with the classes that are named, else with its own. A model of images
    /// and texts without names has the classes that the folders are called by, by name or by ImageNet's ids. The names that
    /// were given come back.
    pub(crate) fn open_for(
        &self,
        args: &ModelArgs,
        folder: &ClassFolder,
    ) -> Result<(Model, Option<ClassNames>)> {
        let template = self.template(Template::photo())?;
        if let Some(names) = self.names()? {
            let model = with_classes(args, &names, &template)?;
            note_places(folder, &names);
            return Ok((model, Some(names)));
        }
        let model = args.open()?;
        if model.classes() > 0 || folder.class_names().is_empty() {
            return Ok((self.without_template(model)?, None));
        }
        let both = match args.zero_shot(model.clone()) {
            Err(ZeroShotError::NoTextTower(_) | ZeroShotError::RandomWeights) => return Ok((model, None)),
            both => both?,
        };
        let classes = match imagenet(folder.class_names()) {
            Some(names) => ClassTexts::with_ids(&names, &template)?,
            None => ClassTexts::new(folder.class_names(), &template)?,
        };
        output::note(format!("note: the class folders are read as {:?}", classes.texts()[0]));
        Ok((both.classifier(&classes)?, None))
    }

    /// Refuses a template where nothing is said of classes.
    fn without_template(&self, model: Model) -> Result<Model> {
        if self.template.is_some() {
            bail!(
                "--template is what is said of classes that are given by name; give --classes or --classes-from, or leave it out"
            );
        }
        Ok(model)
    }
}

/// ImageNet's names of class folders that are all called by its ids.
fn imagenet(folders: &[String]) -> Option<Vec<String>> {
    let names = ClassNames::imagenet_1k();
    let ids = names.index_of_wnid();
    folders.iter().map(|id| Some(names.name(*ids.get(id.as_str())?)?.to_owned())).collect()
}

/// Says that the folders are not called by the names that were given.
fn note_places(folder: &ClassFolder, names: &ClassNames) {
    if let Ok(Labelled::Classes { by: LabelledBy::Order(order), .. }) =
        folder.labelled(Some(names), names.len())
    {
        output::note(format!(
            "note: no class folder is called by one of the class names: the first folder, in {} order, is taken as the \
             first class, and so on",
            order.name()
        ));
    }
}

fn with_classes(args: &ModelArgs, names: &ClassNames, template: &Template) -> Result<Model> {
    // Refuses names before the model is opened.
    let classes = match names.has_ids() {
        true => ClassTexts::with_ids(names.names(), template)?,
        false => ClassTexts::new(names.names(), template)?,
    };
    let model = args.open()?;
    Ok(args.zero_shot(model)?.classifier(&classes)?)
}
