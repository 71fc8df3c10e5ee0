//! What a search found, for people and other programs: `merge.toml`, a table, sentences, a chart, CSV and JSON.

pub mod pairs;

use crate::{Choice, Decision, Family, Goal, Outcome, Point};
use serde::Serialize;
use tokmerge_eval::{Better, pareto_front, wilson};
use tokmerge_models::Convention;
use tokmerge_viz::plot::{Axis, Chart, Mark, Note, Reference, Series};

/// What was searched with and where: figures mean little without it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Name and tag of the model.
    pub model: String,
    /// Where its weights come from: the name of a file, of a source, or `random`.
    pub weights: String,
    /// Height and width of the input; `None` of texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub img_size: Option<(usize, usize)>,
    /// What products are computed in.
    pub dtype: String,
    /// What counts as an operation.
    pub convention: Convention,
    /// Where the model runs.
    pub device: String,
    /// Threads that compute.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Seed of the search.
    pub seed: u64,
}

impl Setting {
    /// Where times were taken, in a few words.
    pub(crate) fn machine(&self) -> String {
        format!("{}, {} threads, {}", self.device, self.threads, self.isa)
    }
}

/// Setting and outcome as one JSON object.
///
/// # Errors
/// When the outcome cannot be written as JSON.
pub fn to_json(outcome: &Outcome, setting: &Setting) -> serde_json::Result<serde_json::Value> {
    #[derive(Serialize)]
    struct Both<'a> {
        #[serde(flatten)]
        setting: &'a Setting,
        #[serde(flatten)]
        outcome: &'a Outcome,
    }
    serde_json::to_value(Both { setting, outcome })
}

/// Whether a text is what [`to_json`] makes of some search.
#[must_use]
pub fn is_json(text: &[u8]) -> bool {
    let found: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    found.is_some_and(|found| found["search_images"].is_number() && found["points"].is_array())
}

/// The text of a `merge.toml`: the method of the choice, readable as
/// [`MergeSpec::from_toml`](tokmerge_merge::MergeSpec::from_toml) reads it, and in tables what was measured where.
/// `None` unless the outcome is to merge.
///
/// # Errors
/// When a figure cannot be written as TOML.
pub fn to_toml(outcome: &Outcome, setting: &Setting) -> Result<Option<String>, toml::ser::Error> {
    let Some(choice) = outcome.choice() else { return Ok(None) };
    let held_out = choice.held_out.as_ref().map(|held_out| {
        let (low, high) = held_out.agreement_interval;
        Measured {
            images: held_out.merged.images,
            gmacs: digits(held_out.merged.gmacs),
            gmacs_unmerged: digits(held_out.unmerged.gmacs),
            saving: digits(saving(held_out.merged.gmacs, held_out.unmerged.gmacs)),
            agreement: digits(held_out.merged.agreement),
            agreement_interval: Some([digits(low), digits(high)]),
            expected_agreement: None,
            expected_agreement_error: None,
            top1: held_out.merged.top1.map(digits),
            top1_unmerged: held_out.unmerged.top1.map(digits),
        }
    });
    let found = &choice.search;
    let (low, high) = interval(found.agreement, found.images);
    let search = Measured {
        images: found.images,
        gmacs: digits(found.gmacs),
        gmacs_unmerged: digits(outcome.unmerged.gmacs),
        saving: digits(saving(found.gmacs, outcome.unmerged.gmacs)),
        agreement: digits(found.agreement),
        agreement_interval: Some([digits(low), digits(high)]),
        expected_agreement: Some(digits(found.expected_agreement)),
        expected_agreement_error: Some(digits(found.agreement_error)),
        top1: found.top1.map(digits),
        top1_unmerged: outcome.unmerged.top1.map(digits),
    };
    let tables = Tables {
        model: model_table(setting),
        goal: outcome.goal,
        measured: MeasuredTables {
            convention: setting.convention,
            search,
            held_out,
            speed: SpeedTable {
                device: &setting.device,
                threads: setting.threads,
                isa: &setting.isa,
                batch_size: choice.batch_size,
                ms_per_batch: digits(choice.ms_per_batch.median),
                speedup: digits(choice.speedup.median),
                speedup_min: digits(choice.speedup.min),
                speedup_max: digits(choice.speedup.max),
            },
        },
    };
    let method = choice.method.spec().to_toml();
    Ok(Some(format!("{}\n\n{}", method.trim_end(), toml::to_string(&tables)?)))
}

