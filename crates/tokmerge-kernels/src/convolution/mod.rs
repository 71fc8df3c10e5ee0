//! Convolutions over maps of pixels, and the windows that they look at.
//!
//! A map comes as planes, `[B, C, H, W]`, or as rows, `[B * H * W, C]`: one row per pixel, as everything between layers.
//! A window is a row of values, channel by channel and in each line by line, which is the order of a convolution's
//! weights. Beyond the border of a map there are zeros.

pub(crate) mod winograd;

use crate::isa::Isa;
use crate::lengths::{is_product, length_of};
use crate::linear::activation::Activation;
use crate::linear::pack::PackedLinear;
use crate::linear::{Epilogue, Layer, Output, TASK_ROWS, To};
use crate::simd::{Job, Simd, dispatch, load_at, store_at};
use crate::threads::scratch::Scratch;
use crate::threads::{Grid, Shared, for_each};
use std::ops::Range;

/// A square window that slides over a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its side in pixels.
    pub size: usize,
    /// Pixels from one place to the next.
    pub stride: usize,
    /// Zeros around the map.
    pub padding: usize,
}

impl Window {
    /// Places that it has along a side of `pixels`.
    #[must_use]
    pub fn places(&self, pixels: usize) -> usize {
        if self.size == 0 || self.stride == 0 {
            return 0;
        }
        let padded = self.padding.saturating_mul(2).saturating_add(pixels);
        padded.checked_sub(self.size).map_or(0, |rest| rest / self.stride + 1)
    }
}

/// How the values of maps lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapOrder {
    /// `[B, C, H, W]`.
    Planes,
    /// `[B * H * W, C]`.
    Rows,
}

/// Maps of one size.
#[derive(Clone, Copy, Debug)]
pub struct Maps<'a> {
    /// Of all items.
    pub values: &'a [f32],
    /// How they lie.
    pub order: MapOrder,
    /// C.
    pub channels: usize,
    /// H and W.
    pub size: [usize; 2],
}

/// The order of the values of a window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WindowOrder {
    /// Channel by channel.
    Channels,
    /// Pixel by pixel: what maps in rows give without a detour.
    Pixels,
}

impl<'a> Maps<'a> {
    /// Items and the places of the window, down and across; panics unless the values are whole maps.
    fn check(&self, function: &str, window: Window) -> (usize, [usize; 2]) {
        let Self { values, channels, size: [height, width], .. } = *self;
        let items = match length_of([channels, height, width]) {
            Some(0) if values.is_empty() => Some(0),
            Some(map) if map > 0 && values.len().is_multiple_of(map) => Some(values.len() / map),
            _ => None,
        };
        let Some(items) = items else {
            panic!("{function}: {} values are not maps of {channels}x{height}x{width}", values.len());
        };
        let Window { size, stride, .. } = window;
        assert!(size > 0 && stride > 0, "{function}: a window of {size} with stride {stride} has no places");
        (items, [window.places(height), window.places(width)])
    }

