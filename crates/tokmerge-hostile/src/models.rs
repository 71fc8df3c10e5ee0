//! Targets in crates that know burn, although none of them computes anything.

use crate::{Outcome, Target, as_it_is, refused, seeds, text};
use std::collections::BTreeMap;
use tokmerge::runs::{self, Cost, Front, Lines, Report, View};
use tokmerge_checkpoint::ModelConfig;
use tokmerge_merge::{MergeSpec, Method, ModelFacts, Reduction};
use tokmerge_models::weights::key_map::Spelling;
use tokmerge_models::{Convention, configured};
use tokmerge_train::Recipe;
use tokmerge_train::sweep::GridAxis;

/// From a configuration to the shape of a model.
pub(crate) const ARCHITECTURE: Target = Target {
    name: "architecture",
    run: |input| {
        let Some(Ok(config)) = text(input).map(ModelConfig::parse) else { return Outcome::Refused };
        match configured(&config, None) {
            Ok(architecture) => {
                let shape = architecture.config.shape();
                assert!(architecture.config.tokens() > 0, "{shape:?}");
                let gmacs = architecture.config.unmerged_gmacs(Convention::default());
                assert!(gmacs.is_finite() && gmacs >= 0.0, "{gmacs} of {shape:?}");
                assert!(!architecture.full_name().is_empty());
                Outcome::Read
            }
            Err(error) => refused(&error),
        }
    },
    seeds: seeds::configs,
    mend: as_it_is,
    memory: 64 << 20,
};

/// How the names of tensors are spelt: a line for each, `name` and its shape, `head.weight 10 192`.
pub(crate) const TENSOR_NAMES: Target = Target {
    name: "tensor_names",
    run: |input| {
        let Some(text) = text(input) else { return Outcome::Refused };
        let line = |line: &str| {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            (name, words.filter_map(|word| word.parse().ok()).collect::<Vec<usize>>())
        };
        let tensors: BTreeMap<String, Vec<usize>> = text.lines().map(line).collect();
        let views = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
        match Spelling::detect(views) {
            Ok(spelling) => {
                for name in tensors.keys() {
                    let _ = (spelling.role(name), spelling.shape(name));
                }
                for path in PATHS {
                    let _ = (spelling.source(path), spelling.shape(path));
                }
                let _ = spelling.head();
                Outcome::Read
            }
            Err(error) => refused(&error),
        }
    },
    seeds: seeds::tensor_names,
    mend: as_it_is,
    memory: 64 << 20,
};

/// Parameters of models, one of each kind.
const PATHS: &[&str] = &[
    "cls_token",
    "pos_embed",
    "reg_token",
    "patch_embed.proj.weight",
    "patch_embed.proj.bias",
    "blocks.0.norm1.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.0.attn.qkv.bias",
    "blocks.0.attn.q_norm.weight",
    "blocks.0.attn.relative_position_bias_table",
    "blocks.0.attn.proj.weight",
    "blocks.0.ls1.gamma",
    "blocks.0.mlp.fc1.weight",
    "blocks.0.mlp.fc1_g.weight",
    "blocks.1.mlp.fc2.bias",
    "norm.weight",
    "fc_norm.bias",
    "head.weight",
    "head_dist.bias",
    "attn_pool.latent",
    "pre_logits.weight",
];

/// How to merge, as on the command line.
pub(crate) const MERGE_SPEC: Target = Target {
    name: "merge_spec",
    run: |input| match text(input).map(str::parse::<MergeSpec>) {
        Some(Ok(spec)) => method(&spec),
        Some(Err(error)) => refused(&error),
        None => Outcome::Refused,
    },
    seeds: seeds::specs,
    mend: as_it_is,
    memory: 16 << 20,
};

