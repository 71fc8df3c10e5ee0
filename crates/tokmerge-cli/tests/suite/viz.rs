//! `tokmerge viz`.

use crate::common::files::tiny_tensors;
use crate::common::{Desk, TINY, material, real_weights};

fn desk() -> Desk {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    desk.draw("a.png", 60, 40);
    desk
}

const VIZ: &str = "viz a.png --model local-dir:tiny";

#[track_caller]
fn size(desk: &Desk, name: &str) -> (u32, u32) {
    image::open(desk.path(name)).map(|image| (image.width(), image.height())).expect("an image")
}

#[test]
fn a_png_shows_the_image_beside_its_tokens() {
    let desk = desk();
    let run = desk.run(&format!("{VIZ} --merge tome:r=4 -o out.png")).ok();
    assert_eq!(run.out, "");
    assert!(run.err.contains("out.png: 16 patches in 8 tokens"), "{}", run.err);
    // Twice 32 pixels enlarged twice, and a gap between them.
    let (width, height) = size(&desk, "out.png");
    assert_eq!(height, 64);
    assert!((129..=160).contains(&width), "{width}");
    desk.run(&format!("{VIZ} --merge tome:r=4 -o large.PNG --upscale 5")).ok();
    assert_eq!(size(&desk, "large.PNG").1, 160);
}

#[test]
fn an_svg_says_what_it_shows() {
    let desk = desk();
    desk.run(&format!("{VIZ} --merge tome:r=4 -o out.svg")).ok();
    let svg = std::fs::read_to_string(desk.path("out.svg")).expect("text");
    assert!(svg.trim_start().starts_with("<svg") || svg.starts_with("<?xml"), "{}", &svg[..80]);
    assert!(svg.trim_end().ends_with("</svg>"));
    for fragment in ["tome:r=4", "16 patches in 8 tokens", "vit_32x2_patch8_32.handmade"] {
        assert!(svg.contains(fragment), "{fragment}");
    }
}

#[test]
fn several_images_methods_and_layers_are_drawn_on_one_sheet() {
    let desk = desk();
    desk.draw("b.png", 40, 60);
    let sheet =
        "viz a.png b.png --model local-dir:tiny --merge tome:r=4 --merge atm:theta=0.999999 --layer 1,2";
    let run = desk.run(&format!("{sheet} -o sheet.png")).ok();
    assert!(run.err.contains("a.png, tome:r=4 after layer 1: 16 patches in 12 tokens"), "{}", run.err);
    assert_eq!(run.err.lines().count(), 2 * 4, "{}", run.err);
    // The image and four columns of 32 pixels with gaps of 8 between them, in two rows.
    assert_eq!(size(&desk, "sheet.png"), (5 * 32 + 4 * 8, 2 * 32 + 8));
    desk.run(&format!("{sheet} -o sheet.svg --upscale 3")).ok();
    let svg = std::fs::read_to_string(desk.path("sheet.svg")).expect("text");
    assert_eq!(svg.matches("<image").count(), 2 * 5);
    for fragment in ["image</text>", "layer", "12 tokens", "8 tokens"] {
        assert!(svg.contains(fragment), "{fragment}");
    }
    desk.run("viz a.png b.png --model local-dir:tiny --merge tome:r=4 --layer 3 -o x.png")
        .fails(&["layer 3 does not exist", "layers 1 to 2"]);
}

