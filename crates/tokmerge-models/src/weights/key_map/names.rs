//! The tensors of a file by name and shape, seen through whatever the model was wrapped in when it was saved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names and shapes of a file's tensors.
///
/// A model is often saved inside another module: `module.` (parallel training), `_orig_mod.` (compiled), `model.`,
/// `backbone.`, `base_model.model.`. What precedes a name that a spelling must have is this *wrapper*, whatever it
/// is. Inside it, some spellings keep their encoder in a module of its own beside the head, the *base*: `vit.`,
/// `vision_model.`, `visual.trunk.`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    shapes: Arc<BTreeMap<String, Vec<usize>>>,
    wrapper: String,
    base: String,
}

impl Names {
    /// The tensors of a file.
    pub fn new<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Self {
        let shapes = tensors.into_iter().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
        Self { shapes: Arc::new(shapes), ..Self::default() }
    }

    /// All names, as the file has them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.shapes.keys().map(String::as_str)
    }

    /// What precedes every name of the model.
    #[must_use]
    pub fn wrapper(&self) -> &str {
        &self.wrapper
    }

    /// The module of the encoder inside the wrapper, with its dot; empty if it has none of its own.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether there is a tensor of this name inside the wrapper.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The shape of a tensor by its name inside the wrapper.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.shape_on_disk(&self.on_disk(name))
    }

    /// The shape of a tensor by its name in the file.
    #[must_use]
    pub fn shape_on_disk(&self, name: &str) -> Option<&[usize]> {
        self.shapes.get(name).map(Vec::as_slice)
    }

    /// The first of some names inside the wrapper that the file has.
    pub fn first(&self, names: impl IntoIterator<Item = String>) -> Option<String> {
        names.into_iter().find(|name| self.has(name))
    }

    /// The name in the file of a name inside the wrapper.
    #[must_use]
    pub fn on_disk(&self, name: &str) -> String {
        format!("{}{name}", self.wrapper)
    }

    /// The name inside the wrapper of a name in the file; `None` if it lies outside.
    #[must_use]
    pub fn inside<'a>(&self, on_disk: &'a str) -> Option<&'a str> {
        on_disk.strip_prefix(self.wrapper.as_str())
    }

    /// The same file seen from inside one of its modules, whose encoder is at `base`. Names are then those inside that module.
    #[must_use]
    pub(super) fn within(&self, module: &str, base: &str) -> Self {
        let wrapper = format!("{}{module}", self.wrapper);
        Self { shapes: Arc::clone(&self.shapes), wrapper, base: base.to_owned() }
    }

    /// All ways to see this file with one of `anchors` right after wrapper and base. A base is one of `bases` or
    /// empty; the longest that fits is taken.
    pub(super) fn seen_by(&self, anchors: &[&str], bases: &[&str]) -> Vec<Self> {
        let ends = |name: &str, end: &str| {
            let before = name.strip_suffix(end)?;
            (before.is_empty() || before.ends_with('.')).then(|| before.to_owned())
        };
        let mut seen = BTreeSet::new();
        for name in self.iter() {
            for before in anchors.iter().filter_map(|anchor| ends(name, anchor)) {
                let fits = bases.iter().filter(|base| ends(&before, base).is_some());
                let base = fits.max_by_key(|base| base.len()).copied().unwrap_or_default();
                seen.insert((before[..before.len() - base.len()].to_owned(), base.to_owned()));
            }
        }
        let through = |(wrapper, base)| Self { shapes: Arc::clone(&self.shapes), wrapper, base };
        seen.into_iter().map(through).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    fn names(all: &[&str]) -> Names {
        Names::new(all.iter().map(|name| (*name, [1].as_slice())))
    }

    #[test]
    fn any_wrapper_is_looked_through_and_the_base_stays_inside_it() {
        let file = names(&["base_model.model.vit.embed.weight", "base_model.model.classifier.weight"]);
        let seen = file.seen_by(&["embed.weight"], &["vit."]);
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].wrapper(), seen[0].base()), ("base_model.model.", "vit."));
        assert!(seen[0].has("classifier.weight") && seen[0].has("vit.embed.weight"));
        assert_eq!(seen[0].inside("base_model.model.classifier.weight"), Some("classifier.weight"));
        assert_eq!(seen[0].inside("loss.weight"), None);
    }

    #[test]
    fn part_of_a_word_is_no_wrapper() {
        assert!(names(&["text_embed.weight"]).seen_by(&["embed.weight"], &[]).is_empty());
        assert_eq!(names(&["a.embed.weight", "b.embed.weight"]).seen_by(&["embed.weight"], &[]).len(), 2);
    }
}
