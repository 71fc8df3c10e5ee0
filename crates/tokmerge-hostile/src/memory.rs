//! How much memory a reader takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread has taken and not given back, and the most that it had since it last asked.
    static TAKEN: Cell<[isize; 2]> = const { Cell::new([0; 2]) };
}

/// The system's allocator, counting for each thread what it takes: to be made the global allocator of a test or a program.
pub struct Counting;

impl Counting {
    /// What `work` took on this thread at its worst beyond what there was before, in bytes; 0 where this is not the
    /// global allocator.
    pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
        let before = TAKEN.with(|taken| {
            let [now, _] = taken.get();
            taken.set([now; 2]);
            now
        });
        let result = work();
        let [_, most] = TAKEN.with(Cell::get);
        (result, usize::try_from(most - before).unwrap_or(0))
    }

    fn count(change: isize) {
        // A thread that is ending has no counter any more.
        let _ = TAKEN.try_with(|taken| {
            let [now, most] = taken.get();
            taken.set([now + change, most.max(now + change)]);
        });
    }
}

// SAFETY: every call is handed on to the system's allocator as it is; counting takes no memory and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        Self::count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
