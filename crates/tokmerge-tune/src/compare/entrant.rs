//! What is compared.

use tokmerge_merge::{METHODS, Matcher, Method, SpecError, Tome, TrainedBy};

/// A method that is to be brought to a cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Entrant {
    /// How it is called in tables and legends.
    pub label: String,
    /// The method at any strength; all its other options stay.
    pub method: Method,
    /// What it is there for.
    pub role: Role,
}

/// What a method is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// To be compared.
    Method,
    /// To show what chance does: what is no better than that has found nothing.
    Control,
    /// To be compared with: the model as it is.
    Unmerged,
}

impl Entrant {
    /// Every method that merges something.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let known = METHODS.iter().filter_map(|info| Self::named(info.name).ok());
        known.filter(|entrant| entrant.method != Method::None).collect()
    }

    /// A method from its name, with its usual options, or from a spec.
    ///
    /// # Errors
    /// When it is neither.
    pub fn named(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        let known = METHODS.iter().find(|info| info.name == text);
        let method = known.map_or(text, |info| info.example).parse()?;
        Ok(Self { label: text.to_owned(), method, role: Role::Method })
    }

    /// The same, with the options that a model was trained with where a name alone stands for that method: its weights may stand
    /// at other places than in the example.
    #[must_use]
    pub(super) fn like(self, trained_with: &Method) -> Self {
        let name = trained_with.info().name;
        let is_named = self.label == name && self.method.info().name == name;
        let learns = trained_with.has_weights() || trained_with.trained_by() != TrainedBy::Merging;
        if is_named && learns { Self { method: trained_with.clone(), ..self } } else { self }
    }

    /// What chance does: pairs that merge at random, and tokens that are dropped at random.
    #[must_use]
    pub fn controls(seed: u64) -> [Self; 2] {
        [("random merge", Matcher::RandomMerge), ("random prune", Matcher::RandomPrune)].map(
            |(label, matcher)| Self {
                label: label.to_owned(),
                method: Method::Tome(Tome { matcher, seed, ..Tome::new(1) }),
                role: Role::Control,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Entrant, Role};
    use tokmerge_merge::{METHODS, ModelFacts};

    #[test]
    fn names_stand_for_their_examples_and_specs_for_themselves() {
        let of = |text: &str| Entrant::named(text).map(|found| (found.label, found.method.to_string()));
        assert_eq!(of("evit"), Ok(("evit".to_owned(), "evit:keep=70%".to_owned())));
        let drop = "evit:keep=70%,rest=drop".to_owned();
        assert_eq!(of(&drop), Ok((drop.clone(), drop)));
        assert!(of("tomee").unwrap_err().to_string().contains("did you mean tome?"));
        assert_eq!(Entrant::all().len() + 1, METHODS.len());
    }

    #[test]
    fn a_name_stands_for_what_a_model_was_trained_with() {
        let of = |text: &str, trained: &str| {
            let trained = trained.parse().expect("a method");
            Entrant::named(text).expect("a method").like(&trained).method.to_string()
        };
        let trained = "dynamicvit:keep=50%,layer=[2,3]";
        assert_eq!(of("dynamicvit", trained), trained);
        assert_eq!(of("dynamicvit:keep=70%", trained), "dynamicvit:keep=70%");
        assert_eq!(of("a_vit", "a_vit:beta=75"), "a_vit:beta=75");
        assert_eq!(of("a_vit", trained), "a_vit");
        // What training leaves no trace of keeps its usual options.
        assert_eq!(of("evit", "evit:keep=50%,rest=drop"), "evit:keep=70%");
    }

    #[test]
    fn controls_can_be_brought_to_any_cost() {
        let facts = ModelFacts::new(12, 197, 1);
        for control in Entrant::controls(3) {
            let turned = control.method.at_dial(0.1, &facts).expect("a dial").to_string();
            assert!(turned.contains("matcher=random") && turned.contains("seed=3"), "{turned}");
            assert_eq!(control.role, Role::Control);
        }
    }
}
