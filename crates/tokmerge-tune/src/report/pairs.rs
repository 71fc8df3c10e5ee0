//! The same of a search on pairs of sentences.

use super::{ModelTable, Setting, digits, model_table, saving};
use crate::PairsOutcome;
use serde::Serialize;
use tokmerge_eval::PairsAccuracy;
use tokmerge_merge::MergeSpec;
use tokmerge_models::Convention;
use tokmerge_viz::plot::{Axis, Chart, Mark, Note, Reference, Series};

/// The goal, as files say it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct GoalTable {
    min_spearman: f64,
}

impl GoalTable {
    fn of(outcome: &PairsOutcome) -> Self {
        Self { min_spearman: outcome.min_spearman }
    }
}

/// Setting and outcome as one JSON object.
///
/// # Errors
/// When the outcome cannot be written as JSON.
pub fn to_json(outcome: &PairsOutcome, setting: &Setting) -> serde_json::Result<serde_json::Value> {
    #[derive(Serialize)]
    struct All<'a> {
        #[serde(flatten)]
        setting: &'a Setting,
        goal: GoalTable,
        choice: Option<String>,
        held_out: &'a [PairsAccuracy],
        measured: &'a [PairsAccuracy],
    }
    serde_json::to_value(All {
        setting,
        goal: GoalTable::of(outcome),
        choice: outcome.choice.as_ref().map(ToString::to_string),
        held_out: &outcome.held_out,
        measured: &outcome.measured,
    })
}

/// Whether a text is what [`to_json`] makes of some search.
#[must_use]
pub fn is_json(text: &[u8]) -> bool {
    let found: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    found.is_some_and(|found| found["goal"]["min-spearman"].is_number() && found["measured"].is_array())
}

/// The text of a `merge.toml`, as of [images](super::to_toml): the choice, and in tables what was measured where. `None`
/// unless something was chosen.
///
/// # Errors
/// When a figure cannot be written as TOML.
pub fn to_toml(outcome: &PairsOutcome, setting: &Setting) -> Result<Option<String>, toml::ser::Error> {
    #[derive(Serialize)]
    struct Tables<'a> {
        model: ModelTable<'a>,
        goal: GoalTable,
        measured: Measurements,
    }
    #[derive(Serialize)]
    struct Measurements {
        convention: Convention,
        search: Option<Measured>,
        held_out: Option<Measured>,
    }
    #[derive(Serialize)]
    struct Measured {
        pairs: usize,
        gmacs: f64,
        gmacs_unmerged: f64,
        /// In percent.
        saving: f64,
        spearman: f64,
        spearman_interval: [f64; 2],
        spearman_unmerged: f64,
    }
    let Some(choice) = &outcome.choice else { return Ok(None) };
    let measured = |both: Option<Both<'_>>| {
        both.map(|Both { merged, unmerged }| Measured {
            pairs: merged.pairs,
            gmacs: digits(merged.gmacs),
            gmacs_unmerged: digits(unmerged.gmacs),
            saving: digits(saving(merged.gmacs, unmerged.gmacs)),
            spearman: digits(merged.spearman),
            spearman_interval: [digits(merged.spearman_interval.0), digits(merged.spearman_interval.1)],
            spearman_unmerged: digits(unmerged.spearman),
        })
    };
    let tables = Tables {
        model: model_table(setting),
        goal: GoalTable::of(outcome),
        measured: Measurements {
            convention: setting.convention,
            search: measured(Both::searched_on(outcome)),
            held_out: measured(Both::held_out(outcome)),
        },
    };
    let method: MergeSpec = choice.spec();
    Ok(Some(format!("{}\n\n{}", method.to_toml().trim_end(), toml::to_string(&tables)?)))
}

