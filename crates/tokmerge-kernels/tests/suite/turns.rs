//! Sines and cosines of rotary positions against f64.

use crate::common::{Random, isas};
use tokmerge_kernels::{Isa, Turns, turn};

fn tables(isa: Isa, turns: Turns<'_>, positions: &[[f32; 3]]) -> (Vec<f32>, Vec<f32>) {
    let count = positions.len() * turns.row.len();
    let (mut sines, mut cosines) = (vec![f32::NAN; count], vec![f32::NAN; count]);
    turn(isa, turns, positions, &mut sines, &mut cosines);
    (sines, cosines)
}

/// The largest error at `angles`.
fn worst(isa: Isa, angles: &[f32]) -> f64 {
    let zeros = vec![0.0; angles.len()];
    let turns = Turns { row: &zeros, column: &zeros, origin: angles };
    let (sines, cosines) = tables(isa, turns, &[[0.0; 3]]);
    let error = |i: usize| {
        let (sine, cosine) = f64::from(angles[i]).sin_cos();
        (f64::from(sines[i]) - sine).abs().max((f64::from(cosines[i]) - cosine).abs())
    };
    (0..angles.len()).map(error).fold(0.0, f64::max)
}

#[test]
fn sines_and_cosines_are_off_by_about_a_unit_in_the_last_place() {
    for &isa in isas() {
        let small: Vec<f32> = (-20_000..=20_000).map(|step| step as f32 * 0.001_23).collect();
        assert!(worst(isa, &small) < 1.5e-7, "{isa}: {}", worst(isa, &small));
        let large: Vec<f32> = (-20_000..=20_000).map(|step| step as f32 * 0.4095).collect();
        assert!(worst(isa, &large) < 2e-7, "{isa}: {}", worst(isa, &large));
        let huge: Vec<f32> = (0..1000).map(|step| 8000.0 + step as f32 * 977.7).collect();
        assert!(worst(isa, &huge) < 1.5e-7, "{isa}: {}", worst(isa, &huge));
    }
}

#[test]
fn rows_turn_by_where_they_are_and_alike_on_every_instruction_set() {
    let mut random = Random::new(1);
    for (rows, width) in [(1, 1), (5, 12), (197, 32), (300, 130)] {
        let (row, column) = (random.values(width, 1.0), random.values(width, 1.0));
        let origin = random.values(width, 3.0);
        let turns = Turns { row: &row, column: &column, origin: &origin };
        let positions: Vec<[f32; 3]> =
            (0..rows).map(|_| [random.unit(), 14.0 * random.unit(), 14.0 * random.unit()]).collect();
        let (sines, cosines) = tables(Isa::Portable, turns, &positions);
        for at in 0..rows * width {
            let ([_, y, x], i) = (positions[at / width], at % width);
            let (sine, cosine) = f64::from(row[i] * y + column[i] * x + origin[i]).sin_cos();
            assert!(
                (f64::from(sines[at]) - sine).abs() < 2e-7 && (f64::from(cosines[at]) - cosine).abs() < 2e-7
            );
        }
        for &isa in isas() {
            assert!(
                tables(isa, turns, &positions) == (sines.clone(), cosines.clone()),
                "{isa} {rows} x {width}"
            );
        }
    }
}

#[test]
fn an_angle_of_zero_is_the_identity_and_nan_stays_within_its_row() {
    for &isa in isas() {
        let zeros = [0.0; 4];
        let turns = Turns { row: &[1.0; 4], column: &zeros, origin: &zeros };
        let (sines, cosines) = tables(isa, turns, &[[0.0; 3], [0.0, f32::NAN, 0.0]]);
        assert_eq!((&sines[..4], &cosines[..4]), ([0.0; 4].as_slice(), [1.0; 4].as_slice()));
        assert!(sines[4..].iter().chain(&cosines[4..]).all(|value| value.is_nan()));
        assert_eq!(tables(isa, turns, &[]), (Vec::new(), Vec::new()));
    }
}

#[test]
#[should_panic(expected = "turn: 3 sines and 4 cosines, expected 2 x 2")]
fn tables_of_another_length_are_refused() {
    let turns = Turns { row: &[1.0; 2], column: &[1.0; 2], origin: &[0.0; 2] };
    turn(Isa::Portable, turns, &[[0.0; 3]; 2], &mut [0.0; 3], &mut [0.0; 4]);
}
