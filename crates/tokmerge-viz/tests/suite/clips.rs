//! The promises of `render_clip` and `save_clip`, checked on files read back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use image::AnimationDecoder;
use image::codecs::{gif::GifDecoder, png::PngDecoder};
use tokmerge_viz::{
    BorderWidth, ClipFormat, ClipStyle, Error, Fill, Grid, Picture, Shown, Style, TubeGrid, render,
    render_clip, save_clip, side_by_side,
};

const GRID: TubeGrid = TubeGrid { steps: 3, tubelet: 2, rows: 2, cols: 3 };

/// Every pixel of every frame has another colour than its neighbours.
fn frames(count: usize, width: usize, height: usize) -> Vec<Picture> {
    let pixel = |at: usize, i: usize| {
        [(i % width * 5) as u8, (i / width * 7) as u8, ((i * 37 + at * 11) % 251) as u8]
    };
    let frame = |at: usize| (0..width * height).flat_map(|i| pixel(at, i)).collect();
    (0..count).map(|at| Picture::new(width, height, frame(at)).unwrap()).collect()
}

/// Three steps of 2x3 patches: token 1 moves to the right, 9 is dropped once.
fn groups() -> Vec<Option<u32>> {
    let steps = [[1, 7, 7, 2, 2, 5], [7, 1, 7, 2, 2, 5], [7, 7, 1, 2, 0, 5]];
    steps.concat().into_iter().map(|token: u32| (token > 0).then_some(token)).collect()
}

fn bordered(pixels: usize) -> Style {
    Style { border: BorderWidth::Pixels(pixels), ..Style::default() }
}

/// Where a patch of `side` pixels has its middle.
fn middle(patch: usize, cols: usize, side: usize) -> (usize, usize) {
    (patch % cols * side + side / 2, patch / cols * side + side / 2)
}

#[test]
fn a_token_has_the_mean_of_all_its_pixels_in_every_frame() {
    let (frames, groups) = (frames(6, 36, 24), groups());
    let drawn = render_clip(&frames, GRID, &groups, &bordered(2)).unwrap();
    let mut sums: BTreeMap<u32, ([f64; 3], f64)> = BTreeMap::new();
    for (at, frame) in frames.iter().enumerate() {
        for (x, y) in (0..24).flat_map(|y| (0..36).map(move |x| (x, y))) {
            if let Some(token) = groups[at / 2 * 6 + y / 12 * 3 + x / 12] {
                let (sum, count) = sums.entry(token).or_default();
                (0..3).for_each(|i| sum[i] += f64::from(frame.pixel(x, y)[i]));
                *count += 1.0;
            }
        }
    }
    assert_eq!(drawn.len(), 6);
    for (at, drawn) in drawn.iter().enumerate() {
        for patch in 0..6 {
            let (x, y) = middle(patch, 3, 12);
            match groups[at / 2 * 6 + patch] {
                Some(token) => {
                    let (sum, count) = sums[&token];
                    assert_eq!(
                        drawn.pixel(x, y),
                        sum.map(|sum| (sum / count).round() as u8),
                        "token {token}"
                    );
                }
                None => assert!(drawn.pixel(x, y).iter().all(|&value| value < 100)),
            }
        }
    }
}

/// The border colours of each token, over all frames; patches of 12 pixels, borders of 2.
fn borders(drawn: &[Picture], grid: TubeGrid, groups: &[Option<u32>]) -> BTreeMap<u32, BTreeSet<[u8; 3]>> {
    let mut borders: BTreeMap<u32, BTreeSet<_>> = BTreeMap::new();
    for (at, drawn) in drawn.iter().enumerate() {
        let step = &groups[at / grid.tubelet * grid.rows * grid.cols..];
        for (patch, &group) in step[..grid.rows * grid.cols].iter().enumerate() {
            let (Some(token), true) = (group, patch % grid.cols + 1 < grid.cols) else { continue };
            if step[patch + 1] != group {
                let (x, y) = middle(patch, grid.cols, 12);
                borders.entry(token).or_default().insert(drawn.pixel(x + 5, y));
            }
        }
    }
    borders
}

