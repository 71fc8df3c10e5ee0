//! What a seed promises of clips.

use proptest::prelude::*;
use tokmerge_scenes::{CLASSES, Clip, Clips, FRAMES, MOTIONS, Scenes, Split, write_clips};

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

fn small(seed: u64, frames: usize) -> Clips {
    Clips::new(seed).with_side(32).unwrap().with_frames(frames).unwrap()
}

fn frame(clip: &Clip, index: usize) -> &[u8] {
    let len = clip.side * clip.side * 3;
    &clip.pixels[index * len..][..len]
}

/// Means of 4 x 4 fields of a frame of 32 x 32 pixels, over all colours.
fn fields(frame: &[u8]) -> Vec<f64> {
    let mut sums = vec![0.0; 16];
    for (at, pixel) in frame.chunks_exact(3).enumerate() {
        let value: f64 = pixel.iter().map(|&v| f64::from(v)).sum();
        sums[at / 32 / 8 * 4 + at % 32 / 8] += value / 192.0;
    }
    sums
}

/// Training runs and reports refer to these: a change here is a new set of clips.
#[test]
fn clips_are_the_same_everywhere_and_always() {
    let clips = Clips::of(Split::Train);
    let sum = |clips: &Clips| {
        (0..26).fold(0_u64, |sum, index| sum.rotate_left(1) ^ hash(&clips.draw(index).pixels))
    };
    assert_eq!(sum(&clips), 0x8BE6_CB03_68F6_4D25, "{:#x}", sum(&clips));
    let odd = clips.with_side(61).unwrap().with_frames(7).unwrap();
    assert_eq!(sum(&odd), 0x19E2_AD45_09C2_BE6F, "{:#x}", sum(&odd));
}

#[test]
fn order_does_not_matter_and_splits_differ() {
    let of = |split| Clips::of(split).with_side(32).unwrap().with_frames(3).unwrap();
    let clips = of(Split::Validation);
    let later = clips.draw(9);
    let mut pixels = vec![1; later.pixels.len()];
    clips.draw_into(3, &mut pixels);
    assert_eq!((clips.draw_into(9, &mut pixels), &pixels), (later.class, &later.pixels));
    for split in [Split::Train, Split::Samples] {
        let others: Vec<_> = (0..30).map(|index| of(split).draw(index).pixels).collect();
        assert!((0..30).all(|index| !others.contains(&clips.draw(index).pixels)));
    }
}

#[test]
fn classes_are_balanced_and_known_without_drawing() {
    let clips = small(Split::Train.seed(), 2);
    let mut counts = [0; MOTIONS.len()];
    for index in 0..13_000 {
        counts[clips.class(index)] += 1;
    }
    // A thousand each, give or take four standard deviations.
    assert!(counts.iter().all(|count| (878..1122).contains(count)), "{counts:?}");
    assert!((0..100).all(|index| clips.draw(index).class == clips.class(index)));
    // Neither does the class follow from the index, nor from that of the clip before.
    let alike = (1..13_000).filter(|&index| clips.class(index) == clips.class(index - 1)).count();
    assert!((878..1122).contains(&alike), "{alike}");
    // Nor has it to do with what the picture of the same seed and index shows.
    let scenes = Scenes::of(Split::Train);
    let both = (0..13_000).filter(|&i| scenes.class(i) % 12 == clips.class(i) && scenes.class(i) < 12);
    assert!((400..600).contains(&both.count()), "of 13000 in {} kinds", CLASSES.len());
}

#[test]
fn a_larger_side_shows_the_same_clip() {
    let (small, large) = (small(5, 4), small(5, 4).with_side(128).unwrap());
    for index in 0..20 {
        let (a, b) = (small.draw(index), large.draw(index));
        assert_eq!(a.class, b.class);
        let mean = |pixels: &[u8]| pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / pixels.len() as f64;
        for at in 0..4 {
            let apart = (mean(frame(&a, at)) - mean(frame(&b, at))).abs();
            assert!(apart < 4.0, "clip {index}, frame {at}: {apart}");
        }
    }
}

