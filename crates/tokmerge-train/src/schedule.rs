//! The learning rate of every step.

use crate::groups::Learns;
use crate::recipe::{Recipe, ScheduleKind};

/// Warm-up in a straight line, then down to the least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    kind: ScheduleKind,
    peak: f64,
    warmup_lr: f64,
    min_lr: f64,
    warmup_steps: f64,
    /// Steps in which the weights of the merging method learn alone.
    alone_steps: f64,
    steps: usize,
}

impl Schedule {
    /// The schedule of a recipe whose epochs have `steps_per_epoch` steps.
    #[must_use]
    pub fn new(recipe: &Recipe, steps_per_epoch: usize) -> Self {
        Self {
            kind: recipe.schedule.kind,
            peak: recipe.peak_lr(),
            warmup_lr: recipe.schedule.warmup_lr,
            min_lr: recipe.schedule.min_lr,
            warmup_steps: recipe.schedule.warmup_epochs * steps_per_epoch as f64,
            alone_steps: recipe.schedule.backbone_start_epoch * steps_per_epoch as f64,
            steps: recipe.train.epochs * steps_per_epoch,
        }
    }

    /// Steps of the whole run.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// What learns in step `step`, counted from 0.
    pub(crate) fn learns(&self, step: usize) -> Learns {
        if (step as f64) < self.alone_steps { Learns::Mergers } else { Learns::All }
    }

    /// The learning rate of step `step`, counted from 0.
    #[must_use]
    pub fn lr(&self, step: usize) -> f64 {
        let step = step as f64;
        if step < self.warmup_steps {
            return self.warmup_lr + (self.peak - self.warmup_lr) * step / self.warmup_steps;
        }
        let left = (self.steps as f64 - self.warmup_steps).max(1.0);
        let done = ((step - self.warmup_steps) / left).min(1.0);
        let height = match self.kind {
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            ScheduleKind::Linear => 1.0 - done,
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Rsqrt => {
                let begin = self.warmup_steps.max(1.0);
                (begin / step.max(begin)).sqrt()
            }
        };
        self.min_lr + (self.peak - self.min_lr) * height
    }
}

#[cfg(test)]
mod tests {
    use super::{Learns, Schedule, ScheduleKind};

    fn schedule(kind: ScheduleKind) -> Schedule {
        let (warmup_steps, alone_steps) = (10.0, 0.0);
        Schedule { kind, peak: 1.0, warmup_lr: 0.1, min_lr: 0.2, warmup_steps, alone_steps, steps: 110 }
    }

    #[test]
    fn weights_of_the_method_learn_alone_at_first() {
        let schedule = Schedule { alone_steps: 2.5, ..schedule(ScheduleKind::Cosine) };
        let alone = [0, 1, 2, 3, 109].map(|step| schedule.learns(step) == Learns::Mergers);
        assert_eq!(alone, [true, true, true, false, false]);
    }

    #[test]
    fn it_warms_up_peaks_and_ends_at_the_least() {
        for kind in [ScheduleKind::Cosine, ScheduleKind::Linear] {
            let schedule = schedule(kind);
            assert_eq!(schedule.lr(0), 0.1);
            assert!((schedule.lr(5) - 0.55).abs() < 1e-12);
            assert_eq!(schedule.lr(10), 1.0);
            assert!((schedule.lr(60) - 0.6).abs() < 1e-12, "halfway");
            assert!((schedule.lr(110) - 0.2).abs() < 1e-12);
            assert!((10..109).all(|step| schedule.lr(step) > schedule.lr(step + 1)));
        }
        assert_eq!(schedule(ScheduleKind::Constant).lr(109), 1.0);
    }

    #[test]
    fn the_root_of_the_step_halves_the_rate_in_four_times_the_steps() {
        let schedule = Schedule { min_lr: 0.0, ..schedule(ScheduleKind::Rsqrt) };
        assert_eq!((schedule.lr(10), schedule.lr(40)), (1.0, 0.5));
        assert!((10..109).all(|step| schedule.lr(step) > schedule.lr(step + 1)));
    }

    #[test]
    fn without_warm_up_the_first_step_is_at_the_peak() {
        let schedule = Schedule { warmup_steps: 0.0, ..schedule(ScheduleKind::Cosine) };
        assert_eq!(schedule.lr(0), 1.0);
    }
}