/// How far apart two colours are, 0 to 441.
fn apart(a: [u8; 3], b: [u8; 3]) -> f64 {
    (0..3).map(|i| f64::from(a[i].abs_diff(b[i])).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn a_token_has_one_border_colour_of_its_own_over_all_frames() {
    let groups = groups();
    let drawn = render_clip(&frames(6, 36, 24), GRID, &groups, &bordered(2)).unwrap();
    let borders = borders(&drawn, GRID, &groups);
    assert!(borders.len() >= 3 && borders.values().all(|colors| colors.len() == 1), "{borders:?}");
    let distinct: BTreeSet<_> = borders.values().flatten().collect();
    assert_eq!(distinct.len(), borders.len());
}

#[test]
fn tokens_that_follow_each_other_at_one_place_look_different() {
    // Every step has tokens of its own: nothing but time makes the numbers n and n + 34 neighbours, and 34
    // is a step after which the sequence of colours comes back to nearly the same hue.
    let grid = TubeGrid { steps: 4, tubelet: 1, rows: 4, cols: 8 };
    let groups: Vec<_> = (0..128).map(|patch: u32| Some(patch / 32 * 34 + patch % 32)).collect();
    let drawn = render_clip(&frames(4, 96, 48), grid, &groups, &bordered(2)).unwrap();
    let borders = borders(&drawn, grid, &groups);
    let nearest = (0..96)
        .filter(|patch| patch % 8 < 7)
        .map(|patch| {
            let color = |at: usize| *borders[&groups[at].unwrap()].first().unwrap();
            apart(color(patch), color(patch + 32)) as u32
        })
        .min();
    assert!(nearest >= Some(80), "{nearest:?}");
}

#[test]
fn a_clip_of_one_frame_is_drawn_as_an_image() {
    let (frames, groups) = (frames(1, 36, 24), [Some(4), None, Some(2), Some(4), Some(2), Some(9)]);
    let one = TubeGrid { steps: 1, tubelet: 1, ..GRID };
    let style = Style { upscale: 2, ..Style::default() };
    let image = render(&frames[0], Grid { rows: 2, cols: 3 }, &groups, &style).unwrap();
    assert_eq!(render_clip(&frames, one, &groups, &style).unwrap(), [image]);
}

#[test]
fn original_fill_shows_each_frame_itself() {
    let frames = frames(6, 36, 24);
    let bare = Style { border: BorderWidth::None, fill: Fill::Original, upscale: 1 };
    let drawn = render_clip(&frames, GRID, &[Some(1); 18], &bare).unwrap();
    assert_eq!(drawn, frames);
}

/// Writes a clip into a folder of its own and hands its path to `read`.
fn saved<T>(name: &str, frames: &[Picture], style: &ClipStyle, read: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    save_clip(&path, frames, GRID, &groups(), style, "a & b").unwrap();
    read(&path)
}

/// Frames beside their groups, as an animation shows them.
fn animated(frames: &[Picture], style: &ClipStyle) -> Vec<Picture> {
    let drawn = render_clip(frames, GRID, &groups(), &style.frame).unwrap();
    let side = 12 * style.frame.upscale;
    drawn.iter().zip(frames).map(|(drawn, frame)| side_by_side(frame, drawn, side / 2).unwrap()).collect()
}

/// An animation's frames as (RGB bytes, delay), which must fill the canvas.
fn decoded<'a>(decoder: impl AnimationDecoder<'a>) -> Vec<(Vec<u8>, Duration)> {
    let frames = decoder.into_frames().collect_frames().unwrap();
    frames
        .into_iter()
        .map(|frame| {
            let delay = frame.delay().into();
            (image::DynamicImage::ImageRgba8(frame.into_buffer()).into_rgb8().into_raw(), delay)
        })
        .collect()
}

fn gif(path: &Path) -> Vec<(Vec<u8>, Duration)> {
    decoded(GifDecoder::new(BufReader::new(File::open(path).unwrap())).unwrap())
}

#[test]
fn an_apng_reads_back_as_the_same_pixels() {
    let (frames, style) = (frames(6, 36, 24), ClipStyle { frames_per_second: 30.0, ..ClipStyle::default() });
    let read = saved("a.APNG", &frames, &style, |path| {
        let decoder = PngDecoder::new(BufReader::new(File::open(path).unwrap())).unwrap();
        decoded(decoder.apng().unwrap())
    });
    assert_eq!(read.len(), 6);
    for ((rgb, delay), expected) in read.iter().zip(animated(&frames, &style)) {
        assert!(rgb == expected.rgb());
        assert_eq!(*delay, Duration::from_millis(33));
    }
}

#[test]
fn a_gif_of_few_colours_reads_back_as_the_same_pixels() {
    let flat: Vec<_> = (0..6).map(|at| Picture::new(36, 24, vec![40 * at; 36 * 24 * 3]).unwrap()).collect();
    let style = ClipStyle { frame: Style { upscale: 2, ..bordered(2) }, ..ClipStyle::default() };
    let read = saved("a.gif", &flat, &style, gif);
    assert_eq!(read.len(), 6);
    for ((rgb, _), expected) in read.iter().zip(animated(&flat, &style)) {
        assert!(rgb == expected.rgb());
    }
}

#[test]
fn a_gif_of_many_colours_keeps_the_tokens_exactly_and_the_rest_nearly() {
    let frames = frames(6, 36, 24);
    let style = ClipStyle { frame: bordered(2), frames_per_second: 30.0, ..ClipStyle::default() };
    let read = saved("a.gif", &frames, &style, gif);
    assert_eq!(read.len(), 6);
    for ((rgb, _), expected) in read.iter().zip(animated(&frames, &style)) {
        let pixels = rgb.as_chunks().0.iter().zip(expected.rgb().as_chunks().0);
        let errors: Vec<f64> = pixels.map(|(&found, &expected)| apart(found, expected)).collect();
        let original = |at: usize| at % (36 + 6 + 36) < 36;
        assert!(errors.iter().enumerate().all(|(at, &error)| original(at) || error == 0.0));
        let mean = errors.iter().sum::<f64>() / (36.0 * 24.0);
        assert!(mean < 24.0, "{mean}");
    }
    let delays: Vec<_> = read.iter().map(|(_, delay)| delay.as_millis()).collect();
    assert_eq!(delays, [30, 40, 30, 30, 40, 30], "together as long as 6 frames at 30 a second");
}

/// A strip as PNG, read back.
fn strip(frames: &[Picture], style: &ClipStyle) -> image::RgbImage {
    saved("a.png", frames, style, |path| image::open(path).unwrap().into_rgb8())
}

#[test]
fn a_strip_shows_the_first_frame_of_each_step_above_its_groups() {
    let frames = frames(6, 36, 24);
    let drawn = render_clip(&frames, GRID, &groups(), &Style::default()).unwrap();
    let strip = strip(&frames, &ClipStyle::default());
    assert_eq!(strip.dimensions(), (3 * 36 + 2 * 6, 24 + 6 + 24));
    for step in 0..3 {
        for (x, y) in [(0, 0), (35, 23), (17, 5)] {
            let left = step * (36 + 6) + x;
            assert_eq!(strip.get_pixel(left as u32, y as u32).0, frames[step * 2].pixel(x, y));
            assert_eq!(strip.get_pixel(left as u32, y as u32 + 30).0, drawn[step * 2].pixel(x, y));
        }
    }
    assert_eq!(strip.get_pixel(36, 3).0, [255; 3]);
}

#[test]
fn a_long_strip_takes_rows_of_about_the_same_length() {
    let frames = frames(6, 36, 24);
    let style = ClipStyle { shown: Shown::Frames, columns: 5, ..ClipStyle::default() };
    let wrapped = strip(&frames, &style);
    assert_eq!(wrapped.dimensions(), (3 * 36 + 2 * 6, 2 * (24 + 6 + 24) + 3 * 6));
    assert_eq!(wrapped.get_pixel(2, 54 + 18 + 1).0, frames[3].pixel(2, 1));
    let all = strip(&frames, &ClipStyle { columns: usize::MAX, ..style });
    assert_eq!(all.width(), 6 * 36 + 5 * 6);
    assert_eq!(strip(&frames, &ClipStyle { columns: 0, ..style }).width(), 36);
}

#[test]
fn svg_has_one_path_per_token_over_all_steps() {
    let frames = frames(6, 36, 24);
    let text = saved("a.svg", &frames, &ClipStyle::default(), |path| std::fs::read_to_string(path).unwrap());
    let document = roxmltree::Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let tags = |tag: &str| document.descendants().filter(|node| node.has_tag_name(tag)).count();
    assert_eq!((tags("image"), tags("use"), tags("clipPath")), (3, 3, 1));
    let titles: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name("title"))
        .filter_map(|node| node.text())
        .collect();
    let expected =
        ["a & b", "dropped: 1 of 18 patches", "token 1: 3 of 18 patches", "token 2: 5 of 18 patches"];
    assert_eq!(titles[..4], expected);
    assert_eq!(titles.len(), 6);
    // Token 1 stands alone in each step, one patch further to the right: three closed loops.
    let track = document
        .descendants()
        .find(|node| {
            node.has_tag_name("path") && node.descendants().any(|title| title.text() == Some(expected[2]))
        })
        .and_then(|path| path.attribute("d"))
        .unwrap();
    let lefts: Vec<f64> = track
        .split_terminator('Z')
        .map(|part| part[1..].split(' ').next().unwrap().parse::<f64>().unwrap().floor())
        .collect();
    assert_eq!(lefts, [-1.0, 42.0 + 12.0, 2.0 * 42.0 + 24.0]);
}

