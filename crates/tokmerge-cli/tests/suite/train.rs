//! `tokmerge train`, `finetune` and `bench --train`, as a user meets them.

use crate::common::files::wav_file;
use crate::common::{Desk, TINY, assert_keys, number};

/// A folder with two classes of pictures: falling and rising stripes.
pub(crate) fn photos(desk: &Desk, per_class: usize) {
    for (name, sign) in [("falling", 1), ("rising", -1)] {
        for i in 0..per_class {
            let (phase, width) = (i as i32 * 5, 4 + (i as i32) % 3);
            let pixel = |x: u32, y: u32| {
                let stripe = (x as i32 - sign * y as i32 + phase).rem_euclid(2 * width) < width;
                image::Rgb(if stripe { [200, (i * 40 % 200) as u8, 90] } else { [20, 20, 20] })
            };
            let mut png = std::io::Cursor::new(Vec::new());
            let picture = image::RgbImage::from_fn(32, 32, pixel);
            picture.write_to(&mut png, image::ImageFormat::Png).expect("a picture");
            desk.write(&format!("photos/{name}/{i:02}.png"), png.into_inner());
        }
    }
}

const RECIPE: &str = r#"
merge = "tome:r=2"
[model]
patch_size = 8
img_size = 32
embed_dim = 24
depth = 2
num_heads = 3
[data]
train = "photos"
split = 0.25
crop_pct = 1.0
[schedule]
lr = 3e-3
warmup_epochs = 1
[train]
epochs = 3
batch_size = 8
validate = ["none", "tome:r=2"]
"#;

#[test]
fn two_classes_are_trained_and_the_folder_is_a_model() {
    let desk = Desk::new();
    photos(&desk, 24);
    desk.write("stripes.toml", RECIPE);
    let run = desk.run("train stripes.toml").ok();
    assert!(run.out.contains("top-1 %") && run.out.contains("tome:r=2"), "{}", run.out);
    assert!(run.out.contains("--model local-dir:runs/stripes"), "{}", run.out);
    let steps = desk.csv("runs/stripes/steps.csv");
    assert_eq!((steps.len(), steps[0][3].as_str()), (13, "loss"));
    assert_eq!(desk.csv("runs/stripes/validation.csv").len(), 1 + 3 * 2);

    // Any other way of merging, afterwards.
    let eval =
        desk.run("eval photos --model local-dir:runs/stripes --merge none --merge tome:r=4 --json").ok();
    for result in eval.json() {
        assert_eq!(number(&result, "images"), 48.0);
        assert!(number(&result, "top1") >= 40.0);
    }
    let classified = desk.run("classify photos/rising/00.png --model local-dir:runs/stripes/best").ok();
    assert!(classified.out.contains("rising"), "{}", classified.out);

    desk.run("train stripes.toml").fails(&["runs/stripes", "holds the checkpoints of a run", "--resume"]);
    // A run that is over ends at once, with the same result.
    let again = desk.run("train stripes.toml --resume --json").ok();
    assert_keys(&again.json()[0], &["merge", "top1", "step", "output"]);
    desk.run("train stripes.toml --resume --set schedule.lr=1e-3").fails(&["schedule.lr", "0.003", "0.001"]);

    let name = "--set model={name=\"local-dir:runs/stripes\",weights=\"pretrained\"} --set train.epochs=1";
    desk.run(&format!("finetune stripes.toml -o more {name}")).ok();
    assert!(desk.path("more/model.safetensors").is_file());
}

#[test]
fn mistakes_are_told_before_anything_is_written() {
    let desk = Desk::new();
    photos(&desk, 8);
    desk.write("stripes.toml", RECIPE);
    desk.run("train nothing.toml").fails(&["nothing.toml"]);
    desk.run("finetune stripes.toml").fails(&["fine-tuning goes on from weights", "model.weights"]);
    desk.run("train stripes.toml --set train.epochs=0").fails(&["train.epochs is 0"]);
    desk.run("train stripes.toml --set data.train=elsewhere").fails(&["elsewhere", "no such directory"]);
    desk.run("train stripes.toml --set train.batch_size=64").fails(&["fewer than the 64 of one step"]);
    desk.run("train stripes.toml --resume").fails(&["no checkpoint to resume from"]);
    assert!(!desk.path("runs").exists());
    let nan = desk.run("train stripes.toml --set schedule.lr=1e30 --set optimizer.name=sgd").code(1);
    assert!(
        nan.err.contains("is not a number at step") && nan.err.contains("use a lower schedule.lr"),
        "{}",
        nan.err
    );
}

