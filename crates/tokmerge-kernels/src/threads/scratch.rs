//! Working memory that threads keep between calls, and the cache-line aligned buffers it is made of.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// `[f32]` that starts at a cache line.
#[derive(Clone, Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        // SAFETY: `lines` holds at least `len` initialised f32, one after the other (`repr(C)`, no padding).
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

thread_local! {
    // A stack, because a thread that waits in a parallel call may run another task meanwhile.
    static FREE: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of this thread, given back when dropped. Its content at first is whatever was left there.
pub(crate) struct Scratch(Aligned);

impl Scratch {
    /// Takes a buffer of `len` values; allocates only until the thread has met its largest sizes.
    pub(crate) fn take(len: usize) -> Self {
        let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
        if buffer.lines.len() * 16 < len {
            buffer = Aligned::zeros(len);
        }
        buffer.len = len;
        Self(buffer)
    }

    /// The buffer as integers of the same width.
    pub(crate) fn as_u32(&self) -> &[u32] {
        // SAFETY: f32 and u32 have the same size and alignment, and all their bit patterns are valid.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len()) }
    }

    /// The buffer as integers of the same width.
    pub(crate) fn as_u32_mut(&mut self) -> &mut [u32] {
        let values: &mut [f32] = &mut self.0;
        // SAFETY: f32 and u32 have the same size and alignment, and all their bit patterns are valid.
        unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // While the thread ends, its stack may be gone already; then the buffer is simply freed.
        let _ = FREE.try_with(|free| free.borrow_mut().push(buffer));
    }
}

impl Deref for Scratch {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_a_cache_line_and_are_used_again() {
        let first = Scratch::take(100);
        let address = first.as_ptr();
        assert_eq!(address.addr() % 64, 0);
        drop(first);
        assert_eq!(Scratch::take(50).as_ptr(), address);
    }
}