    fn map(&self, item: usize) -> &'a [f32] {
        let len = self.channels * self.size[0] * self.size[1];
        &self.values[item * len..(item + 1) * len]
    }

    /// Writes the window at a place of an item.
    #[inline(always)]
    fn window<S: Simd>(
        &self,
        simd: S,
        window: Window,
        order: WindowOrder,
        (item, down, across): (usize, usize, usize),
        out: &mut [f32],
    ) {
        let ([height, width], channels, size) = (self.size, self.channels, window.size);
        let map = self.map(item);
        let left = (across * window.stride) as isize - window.padding as isize;
        let lines = (0..size).map(|line| {
            let y = (down * window.stride + line).wrapping_sub(window.padding);
            (line, (y < height).then_some(y))
        });
        match (self.order, order) {
            (MapOrder::Planes, _) => {
                for channel in 0..channels {
                    for (line, y) in lines.clone() {
                        let to = &mut out[(channel * size + line) * size..][..size];
                        match y {
                            Some(y) => cut(simd, &map[(channel * height + y) * width..][..width], left, to),
                            None => to.fill(0.0),
                        }
                    }
                }
            }
            (MapOrder::Rows, WindowOrder::Pixels) => {
                let left = left * channels as isize;
                for (line, y) in lines {
                    let to = &mut out[line * size * channels..][..size * channels];
                    match y {
                        Some(y) => cut(simd, &map[y * width * channels..][..width * channels], left, to),
                        None => to.fill(0.0),
                    }
                }
            }
            (MapOrder::Rows, WindowOrder::Channels) => {
                let area = size * size;
                for (line, y) in lines {
                    for column in 0..size {
                        let x = left + column as isize;
                        let to = out[line * size + column..].iter_mut().step_by(area);
                        match y.filter(|_| (0..width as isize).contains(&x)) {
                            Some(y) => {
                                let pixel = &map[(y * width + x as usize) * channels..][..channels];
                                to.zip(pixel).for_each(|(to, value)| *to = *value);
                            }
                            None => to.take(channels).for_each(|to| *to = 0.0),
                        }
                    }
                }
            }
        }
    }
}

/// What `line` has from `left` on, zeros beyond its ends.
#[inline(always)]
fn cut<S: Simd>(simd: S, line: &[f32], left: isize, to: &mut [f32]) {
    if let Ok(left) = usize::try_from(left)
        && left + to.len() <= line.len()
    {
        // Windows are short: a call for each of their lines would take longer than the copying.
        let from = &line[left..left + to.len()];
        let mut at = 0;
        while at < to.len() {
            store_at(simd, to, at, load_at(simd, from, at));
            at += S::LANES;
        }
        return;
    }
    for (at, to) in to.iter_mut().enumerate() {
        *to = usize::try_from(left + at as isize).ok().and_then(|at| line.get(at)).copied().unwrap_or(0.0);
    }
}

/// Every window of every map: `out: [B * down * across, C * size * size]`, places row by row.
///
/// # Panics
/// When lengths do not match, or the window has no size or stride.
pub fn unfold(maps: Maps<'_>, window: Window, out: &mut [f32]) {
    let (items, [down, across]) = maps.check("unfold", window);
    let strip = length_of([across, maps.channels, window.size, window.size]);
    assert!(
        strip.is_some_and(|strip| is_product(out.len(), [items, down, strip])),
        "unfold: out has {} elements, expected {items} items of {down}x{across} windows of {}x{}x{}",
        out.len(),
        maps.channels,
        window.size,
        window.size
    );
    let strip = strip.unwrap_or(0);
    let (isa, shared) = (Isa::current(), Shared::new(out));
    for_each(items * down, |task| {
        // SAFETY: every task has its own strip of windows.
        let out = unsafe { shared.range(task * strip..(task + 1) * strip) };
        dispatch(isa, Strip { maps, window, item: task / down, down: task % down, across, out });
    });
}

/// The windows of one line of places, in the order of a convolution's weights.
struct Strip<'a> {
    maps: Maps<'a>,
    window: Window,
    item: usize,
    down: usize,
    /// Places in the line.
    across: usize,
    out: &'a mut [f32],
}

impl Job for Strip<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { maps, window, item, down, across, out } = self;
        let len = (out.len() / across.max(1)).max(1);
        for (place, out) in out.chunks_exact_mut(len).enumerate() {
            maps.window(simd, window, WindowOrder::Channels, (item, down, place), out);
        }
    }
}

