//! Arrays that begin anywhere, with guards around them, and panics that are expected.

use super::Random;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Where a test draws from; on failure it says how to repeat it.
pub(crate) struct Seed(u64);

impl Seed {
    /// One per round, or the one in `TOKMERGE_TEST_SEED`.
    pub(crate) fn all(rounds: u64) -> impl Iterator<Item = Self> {
        let chosen =
            std::env::var("TOKMERGE_TEST_SEED").ok().map(|seed| seed.parse().expect("a whole number"));
        chosen.map_or(0..rounds, |seed: u64| seed..seed + 1).map(Self)
    }

    pub(crate) fn random(&self) -> Random {
        Random::new(self.0 + 1)
    }
}

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "how to repeat a failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}: repeat with TOKMERGE_TEST_SEED={0}", self.0);
        }
    }
}

/// Around every array; a NaN that no kernel makes.
const GUARD: u32 = 0x7fc0_dead;
const GUARDS: usize = 5;

/// `len` values that begin at any multiple of four bytes.
pub(crate) struct Buffer {
    all: Vec<f32>,
    first: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn new(random: &mut Random, len: usize) -> Self {
        let values = random.values(len, 1.0);
        Self::of(random, &values)
    }

    pub(crate) fn of(random: &mut Random, values: &[f32]) -> Self {
        let first = 1 + random.below(GUARDS - 1);
        let mut all = vec![f32::from_bits(GUARD); values.len() + first + GUARDS];
        all[first..first + values.len()].copy_from_slice(values);
        Self { all, first, len: values.len() }
    }

    pub(crate) fn get(&mut self) -> &mut [f32] {
        &mut self.all[self.first..self.first + self.len]
    }

    pub(crate) fn bits(&self) -> Vec<u32> {
        self.all.iter().map(|value| value.to_bits()).collect()
    }

    #[track_caller]
    pub(crate) fn assert_guards(&self, what: &str) {
        let behind = self.first + self.len;
        let guards = self.all[..self.first].iter().chain(&self.all[behind..]);
        assert!(guards.clone().all(|guard| guard.to_bits() == GUARD), "{what}: written outside of an array");
    }
}

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; the message if it panics, which is not printed.
pub(crate) fn message_of(f: impl FnOnce()) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !EXPECTED.get() {
                before(info);
            }
        }));
    });
    EXPECTED.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    EXPECTED.set(false);
    let panic = result.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).or(Some(String::new()))
}
