//! Averaging rows that share a destination, and copying them back.
//!
//! `x: [T, C]`, `y: [T', C]`, row-major and contiguous; `dst: [T]` says which row of `y` each row of `x`
//! belongs to. Sums run in the order of the rows of `x` on every instruction set.

use crate::isa::Isa;
use crate::simd::{Job, Simd, dispatch, load_at, store_at};
use crate::threads::scratch::Scratch;
use crate::threads::{Shared, for_each_chunk};

/// In place of an output row: the input row goes nowhere.
pub const DROPPED: u32 = u32::MAX;

/// Elements of a task.
const GRAIN: usize = 1 << 15;

/// `y[d]` = the average of the rows `x[i]` with `dst[i] == d`, weighted by `weight[i]`.
///
/// `x: [T, C]`, `weight: [T]`, `dst: [T]` (a row of `y`, or [`DROPPED`]), `y: [T', C]`. A row that comes
/// alone is copied exactly, whatever its weight. If the weights of a group sum to zero, it is averaged
/// plainly. A row of `y` that nobody has as destination becomes zero.
///
/// # Panics
/// When lengths do not match, a destination is not in `y`, or this CPU does not support `isa`.
pub fn merge_rows(isa: Isa, x: &[f32], weight: &[f32], dst: &[u32], y: &mut [f32]) {
    let Some((channels, rows)) = shape("merge_rows", x.len(), weight.len(), dst, y.len()) else {
        y.fill(0.0);
        return;
    };
    let groups = Groups::new(dst, rows);
    let shared = Shared::new(y);
    for_each_chunk(rows, GRAIN / channels, |rows| {
        // SAFETY: the rows of different tasks do not overlap.
        let y = unsafe { shared.range(rows.start * channels..rows.end * channels) };
        dispatch(isa, Merge { x, weight, groups: &groups, channels, first: rows.start, y });
    });
}

/// C and T', or none if there is nothing to merge; checks the lengths and `dst`.
fn shape(function: &str, x: usize, weight: usize, dst: &[u32], y: usize) -> Option<(usize, usize)> {
    let tokens = dst.len();
    assert_eq!(weight, tokens, "{function}: {weight} weights for {tokens} rows");
    assert!(
        if tokens == 0 { x == 0 } else { x.is_multiple_of(tokens) },
        "{function}: {x} elements are not {tokens} rows"
    );
    if x == 0 {
        return None;
    }
    let channels = x / tokens;
    assert!(y.is_multiple_of(channels), "{function}: y has {y} elements, not rows of {channels}");
    check_destinations(function, dst, y / channels);
    Some((channels, y / channels))
}

fn check_destinations(function: &str, dst: &[u32], rows: usize) {
    for (i, &d) in dst.iter().enumerate() {
        assert!(d == DROPPED || (d as usize) < rows, "{function}: dst[{i}] is {d}, but y has {rows} rows");
    }
}

/// The input rows of each output row, in order.
struct Groups {
    /// Starts of the groups, then their members.
    words: Scratch,
    rows: usize,
}

impl Groups {
    fn new(dst: &[u32], rows: usize) -> Self {
        let mut words = Scratch::take(rows + 1 + dst.len());
        let (starts, members) = words.as_u32_mut().split_at_mut(rows + 1);
        starts.fill(0);
        for &d in dst.iter().filter(|&&d| d != DROPPED) {
            starts[d as usize + 1] += 1;
        }
        for d in 0..rows {
            starts[d + 1] += starts[d];
        }
        // Filling moves each start to the next one's place, so they are moved back afterwards.
        for (i, &d) in dst.iter().enumerate().filter(|&(_, &d)| d != DROPPED) {
            members[starts[d as usize] as usize] = i as u32;
            starts[d as usize] += 1;
        }
        starts.copy_within(0..rows, 1);
        starts[0] = 0;
        Self { words, rows }
    }

    fn of(&self, row: usize) -> &[u32] {
        let (starts, members) = self.words.as_u32().split_at(self.rows + 1);
        &members[starts[row] as usize..starts[row + 1] as usize]
    }
}

struct Merge<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    groups: &'a Groups,
    channels: usize,
    first: usize,
    y: &'a mut [f32],
}

