//! What is ordinary and often goes wrong: README's table names these tests.

use crate::common::files::{picture, tiny_tensors};
use crate::common::{self, Desk};
use image::{ImageBuffer, Luma};
use serde_json::Value;
use std::process::Command;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    desk
}

/// The answer to a picture, without times.
fn answer(desk: &Desk, image: &str) -> Value {
    let run = desk.run(&format!("classify {image} --model local-dir:tiny --json --topk 5")).ok();
    run.one_json()["top"].clone()
}

#[test]
fn an_image_of_one_pixel_is_an_image() {
    let desk = desk();
    for name in ["one.png", "one.jpg", "thin.png", "flat.png"] {
        let (width, height) = match name {
            "thin.png" => (1, 300),
            "flat.png" => (300, 1),
            _ => (1, 1),
        };
        desk.draw(name, width, height);
        assert_eq!(answer(&desk, name).as_array().map(Vec::len), Some(5), "{name}");
    }
}

#[test]
fn gray_of_sixteen_bits_is_no_white_page() {
    let desk = desk();
    let rgb = picture(40, 40);
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(40, 40, |x, y| Luma([u16::from(rgb.get_pixel(x, y).0[0]) * 257]));
    deep.save(desk.path("deep.png")).expect("written");
    desk.draw_gray("gray.png", "three.png", 40, 40);
    assert_eq!(answer(&desk, "deep.png"), answer(&desk, "gray.png"));
    assert_eq!(answer(&desk, "deep.png"), answer(&desk, "three.png"));
}

#[test]
fn the_last_batch_may_be_odd_and_changes_nothing() {
    let desk = desk();
    for (class, name) in ["ant", "bee", "cat", "dog", "eel"].into_iter().enumerate() {
        desk.draw(&format!("data/{name}/x.png"), 20 + 7 * class as u32, 33);
    }
    let rows = |batch: usize| {
        let arguments = "eval data --model local-dir:tiny --merge tome:r=2 --merge atm:theta=0.5";
        desk.run(&format!("{arguments} --predictions p.csv --batch-size {batch}")).ok();
        desk.csv("p.csv")
    };
    let alone = rows(1);
    assert_eq!(alone.len(), 11);
    for batch in [2, 3, 4, 5, 64] {
        let mut together = rows(batch);
        together.sort();
        let mut expected = alone.clone();
        expected.sort();
        assert_eq!(together, expected, "batches of {batch}");
    }
}

#[test]
fn fewer_classes_than_five_are_five_at_most() {
    let desk = desk();
    let mut tensors = tiny_tensors();
    for (name, shape) in &mut tensors {
        if name.starts_with("head.") {
            shape[0] = 2;
        }
    }
    desk.model("two", &tensors);
    let mut config = common::files::tiny_config();
    config["num_classes"] = 2.into();
    config["label_names"] = serde_json::json!(["ant", "bee"]);
    desk.write("two/config.json", config.to_string());
    desk.draw("data/ant/x.png", 30, 30);
    desk.draw("data/bee/y.png", 33, 30);
    let result = desk.run("eval data --model local-dir:two --json").ok().one_json();
    assert_eq!(result["top5"], 100.0);
    let top = desk.run("classify data/ant/x.png --model local-dir:two --json").ok().one_json()["top"].clone();
    assert_eq!(top.as_array().map(Vec::len), Some(2));
}

/// As many threads as the process may use cores, not as the machine has.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_may_use_one_core_computes_with_one_thread() {
    let desk = desk();
    let program = assert_cmd::cargo::cargo_bin!("tokmerge");
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(program).current_dir(desk.path(""));
    pinned.args(["bench", "--model", "local-dir:tiny", "--duration", "0.1", "--json", "--merge", "none"]);
    match pinned.env_remove("TOKMERGE_THREADS").output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let result: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
            assert_eq!(result["threads"], 1, "{text}");
        }
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
            {
                eprintln!("SKIPPED: taskset cannot be run ({error})");
            }
        }
    }
}
