//! What this machine can do at best: products on registers only.

use crate::isa::Isa;
use crate::linear::precision::Precision;
use crate::simd::{Job, Simd, dispatch, dispatch_bf16_pairs, dispatch_quads};
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// Independent sums: enough for the latency of any of the instructions, few enough for 16 registers.
const SUMS: usize = 12;
/// Products of each sum between two readings of the clock: some 20 microseconds, less than a thread is interrupted for
/// and more than the clock is wrong by.
const STEPS: usize = 8192;

/// Operations per second (a multiply-add is two) of `threads` threads that multiply and add for `duration`, each by
/// itself and in registers: the bound on what products at `precision` can reach. Of each thread its fastest moment
/// counts, so that what else runs on the machine does not lower the bound.
///
/// `None` where the instruction set has no such instruction on this CPU (bf16, int8), and for [`Isa::Portable`], whose
/// products are not the kernels' own. Threads that the system refuses are left out.
///
/// # Panics
/// When this CPU does not support `isa`.
#[must_use]
pub fn peak(isa: Isa, precision: Precision, threads: usize, duration: Duration) -> Option<f64> {
    let exists = match precision {
        Precision::F32 => isa != Isa::Portable,
        Precision::Bf16 => isa.has_bf16_dot(),
        Precision::Int8 => isa.has_int8_dot(),
    };
    let multiply = || {
        let mut rate = 0.0;
        let job = Multiply { duration, rate: &mut rate };
        match precision {
            Precision::F32 => dispatch(isa, job),
            Precision::Bf16 => dispatch_bf16_pairs(job),
            Precision::Int8 => dispatch_quads(isa, job),
        }
        rate
    };
    exists.then(|| {
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                .map_while(|_| thread::Builder::new().spawn_scoped(scope, multiply).ok())
                .collect();
            multiply() + others.into_iter().filter_map(|other| other.join().ok()).sum::<f64>()
        })
    })
}

struct Multiply<'a> {
    duration: Duration,
    /// Operations per second.
    rate: &'a mut f64,
}

impl Job for Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // As f32 and as bf16 small numbers, as bytes any.
        let (a, b) = (black_box(simd.splat(0.5)), black_box(simd.splat(1e-3)));
        let mut sums = [simd.splat(0.0); SUMS];
        let mut fastest = Duration::MAX;
        let start = Instant::now();
        let mut before = start;
        while before - start < self.duration {
            for _ in 0..STEPS {
                for i in 0..SUMS {
                    sums[i] = simd.dot(a, b, sums[i]);
                }
            }
            let now = Instant::now();
            fastest = fastest.min(now - before);
            before = now;
        }
        black_box(sums);
        let operations = 2 * STEPS * SUMS * S::LANES * S::PER_WORD;
        *self.rate = operations as f64 / fastest.as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_positive_where_there_is_one_and_absent_elsewhere() {
        let measure = |isa, precision| peak(isa, precision, 2, Duration::from_millis(2));
        for &isa in Isa::available() {
            assert_eq!(measure(isa, Precision::F32).is_some_and(|p| p > 1e8), isa != Isa::Portable, "{isa}");
            assert_eq!(measure(isa, Precision::Bf16).is_some(), isa.has_bf16_dot(), "{isa}");
            assert_eq!(measure(isa, Precision::Int8).is_some(), isa.has_int8_dot(), "{isa}");
        }
    }
}
