//! From values to positions: the ends of an axis and its ticks.

use super::chart::{Axis, Scale};
use super::number;

/// Values beyond this have no place (nor, on a logarithmic axis, below its inverse): differences and steps
/// stay within what a float can hold.
const LARGEST: f64 = 1e300;
/// An axis shorter than this part of its larger end is too fine for floats.
const FINEST: f64 = 1e-9;

/// Where a value lies on a scale; `None` for those without a place.
pub(super) fn position(scale: Scale, value: f64) -> Option<f64> {
    match scale {
        _ if !value.is_finite() || value.abs() > LARGEST => None,
        Scale::Linear | Scale::Whole => Some(value),
        Scale::Log => (value >= 1.0 / LARGEST).then(|| value.log10()),
    }
}

/// How far an axis reaches beyond the data.
#[derive(Clone, Copy, Debug)]
pub(super) enum Margin {
    /// A part of the data's extent at both ends, but never across zero.
    Part(f64),
    /// A distance at both ends: room for bars.
    Room(f64),
    /// A part at the upper end only; the lower end is zero, or below the smallest bar.
    Base(f64),
}

/// An axis with its ends fixed, in positions (logarithms on a logarithmic scale).
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) scale: Scale,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A labelled place on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// Labelled ticks, and the places of faint lines between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ticks {
    pub(super) major: Vec<Tick>,
    pub(super) minor: Vec<f64>,
}

impl Span {
    /// The axis over the given positions.
    pub(super) fn new(axis: &Axis, positions: impl Iterator<Item = f64>, margin: Margin) -> Self {
        let scale = axis.scale;
        let (least, most) =
            positions.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), p| (l.min(p), m.max(p)));
        let (mut low, mut high) = if least <= most { spread(scale, least, most, margin) } else { (0.0, 1.0) };
        let end = |value: Option<f64>| value.and_then(|value| position(scale, value));
        match (end(axis.from), end(axis.to)) {
            (Some(from), Some(to)) if from < to => (low, high) = (from, to),
            (Some(_), Some(_)) | (None, None) => {}
            (Some(from), None) => (low, high) = (from, if high > from { high } else { beyond(from, 1.0) }),
            (None, Some(to)) => (low, high) = (if low < to { low } else { beyond(to, -1.0) }, to),
        }
        if too_fine(low, high) {
            (low, high) = widen(scale, low);
        }
        Self { scale, low, high }
    }

    /// Position as a part of the axis: 0 at its lower end, 1 at its upper.
    pub(super) fn part(&self, position: f64) -> f64 {
        (position - self.low) / (self.high - self.low)
    }

    /// Whether a position is on the axis, its ends included.
    pub(super) fn contains(&self, position: f64) -> bool {
        (-1e-9..=1.0 + 1e-9).contains(&self.part(position))
    }

    /// At most `most` labelled ticks (one more at the ends of very short axes).
    pub(super) fn ticks(&self, most: usize) -> Ticks {
        match self.scale {
            Scale::Linear => Ticks { major: linear(self.low, self.high, most, 0.0), minor: Vec::new() },
            Scale::Whole => Ticks { major: linear(self.low, self.high, most, 1.0), minor: Vec::new() },
            Scale::Log => logarithmic(self.low, self.high, most),
        }
    }
}

/// The ends of an axis over data from `least` to `most`.
fn spread(scale: Scale, least: f64, most: f64, margin: Margin) -> (f64, f64) {
    match margin {
        Margin::Room(room) => (least - room, most + room),
        Margin::Base(part) if scale == Scale::Log => {
            let low = (least - 0.1).floor();
            (low, most + (most - low) * part)
        }
        Margin::Base(part) => {
            let (low, high) = (least.min(0.0), most.max(0.0));
            let extra = (high - low) * part;
            let (low, high) =
                (if low < 0.0 { low - extra } else { 0.0 }, if high > 0.0 { high + extra } else { 0.0 });
            // Bars that are all of height zero stand on the axis.
            if low == high { (0.0, 1.0) } else { (low, high) }
        }
        Margin::Part(part) => {
            let (least, most) =
                if too_fine(least, most) { widen(scale, (least + most) / 2.0) } else { (least, most) };
            let extra = (most - least) * part;
            let low = least - extra;
            let crosses = scale != Scale::Log && least >= 0.0 && low < 0.0;
            (if crosses { 0.0 } else { low }, most + extra)
        }
    }
}

fn too_fine(low: f64, high: f64) -> bool {
    high - low <= (low.abs().max(high.abs()) * FINEST).max(1e-290)
}

