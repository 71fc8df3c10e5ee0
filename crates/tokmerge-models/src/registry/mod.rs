//! Names of models and what they mean. What is known of a name stands in the tables of the families, not here.

mod table;
mod unlisted;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod timm_shapes;

use crate::config_json::{Arguments, ConfigureError};
use crate::network::{Config, SPELLINGS};
use serde_json::{Map, Value};
use tokmerge_checkpoint::shortened;
use tokmerge_data::{Preprocess, Processor};

pub(crate) use table::{clip_processor, find, question_processor, sound_name, sound_processor};

/// How the models of a family are written down: the tables of their names, and the arguments that stand there and in
/// `config.json`.
///
/// A line of a table is a name with what it stands for, `name<TAB>class<TAB>arguments`, or a tag of a name with what is other
/// for it, `name.tag<TAB>settings`; the first tag of a name is its default. Arguments and settings are JSON objects, `{}` may be
/// left out. Settings are those of preprocessing, `hub` (the weights' repository on the Hugging Face Hub where that is not
/// `timm/name.tag`; null for none), and arguments that win over those of the name.
pub(crate) struct Spelling {
    /// The tables.
    pub(crate) tables: &'static [&'static str],
    /// The shape that a class and its arguments describe.
    pub(crate) read: fn(class: &str, &Arguments<'_>) -> Result<Config, ConfigureError>,
    /// Arguments that describe a shape, to a class if one is given; `None` if it cannot be said in them.
    pub(crate) write: fn(&Config, class: Option<&str>) -> Option<Written>,
}

/// A shape in arguments.
pub(crate) struct Written {
    /// A name whose arguments these may replace.
    pub(crate) base: &'static str,
    /// The arguments, null where they are to be left out.
    pub(crate) arguments: Map<String, Value>,
    /// Those that timm would not take: written only where the name does not imply them.
    pub(crate) own: &'static [&'static str],
}

/// What a model name stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// The name without its tag, e.g. `vit_tiny_patch16_224`.
    pub name: String,
    /// How the weights were trained, e.g. `augreg_in21k_ft_in1k`; the first of the name where none was given.
    pub tag: String,
    /// The shape of the model.
    pub config: Config,
    /// How what the model takes is prepared for these weights.
    pub processor: Processor,
}

impl Architecture {
    /// How images of one size are prepared; `None` for a model that takes anything else.
    #[must_use]
    pub fn preprocess(&self) -> Option<&Preprocess> {
        self.processor.preprocess()
    }

    /// Names of the classes that the tables have for this name and tag; none where they have none, or the model has others.
    pub(crate) fn listed_classes(&self) -> Vec<String> {
        let Some(row) = find(&self.name) else { return Vec::new() };
        let tags = row.tags().map(|(tag, _)| tag).filter(|tag| self.tag.is_empty() || *tag == self.tag);
        let known = tags.map(|tag| row.settings(Some(tag)).class_names());
        let fits = |names: &&[&str]| names.len() == self.config.shape().classes;
        known
            .filter(fits)
            .find(|names| !names.is_empty())
            .map_or_else(Vec::new, |names| names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// The name; of a model that is not of the size that its name says, with channels and blocks in place of the size:
    /// `vit_96x8_patch8_96`.
    #[must_use]
    pub fn size_name(&self) -> String {
        self.renamed().unwrap_or_else(|| self.name.clone())
    }

    /// [`size_name`](Self::size_name) and tag, as timm writes them: `vit_96x8_patch8_96.trained`.
    #[must_use]
    pub fn full_name(&self) -> String {
        let name = self.size_name();
        if self.tag.is_empty() { name } else { format!("{name}.{}", self.tag) }
    }

    /// The repository on the Hugging Face Hub where the weights of this name and tag lie; `None` if they are not there.
    #[must_use]
    pub fn repository(&self) -> Option<String> {
        let row = find(&self.name).filter(|row| row.name == self.name)?;
        row.repository(&self.tag)
    }

    /// The name with the sizes that the model has, if they are others than those of its name.
    fn renamed(&self) -> Option<String> {
        let sizes = |of: &Config| {
            let shape = of.shape();
            (shape.patch, shape.channels, of.depth(), shape.heads)
        };
        if sizes(&architecture(&self.name).ok()?.config) == sizes(&self.config) {
            return None;
        }
        let shape = self.config.shape();
        let by = |(height, width): (usize, usize)| {
            if height == width { height.to_string() } else { format!("{height}x{width}") }
        };
        let mut words: Vec<String> = self.name.split('_').map(str::to_owned).collect();
        *words.get_mut(1)? = format!("{}x{}", shape.channels, self.config.depth());
        *words.iter_mut().find(|word| word.starts_with("patch"))? = format!("patch{}", by(shape.patch));
        if let Some(last) = words.last_mut().filter(|last| last.parse::<usize>().is_ok()) {
            *last = by(shape.img_size());
        }
        Some(words.join("_"))
    }
}

/// A name that means nothing here.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error(
    "unknown model '{given}'{hint}; `tokmerge models` lists the names, and hf-hub:org/name or local-dir:PATH load a model with its config.json"
)]
pub struct UnknownModel {
    given: String,
    hint: String,
}

impl UnknownModel {
    /// The error for a name, with the nearest known one as a hint.
    pub(crate) fn new(given: &str) -> Self {
        /// Longer names are nobody's slip, and looking for their neighbours would take long.
        const LONGEST: usize = 200;
        let shown = shortened(given);
        if given.len() > LONGEST {
            return Self { given: shown, hint: String::new() };
        }
        let name = given.split('.').next().unwrap_or(given).to_lowercase();
        if given.contains('/') {
            return Self { hint: format!(" (did you mean hf-hub:{shown}?)"), given: shown };
        }
        let nearest = table::names().map(|known| (strsim::damerau_levenshtein(&name, known), known)).min();
        let hint = match (table::left_out(&name), nearest) {
            (Some(reason), _) => {
                format!(" (timm has it, but it is made of parts that are not here: {reason})")
            }
            (None, Some((distance, known))) if distance <= name.len() / 3 => {
                format!(" (did you mean {known}?)")
            }
            _ => String::new(),
        };
        Self { given: shown, hint }
    }
}

/// All listed models, with their default tags.
pub fn architectures() -> impl Iterator<Item = Architecture> {
    table::names().filter_map(|name| architecture(name).ok())
}

/// The model of a name, `arch` or `arch.tag`, as timm spells them. A tag that is not listed has the preprocessing of the name's
/// first. Other patch and image sizes than the listed ones are understood too.
///
/// # Errors
/// When the name follows none of the known patterns; the message suggests the nearest name.
pub fn architecture(name: &str) -> Result<Architecture, UnknownModel> {
    let (base, tag) = match (table::renamed(name), name.split_once('.')) {
        (Some((base, tag)), _) | (None, Some((base, tag))) => (base, Some(tag)),
        (None, None) => (name, None),
    };
    let unknown = || UnknownModel::new(name);
    let row = find(base).ok_or_else(unknown)?;
    let settings = row.settings(tag);
    let mut arguments = row.arguments.clone();
    arguments.extend(settings.arguments());
    let config = (row.spelling.read)(row.class, &Arguments::new(&arguments)).map_err(|_| unknown())?;
    let processor = settings.processor(&config);
    let tag = tag.unwrap_or_else(|| row.first_tag());
    Ok(Architecture { name: base.to_owned(), tag: tag.to_owned(), config, processor })
}
