//! Numbers as colours: dark to light, so that equal steps of a value look alike and grey prints keep the order.

use crate::picture::Rgb;

/// The map at equal steps, from 0 to 1.
///
/// In OKLCH at `t`: lightness `0.15 + 0.82 t`, hue `275 + 185 t` degrees, chroma
/// `0.19 sin(pi (0.86 t + 0.07))`; written out because sines differ between machines.
const STEPS: [Rgb; 17] = [
    [7, 9, 28],
    [21, 14, 53],
    [42, 17, 75],
    [66, 19, 93],
    [92, 19, 105],
    [121, 19, 111],
    [149, 23, 111],
    [176, 32, 105],
    [201, 48, 96],
    [221, 69, 85],
    [236, 95, 74],
    [246, 122, 70],
    [250, 150, 78],
    [251, 177, 101],
    [249, 203, 135],
    [248, 226, 173],
    [251, 246, 215],
];

/// Parts of a step between which colours are told apart.
const PARTS: u32 = 256;

/// The colour of a share, 0 (darkest) to 1 (lightest); what lies outside takes the nearer end.
pub(crate) fn color(share: f64) -> Rgb {
    let last = STEPS.len() - 1;
    let at = (share.clamp(0.0, 1.0) * (last as u32 * PARTS) as f64).round() as u32;
    let (step, part) = ((at / PARTS) as usize, at % PARTS);
    let (low, high) = (STEPS[step], STEPS[(step + 1).min(last)]);
    [0, 1, 2].map(|i| {
        let mixed = u32::from(low[i]) * (PARTS - part) + u32::from(high[i]) * part;
        ((mixed + PARTS / 2) / PARTS) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lightness of CIE 1976, 0 to 100.
    fn lightness(rgb: Rgb) -> f64 {
        let linear = rgb.map(|value| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        if luminance <= 0.008856 { 903.3 * luminance } else { 116.0 * luminance.cbrt() - 16.0 }
    }

    #[test]
    fn lightness_grows_evenly_with_the_value() {
        let steps: Vec<f64> = (0..=32).map(|i| lightness(color(f64::from(i) / 32.0))).collect();
        let growth: Vec<f64> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(growth.iter().all(|&growth| (1.0..5.0).contains(&growth)), "{growth:?}");
        assert!(steps[0] < 5.0 && steps[32] > 95.0, "{steps:?}");
    }

    #[test]
    fn the_ends_are_the_ends() {
        assert_eq!(color(0.0), STEPS[0]);
        assert_eq!(color(1.0), STEPS[16]);
        assert_eq!((color(-3.0), color(7.0)), (STEPS[0], STEPS[16]));
        assert_eq!(color(0.5), STEPS[8]);
    }
}
