//! `tokmerge embed`: every image is a row, once and in order, whatever happens.

use crate::common::{Desk, number};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokmerge::embedding::Vectors;

const DEMO: &str = "--model demo --merge tome:r=4";

/// A desk with drawn pictures in `in`, 24 by 24 pixels or so.
fn desk(images: usize) -> Desk {
    let desk = Desk::new();
    desk.run(&format!("scenes in --images {images} --side 32")).ok();
    desk
}

/// A desk of pictures, the third of which is none.
fn with_broken(images: usize) -> (Desk, String) {
    let desk = desk(images);
    let third = files(&desk.path("in"))[2].clone();
    desk.write(&format!("in/{third}"), "no image");
    (desk, format!("in/{third}"))
}

/// Names of files below a folder, in the order of the embedded list.
fn files(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders {
        let mut images: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        images.sort();
        names.extend(images.iter().map(|path| path.strip_prefix(dir).unwrap().display().to_string()));
    }
    names
}

fn vectors(desk: &Desk, name: &str) -> Vec<(String, Vec<f32>)> {
    let mut rows = Vec::new();
    let found = Vectors::open(&desk.path(name)).unwrap();
    found
        .for_each(|key, vector| {
            rows.push((key.to_owned(), vector.to_vec()));
            Ok(())
        })
        .unwrap();
    rows
}

/// What was printed with `--json`.
fn printed(desk: &Desk, arguments: &str) -> Vec<(String, Vec<f32>)> {
    let run = desk.run(&format!("embed {arguments} {DEMO} --json"));
    let vector = |row: &Value| -> Vec<f32> {
        row["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
    };
    run.json().iter().map(|row| (row["path"].as_str().unwrap().to_owned(), vector(row))).collect()
}

/// Files of a folder with their contents; locks are not content.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let entries = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    entries
        .filter(|(name, _)| !name.starts_with(".lock"))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect()
}

#[test]
fn every_format_holds_the_same_rows_in_order() {
    let (desk, broken) = with_broken(30);
    let mut wanted: Vec<String> = files(&desk.path("in")).iter().map(|name| format!("in/{name}")).collect();
    wanted.retain(|name| *name != broken);
    let rows = printed(&desk, "in");
    assert_eq!(rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), wanted);
    for name in ["v.parquet", "v.npy", "v.jsonl", "v.csv"] {
        let run = desk.run(&format!("embed in {DEMO} -o {name} --shard-size 8 --json")).ok();
        let found = run.one_json();
        assert_eq!((number(&found, "vectors"), number(&found, "errors")), (29.0, 1.0));
        assert_eq!((number(&found, "parts"), &found["complete"]), (4.0, &Value::Bool(true)));
        assert!(
            run.err.contains("1 images could not be read")
                && run.err.contains(&format!("{name}.errors.jsonl"))
        );
        assert_eq!(vectors(&desk, name), rows, "{name}");
        let errors = std::fs::read_to_string(desk.path(&format!("{name}.errors.jsonl"))).unwrap();
        let error: Value = serde_json::from_str(errors.trim()).unwrap();
        assert_eq!((error["key"].as_str(), error["index"].as_u64()), (Some(broken.as_str()), Some(2)));
        assert!(error["reason"].as_str().unwrap().contains("is not a JPEG"), "{error}");
        assert!(!desk.path(&format!("{name}.parts")).exists());
        // Again: it is all there.
        let again = desk.run(&format!("embed in {DEMO} -o {name} --shard-size 8")).ok();
        assert!(again.err.contains("nothing was left to do"), "{}", again.err);
    }
    let keys = std::fs::read_to_string(desk.path("v.keys.txt")).unwrap();
    assert!(keys.lines().eq(&wanted));
    let array = std::fs::read(desk.path("v.npy")).unwrap();
    let dim = rows[0].1.len();
    assert!(array.starts_with(b"\x93NUMPY\x01\x00"));
    assert!(
        String::from_utf8_lossy(&array[..128])
            .contains(&format!("'<f4', 'fortran_order': False, 'shape': (29, {dim})"))
    );
    assert_eq!(array.len(), 128 + 29 * dim * 4);
    for (desk_arguments, name) in
        [("", "p"), ("--format npy", "n"), ("--format jsonl", "j"), ("--format csv", "c")]
    {
        desk.run(&format!("embed in {DEMO} -o {name}/ --shard-size 8 {desk_arguments}")).ok();
        assert_eq!(vectors(&desk, name), rows, "{name}");
        assert!(desk.path(&format!("{name}/errors.jsonl")).exists());
    }
    let manifest: Value = serde_json::from_slice(&content(&desk.path("p"))["manifest.json"]).unwrap();
    assert_eq!(manifest["settings"]["merge"], "tome:r=4");
    assert_eq!(manifest["settings"]["model"], "demo");
    assert!(manifest["settings"]["preprocess"]["mean"].is_array(), "{manifest}");
    assert_eq!(manifest["parts"].as_array().unwrap().len(), 4);
}

