//! Rearranging rows into panels at run time, for the products inside attention and matching.

use crate::simd::{Operand, Simd, load_at, store_at, store_words_at, words};
use crate::threads::scratch::Scratch;

/// Words of [`pack_keys`]'s result: rows are padded to whole vectors.
pub(crate) fn keys_len<S: Simd>(operand: Operand, rows: usize, columns: usize) -> usize {
    rows.next_multiple_of(S::LANES) * words::<S>(operand, columns)
}

/// Panels of the transpose as operand words, the last one half as wide where that is enough: panel `p` begins at
/// `p * PANEL * words`, and holds for every word of the columns those of its rows times `factor`, zeros after the last
/// row.
///
/// # Safety
/// `from` has `rows` rows of `columns` readable elements, `stride` apart.
#[inline(always)]
pub(crate) unsafe fn pack_keys<S: Simd>(
    simd: S,
    operand: Operand,
    factor: f32,
    from: *const f32,
    stride: usize,
    [rows, columns]: [usize; 2],
    panels: &mut [f32],
) {
    assert_eq!(panels.len(), keys_len::<S>(operand, rows, columns));
    let words = words::<S>(operand, columns);
    let mut group = Scratch::take(S::LANES * words);
    let padded = rows.next_multiple_of(S::LANES);
    let mut first = 0;
    while first < padded {
        // The rows of the next group are far apart: nobody but us knows where they lie.
        for i in 0..S::LANES {
            let next = from.wrapping_add((first + S::LANES + i) * stride);
            for c in (0..columns).step_by(16) {
                simd.prefetch(next.wrapping_add(c));
            }
        }
        let panel = first / S::PANEL * S::PANEL;
        let width = S::PANEL.min(padded - panel);
        let start = panel * words + first % S::PANEL;
        let mut source = (from.wrapping_add(first * stride), stride);
        if operand == Operand::Bf16 || first + S::LANES > rows {
            for i in 0..S::LANES {
                let to = &mut group[i * words..(i + 1) * words];
                if first + i >= rows {
                    to.fill(0.0);
                    continue;
                }
                // SAFETY: the caller promises this row.
                let row = unsafe { std::slice::from_raw_parts(from.add((first + i) * stride), columns) };
                match operand {
                    Operand::Values => to.copy_from_slice(row),
                    Operand::Bf16 => scale_into(simd, factor, row, operand, to),
                }
            }
            source = (group.as_ptr(), words);
        }
        let mut c = 0;
        while c + S::LANES <= words {
            // SAFETY: `source` has LANES rows of `words` words; in `panels` the block takes LANES columns of steps
            // c..c + LANES of its panel.
            unsafe {
                simd.transpose(source.0.add(c), source.1, panels.as_mut_ptr().add(start + c * width), width);
            }
            c += S::LANES;
        }
        while c < words {
            for i in 0..S::LANES {
                // SAFETY: as above.
                panels[start + c * width + i] = unsafe { *source.0.add(i * source.1 + c) };
            }
            c += 1;
        }
        if operand == Operand::Values && factor != 1.0 {
            for column in panels[start..].chunks_mut(width).take(words) {
                let v = simd.mul(load_at(simd, column, 0), simd.splat(factor));
                store_at(simd, &mut column[..S::LANES], 0, v);
            }
        }
        first += S::LANES;
    }
}

/// `factor * row` as operand words.
#[inline(always)]
pub(crate) fn scale_into<S: Simd>(simd: S, factor: f32, row: &[f32], operand: Operand, to: &mut [f32]) {
    let factor = simd.splat(factor);
    let mut at = 0;
    while at < row.len() {
        let v = simd.mul(load_at(simd, row, at), factor);
        match operand {
            Operand::Values => store_at(simd, to, at, v),
            Operand::Bf16 => store_words_at(simd, to, at, row.len(), v),
        }
        at += S::LANES;
    }
}

/// Steps of a product over `rows` rows of values.
pub(crate) fn steps<S: Simd>(operand: Operand, rows: usize) -> usize {
    words::<S>(operand, rows)
}

/// Words of [`pack_values`]'s result.
pub(crate) fn values_len<S: Simd>(operand: Operand, rows: usize, columns: usize) -> usize {
    steps::<S>(operand, rows) * columns.next_multiple_of(S::PANEL)
}

/// Panels of columns as operand words: for every step PANEL columns of its row, or of its pair of rows; zeros after
/// the last column and the last row.
///
/// # Safety
/// As [`pack_keys`].
#[inline(always)]
pub(crate) unsafe fn pack_values<S: Simd>(
    simd: S,
    operand: Operand,
    from: *const f32,
    stride: usize,
    [rows, columns]: [usize; 2],
    panels: &mut [f32],
) {
    assert_eq!(panels.len(), values_len::<S>(operand, rows, columns));
    let steps = steps::<S>(operand, rows);
    let paired = operand == Operand::Bf16 && S::PER_WORD == 2;
    let mut first = 0;
    while first < columns {
        let panel = &mut panels[first * steps..][..steps * S::PANEL];
        for half in 0..2 {
            let at = first + half * S::LANES;
            let count = columns.saturating_sub(at).min(S::LANES);
            for step in 0..steps {
                // SAFETY: the caller promises `columns` elements in each of `rows` rows; a panel has PANEL words a step.
                unsafe {
                    let word = if paired {
                        let second = if 2 * step + 1 < rows { count } else { 0 };
                        simd.pair(
                            load_count(simd, from.wrapping_add(2 * step * stride + at), count),
                            load_count(simd, from.wrapping_add((2 * step + 1) * stride + at), second),
                        )
                    } else {
                        let v = load_count(simd, from.wrapping_add(step * stride + at), count);
                        if operand == Operand::Bf16 { simd.round_bf16(v) } else { v }
                    };
                    simd.store(panel.as_mut_ptr().add(step * S::PANEL + half * S::LANES), word);
                }
            }
        }
        first += S::PANEL;
    }
}

/// The first `count` lanes from memory, zeros in the others.
///
/// # Safety
/// `count` values are readable at `from`.
#[inline(always)]
unsafe fn load_count<S: Simd>(simd: S, from: *const f32, count: usize) -> S::V {
    // SAFETY: the caller's promise; `count` is not more than LANES.
    unsafe { if count >= S::LANES { simd.load(from) } else { simd.load_partial(from, count) } }
}
