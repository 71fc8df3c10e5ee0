//! The orientation, the scale and the errors of `Spectrogram` and `drawn_groups`.

use tokmerge_viz::{BorderWidth, Grid, Picture, Range, Spectrogram, Style, drawn_groups, render};

/// Two loud values in silence: the first frame's lowest bin, and the third frame's highest.
fn two_loud() -> Spectrogram {
    let mut values = vec![0.0; 4 * 3];
    values[0] = 1.0;
    values[2 * 3 + 2] = 0.5;
    Spectrogram::new(values, 4, 3).unwrap()
}

#[test]
fn time_goes_right_and_the_lowest_bin_is_at_the_bottom() {
    let picture = two_loud().picture(Range::Own, 2).unwrap();
    assert_eq!((picture.width(), picture.height()), (8, 6));
    let dark = picture.pixel(7, 5);
    for (x, y) in (0..6).flat_map(|y| (0..8).map(move |x| (x, y))) {
        let loud = matches!((x / 2, y / 2), (0, 2) | (2, 0));
        assert_eq!(picture.pixel(x, y) != dark, loud, "({x}, {y})");
    }
    let light = |rgb: [u8; 3]| rgb.iter().map(|&value| u32::from(value)).sum::<u32>();
    assert!(light(picture.pixel(0, 5)) > light(picture.pixel(4, 0)));
}

#[test]
fn groups_turn_as_the_values_do() {
    // 4 x 3 patches of one value each: the mean of a group is the colour of its own value.
    let values: Vec<f32> = (0..12).map(|i| (i * i) as f32).collect();
    let picture = Spectrogram::new(values.clone(), 4, 3).unwrap().picture(Range::Own, 6).unwrap();
    let groups: Vec<_> = (0..12).map(|patch| Some(patch % 5)).collect();
    let drawn = drawn_groups(&groups, 4, 3).unwrap();
    for (time, freq) in (0..4).flat_map(|time| (0..3).map(move |freq| (time, freq))) {
        assert_eq!(drawn[(2 - freq) * 4 + time], groups[time * 3 + freq]);
    }
    let alone: Vec<_> = (0..12).map(Some).collect();
    let style = Style { border: BorderWidth::None, ..Style::default() };
    let merged =
        render(&picture, Grid { rows: 3, cols: 4 }, &drawn_groups(&alone, 4, 3).unwrap(), &style).unwrap();
    assert_eq!(merged, picture);
}

#[test]
fn whole_frames_are_columns() {
    let groups: Vec<_> = (0..98).map(Some).collect();
    assert_eq!(drawn_groups(&groups, 98, 1).unwrap(), groups);
}

#[test]
fn a_given_range_takes_the_nearer_end_outside() {
    let one = |value: f32, range: Range| -> Picture {
        Spectrogram::new(vec![value], 1, 1).unwrap().picture(range, 1).unwrap()
    };
    let range = Range::Given { min: -80.0, max: 0.0 };
    assert_eq!(one(-200.0, range), one(-80.0, range));
    assert_eq!(one(3.0, range), one(0.0, range));
    assert_ne!(one(-40.0, range), one(-80.0, range));
    assert_ne!(one(-40.0, range), one(0.0, range));
    // A single value has no range of its own: dark.
    assert_eq!(one(7.0, Range::Own), one(-80.0, range));
}

#[test]
fn the_widest_range_of_floats_has_both_ends() {
    let sound = Spectrogram::new(vec![f32::MIN, 0.0, f32::MAX], 3, 1).unwrap();
    let picture = sound.picture(Range::Own, 1).unwrap();
    let own = Spectrogram::new(vec![0.0, 0.5, 1.0], 3, 1).unwrap().picture(Range::Own, 1).unwrap();
    assert_eq!(picture, own);
}

#[test]
fn small_spectrograms_are_enlarged_and_large_ones_are_not() {
    let legible = |frames, bins| Spectrogram::new(vec![0.0; frames * bins], frames, bins).unwrap().legible();
    assert_eq!((legible(98, 40), legible(1024, 128), legible(1, 1)), (8, 1, 800));
}

#[test]
fn wrong_spectrograms_are_refused_with_rule_values_and_way_out() {
    let sound =
        |values: Vec<f32>, frames, bins| Spectrogram::new(values, frames, bins).unwrap_err().to_string();
    let drawn = |range, upscale| two_loud().picture(range, upscale).unwrap_err().to_string();
    let turned =
        |patches, time, freq| drawn_groups(&vec![None; patches], time, freq).unwrap_err().to_string();
    let cases = [
        (sound(vec![0.0; 5], 2, 3), ["frames * bins", "2 frames of 3 bins came with 5", "without padding"]),
        (sound(vec![], 0, 3), ["1 or more", "0 frames", "[frames, bins]"]),
        (sound(vec![0.0; 3], usize::MAX, 3), ["frames * bins", "with 3", "without padding"]),
        (sound(vec![0.0, 1.0, 2.0, f32::NAN], 2, 2), ["finite", "frame 1, bin 1 is NaN", "floor"]),
        (sound(vec![f32::NEG_INFINITY; 2], 1, 2), ["finite", "frame 0, bin 0 is -inf", "floor"]),
        (drawn(Range::Given { min: 2.0, max: 2.0 }, 1), ["min below", "from 2 to 2", "Range::Own"]),
        (drawn(Range::Given { min: f32::NAN, max: 2.0 }, 1), ["finite", "from NaN to 2", "Range::Own"]),
        (drawn(Range::Own, 0), ["at least 1", "4x3", "0 times"]),
        (drawn(Range::Own, 5000), ["1 to 16384", "4x3", "5000 times"]),
        (turned(5, 2, 3), ["3 rows and 2 columns", "needs 6", "5 were"]),
        (turned(0, 0, 3), ["1 column", "3 rows and 0 columns", "patch size"]),
    ];
    for (message, expected) in cases {
        assert!(expected.iter().all(|part| message.contains(part)) && !message.contains('\n'), "{message}");
    }
}
