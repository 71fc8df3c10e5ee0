//! Pictures to try merging on without having any.

use tokmerge_data::Rgb;
use tokmerge_scenes::{CLASSES, Scenes, Split};

/// As many pictures, each of another class, as the embedded model ([`EMBEDDED`](crate::EMBEDDED)) knows them but has
/// never seen: name of the class, and picture. They are drawn anew, and always the same. There are 24 classes.
#[must_use]
pub fn demo_pictures(count: usize) -> Vec<(&'static str, Rgb)> {
    let scenes = Scenes::of(Split::Samples);
    let mut seen = [false; CLASSES.len()];
    let of_new_class = |index: &u64| !std::mem::replace(&mut seen[scenes.class(*index)], true);
    (0..)
        .filter(of_new_class)
        .take(count.min(CLASSES.len()))
        .map(|index| {
            let scene = scenes.draw(index);
            let image = Rgb { width: scene.side, height: scene.side, data: scene.pixels };
            (CLASSES[scene.class], image)
        })
        .collect()
}