/// The window of a soft merger is known whatever its weights are; of a PatchMerger everything mixes.
#[test]
fn methods_with_weights_are_drawn_and_said_to_mix() {
    let desk = desk();
    let run = desk.run(&format!("{VIZ} --merge stm:p=2,layer=1 -o windows.svg")).ok();
    let said = "16 patches mixed into 8 tokens; each is drawn in the one where it weighs most, 100 % of its weight on \
                average, and all of the tokens appear";
    assert!(run.err.contains(said) && run.err.contains("they are random here"), "{}", run.err);
    let svg = std::fs::read_to_string(desk.path("windows.svg")).expect("text");
    assert!(svg.contains("16 patches mixed into 8 tokens"), "the caption says it too");
    assert_eq!(svg.matches(": 2 of 16 patches").count(), 8, "two neighbours in each");
    // Eight queries of 16 patches leave something to each other.
    let run = desk.run(&format!("{VIZ} --merge patchmerger:m=8,layer=1 -o mixed.png")).ok();
    assert!(run.err.contains("16 patches mixed into 8 tokens"), "{}", run.err);
    assert!(!run.err.contains(" 100 % of its weight"), "{}", run.err);
    assert_eq!(size(&desk, "mixed.png").1, 64);
    // Without weights of its own it is said to mix too, and its matrices are in the trace: 16 to 8, and 8 to 4.
    let run = desk
        .run(&format!("{VIZ} --merge token_transforming:keep=50%,layer=[1,2] --layer 1 -o parts.svg"))
        .ok();
    assert!(
        run.err.contains("16 patches mixed into 8 tokens") && !run.err.contains("random here"),
        "{}",
        run.err
    );
    let run = desk.run(&format!("{VIZ} --merge token_transforming:keep=50%,layer=[1,2] -o parts.svg")).ok();
    assert!(run.err.contains("16 patches mixed into 4 tokens"), "{}", run.err);
    // Four of the windows that two made before.
    desk.run(&format!("{VIZ} --merge stm:p=2,layer=[1,2] -o twice.svg")).ok();
    let svg = std::fs::read_to_string(desk.path("twice.svg")).expect("text");
    assert_eq!(svg.matches(": 4 of 16 patches").count(), 4);
    desk.run(&format!("{VIZ} --merge stm:p=2,layer=[1,2] --layer 1 -o once.svg")).ok();
    let svg = std::fs::read_to_string(desk.path("once.svg")).expect("text");
    assert_eq!(svg.matches(": 2 of 16 patches").count(), 8);
}