#[derive(Serialize)]
struct Tables<'a> {
    model: ModelTable<'a>,
    goal: Option<Goal>,
    measured: MeasuredTables<'a>,
}

#[derive(Serialize)]
struct ModelTable<'a> {
    name: &'a str,
    weights: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    img_size: Option<[usize; 2]>,
    dtype: &'a str,
}

fn model_table(setting: &Setting) -> ModelTable<'_> {
    ModelTable {
        name: &setting.model,
        weights: &setting.weights,
        img_size: setting.img_size.map(Into::into),
        dtype: &setting.dtype,
    }
}

#[derive(Serialize)]
struct MeasuredTables<'a> {
    convention: Convention,
    search: Measured,
    held_out: Option<Measured>,
    speed: SpeedTable<'a>,
}

#[derive(Serialize)]
struct Measured {
    images: usize,
    gmacs: f64,
    gmacs_unmerged: f64,
    /// In percent.
    saving: f64,
    agreement: f64,
    agreement_interval: Option<[f64; 2]>,
    expected_agreement: Option<f64>,
    expected_agreement_error: Option<f64>,
    top1: Option<f64>,
    top1_unmerged: Option<f64>,
}

#[derive(Serialize)]
struct SpeedTable<'a> {
    device: &'a str,
    threads: usize,
    isa: &'a str,
    batch_size: usize,
    ms_per_batch: f64,
    speedup: f64,
    speedup_min: f64,
    speedup_max: f64,
}

/// Four digits after the point: more than any of these figures is sure of.
fn digits(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The 95 % interval of a percentage of a number of images.
fn interval(percent: f64, images: usize) -> (f64, f64) {
    wilson((percent * images as f64 / 100.0).round() as usize, images)
}

/// Percent of `before`.
fn saving(after: f64, before: f64) -> f64 {
    100.0 * (1.0 - after / before)
}

impl Outcome {
    /// What was chosen, if anything was.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice> {
        match &self.decision {
            Some(Decision::Merge(choice)) => Some(choice),
            Some(Decision::DoNotMerge { .. }) | None => None,
        }
    }

    /// Whether the points are of a search at random.
    fn is_random(&self) -> bool {
        self.points.iter().any(|point| point.family == Family::Random)
    }
}

/// A table of the Pareto front, the cheapest first, and of the unmerged model below it: headings and rows.
#[must_use]
pub fn front_table(outcome: &Outcome, setting: &Setting) -> (Vec<String>, Vec<Vec<String>>) {
    let labelled = outcome.unmerged.top1.is_some();
    let gmacs = format!("GMACs ({})", setting.convention);
    let mut header = vec!["family", &gmacs, "of unmerged %", "expected agreement %", "counted %"];
    header.extend(labelled.then_some("top-1 %"));
    header.push("merge");
    let row = |point: &Point| {
        let mut row = vec![
            point.family.name().to_owned(),
            format!("{:.3}", point.gmacs),
            format!("{:.1}", 100.0 * point.gmacs / outcome.unmerged.gmacs),
            format!("{:.1} ± {:.1}", point.expected_agreement, point.agreement_error),
            format!("{:.1}", point.agreement),
        ];
        row.extend(point.top1.filter(|_| labelled).map(|top1| format!("{top1:.1}")));
        row.push(point.merge.clone());
        row
    };
    let front = outcome.front.iter().filter_map(|&index| outcome.points.get(index));
    let rows = front.chain([&outcome.unmerged]).map(row).collect();
    (header.into_iter().map(str::to_owned).collect(), rows)
}

