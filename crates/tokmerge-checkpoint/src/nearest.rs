//! The name that somebody probably meant.

/// The known name nearest to `given`, if one is near: at most a third of the letters differ, or two. Case is ignored.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let allowed = 2.max(given.chars().count() / 3);
    let distances = known.into_iter().map(|name| {
        let distance = strsim::damerau_levenshtein(&given, &name.to_lowercase());
        (distance, name)
    });
    distances.filter(|(distance, _)| *distance <= allowed).min().map(|(_, name)| name)
}

/// ` (did you mean X?)` for the [`nearest`] name, or nothing if none is near: the end of an error message.
#[must_use]
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let known = ["vit_small_patch16_224", "deit_small_patch16_224", "tome", "atm"];
        assert_eq!(nearest("vit_smal_patch16_224", known), Some(known[0]));
        assert_eq!(nearest("TOEM", known), Some("tome"));
        assert_eq!(nearest("bert-base-uncased", known), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(did_you_mean("tom", known), " (did you mean tome?)");
        assert_eq!(did_you_mean("transformer", known), "");
    }
}
