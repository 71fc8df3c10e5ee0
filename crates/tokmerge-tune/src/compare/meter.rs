//! What a method costs.

use super::target::Unit;
use crate::measure::MeasureError;
use crate::pace::times;
use crate::{Family, Point, Tuner};
use tokmerge_eval::Spread;
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::Model;

/// Rounds of timing for each step of a dial, after one that does not count.
const ROUNDS: usize = 5;

/// Measures costs on the images of a search, as far as images are needed.
pub(super) struct Meter<'t, 'm> {
    tuner: &'t mut Tuner<'m>,
    batch_size: usize,
}

impl<'t, 'm> Meter<'t, 'm> {
    pub(super) fn new(tuner: &'t mut Tuner<'m>, batch_size: usize) -> Self {
        Self { tuner, batch_size }
    }

    pub(super) fn model(&self) -> &'m Model {
        self.tuner.model()
    }

    pub(super) fn unmerged(&self) -> &Point {
        self.tuner.unmerged()
    }

    /// Whether multiply-adds and tokens of a method are known without an image.
    pub(super) fn counts(&self, method: &Method) -> bool {
        self.model().bind(method).is_ok_and(|reduction| self.tuner.counted(&reduction).is_some())
    }

    /// What a method costs: counted where it can be, else measured.
    pub(super) fn cost(&mut self, unit: Unit, method: &Method) -> Result<f64, MeasureError> {
        let reduction = self.model().bind(method)?;
        if unit == Unit::Time {
            return Ok(self.time_of(&reduction));
        }
        let (gmacs, tokens) = match self.tuner.counted(&reduction) {
            Some(counted) => counted,
            None => {
                let point = self.tuner.measure(method, Family::Compared)?;
                (point.gmacs, point.tokens)
            }
        };
        Ok(if unit == Unit::Tokens { tokens } else { gmacs })
    }

    /// Time as a part of the unmerged model's: the median over rounds in which both run.
    fn time_of(&self, reduction: &Reduction) -> f64 {
        let none = Reduction::none();
        let times = times(self.tuner, &[&none, reduction], self.batch_size, ROUNDS);
        let parts: Vec<f64> = times[0].iter().zip(&times[1]).map(|(whole, part)| part / whole).collect();
        Spread::of(&parts).median
    }
}
