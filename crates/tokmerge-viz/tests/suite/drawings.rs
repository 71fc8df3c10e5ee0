//! The promises of `render` and `svg`, checked pixel by pixel and path by path.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use proptest::prelude::*;
use tokmerge_viz::{BorderWidth, Error, Fill, Format, Grid, Picture, Style, render, save, svg};

/// A photo whose every pixel has another colour (up to 256x256).
fn photo(width: usize, height: usize) -> Picture {
    let pixel = |i: usize| [(i % width) as u8, (i / width) as u8, (i * 37 % 251) as u8];
    Picture::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
}

fn plain(border: usize) -> Style {
    Style { border: BorderWidth::Pixels(border), ..Style::default() }
}

/// Group of the patch at a pixel, from the rule in `Grid`'s documentation.
fn group_at(picture: &Picture, grid: Grid, groups: &[Option<u32>], x: usize, y: usize) -> Option<u32> {
    let part =
        |at: usize, parts: usize, length: usize| (0..parts).rfind(|i| i * length / parts <= at).unwrap();
    groups[part(y, grid.rows, picture.height()) * grid.cols + part(x, grid.cols, picture.width())]
}

/// Mean colour of each group, counted anew.
fn means(picture: &Picture, grid: Grid, groups: &[Option<u32>]) -> BTreeMap<u32, [u8; 3]> {
    let mut sums: BTreeMap<u32, ([f64; 3], f64)> = BTreeMap::new();
    for (x, y) in pixels(picture) {
        if let Some(group) = group_at(picture, grid, groups, x, y) {
            let (sum, count) = sums.entry(group).or_default();
            (0..3).for_each(|i| sum[i] += f64::from(picture.pixel(x, y)[i]));
            *count += 1.0;
        }
    }
    sums.into_iter()
        .map(|(group, (sum, count))| (group, sum.map(|sum| (sum / count).round() as u8)))
        .collect()
}

fn pixels(picture: &Picture) -> impl Iterator<Item = (usize, usize)> + use<> {
    let (width, height) = (picture.width(), picture.height());
    (0..width * height).map(move |i| (i % width, i / width))
}

/// Every pixel is its group's mean, or, exactly where another group is within `border`, its border.
fn check_every_pixel(picture: &Picture, grid: Grid, groups: &[Option<u32>], border: usize) {
    let drawn = render(picture, grid, groups, &plain(border)).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (picture.width(), picture.height()));
    let map: Vec<_> = pixels(picture).map(|(x, y)| group_at(picture, grid, groups, x, y)).collect();
    let means = means(picture, grid, groups);
    let mut borders: BTreeMap<u32, [u8; 3]> = BTreeMap::new();
    for (x, y) in pixels(picture) {
        let group = map[y * picture.width() + x];
        let Some(id) = group else {
            let dark = drawn.pixel(x, y).iter().all(|&value| value < 100);
            assert!(dark, "dropped pixel ({x}, {y}) is {:?}", drawn.pixel(x, y));
            continue;
        };
        let rows = y.saturating_sub(border)..=(y + border).min(picture.height() - 1);
        let at_boundary = rows.into_iter().any(|y| {
            (x.saturating_sub(border)..=(x + border).min(picture.width() - 1))
                .any(|x| map[y * picture.width() + x] != group)
        });
        let color = drawn.pixel(x, y);
        if at_boundary {
            let border = *borders.entry(id).or_insert(color);
            assert_eq!(color, border, "group {id} has two border colours, the second at ({x}, {y})");
        } else {
            assert_eq!(color, means[&id], "inside of group {id} at ({x}, {y})");
        }
    }
    let distinct: HashSet<_> = borders.values().collect();
    assert_eq!(distinct.len(), borders.len(), "two groups share a border colour: {borders:?}");
}

#[test]
fn merged_patches_have_one_mean_and_one_border() {
    let groups = [Some(5), Some(5), Some(2), Some(5), Some(2), Some(2)];
    check_every_pixel(&photo(60, 40), Grid { rows: 2, cols: 3 }, &groups, 2);
}

#[test]
fn sizes_that_do_not_divide_are_covered() {
    let groups: Vec<_> = (0..35).map(|patch| Some(patch % 6)).collect();
    check_every_pixel(&photo(225, 150), Grid { rows: 5, cols: 7 }, &groups, 2);
    check_every_pixel(&photo(225, 150), Grid { rows: 7, cols: 5 }, &groups, 1);
}