#[test]
fn more_frames_show_the_same_motion_in_the_same_time() {
    let (few, many) = (small(6, 5), small(6, 17));
    for index in 0..40 {
        let (a, b) = (few.draw(index), many.draw(index));
        assert_eq!(a.class, b.class);
        for at in 0..5 {
            // All but the noise, which the mean of a field has little of.
            let pairs = fields(frame(&a, at)).into_iter().zip(fields(frame(&b, at * 4)));
            let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 4.0, "clip {index}, frame {at}: {apart}");
        }
        assert_eq!(frame(&a, 0), frame(&b, 0));
    }
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let side = Clips::new(1).with_side(15).unwrap_err().to_string();
    assert_eq!(side, "a side of 15 pixels cannot be drawn; sides are 16 to 4096, e.g. 96");
    for frames in [0, 1, 65, usize::MAX] {
        let refused = Clips::new(1).with_frames(frames).unwrap_err().to_string();
        let rule = format!("a clip of {frames} frames cannot be drawn; frames are 2 to 64, e.g. 16");
        assert_eq!(refused, rule);
    }
}

/// The share of held-out clips whose class has the nearest mean, each feature measured in its standard deviations.
fn nearest_mean_accuracy(features: &[(usize, Vec<f64>)]) -> f64 {
    let (seen, held_out) = features.split_at(features.len() * 2 / 3);
    let width = seen[0].1.len();
    let scale: Vec<f64> = (0..width)
        .map(|at| {
            let mean = seen.iter().map(|(_, v)| v[at]).sum::<f64>() / seen.len() as f64;
            let variance = seen.iter().map(|(_, v)| (v[at] - mean).powi(2)).sum::<f64>() / seen.len() as f64;
            1.0 / variance.sqrt().max(1e-9)
        })
        .collect();
    let mean_of = |class: usize| -> Vec<f64> {
        let own: Vec<_> = seen.iter().filter(|(of, _)| *of == class).collect();
        (0..width).map(|at| own.iter().map(|(_, v)| v[at]).sum::<f64>() / own.len() as f64).collect()
    };
    let means: Vec<Vec<f64>> = (0..MOTIONS.len()).map(mean_of).collect();
    let right = held_out.iter().filter(|(class, v)| {
        let distance =
            |mean: &[f64]| -> f64 { (0..width).map(|at| ((v[at] - mean[at]) * scale[at]).powi(2)).sum() };
        let nearest = (0..MOTIONS.len()).min_by(|&a, &b| distance(&means[a]).total_cmp(&distance(&means[b])));
        nearest == Some(*class)
    });
    right.count() as f64 / held_out.len() as f64
}

/// Where the brightness of a change is, and how much of it there is, beside the change of each field.
fn change(from: &[u8], to: &[u8]) -> Vec<f64> {
    let mut change: Vec<f64> = fields(to).iter().zip(fields(from)).map(|(b, a)| b - a).collect();
    let moment = |weight: &dyn Fn(usize) -> f64| (0..16).map(|at| change[at] * weight(at)).sum::<f64>();
    let across = moment(&|at| (at % 4) as f64 - 1.5);
    let down = moment(&|at| (at / 4) as f64 - 1.5);
    let whole = moment(&|_| 1.0);
    change.extend([across, down, whole]);
    change
}

#[test]
fn single_frames_do_not_give_the_class_away_but_changes_do() {
    let clips = small(8, 3);
    let drawn: Vec<Clip> = (0..6000).map(|index| clips.draw(index)).collect();
    let chance = 1.0 / MOTIONS.len() as f64;
    for at in 0..3 {
        let single: Vec<_> = drawn.iter().map(|clip| (clip.class, fields(frame(clip, at)))).collect();
        let accuracy = nearest_mean_accuracy(&single);
        assert!(accuracy < 1.8 * chance, "frame {at}: {accuracy}");
    }
    let changes: Vec<_> =
        drawn.iter().map(|clip| (clip.class, change(frame(clip, 0), frame(clip, 2)))).collect();
    let accuracy = nearest_mean_accuracy(&changes);
    assert!(accuracy > 3.5 * chance, "{accuracy}");
}

