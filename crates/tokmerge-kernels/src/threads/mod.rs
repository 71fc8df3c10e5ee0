//! How work is divided among threads: those of the rayon pool that a kernel is called in, or, outside of any, a team
//! of this process that is as large as the global pool.

pub(crate) mod scratch;
pub(crate) mod team;

use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// How many threads a kernel called here may use. Miri gets a team of its own: it cannot follow the pointers of rayon's
/// queues.
pub(crate) fn threads() -> usize {
    if cfg!(miri) { 3 } else { rayon::current_num_threads() }
}

/// Runs `task(0)`, …, `task(tasks - 1)`, on this thread if there is only one.
pub(crate) fn for_each(tasks: usize, task: impl Fn(usize) + Sync + Send) {
    let threads = threads();
    if tasks <= 1 || threads == 1 {
        (0..tasks).for_each(task);
    } else if cfg!(miri) {
        if !team::run(threads, tasks, &task) {
            (0..tasks).for_each(task);
        }
    } else if rayon::current_thread_index().is_some() || !team::run(threads, tasks, &task) {
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

/// A division of `rows × panels` among threads: runs of rows × runs of panels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    rows: usize,
    unit: usize,
    panels: usize,
    row_chunks: usize,
    panel_chunks: usize,
}

/// Splitting panels makes every thread read and normalise all activations; this is the least gain worth it.
const PANEL_SPLIT_GAIN: f64 = 0.95;

/// What a panel takes for some rows, in the time of one of many: fewer than four cannot keep the multipliers busy,
/// and every strip has a beginning and an end.
fn panel_cost(rows: usize, strip: usize) -> f64 {
    let strips = rows.div_ceil(strip);
    rows.max(4 * strips) as f64 + 0.3 * strips as f64
}

impl Grid {
    /// Divides `rows`, in multiples of `unit` where possible, and `panels` so that the threads get equal shares and
    /// no chunk has more than `max_rows`. A strip is the number of rows that a kernel takes at once.
    pub(crate) fn new(rows: usize, [unit, strip]: [usize; 2], panels: usize, max_rows: usize) -> Self {
        let threads = threads();
        let mut best = Self { rows, unit, panels, row_chunks: 0, panel_chunks: 1 };
        if rows == 0 || panels == 0 {
            return best;
        }
        let units = rows.div_ceil(unit);
        let mut least = f64::INFINITY;
        for panel_chunks in (1..=threads.min(panels)).filter(|c| threads.is_multiple_of(*c)) {
            let row_threads = threads / panel_chunks;
            let row_chunks = rows.div_ceil(max_rows).next_multiple_of(row_threads).min(units);
            let busiest = (units.div_ceil(row_threads) * unit).min(rows);
            let cost = panel_cost(busiest, strip) * panels.div_ceil(panel_chunks) as f64;
            if cost < least * PANEL_SPLIT_GAIN {
                least = cost;
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
            let units = part(self.rows.div_ceil(self.unit), self.row_chunks, i / self.panel_chunks);
            let rows = units.start * self.unit..(units.end * self.unit).min(self.rows);
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
    #[cfg_attr(miri, ignore = "needs pools of rayon")]
    fn a_grid_covers_every_cell_once() {
        for (rows, panels, threads, unit) in
            [(0, 4, 2, 1), (1, 1, 4, 1), (1, 9, 4, 64), (15, 12, 2, 1), (197, 36, 3, 64), (1576, 12, 6, 1)]
        {
            let cells = Mutex::new(vec![0; rows * panels]);
            pool(threads).install(|| {
                Grid::new(rows, [unit, 14], panels, 84).for_each(|r, p| {
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
    #[cfg_attr(miri, ignore = "needs pools of rayon")]
    fn panels_are_split_where_rows_are_too_few() {
        pool(2).install(|| {
            assert!(Grid::new(11, [1, 14], 36, 84).splits_panels());
            assert!(!Grid::new(197, [1, 14], 36, 84).splits_panels());
        });
        pool(32).install(|| assert!(Grid::new(197, [1, 14], 36, 84).splits_panels()));
    }
}
