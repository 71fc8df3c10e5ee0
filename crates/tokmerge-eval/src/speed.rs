//! How fast a model runs, with and without merging.

use crate::Spread;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::{Convention, Isa, Model, Pass, Precision, peak};

/// What results are compared with: the machine's peak at a precision, on a number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakOf {
    /// What is multiplied.
    pub precision: Precision,
    /// Threads that multiply at the same time.
    pub threads: usize,
}

impl PeakOf {
    /// Operations per second, a multiply-add being two, of products on registers only; `None` where the instruction
    /// set has none of this precision.
    #[must_use]
    pub fn measure(self, duration: Duration) -> Option<f64> {
        peak(Isa::current(), self.precision, self.threads, duration)
    }
}

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BenchOptions {
    /// Images per forward pass.
    pub batch_size: usize,
    /// Time to measure each method for, warm-up not included.
    pub duration: Duration,
    /// What counts as an operation.
    pub convention: Convention,
    /// What to compare with, if with anything.
    pub peak: Option<PeakOf>,
}

/// Forward passes of one method, timed.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// The method, as a spec.
    pub merge: String,
    /// Images per second of each timed batch.
    pub images_per_second: Spread,
    /// Median milliseconds of a batch.
    pub ms_per_batch: f64,
    /// Batches timed.
    pub batches: usize,
    /// Per image, in billions.
    pub gmacs: f64,
    /// Tokens after the last block.
    pub tokens: f64,
    /// Millions of values that products write, per image (timm's `infer_macts`).
    pub mega_activations: f64,
    /// Speed over that of the unmerged model, round by round; `None` for itself, or where it was not measured.
    pub speedup: Option<Spread>,
    /// Operations per second, two for each of `gmacs`, as a share of the peak measured in the same round; `None`
    /// where there is none.
    pub peak_share: Option<Spread>,
}

/// Rounds before any counts: weights are packed and buffers made in the first.
const WARM_UP: usize = 2;
const FEWEST_ROUNDS: usize = 3;
/// How long the peak is measured in each round.
const PEAK: Duration = Duration::from_millis(5);

/// Times several ways of merging in turn, one batch each per round, on random normal images.
#[must_use]
pub fn bench(model: &Model, reductions: &[Reduction], options: BenchOptions) -> Vec<Speed> {
    let cost = model.config().cost();
    let batch = model.input().random(options.batch_size, 1);
    let mut counts = vec![[0.0; 3]; reductions.len()];
    let rounds = Rounds::measure(reductions.len(), WARM_UP, &options, |round, index| {
        let (reduction, count) = (&reductions[index], &mut counts[index]);
        let input = batch.clone();
        let now = Instant::now();
        let output = model.run(input, Pass::head(reduction));
        if round == 0 {
            let items = options.batch_size as f64;
            for item in 0..options.batch_size {
                let layers = model.layer_tokens(&output.trace, item);
                count[0] += model.gmacs(&output.trace, item, reduction, options.convention) / items;
                count[1] += model.tokens_left(&output.trace, item) as f64 / items;
                count[2] += cost.mega_activations(&layers) / items;
            }
        }
        // Reading the logits is part of the work: nothing may be left lazy.
        let logits = output.into_logits().0.into_data();
        let seconds = now.elapsed().as_secs_f64();
        drop(logits);
        seconds
    });
    rounds.speeds(reductions, &counts, options.batch_size)
}

/// Times of several methods, one batch each in turn per round, so that a machine whose speed drifts hits all alike.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// Seconds of every method, round by round.
    times: Vec<Vec<f64>>,
    /// Operations per second, measured after each round; empty if nobody asked for it.
    peaks: Vec<f64>,
}

impl Rounds {
    /// Runs rounds of `methods` until each method has had `options.duration`, and at least three, after `warm_up` that
    /// do not count. `seconds` runs method `index` in round `round`, both from 0, and says how long it took.
    pub fn measure(
        methods: usize,
        warm_up: usize,
        options: &BenchOptions,
        mut seconds: impl FnMut(usize, usize) -> f64,
    ) -> Self {
        let mut rounds = Self { times: Vec::new(), peaks: Vec::new() };
        let limit = options.duration.mul_f64(methods.max(1) as f64);
        let mut start = Instant::now();
        for round in 0.. {
            if round == warm_up {
                start = Instant::now();
            }
            if round >= warm_up + FEWEST_ROUNDS && start.elapsed() >= limit {
                break;
            }
            let times = (0..methods).map(|index| seconds(round, index)).collect();
            if round >= warm_up {
                rounds.times.push(times);
                rounds.peaks.extend(options.peak.and_then(|peak| peak.measure(PEAK)));
            }
        }
        rounds
    }

    /// The speeds of `reductions`. `counts` of each are billions of multiply-adds and tokens left per image, and millions
    /// of activations.
    #[must_use]
    pub fn speeds(&self, reductions: &[Reduction], counts: &[[f64; 3]], batch_size: usize) -> Vec<Speed> {
        let Self { times: rounds, peaks } = self;
        let unmerged = reductions.iter().position(|reduction| *reduction.method() == Method::None);
        let speed =
            |(index, (reduction, [gmacs, tokens, mega_activations])): (usize, (&Reduction, &[f64; 3]))| {
                let speeds: Vec<f64> = rounds.iter().map(|times| batch_size as f64 / times[index]).collect();
                let speedup = unmerged.filter(|unmerged| *unmerged != index).map(|unmerged| {
                    let ratios: Vec<f64> =
                        rounds.iter().map(|times| times[unmerged] / times[index]).collect();
                    Spread::of(&ratios)
                });
                let images_per_second = Spread::of(&speeds);
                let shares: Vec<f64> =
                    speeds.iter().zip(peaks).map(|(speed, peak)| speed * gmacs * 2e9 / peak).collect();
                Speed {
                    merge: reduction.method().to_string(),
                    images_per_second,
                    ms_per_batch: 1e3 * batch_size as f64 / images_per_second.median,
                    batches: rounds.len(),
                    gmacs: *gmacs,
                    tokens: *tokens,
                    mega_activations: *mega_activations,
                    speedup,
                    peak_share: (!shares.is_empty()).then(|| Spread::of(&shares)),
                }
            };
        reductions.iter().zip(counts).enumerate().map(speed).collect()
    }
}