/// The gradient of [`unfold`] for maps in rows: every window of `grad` is added where it was taken from.
/// `grad: [B * down * across, C * size * size]` → `out: [B * H * W, C]`.
///
/// # Panics
/// When lengths do not match, or the window has no size or stride.
pub fn fold(grad: &[f32], channels: usize, [height, width]: [usize; 2], window: Window, out: &mut [f32]) {
    let order = MapOrder::Rows;
    let maps = Maps { values: out, order, channels, size: [height, width] };
    let (items, [down, across]) = maps.check("fold", window);
    let area = length_of([window.size, window.size, channels]);
    assert!(
        area.is_some_and(|area| is_product(grad.len(), [items, down, across, area])),
        "fold: grad has {} elements, expected {items} items of {down}x{across} windows of {channels}x{}x{}",
        grad.len(),
        window.size,
        window.size
    );
    out.fill(0.0);
    if out.is_empty() || grad.is_empty() {
        return;
    }
    let (area, map) = (window.size * window.size, height * width * channels);
    let shared = Shared::new(out);
    for_each(items, |item| {
        // SAFETY: every task has its own map.
        let map = unsafe { shared.range(item * map..(item + 1) * map) };
        let grad = &grad[item * down * across * area * channels..][..down * across * area * channels];
        for (place, grad) in grad.chunks_exact(area * channels).enumerate() {
            let (top, left) = (place / across * window.stride, place % across * window.stride);
            for pixel in 0..area {
                let y = (top + pixel / window.size).wrapping_sub(window.padding);
                let x = (left + pixel % window.size).wrapping_sub(window.padding);
                if y >= height || x >= width {
                    continue;
                }
                let sums = &mut map[(y * width + x) * channels..][..channels];
                for (sum, grad) in sums.iter_mut().zip(grad[pixel..].iter().step_by(area)) {
                    *sum += grad;
                }
            }
        }
    });
}

/// `y = activation(windows Wᵀ + b)`: a convolution, whose windows exist only a block of rows at a time.
/// `y: [B * down * across, N]`, places row by row.
///
/// The packed weights are `[N, K]` in the order in which the maps give a window's values: for planes that of a
/// convolution, `[N, C, size, size]`; for rows `[N, size, size, C]`.
///
/// # Panics
/// When lengths do not match, or the window has no size or stride.
pub fn convolution(
    w: &PackedLinear,
    bias: Option<&[f32]>,
    maps: Maps<'_>,
    window: Window,
    activation: Activation,
    y: &mut [f32],
) {
    let (items, places @ [down, across]) = maps.check("convolution", window);
    let (k, n) = (w.in_features(), w.out_features());
    assert!(
        is_product(k, [maps.channels, window.size, window.size])
            && is_product(y.len(), [items, down, across, n]),
        "convolution: y has {} elements and w {k} inputs, expected {items} items of {down}x{across} windows of \
         {}x{}x{} and rows of {n}",
        y.len(),
        maps.channels,
        window.size,
        window.size
    );
    let epilogue = match activation {
        Activation::Identity => Epilogue::Store,
        activation => Epilogue::Activate(activation),
    };
    let layer = Layer { w, bias, epilogue };
    layer.check("convolution");
    let y = Shared::new(y);
    Grid::new(items * down * across, w.strip(), w.panels(), TASK_ROWS).for_each(|rows, panels| {
        layer.dispatch(Chunk { layer, maps, window, places, rows, panels, y });
    });
}

/// Some rows and panels of a convolution.
struct Chunk<'a> {
    layer: Layer<'a>,
    maps: Maps<'a>,
    window: Window,
    /// Down and across.
    places: [usize; 2],
    rows: Range<usize>,
    panels: Range<usize>,
    /// All rows and columns.
    y: Shared<'a, f32>,
}

impl Job for Chunk<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Chunk { layer, maps, window, places: [down, across], rows, panels, y } = self;
        let (k, n) = (layer.w.in_features(), layer.w.out_features());
        let mut windows = Scratch::take(rows.len() * k);
        for (row, out) in rows.clone().zip(windows.chunks_exact_mut(k.max(1))) {
            let (item, place) = (row / (down * across), row % (down * across));
            maps.window(simd, window, WindowOrder::Pixels, (item, place / across, place % across), out);
        }
        // SAFETY: `convolution` checked that `y` has all rows of N columns; this chunk alone writes its rows and panels.
        unsafe {
            let to = To::Values(y.start().add(rows.start * n));
            layer.rows(simd, None, &windows, rows.len(), panels, Output { to, first: 0, width: n });
        }
    }
}
