//! Windows and convolutions against their definitions, in whole numbers: exact in any order.

use tokmerge_kernels::{
    Activation, Isa, MapOrder, Maps, PackedLinear, PackedWinograd, Precision, Window, convolution,
    convolution_3x3, fold, unfold,
};

const SHAPE: [usize; 3] = [3, 5, 4];
const ITEMS: usize = 2;
const WINDOWS: [Window; 4] = [
    Window { size: 3, stride: 1, padding: 1 },
    Window { size: 3, stride: 2, padding: 1 },
    Window { size: 7, stride: 4, padding: 3 },
    Window { size: 2, stride: 2, padding: 0 },
];

fn planes() -> Vec<f32> {
    (0..ITEMS * 60).map(|at| ((at * 37) % 101) as f32 - 50.0).collect()
}

fn rows(planes: &[f32]) -> Vec<f32> {
    let [channels, height, width] = SHAPE;
    let area = height * width;
    (0..planes.len())
        .map(|at| {
            let (item, rest) = (at / (channels * area), at % (channels * area));
            planes[item * channels * area + rest % channels * area + rest / channels]
        })
        .collect()
}

/// A value of a window by its definition.
fn expected(planes: &[f32], window: Window, row: usize, at: usize) -> f32 {
    let [channels, height, width] = SHAPE;
    let [down, across] = [window.places(height), window.places(width)];
    let (item, place) = (row / (down * across), row % (down * across));
    let (channel, line, column) =
        (at / (window.size * window.size), at / window.size % window.size, at % window.size);
    let y = (place / across * window.stride + line) as isize - window.padding as isize;
    let x = (place % across * window.stride + column) as isize - window.padding as isize;
    if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
        return 0.0;
    }
    planes[((item * channels + channel) * height + y as usize) * width + x as usize]
}

