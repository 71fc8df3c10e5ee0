//! Pixels, and how shapes get onto them.

use crate::fill::{Colour, Fill, mix};
use crate::random::Random;
use crate::shape::Shape;

/// Pixels in a row of a tile, and rows of one.
const TILE: usize = 8;

/// A square picture, red, green and blue from 0 to 255 in f32.
pub(crate) struct Canvas {
    pub(crate) side: usize,
    pub(crate) pixels: Vec<Colour>,
}

/// Light that falls unevenly, and what a sensor adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Light {
    /// Factor in the middle of the picture.
    pub(crate) middle: f32,
    /// How much the factor grows from one side to the other, to the right and downwards.
    pub(crate) growth: [f32; 2],
    /// Standard deviation of the noise, of 255.
    pub(crate) noise: f32,
}

impl Canvas {
    pub(crate) fn new(side: usize) -> Self {
        Self { side, pixels: vec![[0.0; 3]; side * side] }
    }

    /// Sets every pixel from the middle of it, in pixels.
    pub(crate) fn set(&mut self, colour: impl Fn([f32; 2]) -> Colour) {
        for (y, row) in self.pixels.chunks_exact_mut(self.side).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = colour([x as f32 + 0.5, y as f32 + 0.5]);
            }
        }
    }

    /// Fills a shape. Its edge fades over `soft` pixels: 1 is a sharp edge without steps.
    pub(crate) fn paint(&mut self, shape: &Shape, fill: &Fill, soft: f32, opacity: f32) {
        let side = self.side;
        let range = |axis: usize| {
            let [low, high] = shape.bounds();
            let within = |v: f32| v.clamp(0.0, side as f32) as usize;
            within((low[axis] - soft).floor())..within((high[axis] + soft).ceil())
        };
        let (columns, rows) = (range(0), range(1));
        // From the middle of a tile to its outermost pixel's middle, and half the edge.
        let reach = (TILE - 1) as f32 * 0.5 * std::f32::consts::SQRT_2 + soft * 0.5;
        for top in rows.clone().step_by(TILE) {
            for left in columns.clone().step_by(TILE) {
                let middle = [left as f32 + TILE as f32 * 0.5, top as f32 + TILE as f32 * 0.5];
                let distance = shape.distance(middle);
                if distance >= reach {
                    continue;
                }
                for y in top..(top + TILE).min(rows.end) {
                    for x in left..(left + TILE).min(columns.end) {
                        let p = [x as f32 + 0.5, y as f32 + 0.5];
                        let inside = distance <= -reach;
                        let covered = if inside { 1.0 } else { coverage(shape.distance(p), soft) };
                        if covered > 0.0 {
                            let pixel = &mut self.pixels[y * side + x];
                            *pixel = mix(*pixel, fill.at(p, soft), covered * opacity);
                        }
                    }
                }
            }
        }
    }

    /// Lights the picture, adds noise and rounds to bytes.
    pub(crate) fn expose(&self, light: &Light, random: &mut Random, out: &mut [u8]) {
        let per_pixel = light.growth.map(|growth| growth / self.side as f32);
        let first = light.middle - (light.growth[0] + light.growth[1]) * 0.5;
        let rows = self.pixels.chunks_exact(self.side).zip(out.chunks_exact_mut(self.side * 3));
        for (y, (row, bytes)) in rows.enumerate() {
            let row_factor = first + per_pixel[1] * y as f32;
            for (x, (pixel, out)) in row.iter().zip(bytes.as_chunks_mut::<3>().0).enumerate() {
                let factor = row_factor + per_pixel[0] * x as f32;
                let bits = random.bits();
                for (channel, byte) in out.iter_mut().enumerate() {
                    let value = pixel[channel] * factor + light.noise * bell(bits >> (21 * channel)) + 0.5;
                    // `as` stops at 0 and 255.
                    *byte = value as u8;
                }
            }
        }
    }
}

/// From the lowest 21 bits: nearly normal, mean 0, standard deviation 1.
fn bell(bits: u64) -> f32 {
    // Three numbers below 128, whose sum has mean 190.5 and variance 3 (128^2 - 1) / 12.
    const DEVIATION: f32 = 64.0;
    let sum = (bits & 127) + (bits >> 7 & 127) + (bits >> 14 & 127);
    (sum as f32 - 190.5) * (1.0 / DEVIATION)
}

/// How much of a pixel at this distance from an edge is inside.
pub(crate) fn coverage(distance: f32, soft: f32) -> f32 {
    (0.5 - distance / soft).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_leave_nothing_out() {
        let white = Fill::Plain([255.0; 3]);
        for side in [16, 17, 33] {
            let shape = Shape::Polygon(vec![[-3.0, 5.2], [14.9, -2.0], [30.0, 13.3], [8.1, 40.0]]);
            let mut canvas = Canvas::new(side);
            canvas.paint(&shape, &white, 1.5, 1.0);
            let mut plain = Canvas::new(side);
            plain.set(|p| mix([0.0; 3], [255.0; 3], coverage(shape.distance(p), 1.5)));
            assert_eq!(canvas.pixels, plain.pixels, "side {side}");
        }
    }

    #[test]
    fn the_area_of_a_disc_is_right() {
        let mut canvas = Canvas::new(64);
        let disc = Shape::Disc { centre: [31.3, 32.8], radius: 20.0 };
        canvas.paint(&disc, &Fill::Plain([1.0; 3]), 1.0, 1.0);
        let area: f32 = canvas.pixels.iter().map(|pixel| pixel[0]).sum();
        assert!((area - 1256.64).abs() < 3.0, "{area}");
    }

    #[test]
    fn noise_has_the_deviation_that_it_says() {
        let mut canvas = Canvas::new(100);
        canvas.set(|_| [100.0; 3]);
        let mut bytes = vec![0; 30_000];
        let light = Light { middle: 1.0, growth: [0.0; 2], noise: 10.0 };
        canvas.expose(&light, &mut Random::for_image(1, 1), &mut bytes);
        let mean = bytes.iter().map(|&b| f64::from(b)).sum::<f64>() / 30_000.0;
        let variance = bytes.iter().map(|&b| (f64::from(b) - mean).powi(2)).sum::<f64>() / 30_000.0;
        assert!((mean - 100.0).abs() < 0.3 && (variance.sqrt() - 10.0).abs() < 0.2, "{mean} {variance}");
    }
}