/// Two neighbours share a token: what they weigh there adds up to one.
#[test]
fn weights_are_drawn_from_dark_to_light() {
    let desk = desk();
    let weights = format!("{VIZ} --show weights --merge");
    let run = desk.run(&format!("{weights} stm:p=2,layer=1 -o weights.svg")).ok();
    let said =
        "16 patches mixed into 8 tokens; each is as light as it weighs in the token where it weighs most";
    assert!(run.err.contains(said) && run.err.contains("they are random here"), "{}", run.err);
    let svg = std::fs::read_to_string(desk.path("weights.svg")).expect("text");
    assert!(svg.contains(said) && svg.contains(r#"id="under""#), "the picture of weights lies beneath");
    desk.run(&format!("{weights} stm:p=2,layer=1,score=mean -o mean.png")).ok();
    let image = image::open(desk.path("mean.png")).expect("a picture").to_rgb8();
    // Halves, all of them the largest weight: the lightest colour, inside every border.
    assert_eq!(image.get_pixel(image.width() - 4, 4).0, [251, 246, 215]);
    for (options, fragments) in [
        ("tome:r=4 -o out.png", ["tome:r=4 mixes nothing by weights", "stm:p=2"]),
        ("stm:p=2,layer=1 --layer 1,2 -o out.png", ["--show weights", "one --layer"]),
        ("patchmerger:m=8,layer=1 --layer 1 -o out.png", ["until layer 1", "merges nothing"]),
    ] {
        desk.run(&format!("{weights} {options}")).fails(&fragments);
    }
}

#[test]
fn a_layer_may_be_chosen() {
    let desk = desk();
    let run = desk.run(&format!("{VIZ} --merge tome:r=4 --layer 1 -o out.png")).ok();
    assert!(run.err.contains("16 patches in 12 tokens"), "{}", run.err);
    let last = desk.run(&format!("{VIZ} --merge tome:r=4 --layer 2 -o last.png")).ok();
    assert!(last.err.contains("16 patches in 8 tokens"), "{}", last.err);
}

#[test]
fn of_tokens_that_wait_a_layer_says_which_work() {
    let desk = desk();
    for (merge, layer, said) in [
        ("evo_vit:keep=25%,layer=2", 2, "4 of 16 patches work; the other 12 wait unchanged"),
        ("idle_vit:keep=50%,layer=1", 1, "8 of 16 patches work; the other 8 wait unchanged"),
        ("tome:r=4,feature=x_pre,unmerge=on", 2, "16 patches in 12 tokens"),
    ] {
        let run = desk.run(&format!("{VIZ} --merge {merge} --layer {layer} -o work.svg")).ok();
        assert!(run.err.contains(said), "{merge}: {}", run.err);
        let svg = std::fs::read_to_string(desk.path("work.svg")).expect("text");
        assert!(svg.contains(&format!(" in layer {layer}: {said}")), "{merge}");
    }
    let run = desk.run(&format!("{VIZ} --merge evo_vit:keep=25%,layer=2 --layer 1 -o none.png"));
    run.fails(&["until layer 1", "merges nothing"]);
}

#[test]
fn images_that_are_not_square_keep_their_shape() {
    let desk = desk();
    desk.run(&format!("{VIZ} --img-size 32x64 --merge tome:r=4 --upscale 1 -o wide.png")).ok();
    let (width, height) = size(&desk, "wide.png");
    assert_eq!(height, 32);
    assert!((129..=145).contains(&width), "{width}");
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let desk = desk();
    for (options, fragments) in [
        ("--merge tome:r=4 -o out.gif", ["out.gif", "*.png or *.svg"]),
        ("--merge tome:r=4 -o out", ["out", "*.png or *.svg"]),
        ("--merge tome:r=4 -o out.png --layer 99", ["layer 99", "1 to 2"]),
        ("--merge tome:r=4 -o out.png --layer 0", ["layer 0", "1 to 2"]),
        ("--merge none -o out.png", ["none merges nothing", "tome:r=13"]),
        ("--merge tome:r=0 -o out.png", ["tome:r=0 merges nothing", "tome:r=13"]),
        ("--merge tome:r=[0,4] -o out.png --layer 1", ["until layer 1", "merges nothing"]),
        ("--merge patchmerger:m=8,layer=1 -o out.png --layer 1", ["until layer 1", "merges nothing"]),
        ("--merge stm:p=2,layer=1,inflate=on -o out.png", ["all of them are there again", "inflate=off"]),
        ("--merge idle_vit:keep=50% -o out.png", ["all of them are there again", "give a --layer"]),
        ("--merge tokenlearner:layer=1,fuse=on -o out.png", ["all of them are there again", "fuse=off"]),
        ("--merge tome:r=4 -o nowhere/out.png", ["nowhere/out.png", "No such file"]),
        ("--merge tome:r=4 -o out.png --upscale 100000", ["100000", "16384"]),
    ] {
        desk.run(&format!("{VIZ} {options}")).fails(&fragments);
    }
    assert!(!desk.path("out.png").exists() && !desk.path("out.gif").exists());
    let random = desk.run(&format!("viz a.png {TINY} --merge tome:r=13 --upscale 1 -o random.png")).ok();
    assert!(random.err.contains("196 patches in 40 tokens"), "{}", random.err);
}

#[test]
fn a_real_photograph_is_drawn() {
    let Some(material) = material() else { return };
    let weights = real_weights(&material);
    let photograph = material.join("imagenet1k_sample/n02123045").read_dir().expect("a class").next();
    let photograph = photograph.expect("a photograph").expect("readable").path().display().to_string();
    let desk = Desk::new();
    let draw = |output: &str| {
        let model = ["viz", &photograph, "--model", "vit_tiny_patch16_224", "--weights", &weights];
        desk.run_with(&[&model[..], &["--crop-pct", "1", "--merge", "tome:r=16", "-o", output]].concat()).ok()
    };
    assert!(draw("cat.png").err.contains("196 patches in "));
    let (width, height) = size(&desk, "cat.png");
    assert_eq!(height, 448);
    assert!((897..=960).contains(&width), "{width}");
    draw("cat.svg");
    let svg = std::fs::read_to_string(desk.path("cat.svg")).expect("text");
    assert!(svg.contains("tome:r=16") && svg.trim_end().ends_with("</svg>"));
}
