//! How speed and memory grow with threads, images per batch, tokens per image and merged tokens.
//!
//! `cargo run --release --example scaling -- target/release/tokmerge docs` runs `tokmerge bench` for each point in a
//! process of its own, all points of a study in turn and three times over, so that a disturbed moment spoils no point,
//! and writes a chart and a CSV file per study of the medians. It takes some six minutes on two cores; names of studies
//! behind the folder choose among them.

use serde_json::Value;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokmerge::plot::{Axis, Chart, Mark, Series};

/// How often each point is measured.
const ROUNDS: usize = 3;

/// Merging in the studies whose subject is something else.
const MERGES: [&str; 2] = ["none", "tome:r=13"];

/// One chart.
struct Study {
    name: &'static str,
    title: &'static str,
    x: Axis,
    y: Axis,
    of: fn(&Point) -> f64,
    runs: Vec<Run>,
}

/// One call of `tokmerge bench`.
struct Run {
    series: String,
    x: f64,
    arguments: Vec<String>,
}

/// What one method of a run gave.
struct Point {
    images_per_second: f64,
    ms_per_image: f64,
    memory_mib: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [program, folder, wanted @ ..] = &arguments[..] else {
        return Err("usage: scaling TOKMERGE_PROGRAM FOLDER [STUDY...]".into());
    };
    let all = studies();
    if let Some(unknown) = wanted.iter().find(|name| !all.iter().any(|study| Path::new(study.name) == *name))
    {
        let names: Vec<_> = all.iter().map(|study| study.name).collect();
        return Err(format!("no study {}; there are {}", unknown.display(), names.join(", ")).into());
    }
    for study in all {
        if !wanted.is_empty() && !wanted.iter().any(|name| Path::new(study.name) == name) {
            continue;
        }
        let mut csv = csv::Writer::from_path(folder.join(format!("scaling-{}.csv", study.name)))?;
        csv.write_record(["series", "x", "images_per_second", "ms_per_image", "memory_mib"])?;
        let mut series: Vec<Series> = Vec::new();
        let mut measured: Vec<Vec<Point>> = study.runs.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (run, points) in study.runs.iter().zip(&mut measured) {
                points.push(measure(program, &run.arguments)?);
            }
        }
        for (run, mut points) in study.runs.iter().zip(measured) {
            points.sort_by(|a, b| a.images_per_second.total_cmp(&b.images_per_second));
            let point = points.swap_remove(ROUNDS / 2);
            let number = |value: f64| format!("{value:.3}");
            csv.write_record([
                run.series.as_str(),
                &run.x.to_string(),
                &number(point.images_per_second),
                &number(point.ms_per_image),
                &number(point.memory_mib),
            ])?;
            csv.flush()?;
            let at = (run.x, (study.of)(&point));
            match series.iter_mut().find(|one| one.name == run.series) {
                Some(one) => one.points.push(at),
                None => series.push(Series::new(run.series.as_str(), Mark::Line, vec![at])),
            }
        }
        let chart =
            Chart { title: study.title.to_owned(), x: study.x, y: study.y, series, ..Chart::default() };
        std::fs::write(folder.join(format!("scaling-{}.svg", study.name)), chart.to_svg())?;
    }
    Ok(())
}

fn studies() -> [Study; 5] {
    let small = "bench --model vit_small_patch16_224 --random-weights --duration 1";
    let tiny = "bench --model vit_tiny_patch16_224 --random-weights --duration 1";
    // 197 to 2305 tokens.
    let sides = [224, 320, 384, 448, 512, 576, 640, 768];
    let tokens = |side: usize| (side / 16) * (side / 16) + 1;
    // The same share of the tokens in every layer.
    let share = |side: usize| tokens(side) * 13 / tokens(224);
    let by_tokens = |batch: usize| {
        let run = |series: &str, side: usize, merge: String| Run {
            series: series.to_owned(),
            x: tokens(side) as f64,
            arguments: words(&format!("{tiny} --batch-size {batch} --img-size {side} --merge {merge}")),
        };
        let unmerged = sides.map(|side| run("none", side, "none".to_owned()));
        let merged = sides.map(|side| run("tome, r = tokens / 15", side, format!("tome:r={}", share(side))));
        unmerged.into_iter().chain(merged).collect()
    };
    let speed = || Axis::linear("images per second");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<usize> =
        [1, 2, 4, 8, 16, 32, 64].into_iter().filter(|threads| *threads <= cores).collect();
    [
        Study {
            name: "threads",
            title: "Threads: ViT-S, batch 8, f32",
            x: Axis::whole("threads"),
            y: speed(),
            of: |point| point.images_per_second,
            runs: each(&threads, |threads| (*threads as f64, format!("{small} --threads {threads}"))),
        },
        Study {
            name: "batch",
            title: "Images per batch: ViT-S, f32",
            x: Axis::log("images per batch"),
            y: speed(),
            of: |point| point.images_per_second,
            runs: each(&[1, 2, 4, 8, 16, 32, 64], |batch| {
                (f64::from(*batch), format!("{small} --batch-size {batch}"))
            }),
        },
        Study {
            name: "tokens",
            title: "Tokens per image: ViT-Ti, batch 1, f32",
            x: Axis::log("tokens (image sides from 224 to 768 pixels)"),
            y: Axis::log("milliseconds per image"),
            of: |point| point.ms_per_image,
            runs: by_tokens(1),
        },
        Study {
            name: "memory",
            title: "Memory over tokens per image: ViT-Ti, batch 4, f32",
            x: Axis::linear("tokens per image"),
            y: Axis::linear("peak resident memory of the process, MiB"),
            of: |point| point.memory_mib,
            runs: by_tokens(4),
        },
        Study {
            name: "r",
            title: "Merged tokens per layer: ViT-S, batch 8",
            x: Axis::whole("r"),
            y: speed(),
            of: |point| point.images_per_second,
            runs: ["f32", "bf16", "int8"]
                .into_iter()
                .flat_map(|dtype| {
                    (0..=24).step_by(4).map(move |r| Run {
                        series: dtype.to_owned(),
                        x: f64::from(r),
                        arguments: words(&format!("{small} --dtype {dtype} --merge tome:r={r}")),
                    })
                })
                .collect(),
        },
    ]
}

/// Runs with and without merging for each of `values`.
fn each<T>(values: &[T], run: impl Fn(&T) -> (f64, String)) -> Vec<Run> {
    let with = |merge: &'static str| {
        values.iter().map(&run).map(move |(x, command)| Run {
            series: merge.to_owned(),
            x,
            arguments: words(&format!("{command} --merge {merge}")),
        })
    };
    MERGES.into_iter().flat_map(with).collect()
}

fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
}

fn measure(program: &Path, arguments: &[String]) -> Result<Point, Box<dyn Error>> {
    let output = Command::new(program).args(arguments).arg("--json").output().map_err(|error| {
        format!("cannot run {}: {error}; the first argument is the tokmerge program", program.display())
    })?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let result: Value = serde_json::from_slice(&output.stdout)?;
    let number = |key: &str| result[key].as_f64().ok_or_else(|| format!("no {key} in {result}"));
    Ok(Point {
        images_per_second: number("images_per_second")?,
        ms_per_image: number("ms_per_batch")? / number("batch_size")?,
        // Systems that do not tell leave a chart of zeros.
        memory_mib: number("peak_memory_mib").unwrap_or(0.0),
    })
}