fn both(planes: &[f32], rows: &[f32], check: impl Fn(Maps<'_>)) {
    let [channels, height, width] = SHAPE;
    let size = [height, width];
    check(Maps { values: planes, order: MapOrder::Planes, channels, size });
    check(Maps { values: rows, order: MapOrder::Rows, channels, size });
}

#[test]
fn a_window_has_as_many_places_as_a_convolution_says() {
    let places = |size, stride, padding, pixels| Window { size, stride, padding }.places(pixels);
    assert_eq!([places(7, 2, 3, 224), places(3, 1, 1, 112), places(8, 8, 0, 112)], [112, 112, 14]);
    assert_eq!(
        [places(7, 4, 2, 224), places(7, 2, 3, 225), places(4, 4, 0, 3), places(3, 0, 1, 5)],
        [56, 113, 0, 0]
    );
}

#[test]
fn windows_are_in_the_order_of_a_convolution_with_zeros_around() {
    let planes = planes();
    let as_rows = rows(&planes);
    for window in WINDOWS {
        let count = ITEMS * window.places(SHAPE[1]) * window.places(SHAPE[2]);
        let width = SHAPE[0] * window.size * window.size;
        both(&planes, &as_rows, |maps| {
            let mut out = vec![f32::NAN; count * width];
            unfold(maps, window, &mut out);
            for (at, value) in out.iter().enumerate() {
                assert_eq!(*value, expected(&planes, window, at / width, at % width), "{window:?} {at}");
            }
        });
    }
    let empty = Maps { values: &[], order: MapOrder::Rows, channels: 3, size: [4, 4] };
    unfold(empty, WINDOWS[0], &mut []);
}

#[test]
fn folding_is_the_transpose_of_unfolding() {
    // <unfold(x), g> = <x, fold(g)>, exactly: whole numbers.
    let as_rows = rows(&planes());
    for window in WINDOWS {
        let count = ITEMS * window.places(SHAPE[1]) * window.places(SHAPE[2]);
        let len = count * SHAPE[0] * window.size * window.size;
        let grad: Vec<f32> = (0..len).map(|at| ((at * 13) % 17) as f32 - 8.0).collect();
        let maps =
            Maps { values: &as_rows, order: MapOrder::Rows, channels: SHAPE[0], size: [SHAPE[1], SHAPE[2]] };
        let mut windows = vec![0.0; len];
        unfold(maps, window, &mut windows);
        let mut folded = vec![f32::NAN; as_rows.len()];
        fold(&grad, SHAPE[0], [SHAPE[1], SHAPE[2]], window, &mut folded);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        assert_eq!(dot(&windows, &grad), dot(&as_rows, &folded), "{window:?}");
    }
}

#[test]
fn a_convolution_is_a_linear_layer_over_windows() {
    let planes = planes();
    let as_rows = rows(&planes);
    let outputs = 21;
    for window in WINDOWS {
        let area = window.size * window.size;
        let width = SHAPE[0] * area;
        let weight: Vec<f32> = (0..outputs * width).map(weight_at).collect();
        let by_pixel: Vec<f32> = (0..outputs * width)
            .map(|at| {
                let (output, pixel, channel) = (at / width, at % width / SHAPE[0], at % SHAPE[0]);
                weight[output * width + channel * area + pixel]
            })
            .collect();
        let bias: Vec<f32> = (0..outputs).map(|at| at as f32).collect();
        let count = ITEMS * window.places(SHAPE[1]) * window.places(SHAPE[2]);
        for &isa in Isa::available() {
            both(&planes, &as_rows, |maps| {
                let weight = if maps.order == MapOrder::Planes { &weight } else { &by_pixel };
                let w = PackedLinear::new(isa, Precision::F32, weight, outputs, width);
                let mut y = vec![f32::NAN; count * outputs];
                convolution(&w, Some(&bias), maps, window, Activation::Relu, &mut y);
                for (at, y) in y.iter().enumerate() {
                    let (row, output) = (at / outputs, at % outputs);
                    let products =
                        (0..width).map(|k| expected(&planes, window, row, k) * weight_at(output * width + k));
                    // Whole numbers: exact in any order.
                    assert_eq!(*y, (products.sum::<f32>() + bias[output]).max(0.0), "{window:?} {at}");
                }
            });
        }
    }
}

fn weight_at(at: usize) -> f32 {
    ((at * 7) % 11) as f32 - 5.0
}

/// Maps in rows, the weights of 3x3 windows, and their convolution by its definition.
fn small_windows([channels, outputs, height, width]: [usize; 4]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let maps: Vec<f32> = (0..ITEMS * height * width * channels).map(weight_at).collect();
    let weight: Vec<f32> = (0..outputs * channels * 9).map(|at| ((at * 5) % 13) as f32 - 6.0).collect();
    let mut y = Vec::new();
    for place in 0..ITEMS * height * width {
        let (item, row, column) = (place / (height * width), place / width % height, place % width);
        for output in 0..outputs {
            let mut sum = 0.0;
            for line in 0..9 {
                let (Some(row), Some(column)) =
                    ((row + line / 3).checked_sub(1), (column + line % 3).checked_sub(1))
                else {
                    continue;
                };
                if row < height && column < width {
                    let pixel = &maps[((item * height + row) * width + column) * channels..][..channels];
                    let weights = weight[output * channels * 9 + line..].iter().step_by(9);
                    sum += pixel.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>();
                }
            }
            y.push(sum);
        }
    }
    (maps, weight, y)
}

#[test]
fn fewer_products_give_the_same_convolution() {
    for shape @ [channels, outputs, height, width] in
        [[5, 3, 4, 6], [16, 21, 5, 3], [33, 16, 1, 1], [2, 40, 3, 117], [17, 17, 2, 113]]
    {
        let (maps, weight, expected) = small_windows(shape);
        let bias: Vec<f32> = (0..outputs).map(|at| at as f32 - 3.0).collect();
        let view = Maps { values: &maps, order: MapOrder::Rows, channels, size: [height, width] };
        for &isa in Isa::available() {
            let w = PackedWinograd::new(isa, Precision::F32, &weight, [outputs, channels]);
            assert_eq!(w.out_features(), outputs);
            let mut y = vec![f32::NAN; expected.len()];
            convolution_3x3(&w, Some(&bias), view, Activation::Relu, &mut y);
            for (at, (y, expected)) in y.iter().zip(&expected).enumerate() {
                // Halves and quarters of whole numbers are exact too.
                assert_eq!(*y, (expected + bias[at % outputs]).max(0.0), "{isa} {shape:?} {at}");
            }
            convolution_3x3(&w, None, view, Activation::Identity, &mut y);
            assert_eq!(y, expected, "{isa} {shape:?}");
            // An item alone is the item in a batch.
            let half = maps.len() / ITEMS;
            let mut alone = vec![f32::NAN; y.len() / ITEMS];
            let view = Maps { values: &maps[half..], ..view };
            convolution_3x3(&w, None, view, Activation::Identity, &mut alone);
            assert_eq!(alone, expected[y.len() / ITEMS..]);
        }
    }
}

/// What is rounded are sums of four pixels, two of them negative, and of weights.
#[test]
fn fewer_products_at_bf16_are_about_as_exact_as_windows() {
    let (channels, outputs, size) = (48, 24, [10, 9]);
    let noise = |seed: usize, len: usize| -> Vec<f32> {
        let unit = |at: usize| ((at * 7919 + seed * 104_729) * 2_654_435_761 % 4093) as f32 / 4093.0;
        (0..len).map(|at| (0..6).map(|part| unit(6 * at + part) - 0.5).sum()).collect()
    };
    let (maps, weight) = (noise(1, 90 * channels), noise(2, outputs * channels * 9));
    let by_pixel: Vec<f32> = (0..weight.len())
        .map(|at| {
            let (output, pixel, channel) = (at / (9 * channels), at / channels % 9, at % channels);
            weight[(output * channels + channel) * 9 + pixel]
        })
        .collect();
    let view = Maps { values: &maps, order: MapOrder::Rows, channels, size };
    for &isa in Isa::available() {
        let windows = |precision| {
            let w = PackedLinear::new(isa, precision, &by_pixel, outputs, 9 * channels);
            let mut y = vec![0.0; 90 * outputs];
            convolution(&w, None, view, WINDOWS[0], Activation::Identity, &mut y);
            y
        };
        let exact = windows(Precision::F32);
        let error = |y: &[f32]| {
            let squares: f32 = y.iter().zip(&exact).map(|(y, exact)| (y - exact).powi(2)).sum();
            (squares / exact.iter().map(|exact| exact.powi(2)).sum::<f32>()).sqrt()
        };
        let w = PackedWinograd::new(isa, Precision::Bf16, &weight, [outputs, channels]);
        let mut y = vec![0.0; 90 * outputs];
        convolution_3x3(&w, None, view, Activation::Identity, &mut y);
        let (fewer, all) = (error(&y), error(&windows(Precision::Bf16)));
        assert!(fewer > 0.0 && fewer < 0.01 && fewer < 2.5 * all, "{isa}: {fewer} beside {all}");
    }
}
