//! Draws charts from made-up numbers into a folder: `cargo run --example charts -- FOLDER`.

use std::path::PathBuf;

use tokmerge_viz::plot::{Axis, Chart, Mark, Note, Palette, Reference, Series};

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for (name, chart) in [
        ("loss", loss(Axis::linear("relative error of the features"))),
        ("loss_log", loss(Axis::log("relative error of the features"))),
        ("tokens", tokens()),
        ("tune", tune()),
        ("few", few()),
        ("empty", Chart { title: "Nothing measured".into(), ..tune_axes() }),
    ] {
        std::fs::write(folder.join(format!("{name}.svg")), chart.to_svg())?;
    }
    Ok(())
}

/// Information loss per layer, one line per threshold.
fn loss(y: Axis) -> Chart {
    let thresholds = [0.7, 0.75, 0.8, 0.85, 0.9, 0.95];
    let at = |layer: u32, threshold: f64| {
        let rise = 1.0 - (-f64::from(layer) / 5.0).exp();
        (1.05 - threshold) * rise * (1.0 + 0.2 * f64::from(layer * 7 % 5))
    };
    let mean = |layer| thresholds.iter().map(|&t| at(layer, t)).sum::<f64>() / thresholds.len() as f64;
    let bars = Series::new("mean", Mark::Bars, layers(mean)).muted();
    let lines =
        thresholds.map(|t| Series::new(format!("threshold {t}"), Mark::Line, layers(|layer| at(layer, t))));
    Chart {
        title: "Information loss per layer, vit_base_patch16_224".into(),
        x: Axis::whole("layer"),
        y,
        series: [bars].into_iter().chain(lines).collect(),
        palette: Palette::Ordered,
        ..Chart::default()
    }
}

/// Merged tokens per layer, with the thresholds on the right.
fn tokens() -> Chart {
    let merged = layers(|layer| f64::from((layer * 37 + 11) % 29));
    let thresholds = layers(|layer| 0.95 - 0.02 * f64::from(layer) + 0.01 * f64::from(layer * 5 % 3));
    Chart {
        title: "Merged tokens per layer".into(),
        x: Axis::whole("layer"),
        y: Axis::linear("merged tokens per image"),
        right: Axis::linear("threshold (cosine similarity)"),
        series: vec![
            Series::new("merged tokens", Mark::Bars, merged),
            Series::new("threshold", Mark::Line, thresholds).on_right(),
        ],
        ..Chart::default()
    }
}

fn tune_axes() -> Chart {
    Chart {
        title: "15,000 random schedules, vit_base_patch16_224".into(),
        x: Axis::linear("GMACs per image"),
        y: Axis::linear("top-1 accuracy (%)"),
        ..Chart::default()
    }
}

/// Accuracy against cost of 15,000 random schedules and a few chosen ones.
fn tune() -> Chart {
    let random: Vec<_> = (0..15_000u32).map(random_point).collect();
    let best = |gmacs: f64| 83.2 - 26.0 * (-(gmacs - 4.0) / 2.1).exp();
    let chosen = |worse: f64| -> Vec<_> {
        (0..6).map(|i| f64::from(i) * 2.0 + 6.6).map(|gmacs| (gmacs, best(gmacs) - worse)).collect()
    };
    let constant = chosen(1.1);
    Chart {
        notes: vec![
            Note::new("r = 16", constant[1]),
            Note::new("r = 8", constant[3]),
            Note::new("best within 1 %", chosen(0.5)[2]),
        ],
        references: vec![Reference::new("unmerged 83.1", 83.1)],
        series: vec![
            Series::new("random", Mark::Dots, random.clone()).muted(),
            Series::new("constant", Mark::Line, constant),
            Series::new("decreasing", Mark::Line, chosen(0.5)),
            Series::new("Pareto front", Mark::Step, front(random)),
            Series::new("published", Mark::Markers, vec![(8.8, 79.6), (11.5, 81.0)]),
        ],
        ..tune_axes()
    }
}

/// A chart of a single point, beside one without a place.
fn few() -> Chart {
    Chart {
        title: "One point <&> one gap".into(),
        series: vec![Series::new("a", Mark::Line, vec![(8.0, 80.0), (9.0, f64::NAN)])],
        ..tune_axes()
    }
}

fn layers(value: impl Fn(u32) -> f64) -> Vec<(f64, f64)> {
    (1..=12).map(|layer| (f64::from(layer), value(layer))).collect()
}

fn random_point(i: u32) -> (f64, f64) {
    let part = |i: u32, by: f64| (f64::from(i) * by).fract();
    let gmacs = 5.5 + 6.0 * (part(i, 0.618_034) + part(i, 0.754_878));
    let worse = 4.0 * part(i, 0.569_84) * part(i, 0.324_718) + 0.3;
    (gmacs, 83.2 - 26.0 * (-(gmacs - 4.0) / 2.1).exp() - worse)
}

/// The points that no other beats in both cost and accuracy, by ascending cost.
fn front(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut best = f64::NEG_INFINITY;
    points.retain(|&(_, accuracy)| {
        accuracy > best && {
            best = accuracy;
            true
        }
    });
    points
}
