//! Rearranging rows into panels at run time, for the products inside attention and matching.

use crate::simd::Simd;

/// Elements of [`pack_transposed`]'s result.
pub(crate) fn transposed_len<S: Simd>(rows: usize, columns: usize) -> usize {
    rows.next_multiple_of(S::PANEL) * columns
}

/// Panels of the transpose: `panels[p][c][i] = from[p * PANEL + i][c]`, zeros behind the last row.
///
/// # Safety
/// `from` has `rows` rows of `columns` readable elements, `stride` apart.
#[inline(always)]
pub(crate) unsafe fn pack_transposed<S: Simd>(
    simd: S,
    from: *const f32,
    stride: usize,
    [rows, columns]: [usize; 2],
    panels: &mut [f32],
) {
    assert_eq!(panels.len(), transposed_len::<S>(rows, columns));
    let mut first = 0;
    while first < rows.next_multiple_of(S::PANEL) {
        // A group of LANES rows is half a panel wide.
        let start = (first / S::PANEL) * S::PANEL * columns + first % S::PANEL;
        let full = first + S::LANES <= rows;
        let mut c = 0;
        while full && c + S::LANES <= columns {
            // SAFETY: the block is within `from` (both bounds just tested); in `panels` it takes columns
            // `first % PANEL ..` of steps c..c + LANES of its panel.
            unsafe {
                let to = panels.as_mut_ptr().add(start + c * S::PANEL);
                simd.transpose(from.add(first * stride + c), stride, to, S::PANEL);
            }
            c += S::LANES;
        }
        while c < columns {
            for i in 0..S::LANES {
                let row = first + i;
                // SAFETY: `row` is below `rows`, `c` below `columns`.
                let value = if row < rows { unsafe { *from.add(row * stride + c) } } else { 0.0 };
                panels[start + c * S::PANEL + i] = value;
            }
            c += 1;
        }
        first += S::LANES;
    }
}

/// Elements of [`pack_columns`]'s result.
pub(crate) fn columns_len<S: Simd>(rows: usize, columns: usize) -> usize {
    rows * columns.next_multiple_of(S::PANEL)
}

/// Panels of columns: `panels[p][r][i] = from[r][p * PANEL + i]`, zeros behind the last column.
///
/// # Safety
/// As [`pack_transposed`].
#[inline(always)]
pub(crate) unsafe fn pack_columns<S: Simd>(
    simd: S,
    from: *const f32,
    stride: usize,
    [rows, columns]: [usize; 2],
    panels: &mut [f32],
) {
    assert_eq!(panels.len(), columns_len::<S>(rows, columns));
    let mut first = 0;
    while first < columns {
        let width = S::PANEL.min(columns - first);
        for r in 0..rows {
            let to = &mut panels[first * rows + r * S::PANEL..][..S::PANEL];
            // SAFETY: row `r` has `width` elements from `first` on.
            unsafe {
                let from = from.add(r * stride + first);
                if width == S::PANEL {
                    simd.store(to.as_mut_ptr(), simd.load(from));
                    simd.store(to.as_mut_ptr().add(S::LANES), simd.load(from.add(S::LANES)));
                } else {
                    std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), width);
                    to[width..].fill(0.0);
                }
            }
        }
        first += S::PANEL;
    }
}