impl Job for Merge<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.channels;
        for (i, y) in self.y.chunks_exact_mut(channels).enumerate() {
            let members = self.groups.of(self.first + i);
            match members {
                [] => y.fill(0.0),
                &[only] => y.copy_from_slice(&self.x[only as usize * channels..][..channels]),
                _ => average(simd, self.x, self.weight, members, y),
            }
        }
    }
}

/// Share of each member: its weight over the total, or equal shares if that is zero.
#[derive(Clone, Copy)]
struct Shares<'a> {
    weight: Option<&'a [f32]>,
    factor: f32,
}

impl<'a> Shares<'a> {
    #[inline(always)]
    fn new(weight: &'a [f32], members: &[u32]) -> Self {
        let mut total = 0.0;
        for &i in members {
            total += weight[i as usize];
        }
        if total == 0.0 {
            Self { weight: None, factor: 1.0 / members.len() as f32 }
        } else {
            Self { weight: Some(weight), factor: 1.0 / total }
        }
    }

    #[inline(always)]
    fn weight(&self, member: u32) -> f32 {
        self.weight.map_or(1.0, |weight| weight[member as usize])
    }
}

#[inline(always)]
fn average<S: Simd>(simd: S, x: &[f32], weight: &[f32], members: &[u32], y: &mut [f32]) {
    let shares = Shares::new(weight, members);
    let factor = simd.splat(shares.factor);
    let channels = y.len();
    let mut at = 0;
    while at < channels {
        let mut sum = simd.splat(0.0);
        for &i in members {
            let row = &x[i as usize * channels..][..channels];
            sum = simd.mul_add(load_at(simd, row, at), simd.splat(shares.weight(i)), sum);
        }
        store_at(simd, y, at, simd.mul(sum, factor));
        at += S::LANES;
    }
}

/// Unmerges: `x[i] = y[dst[i]]`, zeros where a row was [`DROPPED`].
///
/// `y: [T', C]`, `dst: [T]`, `x: [T, C]`.
///
/// # Panics
/// When lengths do not match, a destination is not in `y`, or this CPU does not support `isa`.
pub fn gather_rows(isa: Isa, y: &[f32], dst: &[u32], x: &mut [f32]) {
    assert!(
        isa.is_supported(),
        "gather_rows: {isa} is not supported here; available: {:?}",
        Isa::available()
    );
    let Some((channels, _)) = shape("gather_rows", x.len(), dst.len(), dst, y.len()) else {
        return;
    };
    let x = Shared::new(x);
    for_each_chunk(dst.len(), GRAIN / channels, |rows| {
        // SAFETY: the rows of different tasks do not overlap.
        let x = unsafe { x.range(rows.start * channels..rows.end * channels) };
        for (row, &d) in x.chunks_exact_mut(channels).zip(&dst[rows]) {
            if d == DROPPED {
                row.fill(0.0);
            } else {
                row.copy_from_slice(&y[d as usize * channels..][..channels]);
            }
        }
    });
}

/// The gradient of [`merge_rows`] with respect to `x`: each row gets its share of its group's gradient.
///
/// `weight: [T]`, `dst: [T]`, `grad_y: [T', C]`, `dx: [T, C]` (overwritten; zero for dropped rows).
///
/// # Panics
/// When lengths do not match or a destination is not in `grad_y`.
pub fn merge_rows_backward(weight: &[f32], dst: &[u32], grad_y: &[f32], dx: &mut [f32]) {
    let Some((channels, rows)) = shape("merge_rows_backward", dx.len(), weight.len(), dst, grad_y.len())
    else {
        return;
    };
    let groups = Groups::new(dst, rows);
    let dx = Shared::new(dx);
    for_each_chunk(dst.len(), GRAIN / channels, |tokens| {
        // SAFETY: the rows of different tasks do not overlap.
        let dx = unsafe { dx.range(tokens.start * channels..tokens.end * channels) };
        for (dx, token) in dx.chunks_exact_mut(channels).zip(tokens) {
            let Some(grad) = (dst[token] != DROPPED).then(|| &grad_y[dst[token] as usize * channels..])
            else {
                dx.fill(0.0);
                continue;
            };
            let members = groups.of(dst[token] as usize);
            if members.len() == 1 {
                dx.copy_from_slice(&grad[..channels]);
                continue;
            }
            let shares = Shares::new(weight, members);
            let share = shares.weight(token as u32) * shares.factor;
            for (dx, grad) in dx.iter_mut().zip(grad) {
                *dx = grad * share;
            }
        }
    });
}
