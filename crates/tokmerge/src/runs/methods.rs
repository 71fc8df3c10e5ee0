//! Which specs are points of one line: the same method, whose strength differs and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use tokmerge_merge::{MergeSpec, Method, ModelFacts};

/// Options of a method by name: `None` stands for a strength that is a number, which differs from point to point.
type Form = BTreeMap<String, Option<String>>;

/// What a spec is, apart from how much it merges.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    method: String,
    form: Form,
}

/// A strength with a value for each layer is another schedule than one number.
const LIST: &str = "[...]";

/// A kind, and the specs that are of it.
type Line = (Kind, Vec<MergeSpec>);

/// A name for the line of every spec: that of its method, with the options that tell its lines apart.
pub(super) fn names(specs: &[&str]) -> Vec<String> {
    let mut lines: Vec<Line> = Vec::new();
    let mut line_of: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for spec in specs {
        line_of.entry(spec).or_insert_with(|| {
            let (read, kind) = kind(spec)?;
            let known = lines.iter().position(|(other, _)| *other == kind);
            let line = known.unwrap_or_else(|| {
                lines.push((kind, Vec::new()));
                lines.len() - 1
            });
            lines[line].1.push(read);
            Some(line)
        });
    }
    let named: Vec<String> = lines.iter().map(|line| named(line, &lines)).collect();
    let name = |spec: &&str| line_of[spec].map_or_else(|| (*spec).to_owned(), |line| named[line].clone());
    specs.iter().map(name).collect()
}

/// The kind of a spec; `None` of what is none.
fn kind(spec: &str) -> Option<(MergeSpec, Kind)> {
    // Files may be older than a method's options, or newer.
    let method: Option<Method> = spec.parse().ok();
    let written = method.as_ref().map_or_else(|| spec.to_owned(), ToString::to_string);
    let spec: MergeSpec = written.parse().ok()?;
    let strengths = strengths(method.as_ref(), &spec);
    let form = spec.options.iter().map(|(option, value)| {
        let kept = match strengths.contains(option) {
            true if value.starts_with('[') => Some(LIST.to_owned()),
            true => None,
            false => Some(value.clone()),
        };
        (option.clone(), kept)
    });
    let kind = Kind { method: spec.method.clone(), form: form.collect() };
    Some((spec, kind))
}

/// Options that say how much merges: those that change with the method's dial, or all numbers where it has none.
fn strengths(method: Option<&Method>, spec: &MergeSpec) -> BTreeSet<String> {
    let options = |spec: &MergeSpec| spec.options.iter().cloned().collect::<BTreeSet<_>>();
    // Any model will do that has enough layers and tokens.
    let facts = ModelFacts::new(12, 197, 1);
    let turned = |dial| method?.at_dial(dial, &facts)?.to_string().parse::<MergeSpec>().ok();
    let given = options(spec);
    let mut changed = BTreeSet::new();
    let mut has_dial = false;
    for spec in [0.15, 0.6].into_iter().filter_map(turned) {
        has_dial = true;
        changed.extend(given.symmetric_difference(&options(&spec)).map(|(option, _)| option.clone()));
    }
    let numbers = given.iter().filter(|(_, value)| value.trim_end_matches('%').parse::<f64>().is_ok());
    if has_dial { changed } else { numbers.map(|(option, _)| option.clone()).collect() }
}

/// The method with the options that are not the same in all of its lines.
fn named((kind, specs): &Line, lines: &[Line]) -> String {
    let is_shared = |option: &String, value: &Option<String>| {
        let mut siblings = lines.iter().filter(|(other, _)| other.method == kind.method);
        siblings.all(|(other, _)| other.form.get(option) == Some(value))
    };
    let own = kind.form.iter().filter(|(option, value)| !is_shared(option, value));
    let own: Vec<String> = own
        .map(|(option, value)| match value {
            Some(value) => format!("{option}={value}"),
            None => strength(option, specs),
        })
        .collect();
    if own.is_empty() { kind.method.clone() } else { format!("{}:{}", kind.method, own.join(",")) }
}

/// A strength, with its value where that is the same in the whole line.
fn strength(option: &str, specs: &[MergeSpec]) -> String {
    let given = specs.iter().flat_map(|spec| &spec.options).filter(|(name, _)| name == option);
    let values: BTreeSet<&String> = given.map(|(_, value)| value).collect();
    match values.first() {
        Some(value) if values.len() == 1 => format!("{option}={value}"),
        _ => option.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn specs_that_differ_in_strength_alone_are_of_one_line() {
        assert_eq!(names(&["tome:r=8", "tome:r=13", "evit:keep=70%"]), ["tome", "tome", "evit"]);
        let atm = ["atm:alpha=0.98,beta=0.035,min=0.93", "atm:alpha=0.985,beta=0.025,min=0.885"];
        assert_eq!(names(&atm), ["atm", "atm"]);
        assert_eq!(names(&["stm:p=2,layer=4", "stm:p=4,layer=4"]), ["stm", "stm"]);
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn lines_of_one_method_are_told_apart_by_what_they_do_not_share() {
        let schedules = ["tome:r=8", "tome:r=13", "tome:r=8,inflect=-1", "tome:r=11,inflect=-1"];
        assert_eq!(names(&schedules), ["tome", "tome", "tome:inflect=-1", "tome:inflect=-1"]);
        let chance = ["tome:r=8", "tome:r=8,matcher=random_merge", "none"];
        assert_eq!(names(&chance), ["tome", "tome:matcher=random_merge", "none"]);
        let layers = ["tome:r=8", "tome:r=[8,4,2]"];
        assert_eq!(names(&layers), ["tome:r=8", "tome:r=[...]"]);
    }

    #[test]
    fn what_is_no_known_method_has_numbers_as_its_strength() {
        let specs = ["unheard:of=1", "unheard:of=2", "unheard:of=1,form=odd", "no spec: at all"];
        assert_eq!(names(&specs), ["unheard", "unheard", "unheard:form=odd", "no spec: at all"]);
    }
}
