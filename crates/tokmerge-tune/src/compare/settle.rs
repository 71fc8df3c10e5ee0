//! Turning a dial until a cost is met.

/// What is to be met, and how exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aim {
    /// The cost.
    pub(super) cost: f64,
    /// The part of it by which it may be missed before another step is worth its time.
    pub(super) near: f64,
    /// Steps at most.
    pub(super) steps: usize,
}

/// Where a dial was left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Settled {
    /// Here, at this cost.
    At {
        /// The dial.
        dial: f64,
        /// What it costs there.
        cost: f64,
    },
    /// All the way up, and it is still too dear.
    OutOfReach {
        /// What it costs there.
        least: f64,
    },
}

/// The part of a cost by which it may be missed before that is said.
pub(super) const MISSED: f64 = 0.01;

/// Turns a dial from 0 to 1, along which costs fall, until the cost is the one wanted: the nearest that bisection has met.
pub(super) fn settle<E>(aim: Aim, mut cost_at: impl FnMut(f64) -> Result<f64, E>) -> Result<Settled, E> {
    let least = cost_at(1.0)?;
    if least > aim.cost * (1.0 + MISSED) {
        return Ok(Settled::OutOfReach { least });
    }
    let distance = |cost: f64| (cost - aim.cost).abs();
    let (mut low, mut high) = (0.0, 1.0);
    let mut best = (1.0, least);
    for _ in 0..aim.steps {
        if distance(best.1) <= aim.near * aim.cost {
            break;
        }
        let dial = (low + high) / 2.0;
        let cost = cost_at(dial)?;
        if distance(cost) < distance(best.1) {
            best = (dial, cost);
        }
        if cost > aim.cost {
            low = dial;
        } else {
            high = dial;
        }
    }
    Ok(Settled::At { dial: best.0, cost: best.1 })
}

#[cfg(test)]
mod tests {
    use super::{Aim, Settled, settle};
    use std::convert::Infallible;

    fn settled(aim: Aim, cost_at: impl Fn(f64) -> f64) -> (Settled, usize) {
        let mut asked = 0;
        let Ok(found) = settle(aim, |dial| {
            asked += 1;
            Ok::<f64, Infallible>(cost_at(dial))
        });
        (found, asked)
    }

    #[test]
    fn the_cost_is_met_as_exactly_as_asked() {
        let aim = Aim { cost: 0.7, near: 0.0, steps: 40 };
        let (Settled::At { dial, cost }, _) = settled(aim, |dial| 1.0 - 0.9 * dial.sqrt()) else {
            panic!("within reach")
        };
        assert!((cost - 0.7).abs() < 1e-9 && (dial - (0.3_f64 / 0.9).powi(2)).abs() < 1e-9, "{dial} {cost}");
        let (found, asked) = settled(Aim { near: 0.05, ..aim }, |dial| 1.0 - dial);
        assert!(matches!(found, Settled::At { cost, .. } if (cost - 0.7).abs() <= 0.035), "{found:?}");
        assert!(asked < 8, "{asked}");
    }

    #[test]
    fn of_steps_the_nearest_is_taken_even_above() {
        let steps = |dial: f64| 10.0 - (dial * 4.0).floor() * 2.0;
        let at = |cost: f64| settled(Aim { cost, near: 0.0, steps: 40 }, steps).0;
        assert!(matches!(at(6.2), Settled::At { cost: 6.0, .. }));
        assert!(matches!(at(7.5), Settled::At { cost: 8.0, .. }));
        assert_eq!(at(2.0), Settled::At { dial: 1.0, cost: 2.0 });
        assert_eq!(at(1.9), Settled::OutOfReach { least: 2.0 });
    }

    #[test]
    fn a_wrong_turn_costs_no_more_than_its_noise() {
        let noisy = |dial: f64| 1.0 - 0.8 * dial + 0.01 * (dial * 1e4).sin();
        let (found, asked) = settled(Aim { cost: 0.6, near: 0.015, steps: 9 }, noisy);
        assert!(matches!(found, Settled::At { cost, .. } if (cost - 0.6).abs() < 0.02), "{found:?}");
        assert!(asked <= 10);
        let Err(error) = settle(Aim { cost: 0.6, near: 0.0, steps: 3 }, |_| Err::<f64, _>("cannot run"))
        else {
            panic!("an error")
        };
        assert_eq!(error, "cannot run");
    }
}