/// Everything that was measured on the pairs of the search as CSV, the unmerged model first.
///
/// # Errors
/// When a row cannot be written as CSV.
pub fn to_csv(outcome: &PairsOutcome) -> Result<Vec<u8>, csv::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        merge: &'a str,
        pairs: usize,
        gmacs: f64,
        gmacs_ratio: f64,
        tokens: f64,
        spearman: f64,
        spearman_low: f64,
        spearman_high: f64,
        pearson: f64,
        mean_cosine: f64,
    }
    let unmerged = outcome.measured.first().map_or(f64::NAN, |found| found.gmacs);
    let mut writer = csv::Writer::from_writer(Vec::new());
    for found in &outcome.measured {
        writer.serialize(Row {
            merge: &found.merge,
            pairs: found.pairs,
            gmacs: found.gmacs,
            gmacs_ratio: found.gmacs / unmerged,
            tokens: found.mean_tokens,
            spearman: found.spearman,
            spearman_low: found.spearman_interval.0,
            spearman_high: found.spearman_interval.1,
            pearson: found.pearson,
            mean_cosine: found.mean_cosine,
        })?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// Everything that was measured as a chart of rank correlation over GMACs.
#[must_use]
pub fn chart(outcome: &PairsOutcome, setting: &Setting) -> Chart {
    let place = |found: &PairsAccuracy| (found.gmacs, found.spearman);
    let tried = outcome.measured.iter().skip(1).map(place).collect();
    let choice = Both::searched_on(outcome).map(|both| place(both.merged));
    let unmerged = outcome.measured.first().map(|found| found.spearman);
    let unmerged = unmerged.map(|spearman| Reference::new(format!("unmerged {spearman:.1}"), spearman));
    let goal = outcome.min_spearman;
    let pairs = outcome.measured.first().map_or(0, |found| found.pairs);
    Chart {
        title: format!("{}: a rank correlation of at least {goal}", setting.model),
        x: Axis::linear(format!("GMACs per sentence ({})", setting.convention)),
        y: Axis::linear(format!("Spearman's rank correlation (times 100), {pairs} pairs")),
        series: [Series::new("measured", Mark::Dots, tried)]
            .into_iter()
            .chain(choice.map(|at| Series::new("choice", Mark::Markers, vec![at])))
            .collect(),
        references: unmerged.into_iter().chain([Reference::new(format!("asked for {goal}"), goal)]).collect(),
        notes: choice.map(|at| Note::new("choice", at)).into_iter().collect(),
        ..Chart::default()
    }
}

/// The decision in a few plain sentences.
#[must_use]
pub fn verdict(outcome: &PairsOutcome, setting: &Setting) -> Vec<String> {
    let (Some(choice), Some(searched)) = (&outcome.choice, Both::searched_on(outcome)) else {
        return vec!["Do not merge: nothing that was tried saves anything at this goal.".to_owned()];
    };
    let Both { merged, unmerged } = searched;
    let mut said = vec![format!(
        "Merge with {choice}: {:.4} instead of {:.4} GMACs ({}) on the {} pairs searched on, {:.1} % saved; Spearman is {:.2} \
         instead of {:.2}.",
        merged.gmacs,
        unmerged.gmacs,
        setting.convention,
        merged.pairs,
        saving(merged.gmacs, unmerged.gmacs),
        merged.spearman,
        unmerged.spearman,
    )];
    let Some(Both { merged, unmerged }) = Both::held_out(outcome) else { return said };
    let (low, high) = merged.spearman_interval;
    said.push(format!(
        "On {} pairs that were not searched on it saves {:.1} %, and Spearman is {:.2} (95 % interval {low:.1} to {high:.1}) \
         instead of {:.2}.",
        merged.pairs,
        saving(merged.gmacs, unmerged.gmacs),
        merged.spearman,
        unmerged.spearman,
    ));
    let goal = outcome.min_spearman;
    if merged.spearman < goal {
        let why = match (unmerged.spearman < goal, high < goal) {
            (true, _) => "and so is the unmerged model on these pairs; ask for less, or give more pairs",
            (false, true) => "these pairs are harder than those used for the search; give more pairs",
            (false, false) => "but within the uncertainty of so few pairs; give more to be sure",
        };
        let joint = if unmerged.spearman >= goal && high < goal { ":" } else { "," };
        said.push(format!("That is below the requested {goal}{joint} {why}."));
    }
    said
}

/// The choice and the unmerged model on the same pairs.
#[derive(Clone, Copy)]
struct Both<'a> {
    merged: &'a PairsAccuracy,
    unmerged: &'a PairsAccuracy,
}

impl<'a> Both<'a> {
    /// On the pairs of the search; `None` where nothing was chosen.
    fn searched_on(outcome: &'a PairsOutcome) -> Option<Self> {
        let choice = outcome.choice.as_ref()?.to_string();
        let merged = outcome.measured.iter().find(|found| found.merge == choice)?;
        Some(Self { merged, unmerged: outcome.measured.first()? })
    }