/// The decision in a few plain sentences.
#[must_use]
pub fn verdict(outcome: &Outcome, setting: &Setting) -> Vec<String> {
    let choice = match &outcome.decision {
        None => return vec!["No goal was given, so nothing is chosen.".to_owned()],
        Some(Decision::DoNotMerge { reason }) => return vec![format!("Do not merge: {reason}.")],
        Some(Decision::Merge(choice)) => choice,
    };
    let Choice { method, search, speedup, ms_per_batch, batch_size, .. } = &**choice;
    let before = outcome.unmerged.gmacs;
    let mut said = vec![format!(
        "Merge with {method}: {:.3} instead of {before:.3} GMACs ({}) on the {} images searched on, {:.1} % saved; {:.2} times as fast on this machine ({:.2} to {:.2}; {:.1} ms per batch of {batch_size}, {}).",
        search.gmacs,
        setting.convention,
        search.images,
        saving(search.gmacs, before),
        speedup.median,
        speedup.min,
        speedup.max,
        ms_per_batch.median,
        setting.machine(),
    )];
    let Some(held_out) = &choice.held_out else {
        let (low, high) = interval(search.agreement, search.images);
        said.push(format!(
            "It names the unmerged model's class on {:.1} % of them (95 % interval {low:.1} to {high:.1} %); none was held out, so others may fare worse.",
            search.agreement,
        ));
        return said;
    };
    let (merged, (low, high)) = (&held_out.merged, held_out.agreement_interval);
    let accuracy = match (merged.top1, held_out.unmerged.top1) {
        (Some(after), Some(before)) => format!("; top-1 is {after:.1} instead of {before:.1} %"),
        _ => String::new(),
    };
    said.push(format!(
        "On {} images that were not searched on it saves {:.1} % and names the unmerged model's class on {:.1} % (95 % interval {low:.1} to {high:.1} %){accuracy}.",
        merged.images,
        saving(merged.gmacs, held_out.unmerged.gmacs),
        merged.agreement,
    ));
    said.extend(match (outcome.goal, merged.top1, held_out.unmerged.top1) {
        (Some(Goal::MinAgreement(percent)), ..) if high < percent => Some(format!(
            "That is below the requested {percent} %: these images are harder than those used for the search; use more."
        )),
        (Some(Goal::MinAgreement(percent)), ..) if merged.agreement < percent => Some(format!(
            "That is below the requested {percent} %, but within the uncertainty of so few images; use more to be sure."
        )),
        (Some(Goal::MaxDrop(points)), Some(after), Some(before)) if before - after > points => Some(format!(
            "That is {:.1} points lost where {points} were allowed; search on more images.",
            before - after
        )),
        _ => None,
    });
    said
}

/// A measured point.
#[derive(Serialize)]
struct Row<'a> {
    merge: &'a str,
    family: &'static str,
    images: usize,
    gmacs: f64,
    gmacs_ratio: f64,
    tokens: f64,
    agreement: f64,
    expected_agreement: f64,
    agreement_error: f64,
    top1: Option<f64>,
    expected_drop: Option<f64>,
    drop_error: Option<f64>,
    seconds: f64,
    unmerged_seconds: f64,
    front: bool,
}

fn row_of<'a>(outcome: &Outcome, point: &'a Point, front: bool) -> Row<'a> {
    Row {
        merge: &point.merge,
        family: point.family.name(),
        images: point.images,
        gmacs: point.gmacs,
        gmacs_ratio: point.gmacs / outcome.unmerged.gmacs,
        tokens: point.tokens,
        agreement: point.agreement,
        expected_agreement: point.expected_agreement,
        agreement_error: point.agreement_error,
        top1: point.top1,
        expected_drop: point.expected_drop,
        drop_error: point.drop_error,
        seconds: point.seconds,
        unmerged_seconds: point.unmerged_seconds,
        front,
    }
}