#[test]
fn the_same_clip_gives_the_same_files() {
    let frames = frames(6, 36, 24);
    for name in ["a.png", "a.svg", "a.gif", "a.apng"] {
        let write = || saved(name, &frames, &ClipStyle::default(), |path| std::fs::read(path).unwrap());
        assert!(write() == write(), "{name}");
    }
}

#[test]
fn wrong_clips_are_refused_with_rule_values_and_way_out() {
    let (good, groups) = (frames(6, 36, 24), groups());
    let mut mixed = frames(5, 36, 24);
    mixed.extend(frames(1, 24, 36));
    let refused = |frames: &[Picture], grid: TubeGrid, groups: &[Option<u32>], upscale: usize| {
        let style = Style { upscale, ..Style::default() };
        render_clip(frames, grid, groups, &style).unwrap_err().to_string()
    };
    let none = TubeGrid { steps: 0, ..GRID };
    let huge = TubeGrid { steps: usize::MAX, ..GRID };
    let cases = [
        (refused(&good[..5], GRID, &groups, 1), ["3 time steps of 2 frames", "5 were", "a tubelet of 1"]),
        (refused(&[], none, &[], 1), ["0 time steps", "0 were", "1 or more"]),
        (refused(&good, huge, &groups, 1), ["of 2 frames", "6 were", "every frame"]),
        (refused(&mixed, GRID, &groups, 1), ["frame 5 has 24x36", "36x24", "resize"]),
        (refused(&good, GRID, &groups[1..], 1), ["needs 18 groups", "17 were", "class tokens"]),
        (refused(&good, TubeGrid { cols: 0, ..GRID }, &[], 1), ["1 column", "0 columns", "patch size"]),
        (refused(&good, TubeGrid { cols: 37, ..GRID }, &[], 1), ["one pixel", "37 columns", "36x24"]),
        (refused(&good, GRID, &groups, 0), ["at least 1", "36x24", "0 times"]),
        (refused(&good, GRID, &groups, 300), ["268435456", "6 of 10800x7200", "smaller upscale"]),
    ];
    for (message, expected) in cases {
        assert!(expected.iter().all(|part| message.contains(part)) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn speeds_out_of_bounds_and_unknown_endings_are_refused_before_a_file_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (frames, groups) = (frames(6, 36, 24), groups());
    for frames_per_second in [0.0, -1.0, 51.0, f64::NAN, f64::INFINITY] {
        let style = ClipStyle { frames_per_second, ..ClipStyle::default() };
        for name in ["a.gif", "a.apng"] {
            let error = save_clip(&folder.path().join(name), &frames, GRID, &groups, &style, "").unwrap_err();
            let message = error.to_string();
            assert!(message.contains("0.02 to 50") && message.contains("frames_per_second"), "{message}");
        }
    }
    for name in ["a.jpg", "a"] {
        let error = save_clip(&folder.path().join(name), &frames, GRID, &groups, &ClipStyle::default(), "");
        let error = error.unwrap_err();
        assert!(matches!(error, Error::UnknownClipExtension { .. }));
        let message = error.to_string();
        assert!(message.contains("png, svg, gif or apng") && message.contains(name), "{message}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(ClipFormat::from_path(Path::new("x.y.Gif")).unwrap(), ClipFormat::Gif);
}