/// As a full disk: the system refuses to write on, here by a limit on the size of a file.
#[cfg(target_os = "linux")]
#[test]
fn no_room_for_a_checkpoint_keeps_the_last_and_says_so() {
    let desk = Desk::new();
    photos(&desk, 24);
    desk.write("stripes.toml", RECIPE.replace("embed_dim = 24", "embed_dim = 96"));
    desk.run("train stripes.toml --set train.epochs=1 -o small").ok();
    let program = assert_cmd::cargo::cargo_bin("tokmerge");
    let limited =
        format!("trap '' XFSZ; ulimit -f 100; exec {} train stripes.toml -o full", program.display());
    let output = std::process::Command::new("bash")
        .args(["-c", &limited])
        .current_dir(desk.path(""))
        .output()
        .expect("bash");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("error: cannot write full/") && err.contains("there is no checkpoint yet"), "{err}");
    let left = std::fs::read_dir(desk.path("full/checkpoints")).expect("a folder").count();
    assert_eq!(left, 0, "half a checkpoint stays behind");
}

#[test]
fn training_is_timed_like_inference() {
    let desk = Desk::new();
    let timed = desk
        .run(&format!(
            "bench {TINY} --train --batch-size 2 --duration 0.1 --merge none --merge tome:r=13 --json"
        ))
        .ok();
    for (result, merge) in timed.json().iter().zip(["none", "tome:r=13"]) {
        assert_eq!((&result["merge"], &result["train"]), (&merge.into(), &true.into()));
        assert!(number(result, "images_per_second") > 0.0);
    }
}

#[test]
fn a_step_is_timed_with_recomputed_blocks_too() {
    let desk = Desk::new();
    let bench = format!("bench {TINY} --batch-size 2 --duration 0.1 --merge tome:r=13");
    desk.run(&format!("{bench} --train --recompute blocks")).ok();
    desk.run(&format!("{bench} --recompute blocks")).misused(&["--train"]);
}

#[test]
fn low_rank_additions_say_how_little_is_trained() {
    let desk = Desk::new();
    photos(&desk, 24);
    desk.write("stripes.toml", RECIPE);
    desk.run("train stripes.toml").ok();
    let tune = "finetune stripes.toml --set model={name=\"local-dir:runs/stripes\",weights=\"pretrained\"}";
    let run = desk.run(&format!("{tune} -o low --set lora.rank=2 --set train.epochs=1")).ok();
    assert!(run.err.contains("million values are trained"), "{}", run.err);
    desk.run("classify photos/rising/00.png --model local-dir:low").ok();
    desk.run(&format!("{tune} -o wrong --set lora={{rank=2,targets=[\"kv\"]}}"))
        .fails(&["lora.targets names kv", "qkv"]);
}

/// A WAV file of half a second at 8 kHz: tones of these frequencies.
fn wav(frequencies: &[f64]) -> Vec<u8> {
    let (rate, count) = (8000_u32, 4000_u32);
    let mut samples = Vec::new();
    for at in 0..count {
        let turn = std::f64::consts::TAU * f64::from(at) / f64::from(rate);
        let value = 0.3 * frequencies.iter().map(|frequency| (turn * frequency).sin()).sum::<f64>();
        samples.extend(((value * 32767.0) as i16).to_le_bytes());
    }
    wav_file(rate, 1, 16, &samples)
}

const SOUNDS: &str = r#"
merge = "tome:r=8"
[model]
name = "kwt_1"
embed_dim = 24
depth = 2
num_heads = 3
[data]
train = "sounds"
split = 0.25
[schedule]
lr = 3e-3
warmup_epochs = 1
[regularisation]
shift = 0.05
[train]
epochs = 4
batch_size = 8
"#;

#[test]
fn a_folder_of_sounds_is_trained_on_and_answers() {
    let desk = Desk::new();
    for i in 0..16 {
        desk.write(&format!("sounds/high/{i}.wav"), wav(&[2000.0 + 25.0 * f64::from(i)]));
        desk.write(&format!("sounds/low/{i}.wav"), wav(&[300.0 + 5.0 * f64::from(i)]));
    }
    desk.write("sounds.toml", SOUNDS);
    let run = desk.run("train sounds.toml").ok();
    assert!(run.err.contains("24 sounds to train on, 8 to validate on"), "{}", run.err);
    assert!(run.out.contains("on 8 sounds:"), "{}", run.out);
    let classified =
        desk.run("classify sounds/high/3.wav --model local-dir:runs/sounds --merge tome:r=8").ok();
    let first = classified.out.lines().nth(1).expect("an answer");
    assert!(first.contains("high"), "{}", classified.out);
    desk.run("train sounds.toml -o other --set regularisation.flip=0.5")
        .fails(&["regularisation.flip is a setting of images and clips", "the model takes sounds"]);
}