/// The same as a file.
pub(crate) const MERGE_TOML: Target = Target {
    name: "merge_toml",
    run: |input| match text(input).map(MergeSpec::from_toml) {
        Some(Ok(spec)) => method(&spec),
        Some(Err(error)) => refused(&error),
        None => Outcome::Refused,
    },
    seeds: seeds::merge_files,
    mend: as_it_is,
    memory: 64 << 20,
};

/// Binds a method to models that are shallow, deep and small.
fn method(spec: &MergeSpec) -> Outcome {
    let method = match Method::from_spec(spec) {
        Ok(method) => method,
        Err(error) => return refused(&error),
    };
    let again = method.to_string().parse::<Method>();
    assert_eq!(again.as_ref(), Ok(&method), "{method} reads back as another method");
    for facts in [ModelFacts::new(12, 197, 1), ModelFacts::new(1, 2, 1), ModelFacts::new(48, 1024, 0)] {
        if let Err(error) = Reduction::bind(method.clone(), &facts) {
            refused(&error);
        }
    }
    Outcome::Read
}

/// A run.
pub(crate) const RECIPE: Target = Target {
    name: "recipe",
    run: |input| match text(input).map(|text| Recipe::parse(text, "hostile.toml", &[])) {
        Some(Ok(recipe)) => {
            let again = Recipe::parse(&recipe.to_toml(), "hostile.toml", &[]);
            assert!(again.as_ref().is_ok_and(|again| again.differences(&recipe).is_empty()), "{again:?}");
            Outcome::Read
        }
        Some(Err(error)) => refused(&error),
        None => Outcome::Refused,
    },
    seeds: seeds::recipes,
    mend: as_it_is,
    memory: 64 << 20,
};

/// Values of a key of a recipe that a sweep combines.
pub(crate) const GRID: Target = Target {
    name: "grid",
    run: |input| match text(input).map(str::parse::<GridAxis>) {
        Some(Ok(axis)) => {
            assert!(!axis.key().is_empty() && !axis.values().is_empty(), "{axis:?}");
            assert!(axis.values().iter().all(|value| !value.is_empty()), "{axis:?}");
            Outcome::Read
        }
        Some(Err(error)) => refused(&error),
        None => Outcome::Refused,
    },
    seeds: seeds::grids,
    mend: as_it_is,
    memory: 64 << 20,
};

/// What measurements wrote, in a chart and tables.
pub(crate) const RESULTS: Target = Target {
    name: "results",
    run: |input| {
        let Some(text) = text(input) else { return Outcome::Refused };
        let results = match runs::read_text(text, "hostile.csv") {
            Ok(results) => results,
            Err(error) => return refused(&error),
        };
        for x in Cost::ALL {
            for (lines, front) in [(Lines::Each, Front::Overall), (Lines::Method, Front::Line)] {
                match Report::new(results.clone(), View { x, y: None, lines, front }) {
                    Ok(report) => drawn(&report),
                    Err(error) => {
                        refused(&error);
                    }
                }
            }
        }
        Outcome::Read
    },
    seeds: seeds::results,
    mend: as_it_is,
    memory: 64 << 20,
};

/// A report is consistent, and can be read again.
fn drawn(report: &Report) {
    assert!(report.placed.iter().all(|placed| placed.x.is_finite() && placed.y.value.is_finite()));
    assert!(report.placed.iter().all(|placed| placed.lines.iter().all(|line| *line < report.lines.len())));
    assert!(report.placed.iter().any(|placed| placed.on_front), "no front");
    assert!(report.chart(None, true).to_svg().starts_with("<svg"));
    let page = report.to_markdown(None, None, "tokmerge report");
    assert!(runs::is_page(&page) && page.lines().all(|line| !line.contains(char::is_control)));
    let csv = report.to_csv().expect("a table");
    let csv = String::from_utf8(csv).expect("UTF-8");
    assert!(runs::is_csv(&csv));
    let again = runs::read_text(&csv, "again.csv");
    assert!(again.as_ref().is_ok_and(|again| again.points.len() == report.placed.len()), "{again:?}");
}