#[test]
fn every_patch_its_own_group_is_bordered_everywhere() {
    let groups: Vec<_> = (0..196).map(Some).collect();
    check_every_pixel(&photo(224, 224), Grid { rows: 14, cols: 14 }, &groups, 1);
}

#[test]
fn one_group_over_everything_has_no_border() {
    let picture = photo(30, 20);
    let grid = Grid { rows: 2, cols: 3 };
    let drawn = render(&picture, grid, &[Some(9); 6], &plain(2)).unwrap();
    let mean = means(&picture, grid, &[Some(9); 6])[&9];
    assert!(pixels(&drawn).all(|(x, y)| drawn.pixel(x, y) == mean));
}

#[test]
fn one_pixel_is_a_picture() {
    let picture = Picture::new(1, 1, vec![3, 200, 90]).unwrap();
    let grid = Grid { rows: 1, cols: 1 };
    assert_eq!(render(&picture, grid, &[Some(0)], &Style::default()).unwrap(), picture);
    assert_ne!(render(&picture, grid, &[None], &Style::default()).unwrap(), picture);
    check_svg(&svg(&picture, grid, &[Some(0)], &Style::default(), "").unwrap(), 1);
}

#[test]
fn dropped_patches_are_dark_hatched_and_the_same_for_any_photo() {
    let grid = Grid { rows: 1, cols: 2 };
    let bright = Picture::new(40, 20, vec![250; 40 * 20 * 3]).unwrap();
    let drawn = render(&bright, grid, &[None, Some(1)], &plain(2)).unwrap();
    let colors: HashSet<_> =
        pixels(&drawn).filter(|&(x, _)| x < 20).map(|(x, y)| drawn.pixel(x, y)).collect();
    assert_eq!(colors.len(), 2, "ground and hatch: {colors:?}");
    assert!(colors.iter().flatten().all(|&value| value < 100));
    // The border of the kept group faces the dropped one.
    assert_ne!(drawn.pixel(20, 10), drawn.pixel(30, 10));
    let nothing = render(&bright, grid, &[None, None], &Style::default()).unwrap();
    assert_eq!(nothing, render(&photo(40, 20), grid, &[None, None], &Style::default()).unwrap());
}

#[test]
fn original_fill_keeps_the_photo_inside_the_borders() {
    let picture = photo(60, 40);
    let grid = Grid { rows: 2, cols: 3 };
    let groups: Vec<_> = (0..6).map(Some).collect();
    let style = Style { fill: Fill::Original, upscale: 3, ..plain(2) };
    let drawn = render(&picture, grid, &groups, &style).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (180, 120));
    for (x, y) in [(0, 0), (57, 57), (62, 62), (179, 119), (90, 30)] {
        assert_eq!(drawn.pixel(x, y), picture.pixel(x / 3, y / 3), "({x}, {y})");
    }
    assert_ne!(drawn.pixel(59, 30), picture.pixel(19, 10));
    let bare = Style { border: BorderWidth::None, upscale: 1, fill: Fill::Original };
    assert_eq!(render(&picture, grid, &groups, &bare).unwrap(), picture);
}

#[test]
fn the_same_input_gives_the_same_picture() {
    let (picture, grid) = (photo(90, 70), Grid { rows: 7, cols: 9 });
    let groups: Vec<_> = (0..63).map(|patch| (patch % 10 != 3).then_some(patch * patch % 17)).collect();
    let style = Style { upscale: 2, ..Style::default() };
    assert_eq!(
        render(&picture, grid, &groups, &style).unwrap(),
        render(&picture, grid, &groups, &style).unwrap()
    );
    assert_eq!(
        svg(&picture, grid, &groups, &style, "c").unwrap(),
        svg(&picture, grid, &groups, &style, "c").unwrap()
    );
}

/// Parses the document and counts its tokens' paths; returns them as (id, fill, path data).
fn check_svg(text: &str, tokens: usize) -> Vec<(u32, String, String)> {
    let document = roxmltree::Document::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let paths: Vec<_> = document
        .descendants()
        .filter(|node| {
            node.has_tag_name("path") && node.parent().is_some_and(|group| group.has_tag_name("g"))
        })
        .map(|node| {
            let title =
                node.children().find(|child| child.has_tag_name("title")).and_then(|title| title.text());
            let id = title.unwrap().strip_prefix("token ").and_then(|rest| rest.split(':').next()).unwrap();
            (id.parse().unwrap(), node.attribute("fill").unwrap().into(), node.attribute("d").unwrap().into())
        })
        .collect();
    assert_eq!(paths.len(), tokens);
    let image = document.descendants().find(|node| node.has_tag_name("image")).unwrap();
    assert!(image.attribute("href").unwrap().starts_with("data:image/png;base64,iVBORw0KGgo"));
    paths
}