#[test]
fn threads_and_batches_change_nothing() {
    let (desk, _) = with_broken(20);
    desk.run(&format!("embed in {DEMO} -o a/ --shard-size 8")).ok();
    for (name, more) in [("b", "--workers 1 --batch-size 1"), ("c", "--workers 7 --batch-size 5 --threads 1")]
    {
        desk.run(&format!("embed in {DEMO} -o {name}/ --shard-size 8 {more}")).ok();
        assert_eq!(content(&desk.path(name)), content(&desk.path("a")), "{more}");
    }
}

#[test]
fn only_what_is_missing_is_done_again() {
    let (desk, _) = with_broken(20);
    let command = format!("embed in {DEMO} -o a/ --shard-size 4");
    desk.run(&command).ok();
    let whole = content(&desk.path("a"));
    let age = |name: &str| std::fs::metadata(desk.path(name)).unwrap().modified().unwrap();
    let untouched = age("a/part-00001.parquet");
    // One is gone, one is short, one is not known to be whole; and what a killed run leaves.
    std::fs::remove_file(desk.path("a/part-00000.parquet")).unwrap();
    desk.write("a/part-00002.parquet", "short");
    std::fs::remove_file(desk.path("a/part-00003.json")).unwrap();
    for name in ["part-00003.parquet", "errors.jsonl", "manifest.json"] {
        desk.write(&format!("a/.{name}.99-0.incomplete"), "half");
    }
    std::fs::remove_file(desk.path("a/errors.jsonl")).unwrap();
    let again = desk.run(&command).ok();
    assert!(again.err.contains("8 of 20 images are done already"), "{}", again.err);
    assert_eq!(content(&desk.path("a")), whole);
    assert_eq!(age("a/part-00001.parquet"), untouched);
}