#[test]
fn drawn_clips_train_a_model_that_answers_for_a_folder_of_frames() {
    let desk = Desk::new();
    desk.run("scenes val --clips --images 80 --frames 4 --side 16").ok();
    let clips = SOUNDS
        .replace("kwt_1", "st_vit_base_patch16_224\"\nimg_size = 16\nnum_frames = 4\npatch_size = 8 #\"")
        .replace("train = \"sounds\"\nsplit = 0.25", "train = \"clips:32\"\nval = \"val\"\ncrop_pct = 1.0")
        .replace("[regularisation]\nshift = 0.05", "")
        .replace("tome:r=8", "tome:r=2")
        .replace("epochs = 4", "epochs = 1");
    desk.write("clips.toml", clips);
    let run = desk.run("train clips.toml").ok();
    assert!(run.err.contains("32 clips to train on, 80 to validate on"), "{}", run.err);
    let eval = desk.run("eval val --model local-dir:runs/clips --merge tome:r=2 --json").ok();
    assert_eq!(number(&eval.json()[0], "images"), 80.0);
    assert_eq!(number(&eval.json()[0], "mean_tokens"), 5.0);
}

#[test]
fn a_list_of_several_labels_is_trained_on_and_evaluated() {
    let desk = Desk::new();
    let mut rows = "path,labels\n".to_owned();
    for i in 0..24 {
        let (low, high) = (i % 2 == 1, i % 4 > 1);
        let mut frequencies = Vec::new();
        frequencies.extend(low.then_some(300.0 + f64::from(i)));
        frequencies.extend(high.then_some(2000.0 + 10.0 * f64::from(i)));
        desk.write(&format!("sounds/{i}.wav"), wav(&frequencies));
        let labels: Vec<&str> = [(low, "Low"), (high, "High")]
            .into_iter()
            .filter_map(|(has, name)| has.then_some(name))
            .collect();
        rows += &format!("{i}.wav,{}\n", labels.join(";"));
    }
    desk.write("sounds/list.csv", &rows);
    desk.write("classes.csv", "index,mid,display_name\n0,/m/0a,Low\n1,/m/0b,High\n2,/m/0c,Never\n");
    let recipe =
        SOUNDS.replace("train = \"sounds\"", "train = \"sounds/list.csv\"\nlabels = \"classes.csv\"");
    desk.write("list.toml", recipe.replace("epochs = 4", "epochs = 8"));
    let run = desk.run("train list.toml").ok();
    assert!(run.out.contains("mAP %") && !run.out.contains("top-1"), "{}", run.out);

    let eval = "eval sounds/list.csv --model local-dir:runs/list --merge none --merge tome:r=8";
    let shown = desk.run(&format!("{eval} --labels classes.csv")).ok();
    assert!(
        shown.out.contains("mAP %") && shown.err.contains("1 of 3 classes"),
        "{}{}",
        shown.out,
        shown.err
    );
    let json = desk.run(&format!("{eval} --labels classes.csv --json")).ok().json();
    assert_eq!((json.len(), number(&json[1], "images")), (2, 24.0));
    assert!(number(&json[0], "map") > 90.0, "{json:?}");
    let written =
        desk.run(&format!("{eval} --labels classes.csv --predictions p.csv --results-file r.csv")).ok();
    assert!(written.err.contains("1 of 3 classes"), "{}", written.err);
    let rows = desk.csv("p.csv");
    assert_eq!((rows.len(), rows[0].len()), (1 + 2 * 24, 13));
    assert_eq!(rows[0][..4], ["path", "labels", "index1", "index2"]);
    for row in &rows[1..] {
        let number: usize = row[0].trim_start_matches("sounds/").trim_end_matches(".wav").parse().unwrap();
        assert_eq!(row[1], ["", "0", "1", "0;1"][number % 4], "{row:?}");
        assert_eq!((row[5].as_str(), row[10].as_str()), ("", ""), "three classes, five places: {row:?}");
        assert!(row[7].parse::<f64>().unwrap() >= row[8].parse::<f64>().unwrap(), "{row:?}");
    }
    let results = desk.csv("r.csv");
    assert_eq!(results[0].last().map(String::as_str), Some("map"));
    for (row, json) in results[1..].iter().zip(&json) {
        assert!((row.last().unwrap().parse::<f64>().unwrap() - number(json, "map")).abs() < 1e-3, "{row:?}");
    }
    desk.run(&format!("{eval} --labels classes.csv --predictions sounds/list.csv")).fails(&[
        "--predictions",
        "list.csv",
        "overwrite what is read",
    ]);
    desk.run(eval).fails(&["is a list", "--labels"]);
}
