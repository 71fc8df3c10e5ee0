//! What is compared.

use tokmerge_merge::{METHODS, Matcher, Method, SpecError, Tome};

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
    fn controls_can_be_brought_to_any_cost() {
        let facts = ModelFacts::new(12, 197, 1);
        for control in Entrant::controls(3) {
            let turned = control.method.at_dial(0.1, &facts).expect("a dial").to_string();
            assert!(turned.contains("matcher=random") && turned.contains("seed=3"), "{turned}");
            assert_eq!(control.role, Role::Control);
        }
    }
}