#[test]
fn runs_that_are_killed_at_any_moment_end_as_one_that_was_not() {
    let (desk, _) = with_broken(400);
    let arguments = format!("embed in {DEMO} --shard-size 8 --batch-size 2 --threads 1 --workers 1");
    for (whole, killed) in [("whole/", "killed/"), ("whole.npy", "killed.npy")] {
        desk.run(&format!("{arguments} -o {whole}")).ok();
        let mut kills = 0;
        for round in 0_u64.. {
            let mut child = Command::new(env!("CARGO_BIN_EXE_tokmerge"))
                .args(arguments.split_whitespace().chain(["-o", killed]))
                .current_dir(desk.path(""))
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(40 + (round * 53) % 120 + round * 10));
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        assert!(kills >= 3, "{kills} kills are no test");
        if whole.ends_with('/') {
            assert_eq!(content(&desk.path(killed)), content(&desk.path(whole)));
        } else {
            for ending in ["npy", "keys.txt", "npy.errors.jsonl", "npy.manifest.json"] {
                let read = |stem: &str| std::fs::read(desk.path(&format!("{stem}.{ending}"))).unwrap();
                assert!(read("killed") == read("whole"), "{ending}");
            }
        }
        let left = std::fs::read_dir(desk.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(left.into_iter().all(|name| !name.contains("incomplete") && !name.contains(".parts")));
    }
}

#[test]
fn processes_that_share_the_work_write_what_one_would() {
    let (desk, _) = with_broken(30);
    let command = format!("embed in {DEMO} --shard-size 4");
    desk.run(&format!("{command} -o one/")).ok();
    let first = desk.run(&format!("{command} -o two/ --shard 0/2")).ok();
    assert!(first.err.contains("4 of 8 parts are left"), "{}", first.err);
    assert!(!desk.path("two/part-00001.parquet").exists());
    desk.run(&format!("{command} -o two/ --shard 1/2")).ok();
    assert_eq!(content(&desk.path("two")), content(&desk.path("one")));
    // At once, and joined by whoever is last.
    desk.run(&format!("{command} -o one.jsonl")).ok();
    let run = |shard: &str| {
        let arguments = format!("{command} -o both.jsonl --shard {shard}");
        Command::new(env!("CARGO_BIN_EXE_tokmerge"))
            .args(arguments.split_whitespace())
            .current_dir(desk.path(""))
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    for mut child in ["0/3", "1/3", "2/3"].map(run) {
        assert!(child.wait().unwrap().success());
    }
    let read = |name: &str| std::fs::read(desk.path(name)).unwrap();
    assert_eq!(read("both.jsonl"), read("one.jsonl"));
    assert!(!desk.path("both.jsonl.parts").exists());
}

#[test]
fn an_output_of_other_settings_is_refused_by_name() {
    let desk = desk(6);
    desk.run(&format!("embed in {DEMO} -o a/")).ok();
    desk.run(&format!("embed in {DEMO} -o a.npy")).ok();
    let before = content(&desk.path("a"));
    for output in ["a/", "a.npy"] {
        let refused = |more: &str, fragments: &[&str]| {
            desk.run(&format!("embed {more} -o {output}")).fails(fragments);
        };
        refused(
            "in --model demo --merge tome:r=5",
            &["--merge tome:r=4", "has tome:r=5", "another --output"],
        );
        refused(&format!("in {DEMO} --normalize"), &["--normalize false"]);
        refused(&format!("in {DEMO} --shard-size 3"), &["--shard-size 1024"]);
        refused(&format!("in {DEMO} --vector-dtype f16"), &["--vector-dtype f32"]);
        refused(&format!("in {DEMO} --crop-pct 0.5"), &["preprocess"]);
        refused(&format!("in in {DEMO}"), &["sources", "6 images", "12 images"]);
    }
    assert_eq!(content(&desk.path("a")), before);
    desk.write("mine.csv", "my own");
    desk.run(&format!("embed in {DEMO} -o mine.csv"))
        .fails(&["mine.csv: exists", "no run of these settings"]);
    assert_eq!(std::fs::read(desk.path("mine.csv")).unwrap(), b"my own");
    desk.write("parts/part-00000.json", "mine");
    desk.run(&format!("embed in {DEMO} -o parts")).fails(&["parts: exists"]);
}

#[test]
fn mistakes_are_one_line_before_any_work() {
    let desk = desk(3);
    desk.run(&format!("embed in {DEMO} -o a.txt")).fails(&[".parquet, .npy, .jsonl or .csv"]);
    desk.run(&format!("embed in {DEMO} -o a.npy --format csv")).fails(&["--format csv does not fit"]);
    desk.run(&format!("embed in {DEMO} -o no/such/a.npy")).fails(&["no/such/a.npy: cannot be written"]);
    desk.run(&format!("embed in {DEMO} --merge none -o a.npy")).fails(&["one --merge"]);
    desk.run(&format!("embed in {DEMO} -o a.npy --shard 2/2")).misused(&["--shard"]);
    desk.run(&format!("embed in {DEMO} --dense")).misused(&["--output"]);
    desk.run(&format!("embed {DEMO} -o a.npy")).misused(&["SOURCE"]);
    std::fs::create_dir(desk.path("empty")).unwrap();
    desk.run(&format!("embed empty {DEMO} -o a.npy")).fails(&["empty: no images there"]);
    desk.run(&format!("embed gone {DEMO} -o a.npy")).fails(&["gone: there is no such file or folder"]);
    desk.write("words.txt", "a cat");
    desk.run(&format!("embed words.txt {DEMO} -o a.npy")).fails(&["is text", "--files"]);
    desk.write("bad.png", "no image");
    desk.run(&format!("embed bad.png {DEMO} -o a.npy")).code(1);
    assert!(!desk.path("a.npy.parts").exists());
    let infinite = "--mean 1e38 1e38 1e38";
    desk.run(&format!("embed in {DEMO} -o b.npy {infinite}")).fails(&["output", "in/", "finite"]);
    assert!(!desk.path("b.npy").exists());
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_to_is_one_line() {
    use std::os::unix::fs::PermissionsExt;
    let desk = desk(3);
    std::fs::create_dir(desk.path("locked")).unwrap();
    std::fs::set_permissions(desk.path("locked"), std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(desk.path("locked/probe"), "x").is_ok() {
        return; // The superuser writes anywhere.
    }
    desk.run(&format!("embed in {DEMO} -o locked/")).fails(&["locked", "cannot be written"]);
    desk.run(&format!("embed in {DEMO} -o locked/a.npy")).fails(&["locked/a.npy", "cannot be written"]);
}

#[test]
fn vectors_are_halved_and_normalised_on_request() {
    let desk = desk(6);
    desk.run(&format!("embed in {DEMO} -o a.parquet")).ok();
    let whole = vectors(&desk, "a.parquet");
    for (name, bytes) in [("h.npy", 2), ("h.parquet", 0), ("h.csv", 0)] {
        desk.run(&format!("embed in {DEMO} -o {name} --vector-dtype f16 --normalize")).ok();
        for ((key, half), (wanted, vector)) in vectors(&desk, name).iter().zip(&whole) {
            assert_eq!(key, wanted);
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            for (half, value) in half.iter().zip(vector) {
                assert!((half - value / length).abs() < 1e-3, "{half} for {value}");
            }
        }
        if bytes > 0 {
            let size = std::fs::metadata(desk.path(name)).unwrap().len();
            assert_eq!(size, 128 + (6 * whole[0].1.len() * bytes) as u64);
        }
    }
    for row in desk.run(&format!("embed in {DEMO} --normalize --json")).ok().json() {
        let vector: Vec<f64> = serde_json::from_value(row["embedding"].clone()).unwrap();
        let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
    }
}

#[test]
fn features_of_patches_are_those_of_the_tokens_that_they_merged_into() {
    let desk = desk(5);
    desk.run(&format!("embed in {DEMO} -o a.npy --dense --shard-size 2")).ok();
    desk.run(&format!("embed in {DEMO} -o b.npy --shard-size 2")).ok();
    assert_eq!(std::fs::read(desk.path("a.npy")).unwrap(), std::fs::read(desk.path("b.npy")).unwrap());
    let dense = std::fs::read(desk.path("a.dense.npy")).unwrap();
    let header = String::from_utf8_lossy(&dense[..128]).into_owned();
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0.to_owned();
    let shape: Vec<usize> = shape.split(", ").map(|side| side.parse().unwrap()).collect();
    assert_eq!((shape.len(), shape[0]), (3, 5));
    assert_eq!(dense.len(), 128 + 4 * shape.iter().product::<usize>());
    let row = 4 * shape[2];
    let image = &dense[128..128 + row * shape[1]];
    let mut features: Vec<&[u8]> = image.chunks(row).collect();
    features.sort_unstable();
    features.dedup();
    let left =
        desk.run(&format!("embed in {DEMO} --json")).json()[0]["tokens_left"].as_u64().unwrap() as usize;
    assert!(
        features.len() <= left && features.len() + 2 > left,
        "{} features of {left} tokens",
        features.len()
    );
}

#[test]
fn the_nearest_of_an_image_is_itself() {
    let desk = desk(40);
    for output in ["v.parquet", "v/", "v.jsonl"] {
        desk.run(&format!("embed in {DEMO} -o {output} --shard-size 16")).ok();
        let name = files(&desk.path("in"))[11].clone();
        let query = format!("in/{name}");
        let found = desk.run(&format!("search {query} {output} -k 3 --json")).ok().json();
        assert_eq!((found.len(), found[0]["key"].as_str()), (3, Some(query.as_str())));
        assert!((number(&found[0], "cosine") - 1.0).abs() < 1e-6 && number(&found[1], "cosine") < 1.0);
        assert_eq!((number(&found[0], "row"), number(&found[2], "rank")), (11.0, 3.0));
        let by_key = desk.run(&format!("search {query} {output} -k 3 --key --json")).ok().json();
        let keys = |found: &[Value]| found.iter().map(|row| row["key"].clone()).collect::<Vec<_>>();
        assert_eq!(keys(&by_key), keys(&found));
        // By hand.
        let rows = vectors(&desk, output);
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let mut all: Vec<(f64, &str)> =
            rows.iter().map(|(key, vector)| (cosine(&rows[11].1, vector), key.as_str())).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        assert_eq!(all[2].1, by_key[2]["key"].as_str().unwrap());
        let shown = desk.run(&format!("search {query} {output} -k 2 -o near.png")).ok();
        assert_eq!(shown.out.lines().count(), 3);
        let sheet = image::open(desk.path("near.png")).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (3 * 224 + 2 * 4, 224));
    }
    desk.run("search nobody v.parquet --key").fails(&["holds no vector with the key nobody"]);
    desk.run("search x gone.parquet --key").fails(&["gone.parquet: there is no such file"]);
    desk.write("n.jsonl", "{\"key\": \"a\", \"vector\": [1, 2]}\n{\"key\": \"b\", \"vector\": [1]}\n");
    desk.run("search a n.jsonl --key").fails(&["line 2", "1 numbers"]);
    let name = files(&desk.path("in"))[0].clone();
    desk.write("m.jsonl", "{\"key\": \"a\", \"vector\": [1, 2]}\n");
    desk.run(&format!("search in/{name} m.jsonl")).fails(&["does not say which model", "--model"]);
    desk.run(&format!("search in/{name} m.jsonl --model demo")).fails(&["the query has", "have 2"]);
    desk.write("nan.csv", "key,v0,v1\na,1,NaN\n");
    desk.run("search a nan.csv --key").fails(&["NaN"]);
}

#[test]
#[expect(clippy::print_stderr, reason = "says what was skipped")]
fn a_vector_database_finds_the_same() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/vectors_in_lancedb.py");
    let python = std::env::var("TOKMERGE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let installed = Command::new(&python).args(["-c", "import lancedb, pyarrow"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {python} has no lancedb and pyarrow");
        return;
    }
    let desk = desk(40);
    desk.run(&format!("embed in {DEMO} -o v.parquet")).ok();
    let key = format!("in/{}", files(&desk.path("in"))[7]);
    let output = Command::new(python)
        .arg(script)
        .args(["v.parquet", "v.lance", &key, "5"])
        .current_dir(desk.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8(output.stdout).unwrap();
    let found: Vec<&str> = found.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    let ours = desk.run(&format!("search {key} v.parquet --key -k 5 --json")).ok().json();
    assert_eq!(found, ours.iter().map(|row| row["key"].as_str().unwrap()).collect::<Vec<_>>());
}
