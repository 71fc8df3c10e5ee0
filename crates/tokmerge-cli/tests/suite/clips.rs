//! Models of clips: `classify`, `eval`, `embed`, `viz` and `info`, on folders of frames and on video files.

use crate::common::{Desk, material};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A model of clips of four frames that needs no weights.
const TINY: &str = "--model local-dir:tiny --random-weights";

fn desk() -> Desk {
    let desk = Desk::new();
    let config = json!({
        "architecture": "st_vit_base_patch16_224",
        "num_classes": 3,
        "label_names": ["left", "right", "still"],
        "model_args": {
            "img_size": [32, 32], "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_frames": 4
        },
    });
    desk.write("tiny/config.json", config.to_string());
    desk
}

/// A folder of frames, each another picture.
fn frames(desk: &Desk, name: &str, count: u32) {
    for frame in 0..count {
        desk.draw(&format!("{name}/{}.png", frame + 1), 50, 40);
    }
}

/// The program that reads video files, if it is there.
fn ffmpeg() -> Option<PathBuf> {
    let program = std::env::var_os("TOKMERGE_FFMPEG").map_or_else(|| PathBuf::from("ffmpeg"), PathBuf::from);
    let version = Command::new(&program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    {
        eprintln!("SKIPPED: ffmpeg is neither on the search path nor named in TOKMERGE_FFMPEG");
    }
    None
}

#[test]
fn a_folder_of_frames_is_classified_embedded_and_drawn() {
    let desk = desk();
    frames(&desk, "clip", 20);
    let run = desk.run(&format!("classify clip {TINY} --merge none --merge tome:r=4 --json")).ok();
    let rows = run.json();
    // Two steps of 4 x 4 tubes and a class token.
    assert_eq!(rows[0]["tokens"], json!([33, 33]));
    assert_eq!(rows[1]["tokens"], json!([29, 25]));
    assert!(["left", "right", "still"].contains(&rows[0]["top"][0]["label"].as_str().expect("a name")));
    let several =
        desk.run(&format!("classify clip {TINY} --merge none --clips 3 --crops 3 --json")).ok().json();
    let cost = |row: &Value| row["gmacs"].as_f64().expect("a number");
    assert!((cost(&several[0]) / cost(&rows[0]) - 9.0).abs() < 1e-6, "nine views cost nine times as much");
    desk.run(&format!("embed clip {TINY} -o vectors.csv")).ok();
    assert_eq!(desk.csv("vectors.csv").len(), 2, "a heading, and the folder as one clip");
    for (name, count) in [("out.png", None), ("out.svg", None), ("out.gif", Some(4)), ("out.apng", Some(4))] {
        let run = desk.run(&format!("viz clip {TINY} --merge tome:r=4 -o {name}")).ok();
        assert!(run.err.contains(&format!("{name}: 32 patches in 24 tokens")), "{}", run.err);
        let bytes = std::fs::read(desk.path(name)).expect("a file");
        if let Some(count) = count {
            let found = if name.ends_with("gif") { gif_frames(&bytes) } else { apng_frames(&bytes) };
            assert_eq!(found, count, "{name}");
        }
    }
    desk.run(&format!("viz clip {TINY} --merge tome:r=4 -o out.jpg"))
        .fails(&["*.gif or *.apng for an animation"]);
    let info = desk.run("info st_vit_large_patch16_224 --merge none --merge tome:r=65").ok();
    for part in [
        "304.51 M parameters",
        "1569 tokens (1 never merge) for 16 frames of 224x224 pixels",
        "597.67",
        "281.36",
    ] {
        assert!(info.out.contains(part), "{part}: {}", info.out);
    }
}

/// Image descriptors of a GIF: each frame has one, and nothing else of the kind does here.
fn gif_frames(bytes: &[u8]) -> usize {
    bytes.windows(3).filter(|window| *window == [0x21, 0xF9, 0x04]).count()
}

/// What an animated PNG says of its number of frames.
fn apng_frames(bytes: &[u8]) -> usize {
    let at = bytes.windows(4).position(|window| window == b"acTL").expect("an animation");
    u32::from_be_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes")) as usize
}

#[test]
fn numbers_of_clips_are_compared() {
    let desk = desk();
    for class in ["left", "right", "still"] {
        frames(&desk, &format!("in/{class}/one"), 9);
        frames(&desk, &format!("in/{class}/two"), 6);
    }
    let run = desk.run(&format!("eval in {TINY} --merge none --merge tome:r=4 --clips 1,2,4 --json")).ok();
    let rows = run.json();
    let clips: Vec<&Value> = rows.iter().map(|row| &row["clips"]).collect();
    assert_eq!(clips, [1, 1, 2, 2, 4, 4]);
    assert!(rows.iter().all(|row| row["images"] == 6 && row["top1"].is_number()), "{rows:?}");
    let text = desk.run(&format!("eval in {TINY} --clips 1,2")).ok();
    for part in ["6 clips, batch 1", "model clips/s"] {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
    desk.run(&format!("classify in/left/one {TINY} --clips 1,2")).fails(&["takes one number here"]);
}

#[test]
fn broken_clips_are_one_line_each_and_the_others_go_on() {
    let desk = desk();
    frames(&desk, "good", 5);
    frames(&desk, "broken", 5);
    desk.write("broken/5.png", b"no picture");
    frames(&desk, "short", 1);
    std::fs::create_dir(desk.path("empty")).expect("a folder");
    desk.write("text.mp4", b"no video");
    let run = desk.run(&format!("classify good broken empty text.mp4 gone.mp4 short {TINY} --json")).code(1);
    let paths: Vec<Value> = run.json().iter().map(|row| row["path"].clone()).collect();
    assert_eq!(paths, ["good", "short"], "a short clip repeats its last frame");
    for (name, reason) in [
        ("broken", "5.png"),
        ("empty", "without frames"),
        ("text.mp4", "text.mp4"),
        ("gone.mp4", "No such file"),
    ] {
        let lines: Vec<&str> = run.err.lines().filter(|line| line.contains(name)).collect();
        assert!(lines.len() == 1 && lines[0].contains(reason), "{name}: {lines:?}\n{}", run.err);
    }
    let desk = desk.with("TOKMERGE_FFMPEG", "nowhere/ffmpeg");
    desk.run(&format!("classify text.mp4 {TINY}")).fails(&["install it (`apt install ffmpeg`"]);
}

#[test]
fn real_clips_are_classified_and_tracked() {
    let (Some(ffmpeg), Some(material)) = (ffmpeg(), material()) else { return };
    let clips = material.join("video_clips");
    let desk = desk().with("TOKMERGE_FFMPEG", &ffmpeg.display().to_string());
    let clips = clips.display().to_string();
    let run = desk.run(&format!("embed {clips} {TINY} --merge tome:r=4 -o vectors.jsonl")).ok();
    assert!(run.err.contains("files that are no clips: 1 .txt"), "{}", run.err);
    let lines = std::fs::read_to_string(desk.path("vectors.jsonl")).expect("text");
    assert_eq!(lines.lines().count(), 3);
    // The same clip as a batch of one and among others.
    let alone =
        desk.run(&format!("embed {clips}/video2.mp4 {TINY} --merge atm:theta=0.5 --json")).ok().json();
    let among = desk.run(&format!("embed {clips} {TINY} --merge atm:theta=0.5 --json")).ok().json();
    assert_eq!(alone[0]["embedding"], among[1]["embedding"]);
    let run = desk.run(&format!("viz {clips}/video1.mp4 {TINY} --merge tome:r=6 -o track.png")).ok();
    assert!(run.err.contains("track.png: 32 patches in"), "{}", run.err);
}
