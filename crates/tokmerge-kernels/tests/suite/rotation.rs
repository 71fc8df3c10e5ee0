//! Rotations and norms of heads against f64 references.

use crate::common::{self, Random, assert_close, assert_same_bits, isas, threads};
use tokmerge_kernels::{Angles, Heads, Norm, Pairs, Rotation, normalise, normalise_heads, rotate};

const KINDS: [(Angles, Pairs); 4] = [
    (Angles::Shared, Pairs::Adjacent),
    (Angles::Shared, Pairs::Halves),
    (Angles::PerHead, Pairs::Adjacent),
    (Angles::PerHead, Pairs::Halves),
];

/// Heads, rows, and parts that turn among all.
const SHAPES: [(usize, usize, usize, [usize; 2]); 6] = [
    (1, 2, 1, [1, 1]),
    (3, 6, 5, [2, 3]),
    (2, 64, 9, [2, 3]),
    (4, 10, 300, [1, 2]),
    (2, 34, 3, [1, 3]),
    (2, 32, 0, [2, 3]),
];

#[test]
fn pairs_turn_by_their_angles_and_other_parts_stay() {
    let mut random = Random::new(5);
    for (count, dim, rows, [parts, of]) in SHAPES {
        for (angles, pairs) in KINDS {
            let sets = if angles == Angles::Shared { 1 } else { count };
            let angle = random.values(rows * sets * dim / 2, 3.0);
            let (cos, sin): (Vec<f32>, Vec<f32>) = angle.iter().map(|a| (a.cos(), a.sin())).unzip();
            let rotation = Rotation { cos: &cos, sin: &sin, angles, pairs };
            let (heads, x) = (Heads { count, dim, scale: 1.0 }, random.values(rows * of * count * dim, 2.0));
            let mut want: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
            for pair in 0..rows * parts * count * dim / 2 {
                let (i, head) = (pair % (dim / 2), pair / (dim / 2));
                let (row, part, head) = (head / count / parts, head / count % parts, head % count);
                let at = (row * sets + if sets == 1 { 0 } else { head }) * dim / 2 + i;
                let first = ((row * of + part) * count + head) * dim;
                let (a, b) = match pairs {
                    Pairs::Adjacent => (first + 2 * i, first + 2 * i + 1),
                    Pairs::Halves => (first + i, first + dim / 2 + i),
                };
                let (cos, sin) = (f64::from(cos[at]), f64::from(sin[at]));
                (want[a], want[b]) = (want[a] * cos - want[b] * sin, want[b] * cos + want[a] * sin);
            }
            for &isa in isas() {
                let run = |count: usize| {
                    let mut x = x.clone();
                    threads(count, || rotate(isa, heads, rotation, parts, &mut x, rows));
                    x
                };
                let what =
                    format!("{isa} {count} x {dim}, {rows} rows, {parts} of {of}, {angles:?} {pairs:?}");
                assert_close(&what, &run(1), &want, 1e-6);
                assert_same_bits(&what, &run(3), &run(1));
            }
        }
    }
}

#[test]
fn heads_are_normalised_as_rows_of_their_own() {
    let mut random = Random::new(6);
    for (count, dim, rows, [_, of]) in SHAPES.into_iter().filter(|shape| shape.3[1] > 1) {
        let (weight, bias) = (random.values(dim, 1.0), random.values(dim, 1.0));
        let width = count * dim;
        let x = random.values(rows * of * width, 2.0);
        for norm in common::norms(&weight, &bias, 1e-5) {
            for &isa in isas() {
                for norms in [[Some(norm), None], [None, Some(norm)], [Some(norm); 2]] {
                    let mut want = x.clone();
                    for (row, part) in (0..rows).flat_map(|row| [0, 1].map(|part| (row, part))) {
                        let Some(norm): Option<Norm<'_>> = norms[part] else { continue };
                        let range = (row * of + part) * width..(row * of + part + 1) * width;
                        normalise(isa, norm, &x[range.clone()], &mut want[range]);
                    }
                    let heads = Heads { count, dim, scale: 1.0 };
                    let mut y = x.clone();
                    threads(2, || normalise_heads(isa, heads, &norms, &mut y, rows));
                    assert_same_bits(&format!("{isa} {count} x {dim}"), &y, &want);
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "rotate: heads of 5 channels have no pairs to rotate")]
fn heads_without_pairs_are_refused() {
    let rotation = Rotation { cos: &[], sin: &[], angles: Angles::Shared, pairs: Pairs::Halves };
    let heads = Heads { count: 1, dim: 5, scale: 1.0 };
    rotate(tokmerge_kernels::Isa::Portable, heads, rotation, 1, &mut [0.0; 5], 1);
}

#[test]
#[should_panic(expected = "rotate: x has 7 elements, not 2 rows of at least 1 x 1 heads x 4")]
fn rows_of_another_length_are_refused() {
    let rotation = Rotation { cos: &[1.0; 4], sin: &[0.0; 4], angles: Angles::Shared, pairs: Pairs::Halves };
    let heads = Heads { count: 1, dim: 4, scale: 1.0 };
    rotate(tokmerge_kernels::Isa::Portable, heads, rotation, 1, &mut [0.0; 7], 2);
}