#[test]
fn nothing_but_noise_changes_in_clips_that_are_still() {
    let clips = small(9, 6);
    let of = |name| MOTIONS.iter().position(|&motion| motion == name).unwrap();
    let furthest = |index: u64| {
        let clip = clips.draw(index);
        let first = fields(frame(&clip, 0));
        let apart = |at: usize| {
            let pairs = fields(frame(&clip, at)).into_iter().zip(&first);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        (1..6).map(apart).fold(0.0, f64::max)
    };
    let indices = |class: usize| (0..400).filter(move |&index| clips.class(index) == class);
    assert!(indices(of("still")).all(|index| furthest(index) < 6.0));
    for name in ["moves-left", "circles", "bounces", "grows", "appears", "disappears"] {
        let seen = indices(of(name)).filter(|&index| furthest(index) > 6.0).count();
        assert!(seen * 10 >= indices(of(name)).count() * 9, "{name}: {seen}");
    }
}

#[test]
fn a_folder_holds_every_clip_as_frames() {
    let dir = tempfile::tempdir().unwrap();
    let clips = small(Split::Samples.seed(), 3).with_side(17).unwrap();
    write_clips(&clips, dir.path(), 100..120).unwrap();
    let mut folders: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    folders.sort();
    assert_eq!(folders, MOTIONS);
    for index in 100..120 {
        let clip = clips.draw(index);
        let folder = dir.path().join(MOTIONS[clip.class]).join(format!("{index:07}"));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3);
        for at in 0..3 {
            let read = image::open(folder.join(format!("{:04}.png", at + 1))).unwrap().to_rgb8().into_raw();
            assert_eq!(read, frame(&clip, at));
        }
    }
}

#[test]
fn a_clip_is_replaced_whole_and_nothing_else_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (long, short) = (small(3, 9).with_side(16).unwrap(), small(3, 4).with_side(16).unwrap());
    let class = dir.path().join(MOTIONS[long.class(0)]);
    let folder = class.join("0000000");
    write_clips(&long, dir.path(), 0..1).unwrap();
    // What a run that was killed left behind.
    std::fs::create_dir(class.join(".0000000.partial")).unwrap();
    std::fs::write(class.join(".0000000.partial/0009.png"), "half").unwrap();
    write_clips(&short, dir.path(), 0..1).unwrap();
    let names = |dir: &std::path::Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&folder), ["0001.png", "0002.png", "0003.png", "0004.png"]);
    assert_eq!(names(&class), ["0000000"]);

    std::fs::write(folder.join("notes.txt"), "mine").unwrap();
    let refused = write_clips(&long, dir.path(), 0..1).unwrap_err().to_string();
    assert!(refused.ends_with(
        "0000000: is not a folder of nothing but frames, and is left as it is; name another folder"
    ));
    assert_eq!(names(&folder).len(), 5);
    assert_eq!(names(&class), ["0000000"]);

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(write_clips(&long, file, 0..1).unwrap_err().to_string().contains("cannot be created"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_clip_can_be_drawn(
        seed in any::<u64>(), index in any::<u64>(), side in 16..80_usize, frames in FRAMES,
    ) {
        let clips = Clips::new(seed).with_side(side).unwrap().with_frames(frames).unwrap();
        prop_assert_eq!((clips.side(), clips.frames()), (side, frames));
        let clip = clips.draw(index);
        prop_assert!(clip.class < MOTIONS.len());
        prop_assert_eq!(clip.pixels.len(), frames * side * side * 3);
    }

    #[test]
    fn no_frame_is_empty(index in any::<u64>()) {
        let clip = Clips::of(Split::Train).draw(index);
        for at in 0..clip.frames {
            let (low, high) =
                frame(&clip, at).iter().fold((255, 0), |(low, high), &v| (v.min(low), v.max(high)));
            prop_assert!(high - low > 15, "frame {}: {} to {}", at, low, high);
        }
    }
}
