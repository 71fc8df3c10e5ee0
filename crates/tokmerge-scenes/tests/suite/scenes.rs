//! What a seed promises.

use proptest::prelude::*;
use tokmerge_scenes::{CLASSES, SIDES, Scenes, Split, write};

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// Training runs, reports and embedded pictures refer to these: a change here is a new set of pictures.
#[test]
fn pictures_are_the_same_everywhere_and_always() {
    let scenes = Scenes::of(Split::Train);
    let sum = |scenes: &Scenes| {
        (0..96).fold(0_u64, |sum, index| sum.rotate_left(1) ^ hash(&scenes.draw(index).pixels))
    };
    assert_eq!(sum(&scenes), 0x3190_B1E8_481C_22B5, "{:#x}", sum(&scenes));
    let odd = scenes.with_side(61).unwrap();
    assert_eq!(sum(&odd), 0xE15E_3DE3_864E_4781, "{:#x}", sum(&odd));
}

#[test]
fn order_does_not_matter_and_splits_differ() {
    let scenes = Scenes::of(Split::Validation);
    let later = scenes.draw(9);
    let mut pixels = vec![1; later.pixels.len()];
    scenes.draw_into(3, &mut pixels);
    assert_eq!((scenes.draw_into(9, &mut pixels), &pixels), (later.class, &later.pixels));
    for split in [Split::Train, Split::Samples] {
        let others: Vec<_> = (0..50).map(|index| Scenes::of(split).draw(index).pixels).collect();
        assert!((0..50).all(|index| !others.contains(&scenes.draw(index).pixels)));
    }
}

#[test]
fn classes_are_balanced_and_known_without_drawing() {
    let scenes = Scenes::of(Split::Train).with_side(16).unwrap();
    let mut counts = [0; CLASSES.len()];
    for index in 0..24_000 {
        counts[scenes.class(index)] += 1;
    }
    // A thousand each, give or take four standard deviations.
    assert!(counts.iter().all(|count| (876..1124).contains(count)), "{counts:?}");
    assert!((0..200).all(|index| scenes.draw(index).class == scenes.class(index)));
    // Neither does the class follow from the index, nor from that of the picture before.
    let alike = (1..24_000).filter(|&index| scenes.class(index) == scenes.class(index - 1)).count();
    assert!((876..1124).contains(&alike), "{alike}");
}

#[test]
fn a_larger_side_shows_the_same_scene() {
    let (small, large) = (Scenes::new(5), Scenes::new(5).with_side(192).unwrap());
    for index in 0..40 {
        let (a, b) = (small.draw(index), large.draw(index));
        assert_eq!(a.class, b.class);
        let mean = |pixels: &[u8]| pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / pixels.len() as f64;
        assert!((mean(&a.pixels) - mean(&b.pixels)).abs() < 4.0, "picture {index}");
    }
}

#[test]
fn sides_that_cannot_be_drawn_are_refused() {
    let refused = |side| Scenes::new(1).with_side(side).unwrap_err().to_string();
    assert_eq!(refused(15), "a side of 15 pixels cannot be drawn; sides are 16 to 4096, e.g. 96");
    assert!(refused(usize::MAX).contains("cannot be drawn"));
}

#[test]
fn a_folder_holds_every_class_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let scenes = Scenes::of(Split::Samples).with_side(17).unwrap();
    write(&scenes, dir.path(), 100..130).unwrap();
    let mut folders: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    folders.sort();
    assert_eq!(folders, CLASSES);
    for index in 100..130 {
        let scene = scenes.draw(index);
        let path = dir.path().join(CLASSES[scene.class]).join(format!("{index:07}.png"));
        assert_eq!(image::open(path).unwrap().to_rgb8().into_raw(), scene.pixels);
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(write(&scenes, file, 0..1).unwrap_err().to_string().contains("cannot be created"));
}

proptest! {
    #[test]
    fn any_picture_can_be_drawn(seed in any::<u64>(), index in any::<u64>(), side in 16..150_usize) {
        let scene = Scenes::new(seed).with_side(side).unwrap().draw(index);
        prop_assert!(SIDES.contains(&scene.side) && scene.class < CLASSES.len());
        prop_assert_eq!(scene.pixels.len(), side * side * 3);
    }

    #[test]
    fn no_picture_is_empty(index in any::<u64>()) {
        let scene = Scenes::of(Split::Train).draw(index);
        let (low, high) = scene.pixels.iter().fold((255, 0), |(low, high), &v| (v.min(low), v.max(high)));
        prop_assert!(high - low > 15, "{} to {}", low, high);
    }
}
