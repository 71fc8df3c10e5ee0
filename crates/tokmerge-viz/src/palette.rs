//! Border colours: one per token, none twice, neighbours far apart.
//!
//! The paper draws them at random, which puts like beside like. Here each token walks along one fixed
//! sequence of colours (golden-angle hues), beginning at its own number, to the first colour that stands
//! out from its fill and from its neighbours' borders. A token so keeps its colour from one picture to
//! the next unless a neighbour is in the way. All arithmetic is on integers: the same on every machine.

use std::collections::{BTreeSet, HashSet};

use crate::picture::Rgb;

/// How many colours a token tries before it takes the best of them.
const TRIES: usize = 64;

/// [`distance`] beyond which two borders side by side are plainly different colours.
const FROM_NEIGHBOUR: u32 = 240;

/// [`distance`] beyond which a border is plainly visible on its fill.
const FROM_FILL: u32 = 220;

/// Chooses the border colour of each token, given its number, its fill, and the tokens it touches.
pub(crate) fn borders(ids: &[u32], fills: &[Rgb], touching: &[BTreeSet<usize>]) -> Vec<Rgb> {
    // Tokens with many neighbours first: whoever comes later need only avoid them.
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&token| (std::cmp::Reverse(touching[token].len()), ids[token]));

    let mut used = HashSet::new();
    let mut chosen: Vec<Option<Rgb>> = vec![None; ids.len()];
    for token in order {
        let neighbours: Vec<Rgb> = touching[token].iter().filter_map(|&other| chosen[other]).collect();
        let fitness = |color: Rgb| {
            let neighbour = neighbours.iter().map(|&other| distance(color, other)).min().unwrap_or(u32::MAX);
            // In hundredths of what is wanted; enough is enough.
            (neighbour.min(FROM_NEIGHBOUR) * 100 / FROM_NEIGHBOUR)
                .min(distance(color, fills[token]).min(FROM_FILL) * 100 / FROM_FILL)
        };
        let (mut best, mut best_fitness) = (None, 0);
        for color in sequence(ids[token]).filter(|color| !used.contains(color)).take(TRIES) {
            let fitness = fitness(color);
            if best.is_none() || fitness > best_fitness {
                (best, best_fitness) = (Some(color), fitness);
            }
            if fitness == 100 {
                break;
            }
        }
        // A second token of the same colour only once thousands have used the sequence up.
        let color = best.unwrap_or_else(|| nth(ids[token]));
        used.insert(color);
        chosen[token] = Some(color);
    }
    chosen.into_iter().flatten().collect()
}

/// The colours from the `start`-th on, ending before they could repeat for long.
fn sequence(start: u32) -> impl Iterator<Item = Rgb> {
    (0..1 << 16).map(move |step| nth(start.wrapping_add(step)))
}

/// The `n`-th border colour: a hue one golden angle after the last, light, dark and middling in turn.
fn nth(n: u32) -> Rgb {
    // The golden ratio and a second irrational number, as fractions of 2^32.
    let hue = n.wrapping_mul(0x9E37_79B9) >> 16;
    let jitter = n.wrapping_mul(0xB7E1_5163) >> 16;
    let lightness = [128, 176, 92][n as usize % 3] + jitter * 24 / 65_536;
    hsl(hue, lightness)
}

/// Fully saturated colour of a hue in 65536ths of the circle, with a lightness of 0 to 255.
fn hsl(hue: u32, lightness: u32) -> Rgb {
    let ramp = |offset: u32| {
        let angle = (hue * 6 + offset * 65_536) % (6 * 65_536);
        // 0, up, 1, 1, down, 0 over the six sextants.
        let rise = |at: u32| (at * 255 / 65_536).min(255);
        match angle / 65_536 {
            0 | 5 => 255,
            1 => 255 - rise(angle - 65_536),
            4 => rise(angle - 4 * 65_536),
            _ => 0,
        }
    };
    let shade = |value: u32| match lightness {
        0..=127 => value * lightness * 2 / 255,
        _ => value + (255 - value) * (lightness - 128) * 2 / 255,
    };
    [shade(ramp(0)), shade(ramp(4)), shade(ramp(2))].map(|value| value.min(255) as u8)
}

/// How different two colours look: weighted by the mean red, 0 to 764 from black to white.
///
/// See <https://www.compuphase.com/cmetric.htm>.
pub(crate) fn distance(a: Rgb, b: Rgb) -> u32 {
    let red = (u32::from(a[0]) + u32::from(b[0])) / 2;
    let [dr, dg, db] = [0, 1, 2].map(|i| u32::from(a[i].abs_diff(b[i])).pow(2));
    (((512 + red) * dr + 1024 * dg + (767 - red) * db) / 256).isqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hues_go_round_the_circle() {
        let sixth = 65_536 / 6 + 1;
        let [red, yellow, green, cyan, blue, magenta] = [0, 1, 2, 3, 4, 5].map(|i| hsl(i * sixth, 128));
        assert_eq!(red, [255, 0, 0]);
        assert!(yellow[0] > 250 && yellow[1] > 250 && yellow[2] == 0, "{yellow:?}");
        assert!(green[1] == 255 && green[0] < 5, "{green:?}");
        assert!(cyan[1] > 250 && cyan[2] > 250 && cyan[0] == 0, "{cyan:?}");
        assert!(blue[2] == 255 && blue[1] < 5, "{blue:?}");
        assert!(magenta[0] > 250 && magenta[2] > 250 && magenta[1] == 0, "{magenta:?}");
    }

    #[test]
    fn distance_is_zero_on_itself_and_largest_from_black_to_white() {
        assert_eq!(distance([9, 80, 200], [9, 80, 200]), 0);
        assert_eq!(distance([0; 3], [255; 3]), 764);
    }

    #[test]
    fn a_thousand_tokens_have_a_thousand_colors() {
        let ids: Vec<u32> = (0..1000).collect();
        let colors = borders(&ids, &vec![[128; 3]; 1000], &vec![BTreeSet::new(); 1000]);
        assert_eq!(colors.iter().collect::<HashSet<_>>().len(), 1000);
    }

    #[test]
    fn colors_stand_out_from_any_fill() {
        for fill in [[0; 3], [255; 3], [128; 3], [255, 0, 0], [20, 90, 30], [120, 160, 220]] {
            for id in [0, 1, 77, u32::MAX] {
                let color = borders(&[id], &[fill], &[BTreeSet::new()])[0];
                assert!(distance(color, fill) >= FROM_FILL, "{color:?} on {fill:?}");
            }
        }
    }
}
