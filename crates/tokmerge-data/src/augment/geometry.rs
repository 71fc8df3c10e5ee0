//! Affine transforms, bit for bit as Pillow's `Image.transform` and `Image.rotate`.

use super::ops::Resample;
use crate::Rgb;

/// Six numbers: the output pixel at `(x, y)` shows the input at `(a x + b y + c, d x + e y + f)`.
pub(super) type Matrix = [f64; 6];

/// Counter-clockwise around the middle, in degrees.
pub(super) fn rotation(image: &Rgb, degrees: f64) -> Matrix {
    let angle = -degrees.rem_euclid(360.0).to_radians();
    let (sin, cos) = (fifteen_digits(angle.sin()), fifteen_digits(angle.cos()));
    let (x, y) = (image.width as f64 / 2.0, image.height as f64 / 2.0);
    [cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y]
}

/// Rounds as Python's `round(x, 15)`: the nearest decimal of 15 digits after the point.
fn fifteen_digits(x: f64) -> f64 {
    format!("{x:.15}").parse().unwrap_or(x)
}

/// Moves every pixel; what comes from outside the picture becomes `fill`.
pub(super) fn transform(image: &Rgb, matrix: Matrix, resample: Resample, fill: [u8; 3]) -> Rgb {
    let (width, height) = (image.width, image.height);
    let mut data = Vec::with_capacity(image.data.len());
    let [a, b, c, d, e, f] = matrix;
    for row in 0..height {
        for column in 0..width {
            let (x, y) = (column as f64 + 0.5, row as f64 + 0.5);
            let (x, y) = (a * x + b * y + c, d * x + e * y + f);
            let inside = (0.0..width as f64).contains(&x) && (0.0..height as f64).contains(&y);
            let pixel = match resample {
                _ if !inside => fill,
                Resample::Bilinear => bilinear(image, x - 0.5, y - 0.5),
                Resample::Bicubic => bicubic(image, x - 0.5, y - 0.5),
            };
            data.extend_from_slice(&pixel);
        }
    }
    Rgb { width, height, data }
}

/// Whole part and rest, and positions around the whole part that stay within `0..len`.
fn around<const N: usize>(at: f64, before: isize, len: usize) -> ([usize; N], f64) {
    let whole = at.floor();
    let clipped = |i: usize| (whole as isize + i as isize - before).clamp(0, len as isize - 1) as usize;
    (std::array::from_fn(clipped), at - whole)
}

fn bilinear(image: &Rgb, x: f64, y: f64) -> [u8; 3] {
    let (columns, dx) = around::<2>(x, 0, image.width);
    let (rows, dy) = around::<2>(y, 0, image.height);
    let mix = |a: f64, b: f64, part: f64| a + (b - a) * part;
    std::array::from_fn(|channel| {
        let value = |y: usize, x: usize| f64::from(image.data[(y * image.width + x) * 3 + channel]);
        let [upper, lower] = rows.map(|y| mix(value(y, columns[0]), value(y, columns[1]), dx));
        mix(upper, lower, dy) as u8
    })
}

fn bicubic(image: &Rgb, x: f64, y: f64) -> [u8; 3] {
    let (columns, dx) = around::<4>(x, 1, image.width);
    let (rows, dy) = around::<4>(y, 1, image.height);
    // The cubic with a = -1, although `resize` has a = -0.5.
    let cubic = |[v0, v1, v2, v3]: [f64; 4], part: f64| {
        let (first, second, third) = (-v0 + v2, 2.0 * (v0 - v1) + v2 - v3, -v0 + v1 - v2 + v3);
        v1 + part * (first + part * (second + part * third))
    };
    std::array::from_fn(|channel| {
        let value = |y: usize, x: usize| f64::from(image.data[(y * image.width + x) * 3 + channel]);
        let lines = rows.map(|y| cubic(columns.map(|x| value(y, x)), dx));
        // `as` drops what is after the point and stops at 0 and 255.
        cubic(lines, dy) as u8
    })
}
