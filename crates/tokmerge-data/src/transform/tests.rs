use super::*;
use proptest::prelude::*;

fn gray(width: usize, height: usize) -> Rgb {
    Rgb { width, height, data: vec![100; width * height * 3] }
}

#[test]
fn long_thin_images_cost_no_more_than_others() {
    let started = std::time::Instant::now();
    for (width, height) in [(1, 1), (1, 10_000), (10_000, 1), (2, 1), (1, 1_000_000)] {
        for crop_mode in CropMode::ALL {
            let preprocess = Preprocess { crop_mode, ..Preprocess::default() };
            let got = preprocess.crop(&gray(width, height)).unwrap();
            assert_eq!((got.width, got.height), (224, 224));
        }
    }
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn fields_that_make_no_sense_are_refused_with_their_value() {
    let text = |p: Preprocess| p.crop(&gray(3, 3)).unwrap_err().to_string();
    let base = Preprocess::default();
    assert!(text(Preprocess { input_size: (0, 224), ..base.clone() }).contains("0x224"));
    assert!(text(Preprocess { input_size: (usize::MAX, 224), ..base.clone() }).contains("input_size"));
    for crop_pct in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
        assert!(text(Preprocess { crop_pct, ..base.clone() }).contains("crop_pct"), "{crop_pct}");
    }
    assert!(text(Preprocess { mean: [f32::NAN, 0.0, 0.0], ..base.clone() }).contains("NaN"));
    assert!(text(Preprocess { std: [0.0, 1.0, 1.0], ..base.clone() }).contains("std"));
    assert!(text(Preprocess { std: [1e-42, 1.0, 1.0], ..base.clone() }).contains("std"));
    assert!(base.apply(&gray(3, 3), &mut [0.0; 5]).unwrap_err().to_string().contains("150528"));
    let lying = Rgb { width: 9, height: 9, data: vec![0; 9] };
    assert!(base.crop(&lying).unwrap_err().to_string().contains("9x9"));
    assert!(base.crop(&Rgb { width: 0, height: 9, data: vec![] }).is_err());
    assert!(base.crop(&Rgb { width: usize::MAX, height: 9, data: vec![] }).is_err());
}

#[test]
fn a_crop_that_cannot_be_centred_goes_to_the_even_offset_or_the_lower_one() {
    let picture = Rgb { width: 7, height: 1, data: (0..7).flat_map(|v| [v; 3]).collect() };
    let first = |crop_rounding, width| {
        let resized = [1, 7];
        let axis = Axis::new(resized[1], width, crop_rounding);
        (axis.kept.start, axis.offset)
    };
    // 3 pixels lie beside 4 of 7: 1.5 is rounded to 2 or down to 1.
    assert_eq!((first(CropRounding::Even, 4), first(CropRounding::Down, 4)), ((2, 0), (1, 0)));
    // 7 of 10: the padding in front is 1, or what is left of it.
    assert_eq!((first(CropRounding::Even, 10), first(CropRounding::Down, 10)), ((0, 1), (0, 2)));
    let preprocess = Preprocess {
        input_size: (1, 4),
        crop_pct: 1.0,
        crop_mode: CropMode::Shortest,
        crop_rounding: CropRounding::Down,
        ..Preprocess::default()
    };
    assert_eq!(preprocess.crop(&picture).unwrap().data, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
}

#[test]
fn a_grey_input_is_pillows_mode_l() {
    let picture = Rgb { width: 2, height: 2, data: vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 12, 200, 77] };
    let preprocess = Preprocess {
        input_size: (2, 2),
        crop_pct: 1.0,
        colour: Colour::Grey,
        mean: [0.0; 3],
        std: [1.0; 3],
        ..Preprocess::default()
    };
    let mut out = [0.0; 4];
    preprocess.apply(&picture, &mut out).unwrap();
    // Image.convert("L") of the four pixels.
    assert_eq!(out.map(|v| (v * 255.0).round() as u8), [76, 150, 29, 130]);
    assert!(preprocess.apply(&picture, &mut [0.0; 12]).unwrap_err().to_string().contains("= 4 are needed"));
    assert!(preprocess.to_string().contains("grey, mean 0.0, std 1.0"), "{preprocess}");
}

#[test]
fn what_the_picture_does_not_cover_has_the_colour_asked_for() {
    let border = Preprocess { input_size: (4, 8), crop_mode: CropMode::Border, ..Preprocess::default() };
    let corner = |p: &Preprocess| p.crop(&gray(3, 30)).unwrap().data[..3].to_vec();
    assert_eq!(corner(&border), [124, 116, 104], "the mean");
    assert_eq!(corner(&Preprocess { fill: Some([1, 2, 3]), ..border }), [1, 2, 3]);
}

#[test]
fn serde_round_trips_and_rejects_misspellings() {
    let preprocess =
        Preprocess { crop_mode: CropMode::Border, colour: Colour::Grey, ..Preprocess::default() };
    let json = serde_json::to_string(&preprocess).unwrap();
    assert!(json.contains(r#""crop_mode":"border""#), "{json}");
    assert_eq!(serde_json::from_str::<Preprocess>(&json).unwrap(), preprocess);
    assert!(serde_json::from_str::<Preprocess>(r#"{"crop_percent": 1.0}"#).is_err());
}

proptest! {
    #[test]
    fn the_output_has_the_input_size(
        w in 1..300_usize, h in 1..300_usize, size in (1..80_usize, 1..80_usize),
        crop_pct in 0.3..2.0_f64, mode in 0..4_usize,
    ) {
        let crop_mode = CropMode::ALL[mode];
        let preprocess = Preprocess { input_size: size, crop_pct, crop_mode, ..Preprocess::default() };
        let valid = preprocess.validate();
        prop_assume!(valid.is_ok());
        let got = preprocess.crop(&gray(w, h)).unwrap();
        prop_assert_eq!((got.height, got.width), size);
        let mut out = vec![f32::NAN; preprocess.output_len()];
        preprocess.apply(&gray(w, h), &mut out).unwrap();
        prop_assert!(out.iter().all(|v| v.is_finite()));
    }
}
