//! Draws a synthetic clip and a synthetic sound with their groups into a folder:
//! `cargo run --example clip -- FOLDER`.

use std::path::PathBuf;

use tokmerge_viz::{
    BorderWidth, ClipStyle, Fill, Grid, Picture, Range, Result, Shown, Spectrogram, Style, TubeGrid,
    drawn_groups, render, save_clip, sheet,
};

/// Side of a frame and of a patch.
const SIDE: (usize, usize) = (112, 16);

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let grid = TubeGrid { steps: 8, tubelet: 2, rows: 7, cols: 7 };
    let frames = (0..16).map(frame).collect::<Result<Vec<_>>>()?;
    let groups: Vec<_> =
        (0..8 * 49).map(|patch| Some(token(patch / 49, patch % 49 / 7, patch % 7))).collect();
    let style = ClipStyle { frame: Style { upscale: 2, ..Style::default() }, ..ClipStyle::default() };
    let caption = "a square on its way · 392 patches → 6 tokens";
    for name in ["clip.png", "clip.svg", "clip.gif", "clip.apng"] {
        save_clip(&folder.join(name), &frames, grid, &groups, &style, caption)?;
    }
    let all = ClipStyle { shown: Shown::Frames, columns: 6, ..ClipStyle::default() };
    save_clip(&folder.join("clip_all.png"), &frames, grid, &groups, &all, caption)?;

    let sound = Spectrogram::new((0..98 * 40).map(|i| loudness(i / 40, i % 40)).collect(), 98, 40)?;
    let picture = sound.picture(Range::Own, sound.legible())?;
    let whole_frames: Vec<_> = (0..98).map(|frame| Some(frame * frame / 400)).collect();
    let groups = drawn_groups(&whole_frames, 98, 1)?;
    let outlines = Style { border: BorderWidth::Pixels(2), fill: Fill::Original, upscale: 1 };
    let merged = render(&picture, Grid { rows: 1, cols: 98 }, &groups, &outlines)?;
    sheet(&[picture.clone(), merged], 1, 8)?.write_png(&folder.join("sound.png"))?;
    let tiles: Vec<_> =
        (0..14 * 5).map(|patch| Some(if patch % 5 < 2 { patch / 10 } else { 100 + patch })).collect();
    let groups = drawn_groups(&tiles, 14, 5)?;
    let merged = render(&picture, Grid { rows: 5, cols: 14 }, &groups, &Style::default())?;
    sheet(&[picture, merged], 1, 8)?.write_png(&folder.join("sound_tiles.png"))
}

/// A red square that moves to the right over sky and field, one patch every step.
fn frame(at: usize) -> Result<Picture> {
    let side = SIDE.0;
    let color = |x: usize, y: usize| {
        let (left, top) = (at * 6, 40);
        let grain = ((x * 7919 + y * 104_729 + at * 31) % 17) as u8;
        match (x, y) {
            _ if (left..left + 20).contains(&x) && (top..top + 20).contains(&y) => {
                [225 - grain, 50, 40 + grain]
            }
            (_, ..56) => [120 + grain, 170 + (y / 2) as u8, 235],
            _ => [70 + grain, 140 - (y / 2) as u8, 50 + grain],
        }
    };
    Picture::new(side, side, (0..side * side).flat_map(|i| color(i % side, i / side)).collect())
}

/// The square, two parts of the sky, two of the field, and what is behind the square.
fn token(step: usize, row: usize, col: usize) -> u32 {
    let patch = SIDE.1;
    let square = (step * 12 / patch..=(step * 12 + 25) / patch).contains(&col) && (2..=3).contains(&row);
    match (row, col) {
        _ if square => 1,
        (0..=1, 0..=3) => 2,
        (0..=1, _) => 3,
        (2..=3, _) => 4,
        (_, 0..=2) => 5,
        _ => 6,
    }
}

/// A rising tone with an overtone.
fn loudness(frame: usize, bin: usize) -> f32 {
    let (frame, bin) = (frame as f32, bin as f32);
    let tone = |pitch: f32| (-((bin - pitch) / 1.5).powi(2)).exp();
    tone(4.0 + frame / 8.0) + 0.6 * tone(12.0 + frame / 4.0) + 0.1 * (frame / 5.0).sin()
}
