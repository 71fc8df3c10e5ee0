//! The name that somebody probably meant.

/// Longer names are nobody's slip, and the distance takes time and memory of the product of both lengths.
const LONGEST: usize = 200;

/// The known name nearest to `given`, if one is near: at most a third of the letters differ, or two. Case is ignored, and
/// so are names of more than 200 bytes.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > LONGEST {
        return None;
    }
    let given = given.to_lowercase();
    let allowed = 2.max(given.chars().count() / 3);
    let near = known.into_iter().filter(|name| name.len() <= LONGEST);
    let distances = near.map(|name| (strsim::damerau_levenshtein(&given, &name.to_lowercase()), name));
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

    #[test]
    fn very_long_names_have_no_neighbours_and_cost_no_time() {
        let (long, longer) = ("x".repeat(100_000), "x".repeat(100_001));
        let started = std::time::Instant::now();
        assert_eq!(nearest(&long, [longer.as_str(), "x"]), None);
        assert_eq!(nearest("xx", [longer.as_str(), "x"]), Some("x"));
        assert!(started.elapsed().as_millis() < 500);
    }
}
