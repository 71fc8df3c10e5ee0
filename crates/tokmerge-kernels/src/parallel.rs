//! How work is divided among the threads of the caller's rayon pool.

use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Runs `task(0)`, …, `task(tasks - 1)`, on this thread if the pool has only one.
pub(crate) fn for_each(tasks: usize, task: impl Fn(usize) + Sync + Send) {
    if tasks <= 1 || rayon::current_num_threads() == 1 {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// Part `index` of `0..total` cut into `parts` of lengths that differ by at most one.
pub(crate) fn part(total: usize, parts: usize, index: usize) -> Range<usize> {
    total * index / parts..total * (index + 1) / parts
}

/// Ranges of about `grain` rows of `0..rows`; their number does not depend on the threads.
pub(crate) fn for_each_chunk(rows: usize, grain: usize, task: impl Fn(Range<usize>) + Sync + Send) {
    let chunks = rows.div_ceil(grain.max(1));
    for_each(chunks, |i| task(part(rows, chunks, i)));
}

/// A slice whose disjoint parts are written by several threads.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: the only accesses are through `range` and `start`, whose callers promise not to overlap.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// # Safety
    /// While the result lives, nobody else accesses this range.
    ///
    /// # Panics
    /// When the range is not within the slice.
    pub(crate) unsafe fn range(self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: the range is within the slice (checked), and the caller promises exclusive access.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The first element; dereferencing is subject to the same promise as [`Shared::range`].
    pub(crate) fn start(self) -> *mut T {
        self.start
    }
}

/// A division of `rows × panels` among threads: strips of rows × runs of panels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    rows: usize,
    strip: usize,
    panels: usize,
    row_chunks: usize,
    panel_chunks: usize,
}

/// Splitting panels makes every thread read all activations; this is the least gain worth it.
const PANEL_SPLIT_GAIN: f64 = 0.97;

impl Grid {
    /// Divides `rows`, in strips of `strip`, and `panels` so that the pool's threads get equal shares and
    /// no chunk has more than `max_strips`.
    pub(crate) fn new(rows: usize, strip: usize, panels: usize, max_strips: usize) -> Self {
        let threads = rayon::current_num_threads();
        let mut best = Self { rows, strip, panels, row_chunks: 0, panel_chunks: 1 };
        if rows == 0 || panels == 0 {
            return best;
        }
        let strips = rows.div_ceil(strip);
        let mut least = f64::INFINITY;
        for panel_chunks in (1..=threads.min(panels)).filter(|c| threads.is_multiple_of(*c)) {
            let row_threads = threads / panel_chunks;
            let row_chunks = strips.div_ceil(max_strips).next_multiple_of(row_threads).min(strips);
            let busiest = strips.div_ceil(row_threads) * panels.div_ceil(panel_chunks);
            if (busiest as f64) < least * PANEL_SPLIT_GAIN {
                least = busiest as f64;
                best = Self { row_chunks, panel_chunks, ..best };
            }
        }
        best
    }

    /// Whether threads share rows, each with panels of its own.
    pub(crate) fn splits_panels(self) -> bool {
        self.panel_chunks > 1
    }

    /// Runs `task(rows, panels)` for every chunk.
    pub(crate) fn for_each(self, task: impl Fn(Range<usize>, Range<usize>) + Sync + Send) {
        for_each(self.row_chunks * self.panel_chunks, |i| {
            let strips = part(self.rows.div_ceil(self.strip), self.row_chunks, i / self.panel_chunks);
            let rows = strips.start * self.strip..(strips.end * self.strip).min(self.rows);
            task(rows, part(self.panels, self.panel_chunks, i % self.panel_chunks));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn a_grid_covers_every_cell_once() {
        for (rows, panels, threads) in
            [(0, 4, 2), (1, 1, 4), (1, 9, 4), (15, 12, 2), (197, 36, 3), (1576, 12, 6)]
        {
            let cells = Mutex::new(vec![0; rows * panels]);
            pool(threads).install(|| {
                Grid::new(rows, 14, panels, 12).for_each(|r, p| {
                    let mut cells = cells.lock().unwrap();
                    for i in r {
                        p.clone().for_each(|j| cells[i * panels + j] += 1);
                    }
                });
            });
            assert!(cells.into_inner().unwrap().iter().all(|&n| n == 1), "{rows} x {panels} on {threads}");
        }
    }

    #[test]
    fn one_image_is_split_over_panels_and_a_batch_over_rows() {
        pool(2).install(|| {
            assert!(Grid::new(197, 14, 36, 12).splits_panels());
            assert!(!Grid::new(1576, 14, 36, 12).splits_panels());
        });
    }
}
