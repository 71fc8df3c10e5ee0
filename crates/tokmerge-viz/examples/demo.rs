//! Draws a synthetic photo and plausible groups into a folder: `cargo run --example demo -- FOLDER`.

use std::path::PathBuf;

use tokmerge_viz::{BorderWidth, Fill, Grid, Picture, Result, Style, save};

/// Width, height, patch side: the size DeiT sees, but not square.
const SIZE: (usize, usize, usize) = (288, 224, 16);

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let (width, height, side) = SIZE;
    let grid = Grid { rows: height / side, cols: width / side };
    let photo =
        Picture::new(width, height, (0..width * height).flat_map(|i| color(i % width, i / width)).collect())?;

    let separate: Vec<_> = (0..(grid.rows * grid.cols) as u32).map(Some).collect();
    let merged = merge(&photo, grid, 24);
    let mut pruned = merged.clone();
    pruned.iter_mut().filter(|group| **group == merged[0]).for_each(|group| *group = None);

    let twice = Style { upscale: 2, ..Style::default() };
    let caption = "synthetic photo · 252 patches → 24 tokens · <mean fill>";
    save(&folder.join("separate.png"), &photo, grid, &separate, &Style::default(), "")?;
    save(&folder.join("merged.png"), &photo, grid, &merged, &Style::default(), "")?;
    save(&folder.join("merged_2x.png"), &photo, grid, &merged, &twice, "")?;
    save(&folder.join("pruned.png"), &photo, grid, &pruned, &twice, "")?;
    let outlines = Style { fill: Fill::Original, ..twice };
    save(&folder.join("outlines.png"), &photo, grid, &merged, &outlines, "")?;
    let plain = Style { border: BorderWidth::None, ..twice };
    save(&folder.join("no_border.png"), &photo, grid, &merged, &plain, "")?;
    save(&folder.join("merged.svg"), &photo, grid, &pruned, &twice, caption)?;
    save(&folder.join("outlines.svg"), &photo, grid, &merged, &outlines, caption)
}

/// The photo: sky, sun, field, and three balls.
fn color(x: usize, y: usize) -> [u8; 3] {
    let (u, v) = (x as f64 / SIZE.0 as f64, y as f64 / SIZE.1 as f64);
    let disc = |cx: f64, cy: f64, r: f64| {
        let (dx, dy) = ((u - cx) * SIZE.0 as f64 / SIZE.1 as f64, v - cy);
        let depth = 1.0 - (dx * dx + dy * dy).sqrt() / r;
        (depth > 0.0).then_some((depth - dx * 0.8 - dy * 0.8).clamp(0.0, 1.0))
    };
    let grain = ((x * 7919 + y * 104_729) % 31) as f64 - 15.0;
    let lit = |base: [f64; 3], light: f64| {
        base.map(|c| (c * (0.55 + 0.6 * light) + grain * 0.4).clamp(0.0, 255.0) as u8)
    };
    if let Some(light) = disc(0.30, 0.62, 0.25) {
        lit([215.0, 60.0, 45.0], light + 0.3)
    } else if let Some(light) = disc(0.72, 0.70, 0.18) {
        lit([60.0, 85.0, 200.0], light + 0.4)
    } else if let Some(light) = disc(0.58, 0.42, 0.11) {
        lit([240.0, 240.0, 235.0], light + 0.3)
    } else if disc(0.86, 0.16, 0.10).is_some() {
        lit([255.0, 225.0, 120.0], 0.75)
    } else if v < 0.5 {
        lit([100.0 + 120.0 * v, 160.0 + 100.0 * v, 235.0], 0.75)
    } else {
        lit([80.0 + 60.0 * (1.0 - v), 150.0 - 60.0 * (v - 0.5), 60.0], 0.7 + 0.2 * (u * 9.0).sin())
    }
}

/// Merges the two most similar groups (colour, then place) until `tokens` are left.
fn merge(photo: &Picture, grid: Grid, tokens: usize) -> Vec<Option<u32>> {
    let side = SIZE.2;
    // Sums over the group's patches: red, green, blue, column, row; and how many patches.
    let mut clusters: Vec<(u32, [f64; 5], f64)> = (0..grid.rows * grid.cols)
        .map(|patch| {
            let (row, col) = (patch / grid.cols, patch % grid.cols);
            let mut sum = [0.0, 0.0, 0.0, col as f64 * 5.0, row as f64 * 5.0];
            for pixel in 0..side * side {
                let rgb = photo.pixel(col * side + pixel % side, row * side + pixel / side);
                (0..3).for_each(|i| sum[i] += f64::from(rgb[i]) / (side * side) as f64);
            }
            (patch as u32, sum, 1.0)
        })
        .collect();
    let mut groups: Vec<u32> = (0..clusters.len() as u32).collect();
    while clusters.len() > tokens {
        let cost = |a: usize, b: usize| {
            let ((_, sum_a, n_a), (_, sum_b, n_b)) = (clusters[a], clusters[b]);
            let apart: f64 = (0..5).map(|i| (sum_a[i] / n_a - sum_b[i] / n_b).powi(2)).sum();
            apart * n_a * n_b / (n_a + n_b)
        };
        let pairs = (0..clusters.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let Some((a, b)) = pairs.min_by(|&(a, b), &(c, d)| cost(a, b).total_cmp(&cost(c, d))) else { break };
        let (gone, sum, n) = clusters.swap_remove(a);
        (0..5).for_each(|i| clusters[b].1[i] += sum[i]);
        clusters[b].2 += n;
        groups.iter_mut().filter(|group| **group == gone).for_each(|group| *group = clusters[b].0);
    }
    groups.into_iter().map(Some).collect()
}
