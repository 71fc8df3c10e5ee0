//! `tokmerge few-shot` on folders that the tests draw.

use crate::common::files::tiny_tensors;
use crate::common::{Desk, assert_keys, number};

/// The tiny model, and `data` with `images` in each of three classes, which are none of the model's.
fn desk(images: usize) -> Desk {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    for (class, tall) in [("fir", 24), ("oak", 48), ("yew", 96)] {
        for index in 0..images {
            desk.draw(&format!("data/{class}/{index}.png"), 40 + 7 * index as u32, tall);
        }
    }
    desk
}

const FEW_SHOT: &str = "few-shot data --model local-dir:tiny";

#[test]
fn every_way_of_merging_is_tried_at_every_number_of_shots() {
    let desk = desk(4);
    let run =
        desk.run(&format!("{FEW_SHOT} --shots 1,2 --seeds 2 --merge none --merge tome:r=4 --json")).ok();
    assert_eq!(run.err, "");
    let results = run.json();
    let order: Vec<_> =
        results.iter().map(|result| (result["merge"].clone(), number(result, "shots"))).collect();
    let expected = [("none", 1.0), ("none", 2.0), ("tome:r=4", 1.0), ("tome:r=4", 2.0)];
    assert_eq!(order, expected.map(|(merge, shots)| (merge.into(), shots)));
    for result in &results {
        assert_keys(result, &["model", "merge", "classes", "shots", "tried", "top1", "min", "max", "gmacs"]);
        assert_eq!(number(result, "tried"), 12.0 - 3.0 * number(result, "shots"));
        let (min, mean, max) = (number(result, "min"), number(result, "top1"), number(result, "max"));
        assert!(0.0 <= min && min <= mean && mean <= max && max <= 100.0, "{result}");
    }
    assert!(number(&results[2], "gmacs") < number(&results[0], "gmacs"));
    // Nothing is drawn but which images are examples, which the seed says.
    let again =
        desk.run(&format!("{FEW_SHOT} --shots 1,2 --seeds 2 --merge none --merge tome:r=4 --json")).ok();
    assert_eq!(run.out, again.out);
    let table = desk.run(&format!("{FEW_SHOT} --shots 2")).ok();
    assert!(table.out.contains("12 images of 3 classes, means over 5 choices"), "{}", table.out);
}

/// Pictures of one class that differ in nothing are told apart by a head over any features that see them.
#[test]
fn classes_that_differ_are_told_apart() {
    let desk = desk(1);
    for (class, tall) in [("fir", 24), ("oak", 48), ("yew", 96)] {
        for index in 1..6 {
            desk.draw(&format!("data/{class}/{index}.png"), 40, tall);
        }
    }
    let result = desk.run(&format!("{FEW_SHOT} --shots 3 --ridge 1e-6 --json")).ok().one_json();
    assert!(number(&result, "top1") > 80.0, "{result}");
}

#[test]
fn mistakes_are_told_with_a_way_out() {
    let desk = desk(3);
    desk.run("few-shot nowhere --model local-dir:tiny").fails(&["nowhere", "no such folder"]);
    desk.run(&format!("{FEW_SHOT} --shots 4")).fails(&["class fir has 3 images", "--shots 4", "fewer shots"]);
    desk.run(&format!("{FEW_SHOT} --shots 3")).fails(&["3 shots take all 9 images", "fewer shots"]);
    desk.run(&format!("{FEW_SHOT} --shots 0")).misused(&["--shots", "at least 1"]);
    desk.run(&format!("{FEW_SHOT} --shots 2 --ridge -1")).fails(&["ridge is -1"]);
    desk.run("few-shot data/oak --model local-dir:tiny").fails(&["two classes or more"]);
    for index in 0..2 {
        desk.write(&format!("data/oak/{index}.png"), b"no picture");
    }
    let broken = desk.run(&format!("{FEW_SHOT} --shots 2")).code(1);
    assert!(broken.err.contains("data/oak/0.png"), "{}", broken.err);
    assert!(
        broken.err.contains("error: data: only 1 of the images of class oak could be read"),
        "{}",
        broken.err
    );
}