    /// On the others; `None` where nothing was chosen.
    fn held_out(outcome: &'a PairsOutcome) -> Option<Self> {
        match &outcome.held_out[..] {
            [unmerged, merged] => Some(Self { merged, unmerged }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{chart, is_json, to_csv, to_json, to_toml, verdict};
    use crate::PairsOutcome;
    use crate::report::Setting;
    use tokmerge_eval::PairsAccuracy;
    use tokmerge_merge::{MergeSpec, Method};
    use tokmerge_models::Convention;

    const CHOSEN: &str = "tome:r=10%";

    fn found(merge: &str, gmacs: f64, spearman: f64) -> PairsAccuracy {
        PairsAccuracy {
            merge: merge.to_owned(),
            pairs: 50,
            sentences: 90,
            cut_sentences: 0,
            spearman,
            spearman_interval: (spearman - 4.0, spearman + 4.0),
            pearson: spearman,
            mean_cosine: 0.99,
            mean_tokens: 12.0,
            gmacs,
            sentences_per_second: 100.0,
        }
    }

    /// The goal is 80; unmerged and merged on the pairs that were held out.
    fn outcome(held_out: [f64; 2]) -> PairsOutcome {
        PairsOutcome {
            min_spearman: 80.0,
            measured: vec![
                found("none", 0.5, 84.0),
                found("tome:r=20%", 0.3, 70.0),
                found(CHOSEN, 0.4, 81.0),
            ],
            choice: Some(CHOSEN.parse().unwrap()),
            held_out: vec![found("none", 0.5, held_out[0]), found(CHOSEN, 0.4, held_out[1])],
        }
    }

    fn setting() -> Setting {
        Setting {
            model: "bert".to_owned(),
            weights: "model.safetensors".to_owned(),
            img_size: None,
            dtype: "f32".to_owned(),
            convention: Convention::Fvcore,
            device: "cpu".to_owned(),
            threads: 2,
            isa: "avx2".to_owned(),
            seed: 0,
        }
    }

    #[test]
    fn the_verdict_says_where_the_goal_is_missed_on_other_pairs() {
        let said = |held_out| verdict(&outcome(held_out), &setting()).join(" ");
        let kept = said([84.0, 80.5]);
        for part in [
            "Merge with tome:r=10%: 0.4000 instead of 0.5000 GMACs (fvcore) on the 50 pairs searched on, 20.0 % saved",
            "On 50 pairs that were not searched on it saves 20.0 %, and Spearman is 80.50 (95 % interval 76.5 to 84.5) \
             instead of 84.00.",
        ] {
            assert!(kept.contains(part), "{part} in {kept}");
        }
        assert!(!kept.contains("requested"), "{kept}");
        for (held_out, part) in [
            ([84.0, 79.0], "below the requested 80, but within the uncertainty of so few pairs"),
            ([84.0, 70.0], "below the requested 80: these pairs are harder"),
            ([79.5, 79.0], "below the requested 80, and so is the unmerged model on these pairs"),
        ] {
            assert!(said(held_out).contains(part), "{part} in {}", said(held_out));
        }
        let none = PairsOutcome { choice: None, ..outcome([84.0, 80.5]) };
        assert!(verdict(&none, &setting())[0].starts_with("Do not merge: "));
        assert_eq!(to_toml(&none, &setting()), Ok(None));
    }

    #[test]
    fn files_hold_the_choice_and_what_was_measured() {
        let text = to_toml(&outcome([84.0, 80.5]), &setting()).unwrap().unwrap();
        let method = Method::from_spec(&MergeSpec::from_toml(&text).unwrap()).unwrap();
        assert_eq!(method.to_string(), CHOSEN);
        let table: toml::Table = text.parse().unwrap();
        assert!(!text.contains("img_size"), "{text}");
        assert_eq!(table["goal"]["min-spearman"].as_float(), Some(80.0));
        assert_eq!(table["measured"]["held_out"]["spearman"].as_float(), Some(80.5));
        assert_eq!(table["measured"]["search"]["saving"].as_float(), Some(20.0));
        let json = to_json(&outcome([84.0, 80.5]), &setting()).unwrap();
        assert_eq!((&json["choice"], &json["model"]), (&CHOSEN.into(), &"bert".into()));
        assert!(is_json(json.to_string().as_bytes()) && !is_json(b"{\"goal\": {}}") && !is_json(b"[1"));
        let csv = String::from_utf8(to_csv(&outcome([84.0, 80.5])).unwrap()).unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(
            lines[0].starts_with("merge,pairs,gmacs,gmacs_ratio,")
                && lines[1].starts_with("none,50,0.5,1.0,")
        );
        let chart = chart(&outcome([84.0, 80.5]), &setting());
        assert_eq!((chart.series.len(), chart.references.len()), (2, 2));
        assert_eq!(chart.series[1].points, [(0.4, 81.0)]);
    }
}