/// Corners of each loop of path data made of M, H, V and Z.
fn loops(data: &str) -> Vec<Vec<(f64, f64)>> {
    data.split_terminator('Z')
        .map(|one| {
            let (x, rest) = one.strip_prefix('M').and_then(|one| one.split_once(' ')).unwrap();
            let end = rest.find(['H', 'V']).unwrap();
            let mut at: (f64, f64) = (x.parse().unwrap(), rest[..end].parse().unwrap());
            let mut corners = vec![at];
            let mut rest = &rest[end..];
            while !rest.is_empty() {
                let end = rest[1..].find(['H', 'V']).map_or(rest.len(), |end| end + 1);
                let value = rest[1..end].parse().unwrap();
                if rest.starts_with('H') {
                    at.0 = value
                } else {
                    at.1 = value
                }
                corners.push(at);
                rest = &rest[end..];
            }
            corners
        })
        .collect()
}

/// Whether a point lies in the path, by the even-odd rule.
fn covers(loops: &[Vec<(f64, f64)>], x: f64, y: f64) -> bool {
    let crossings = loops
        .iter()
        .flat_map(|corners| (0..corners.len()).map(move |i| (corners[i], corners[(i + 1) % corners.len()])));
    crossings.filter(|(a, b)| a.0 == b.0 && a.0 > x && (a.1 > y) != (b.1 > y)).count() % 2 == 1
}

/// Without borders, each pixel's centre lies in its own token's path and in no other.
fn check_paths(picture: &Picture, grid: Grid, groups: &[Option<u32>]) {
    let style = Style { border: BorderWidth::None, ..Style::default() };
    let tokens = groups.iter().flatten().collect::<HashSet<_>>().len();
    let paths = check_svg(&svg(picture, grid, groups, &style, "").unwrap(), tokens);
    let paths: Vec<_> = paths.iter().map(|(id, _, data)| (*id, loops(data))).collect();
    for (x, y) in pixels(picture) {
        let inside: Vec<_> = paths
            .iter()
            .filter(|(_, loops)| covers(loops, x as f64 + 0.5, y as f64 + 0.5))
            .map(|(id, _)| *id)
            .collect();
        let expected: Vec<_> = group_at(picture, grid, groups, x, y).into_iter().collect();
        assert_eq!(inside, expected, "({x}, {y})");
    }
}

/// With borders, the path runs half a border inside: the pixels it encloses at that depth are those at
/// which no other group is within half a border.
fn check_inset(picture: &Picture, grid: Grid, groups: &[Option<u32>]) {
    let border = 2;
    let tokens = groups.iter().flatten().collect::<HashSet<_>>().len();
    let paths = check_svg(&svg(picture, grid, groups, &plain(border), "").unwrap(), tokens);
    let map: Vec<_> = pixels(picture).map(|(x, y)| group_at(picture, grid, groups, x, y)).collect();
    for (id, _, data) in &paths {
        let loops = loops(data);
        for (x, y) in pixels(picture) {
            let deep = (y.saturating_sub(1)..=(y + 1).min(picture.height() - 1)).all(|y| {
                (x.saturating_sub(1)..=(x + 1).min(picture.width() - 1))
                    .all(|x| map[y * picture.width() + x] == Some(*id))
            });
            assert_eq!(covers(&loops, x as f64 + 0.5, y as f64 + 0.5), deep, "token {id} at ({x}, {y})");
        }
    }
}

#[test]
fn svg_outlines_holes_islands_and_corners() {
    let grid = Grid { rows: 5, cols: 6 };
    let groups: Vec<_> = "AAAAAA ABAABA AABAAC ACABAA DAAAAD"
        .bytes()
        .filter(u8::is_ascii_alphabetic)
        .map(|letter| Some(u32::from(letter)))
        .collect();
    check_paths(&photo(36, 40), grid, &groups);
    check_inset(&photo(36, 40), grid, &groups);
}

#[test]
fn svg_escapes_its_caption() {
    let caption = "a<b> & \"c\" \u{1} tome:r=13 — 197 → 11";
    let text =
        svg(&photo(224, 112), Grid { rows: 2, cols: 4 }, &[Some(1); 8], &Style::default(), caption).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let title = document.root_element().children().find(|node| node.has_tag_name("title")).unwrap();
    assert_eq!(title.text(), Some("a<b> & \"c\" \u{FFFD} tome:r=13 — 197 → 11"));
    assert!(document.descendants().any(|node| node.has_tag_name("text")));
}