/// An axis around a single position.
fn widen(scale: Scale, around: f64) -> (f64, f64) {
    let half = match scale {
        Scale::Log => 0.5,
        Scale::Whole => (around.abs() * 0.05).max(0.5),
        Scale::Linear if around.abs() > 1e-280 => around.abs() * 0.05,
        Scale::Linear => 1.0,
    };
    (around - half, around + half)
}

/// A position a little past a fixed end that lies beyond all data.
fn beyond(end: f64, sign: f64) -> f64 {
    end + sign * (end.abs() * 0.1).max(1.0)
}

/// Multiples of 1, 2 or 5 times a power of ten, at least `finest` apart.
fn linear(low: f64, high: f64, most: usize, finest: f64) -> Vec<Tick> {
    let most = most.max(2);
    let mut power = number::exponent(((high - low) / most as f64).max(finest));
    loop {
        for digit in [1.0, 2.0, 5.0] {
            let step = digit * 10f64.powi(power);
            // For rounding: a part of a step, and of an axis that is shorter than one.
            let slack = (1e-3 * (high - low) / step).min(1e-6);
            let (first, last) = ((low / step - slack).ceil() as i64, (high / step + slack).floor() as i64);
            if step >= finest && last.saturating_sub(first) < most as i64 {
                let labels = number::multiples(first..=last, step);
                return (first..=last)
                    .zip(labels)
                    .map(|(k, label)| Tick { at: k as f64 * step, label })
                    .collect();
            }
        }
        power += 1;
    }
}