/// Every measured point as CSV, the unmerged model first.
///
/// # Errors
/// When a point cannot be written as CSV.
pub fn to_csv(outcome: &Outcome) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(row_of(outcome, &outcome.unmerged, false))?;
    for (index, point) in outcome.points.iter().enumerate() {
        writer.serialize(row_of(outcome, point, outcome.front.contains(&index)))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// More large markers of a kind hide each other.
const CROWD: usize = 10;

/// All points as a chart. A guided search: quality over GMACs, a series per kind of method. A random one: quality
/// over speed, constant and decreasing schedules as lines through the cloud of random ones (ToMe, Figure 2).
/// Quality is top-1 accuracy where the search was for it or at random, as far as there are labels, and expected
/// agreement otherwise.
#[must_use]
pub fn chart(outcome: &Outcome, setting: &Setting) -> Chart {
    let view = View::of(outcome);
    let mut families: Vec<Family> = Vec::new();
    for point in &outcome.points {
        if !families.contains(&point.family) {
            families.push(point.family);
        }
    }
    let series = families.iter().map(|&family| {
        let mut of_family: Vec<&Point> =
            outcome.points.iter().filter(|point| point.family == family).collect();
        of_family.sort_by(|a, b| a.gmacs.total_cmp(&b.gmacs));
        let points: Vec<_> = of_family.into_iter().map(|point| view.place(point)).collect();
        match (family, view.random) {
            (Family::Random, _) => Series::new(family.name(), Mark::Dots, points).muted(),
            (_, true) => Series::new(family.name(), Mark::Line, points),
            (_, false) if points.len() > CROWD => Series::new(family.name(), Mark::Dots, points),
            (_, false) => Series::new(family.name(), Mark::Markers, points),
        }
    });
    let front = view.front(&outcome.points);
    let front = (!front.is_empty()).then(|| Series::new("Pareto front", Mark::Step, front));
    let choice = outcome.choice().map(|choice| view.place(&choice.search));
    // A recheck lifts the choice above the front, which is of methods without.
    let rechecks = outcome.choice().is_some_and(|choice| choice.method.recheck().is_some());
    let note = if rechecks { "choice, with its recheck" } else { "choice" };
    let mut references = vec![Reference::new(
        format!("unmerged {:.1}", view.place(&outcome.unmerged).1),
        view.place(&outcome.unmerged).1,
    )];
    if let (Some(Goal::MinAgreement(percent)), Quality::ExpectedAgreement) = (outcome.goal, view.quality) {
        references.push(Reference::new(format!("asked for {percent}"), percent));
    }
    let images = outcome.search_images;
    let title = match outcome.goal {
        Some(goal) => format!("{}: {goal}", setting.model),
        None => format!("{}: schedules of ToMe", setting.model),
    };
    Chart {
        title,
        x: Axis::linear(match view.random {
            true => format!("speed-up over unmerged ({})", setting.machine()),
            false => format!("GMACs per image ({})", setting.convention),
        }),
        y: Axis::linear(format!(
            "{} (%), {images} images",
            match view.quality {
                Quality::ExpectedAgreement => "expected agreement with unmerged",
                Quality::ExpectedTop1 => "expected top-1 accuracy",
                Quality::Top1 => "top-1 accuracy",
            }
        )),
        series: front
            .into_iter()
            .chain(series)
            .chain(choice.map(|at| Series::new("choice", Mark::Markers, vec![at])))
            .collect(),
        references,
        notes: choice.map(|at| Note::new(note, at)).into_iter().collect(),
        ..Chart::default()
    }
}

/// What the axes of the chart mean.
#[derive(Clone, Copy, Debug)]
struct View {
    random: bool,
    quality: Quality,
    unmerged_top1: f64,
}

#[derive(Clone, Copy, Debug)]
enum Quality {
    ExpectedAgreement,
    ExpectedTop1,
    Top1,
}

impl View {
    fn of(outcome: &Outcome) -> Self {
        let random = outcome.is_random();
        let quality = match (outcome.unmerged.top1, outcome.goal) {
            (Some(_), _) if random => Quality::Top1,
            (Some(_), Some(Goal::MaxDrop(_))) => Quality::ExpectedTop1,
            _ => Quality::ExpectedAgreement,
        };
        Self { random, quality, unmerged_top1: outcome.unmerged.top1.unwrap_or(f64::NAN) }
    }

    /// Where a point lies.
    fn place(self, point: &Point) -> (f64, f64) {
        let x = if self.random { point.unmerged_seconds / point.seconds } else { point.gmacs };
        let y = match self.quality {
            Quality::ExpectedAgreement => point.expected_agreement,
            Quality::ExpectedTop1 => self.unmerged_top1 - point.expected_drop.unwrap_or(f64::NAN),
            Quality::Top1 => point.top1.unwrap_or(f64::NAN),
        };
        (x, y)
    }

    /// What nothing beats on these axes, from the cheapest or the fastest on.
    fn front(self, points: &[Point]) -> Vec<(f64, f64)> {
        let places: Vec<(f64, f64)> = points.iter().map(|point| self.place(point)).collect();
        let better = if self.random { Better::More } else { Better::Less };
        pareto_front(&places, better).into_iter().map(|index| places[index]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Setting, chart, front_table, is_json, to_csv, to_json, to_toml, verdict};
    use crate::{Choice, Decision, Family, Goal, HeldOut, Outcome, Point};
    use tokmerge_eval::{Accuracy, Spread};
    use tokmerge_merge::{MergeSpec, Method};
    use tokmerge_models::Convention;
    use tokmerge_viz::plot::{Mark, Tone};

    fn point(merge: &str, family: Family, gmacs: f64, agreement: f64) -> Point {
        Point {
            merge: merge.to_owned(),
            family,
            images: 96,
            gmacs,
            tokens: 80.0,
            agreement,
            expected_agreement: agreement - 0.5,
            agreement_error: 0.25,
            top1: None,
            expected_drop: None,
            drop_error: None,
            seconds: 0.01 * gmacs,
            unmerged_seconds: 0.0125,
            raw: None,
        }
    }

    fn setting() -> Setting {
        Setting {
            model: "vit_tiny.test".to_owned(),
            weights: "it's \"w\".safetensors".to_owned(),
            img_size: Some((224, 160)),
            dtype: "f32".to_owned(),
            convention: Convention::MacsNorm,
            device: "cpu".to_owned(),
            threads: 2,
            isa: "avx2".to_owned(),
            seed: u64::MAX,
        }
    }

    fn accuracy(merge: &str, gmacs: f64, agreement: f64) -> Accuracy {
        Accuracy {
            merge: merge.to_owned(),
            images: 32,
            top1: None,
            top5: None,
            mean_average_precision: None,
            bleu: None,
            agreement,
            model_images_per_second: 100.0,
            run_images_per_second: 50.0,
            gmacs,
            mean_tokens: 80.0,
        }
    }

    const CHOSEN: &str = "atm:theta=[0.95,0.9],split=9,recheck=0.25";

    fn outcome() -> Outcome {
        let spread = |median: f64| Spread { min: median - 0.1, median, max: median + 0.2 };
        let choice = Choice {
            method: CHOSEN.parse().unwrap(),
            search: point(CHOSEN, Family::AtmPerLayer, 0.9, 99.75),
            held_out: Some(HeldOut {
                merged: accuracy(CHOSEN, 0.95, 96.875),
                unmerged: accuracy("none", 1.25, 100.0),
                agreement_interval: (84.3, 99.4),
            }),
            speedup: spread(1.3),
            ms_per_batch: spread(40.0),
            batch_size: 8,
        };
        Outcome {
            goal: Some(Goal::MinAgreement(99.0)),
            search_images: 96,
            unmerged: Point {
                expected_agreement: 100.0,
                agreement_error: 0.0,
                ..point("none", Family::Unmerged, 1.25, 100.0)
            },
            points: vec![
                point("tome:r=8", Family::TomeConstant, 1.0, 95.0),
                point("tome:r=[8,4]", Family::TomePerLayer, 0.75, 94.0),
                point("atm:theta=0.9", Family::AtmConstant, 0.8, 98.0),
            ],
            front: vec![1, 2],
            cut_short: false,
            decision: Some(Decision::Merge(Box::new(choice))),
        }
    }

    fn labelled() -> Outcome {
        let mut outcome = outcome();
        outcome.goal = Some(Goal::MaxDrop(0.5));
        (outcome.unmerged.top1, outcome.unmerged.expected_drop) = (Some(80.0), Some(0.0));
        for point in &mut outcome.points {
            (point.top1, point.expected_drop) = (Some(point.agreement - 20.0), Some(99.0 - point.agreement));
        }
        outcome
    }

    fn undecided(decision: Option<Decision>) -> Outcome {
        Outcome { decision, ..outcome() }
    }

    fn refused() -> Outcome {
        undecided(Some(Decision::DoNotMerge { reason: "nothing pays".to_owned() }))
    }

    #[test]
    fn merge_toml_reads_back_as_the_choice_and_says_what_was_measured() {
        let text = to_toml(&outcome(), &setting()).unwrap().unwrap();
        let method = Method::from_spec(&MergeSpec::from_toml(&text).unwrap()).unwrap();
        assert_eq!(method, CHOSEN.parse().unwrap());
        let table: toml::Table = text.parse().unwrap();
        let at = |path: &str| path.split('.').fold(&toml::Value::Table(table.clone()), |v, k| &v[k]).clone();
        for (path, expected) in [
            ("model.name", "\"vit_tiny.test\""),
            ("model.img_size", "[224, 160]"),
            ("model.dtype", "\"f32\""),
            ("goal.min-agreement", "99.0"),
            ("measured.convention", "\"macs+norm\""),
            ("measured.search.images", "96"),
            ("measured.search.saving", "28.0"),
            ("measured.search.expected_agreement", "99.25"),
            ("measured.held_out.images", "32"),
            ("measured.held_out.agreement_interval", "[84.3, 99.4]"),
            ("measured.held_out.saving", "24.0"),
            ("measured.speed.speedup", "1.3"),
            ("measured.speed.threads", "2"),
            ("measured.speed.isa", "\"avx2\""),
            ("measured.speed.batch_size", "8"),
        ] {
            assert_eq!(at(path).to_string(), expected, "{path} in {text}");
        }
        assert_eq!(at("model.weights").as_str(), Some("it's \"w\".safetensors"));
        assert!(at("measured.search").get("top1").is_none());
    }

    #[test]
    fn every_goal_can_be_written() {
        for goal in [Goal::MaxDrop(0.5), Goal::Gmacs(0.7), Goal::Latency(3.0), Goal::Speedup(1.5)] {
            let text = to_toml(&Outcome { goal: Some(goal), ..outcome() }, &setting()).unwrap().unwrap();
            assert!(text.contains(&format!("[goal]\n{} = ", goal.setting().replace('_', "-"))), "{text}");
            MergeSpec::from_toml(&text).unwrap();
        }
    }

    #[test]
    fn without_a_choice_there_is_no_merge_toml() {
        for outcome in [refused(), undecided(None)] {
            assert_eq!(to_toml(&outcome, &setting()), Ok(None));
        }
        assert_eq!(verdict(&refused(), &setting()), ["Do not merge: nothing pays."]);
        assert!(verdict(&undecided(None), &setting())[0].contains("nothing is chosen"));
    }

    #[test]
    fn the_verdict_is_honest_about_the_promise() {
        let said = verdict(&outcome(), &setting()).join(" ");
        for fragment in [
            CHOSEN,
            "0.900 instead of 1.250 GMACs (macs+norm) on the 96 images searched on, 28.0 % saved",
            "1.30 times as fast on this machine (1.20 to 1.50; 40.0 ms per batch of 8, cpu, 2 threads, avx2)",
            "On 32 images that were not searched on it saves 24.0 %",
            "on 96.9 % (95 % interval 84.3 to 99.4 %).",
            "below the requested 99 %, but within the uncertainty of so few images",
        ] {
            assert!(said.contains(fragment), "{fragment} in {said}");
        }
        let with = |change: &dyn Fn(&mut Choice)| {
            let mut outcome = outcome();
            if let Some(Decision::Merge(choice)) = &mut outcome.decision {
                change(choice);
            }
            verdict(&outcome, &setting()).join(" ")
        };
        let broken = with(&|choice| choice.held_out.as_mut().unwrap().agreement_interval = (70.0, 98.0));
        assert!(broken.contains("requested 99 %: these images are harder"), "{broken}");
        let kept = with(&|choice| choice.held_out.as_mut().unwrap().merged.agreement = 100.0);
        assert!(!kept.contains("requested"), "{kept}");
        let none = with(&|choice| choice.held_out = None);
        assert!(none.contains("none was held out") && none.contains("on 99.8 % of them"), "{none}");
    }

    #[test]
    fn the_table_has_the_front_and_the_unmerged_model() {
        let (header, rows) = front_table(&outcome(), &setting());
        assert_eq!(
            header,
            ["family", "GMACs (macs+norm)", "of unmerged %", "expected agreement %", "counted %", "merge"]
        );
        assert_eq!(rows[0], ["ToMe, per layer", "0.750", "60.0", "93.5 ± 0.2", "94.0", "tome:r=[8,4]"]);
        assert_eq!(
            rows.iter().map(|row| row[5].as_str()).collect::<Vec<_>>()[1..],
            ["atm:theta=0.9", "none"]
        );
        let (header, rows) = front_table(&labelled(), &setting());
        assert_eq!((header[5].as_str(), rows[0][5].as_str(), rows[0].len()), ("top-1 %", "74.0", 7));
    }

    #[test]
    fn csv_holds_every_point() {
        let text = String::from_utf8(to_csv(&outcome()).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[0].starts_with("merge,family,images,gmacs,gmacs_ratio,"));
        assert!(lines[1].starts_with("none,unmerged,96,1.25,1.0,") && lines[1].ends_with(",false"), "{text}");
        assert!(lines[3].starts_with("\"tome:r=[8,4]\",\"ToMe, per layer\",96,0.75,0.6,"), "{text}");
        assert!(lines[3].ends_with(",,,,0.0075,0.0125,true"), "{text}");
    }

    #[test]
    fn json_is_one_object_of_setting_and_outcome() {
        let json = to_json(&outcome(), &setting()).unwrap();
        assert!(is_json(json.to_string().as_bytes()) && !is_json(b"{\"points\": []}") && !is_json(b"[1"));
        assert_eq!((&json["model"], &json["convention"]), (&"vit_tiny.test".into(), &"macs+norm".into()));
        assert_eq!(json["goal"]["min-agreement"], 99.0);
        assert_eq!(json["decision"]["merge"]["method"], CHOSEN);
        assert_eq!(json["points"].as_array().map(Vec::len), Some(3));
        let refused = to_json(&refused(), &setting()).unwrap();
        assert_eq!(refused["decision"]["do-not-merge"]["reason"], "nothing pays");
    }

    #[test]
    fn the_chart_of_a_guided_search_shows_quality_over_cost() {
        let chart = chart(&outcome(), &setting());
        let names: Vec<&str> = chart.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["Pareto front", "ToMe, constant", "ToMe, per layer", "ATM, constant", "choice"]);
        assert_eq!(chart.series[0].points, [(0.75, 93.5), (0.8, 97.5)]);
        assert_eq!(chart.series[0].mark, Mark::Step);
        assert_eq!(chart.series[4].points, [(0.9, 99.25)]);
        assert_eq!(chart.notes[0].text, "choice, with its recheck");
        let references: Vec<f64> = chart.references.iter().map(|reference| reference.value).collect();
        assert_eq!(references, [100.0, 99.0]);
        assert!(chart.x.label.contains("macs+norm") && chart.y.label.contains("96 images"));
        let drop = super::chart(&labelled(), &setting());
        assert_eq!(drop.series[0].points, [(0.75, 75.0), (0.8, 79.0)], "expected top-1");
        assert_eq!(drop.references[0].label, "unmerged 80.0");
    }

    #[test]
    fn the_chart_of_a_random_search_shows_quality_over_speed() {
        let mut outcome = labelled();
        outcome.points.push(point("tome:r=[1,2]", Family::Random, 0.5, 90.0));
        outcome.points.push(point("tome:r=9", Family::TomeConstant, 0.9, 94.5));
        (outcome.goal, outcome.decision) = (None, None);
        for point in &mut outcome.points {
            point.top1 = Some(point.agreement - 20.0);
        }
        let chart = chart(&outcome, &setting());
        let series = |name: &str| chart.series.iter().find(|series| series.name == name).unwrap();
        let random = series("random schedules");
        assert_eq!((random.mark, random.tone), (Mark::Dots, Tone::Muted));
        assert_eq!(random.points, [(2.5, 70.0)]);
        // In the order of the schedules.
        let quality: Vec<f64> = series("ToMe, constant").points.iter().map(|(_, quality)| *quality).collect();
        assert_eq!(quality, [74.5, 75.0]);
        assert_eq!(series("ToMe, constant").mark, Mark::Line);
        let front = &series("Pareto front").points;
        assert!(front.is_sorted_by(|a, b| a.0 > b.0 && a.1 < b.1), "{front:?}");
        assert!(chart.x.label.contains("speed-up") && chart.notes.is_empty());
    }
}
