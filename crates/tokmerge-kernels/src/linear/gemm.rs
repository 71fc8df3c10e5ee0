//! General f32 matrix products by the `gemm` crate, for the backward pass and the Portable linear layer.

/// A matrix in memory: element `(r, c)` is at `start[r * row_stride + c * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<P> {
    pub(crate) start: P,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<P> Matrix<P> {
    /// Row-major with `row_stride` elements from row to row.
    pub(crate) fn rows(start: P, row_stride: usize) -> Self {
        Self { start, row_stride, column_stride: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self { start: self.start, row_stride: self.column_stride, column_stride: self.row_stride }
    }
}

/// Who computes a product.
#[derive(Clone, Copy)]
pub(crate) enum Threads {
    /// The calling thread.
    This,
    /// The pool of the caller.
    Pool,
}

/// `c = alpha * a · b` for `a: [m, k]`, `b: [k, n]`, `c: [m, n]`, overwriting `c`.
///
/// # Safety
/// All elements of `a` and `b` are readable, those of `c` writable and nobody else's, and `c` overlaps
/// neither.
pub(crate) unsafe fn multiply(
    [m, n, k]: [usize; 3],
    alpha: f32,
    a: Matrix<*const f32>,
    b: Matrix<*const f32>,
    c: Matrix<*mut f32>,
    threads: Threads,
) {
    if cfg!(miri) {
        // SAFETY: the caller's promise.
        return unsafe { multiply_plainly([m, n, k], alpha, a, b, c) };
    }
    let threads = match threads {
        Threads::This => gemm::Parallelism::None,
        Threads::Pool if rayon::current_num_threads() == 1 => gemm::Parallelism::None,
        Threads::Pool => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: the caller promises the elements; with `read_dst` false `c` is overwritten, also for k = 0.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.start,
            c.column_stride as isize,
            c.row_stride as isize,
            false,
            a.start,
            a.column_stride as isize,
            a.row_stride as isize,
            b.start,
            b.column_stride as isize,
            b.row_stride as isize,
            0.0,
            alpha,
            false,
            false,
            false,
            threads,
        );
    }
}

/// As [`multiply`], for Miri, which cannot ask a CPU for its caches as the `gemm` crate does.
///
/// # Safety
/// As [`multiply`].
unsafe fn multiply_plainly(
    [m, n, k]: [usize; 3],
    alpha: f32,
    a: Matrix<*const f32>,
    b: Matrix<*const f32>,
    c: Matrix<*mut f32>,
) {
    for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
        let mut sum = 0.0;
        for i in 0..k {
            // SAFETY: the caller promises these elements of `a` and `b`.
            sum += unsafe {
                *a.start.add(row * a.row_stride + i * a.column_stride)
                    * *b.start.add(i * b.row_stride + column * b.column_stride)
            };
        }
        // SAFETY: the caller promises this element of `c`.
        unsafe { *c.start.add(row * c.row_stride + column * c.column_stride) = alpha * sum }
    }
}