fn logarithmic(low: f64, high: f64, most: usize) -> Ticks {
    let (first, last) = ((low - 1e-9).ceil() as i32, (high + 1e-9).floor() as i32);
    let decades = (last - first + 1).max(0) as usize;
    if high - low < 0.8 {
        // Within a decade the ticks of a linear axis, placed by their logarithms.
        let mut major = linear(10f64.powf(low), 10f64.powf(high), most, 0.0);
        major.retain(|tick| tick.at > 0.0);
        major.iter_mut().for_each(|tick| tick.at = tick.at.log10());
        return Ticks { major, minor: Vec::new() };
    }
    let inside = |digits: std::ops::RangeInclusive<u8>, power: i32| {
        digits.map(move |digit| (digit, power, f64::from(power) + f64::from(digit).log10()))
    };
    let all = (first - 1..=last).flat_map(|power| inside(1..=9, power));
    let all = all.filter(|&(_, _, at)| (low - 1e-9..=high + 1e-9).contains(&at));
    if high - low < 2.0 {
        let (major, minor): (Vec<_>, Vec<_>) = all.partition(|(digit, ..)| matches!(digit, 1 | 2 | 5));
        return Ticks {
            major: major
                .into_iter()
                .map(|(digit, power, at)| Tick { at, label: number::in_decade(digit, power) })
                .collect(),
            minor: minor.into_iter().map(|(.., at)| at).collect(),
        };
    }
    let every = [1, 2, 5, 10, 20, 50, 100, 200, 500]
        .into_iter()
        .find(|&every| decades.div_ceil(every) <= most.max(2))
        .unwrap_or(1000) as i32;
    let labelled = (first..=last).filter(|power| power.rem_euclid(every) == 0);
    let short = first >= -3 && last <= 5;
    let label = |power| if short { number::in_decade(1, power) } else { number::power_of_ten(power) };
    let major = labelled.map(|power| Tick { at: f64::from(power), label: label(power) }).collect();
    let minor = match decades {
        0..=5 => all.filter(|&(digit, ..)| digit > 1).map(|(.., at)| at).collect(),
        _ => Vec::new(),
    };
    Ticks { major, minor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(axis: &Axis, values: &[f64]) -> Span {
        Span::new(axis, values.iter().filter_map(|&v| position(axis.scale, v)), Margin::Part(0.05))
    }

    fn labels(span: Span, most: usize) -> Vec<String> {
        span.ticks(most).major.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        let axis = Axis::linear("");
        assert_eq!(labels(span(&axis, &[0.0, 1.0]), 6), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(span(&axis, &[76.2, 83.1]), 5), ["76", "78", "80", "82"]);
    }

    #[test]
    fn layers_have_whole_ticks() {
        let axis = Axis::whole("");
        let layers: Vec<f64> = (1..=12).map(f64::from).collect();
        assert_eq!(labels(span(&axis, &layers), 20).len(), 12);
        assert_eq!(labels(span(&axis, &layers), 6), ["2", "4", "6", "8", "10", "12"]);
        assert_eq!(labels(span(&axis, &[1.0]), 9), ["1"]);
        assert_eq!(labels(span(&axis, &[1.0, 2.0]), 9), ["1", "2"]);
    }

    #[test]
    fn a_tick_beside_a_very_short_axis_is_none() {
        let axis = Axis { from: Some(-1.697e-202), to: Some(-1.918e-204), ..Axis::whole("") };
        assert!(labels(span(&axis, &[]), 5).is_empty());
    }

    #[test]
    fn logarithmic_ticks_are_decades_and_their_parts() {
        let axis = Axis::log("");
        let ticks = span(&axis, &[0.001, 10.0]).ticks(8);
        let text: Vec<_> = ticks.major.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(text, ["0.001", "0.01", "0.1", "1", "10"]);
        assert!(ticks.minor.len() >= 32);
        assert_eq!(labels(span(&axis, &[0.02, 0.3]), 8), ["0.02", "0.05", "0.1", "0.2"]);
        assert_eq!(labels(span(&axis, &[2.1, 2.9]), 5), ["2.2", "2.4", "2.6", "2.8"]);
        assert_eq!(labels(span(&axis, &[1e-9, 1e6]), 8)[0], "10⁻⁸");
        assert_eq!(labels(span(&axis, &[1.0]), 8), ["0.5", "1", "2"]);
    }

    #[test]
    fn ends_may_be_fixed_where_they_make_an_axis() {
        let fixed = |from, to| span(&Axis { from, to, ..Axis::linear("") }, &[2.0, 4.0]);
        let ends = |span: Span| (span.low, span.high);
        assert_eq!(ends(fixed(Some(0.0), Some(10.0))), (0.0, 10.0));
        assert_eq!(ends(fixed(Some(0.0), None)), (0.0, 4.1));
        assert_eq!(ends(fixed(Some(9.0), Some(1.0))), (1.9, 4.1));
        assert_eq!(ends(fixed(Some(f64::NAN), None)), (1.9, 4.1));
        assert_eq!(ends(fixed(Some(5.0), None)), (5.0, 6.0));
        assert_eq!(ends(span(&Axis { from: Some(0.0), ..Axis::log("") }, &[10.0, 100.0])), (0.95, 2.05));
    }

    #[test]
    fn zero_is_not_crossed_by_a_margin() {
        assert_eq!(span(&Axis::linear(""), &[0.0, 10.0]).low, 0.0);
        assert!(span(&Axis::linear(""), &[-1.0, 10.0]).low < -1.0);
    }

    #[test]
    fn the_smallest_floats_have_no_logarithmic_place() {
        assert_eq!(position(Scale::Log, 5e-324), None);
        let axis = Axis { from: Some(1e-300), to: Some(1.5e-300), ..Axis::log("") };
        assert!(!labels(span(&axis, &[]), 8).is_empty());
    }

    proptest! {
        #[test]
        fn every_axis_covers_its_data_and_has_ticks(
            values in prop::collection::vec(any::<f64>(), 0..9),
            scale in prop::sample::select(vec![Scale::Linear, Scale::Whole, Scale::Log]),
            ends in any::<(Option<f64>, Option<f64>)>(),
            base in any::<bool>(),
            most in 2usize..30,
        ) {
            let free = Axis { scale, ..Axis::default() };
            let positions: Vec<_> = values.iter().filter_map(|&v| position(scale, v)).collect();
            let margin = if base { Margin::Base(0.05) } else { Margin::Part(0.05) };
            let span = Span::new(&free, positions.iter().copied(), margin);
            prop_assert!(positions.iter().all(|&p| span.contains(p)), "{span:?} {positions:?}");
            let fixed = Axis { from: ends.0, to: ends.1, ..free };
            for span in [span, Span::new(&fixed, positions.iter().copied(), margin)] {
                prop_assert!(span.low < span.high && span.part(span.high).is_finite(), "{span:?}");
                let ticks = span.ticks(most);
                prop_assert!(ticks.major.len() <= most.max(7), "{span:?} {ticks:?}");
                prop_assert!(ticks.major.iter().all(|tick| span.contains(tick.at) || scale != Scale::Log));
                let on_axis = |at: f64| (-0.01..=1.01).contains(&span.part(at));
                prop_assert!(ticks.major.iter().all(|tick| on_axis(tick.at)), "{span:?} {ticks:?}");
                prop_assert!(ticks.minor.iter().all(|&at| on_axis(at)), "{span:?} {ticks:?}");
            }
        }
    }
}