#[test]
fn svg_has_the_means_and_sizes_of_its_tokens() {
    let (picture, grid) = (photo(60, 40), Grid { rows: 2, cols: 3 });
    let groups = [Some(5), None, Some(2), Some(5), Some(2), Some(5)];
    let text = svg(&picture, grid, &groups, &Style::default(), "").unwrap();
    assert!(text.contains("<title>token 5: 3 of 6 patches</title>"), "{text}");
    assert!(text.contains("<title>dropped: 1 of 6 patches</title>"), "{text}");
    let means = means(&picture, grid, &groups);
    for (id, fill, _) in check_svg(&text, 2) {
        let [red, green, blue] = means[&id];
        assert_eq!(fill, format!("#{red:02x}{green:02x}{blue:02x}"));
    }
}

#[test]
fn svg_is_little_larger_than_the_photo_in_it() {
    let groups: Vec<_> = (0..196).map(Some).collect();
    let picture = photo(224, 224);
    let text = svg(&picture, Grid { rows: 14, cols: 14 }, &groups, &Style::default(), "").unwrap();
    let photo = picture.png().unwrap().len() * 4 / 3;
    assert!(text.len() < photo + 32_000, "{} bytes beside a photo of {photo}", text.len());
}

#[test]
fn wrong_input_is_refused_with_rule_values_and_way_out() {
    let picture = photo(8, 6);
    let cases = [
        (Grid { rows: 2, cols: 3 }, 5, 1, ["2 rows and 3 columns needs 6", "5 were", "class and register"]),
        (Grid { rows: 0, cols: 3 }, 0, 1, ["at least 1 row", "0 rows and 3", "patch size"]),
        (Grid { rows: 7, cols: 1 }, 7, 1, ["at least one pixel", "7 rows", "8x6"]),
        (Grid { rows: 1, cols: 1 }, 1, 0, ["1 to 16384", "8x6 enlarged 0 times", "at least 1"]),
        (Grid { rows: 1, cols: 1 }, 1, 9999, ["1 to 16384", "8x6 enlarged 9999 times", "smaller one"]),
    ];
    for (grid, groups, upscale, expected) in cases {
        let style = Style { upscale, ..Style::default() };
        let message = render(&picture, grid, &vec![Some(0); groups], &style).unwrap_err().to_string();
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
        assert_eq!(svg(&picture, grid, &vec![Some(0); groups], &style, "").unwrap_err().to_string(), message);
    }
}

#[test]
fn the_extension_chooses_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let (picture, grid) = (photo(32, 32), Grid { rows: 2, cols: 2 });
    let groups = [Some(0), Some(1), Some(1), Some(2)];
    let write = |name: &str| save(&folder.path().join(name), &picture, grid, &groups, &Style::default(), "x");
    write("a.PNG").unwrap();
    write("a.svg").unwrap();
    let png = image::open(folder.path().join("a.PNG")).unwrap();
    assert_eq!((png.width(), png.height()), (32 + 8 + 32, 32));
    check_svg(&std::fs::read_to_string(folder.path().join("a.svg")).unwrap(), 3);
    for name in ["a.jpg", "a"] {
        let error = write(name).unwrap_err();
        assert!(matches!(&error, Error::UnknownExtension { .. }));
        let message = error.to_string();
        assert!(message.contains("png or svg") && message.contains(name), "{message}");
        assert!(!folder.path().join(name).exists());
    }
    let message = write("missing/a.png").unwrap_err().to_string();
    assert!(message.contains("missing/a.png") && message.contains("folder exists"), "{message}");
    assert_eq!(Format::from_path(Path::new("x.y.svg")).unwrap(), Format::Svg);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_groups_keep_every_promise(
        rows in 1usize..6, cols in 1usize..6, more in (0usize..4, 0usize..4), ids in prop::collection::vec(0u32..5, 25),
    ) {
        // Patches of 5 pixels and up, so that a border of 2 is not narrowed.
        let picture = photo(cols * 5 + more.0, rows * 5 + more.1);
        let grid = Grid { rows, cols };
        let groups: Vec<_> = ids[..rows * cols].iter().map(|&id| (id > 0).then_some(id * 1000)).collect();
        check_every_pixel(&picture, grid, &groups, 2);
        check_paths(&picture, grid, &groups);
        check_inset(&picture, grid, &groups);
    }
}
