//! The outline of each group of patches as closed paths, drawn so that a stroke stays inside the group.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::layout::Layout;

/// A corner of the grid of patches: row, column.
type Corner = (usize, usize);

/// Which way an edge runs; the group lies to its right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heading {
    Right,
    Down,
    Left,
    Up,
}

impl Heading {
    fn step(self, (row, col): Corner) -> Corner {
        match self {
            Self::Right => (row, col + 1),
            Self::Down => (row + 1, col),
            Self::Left => (row, col - 1),
            Self::Up => (row - 1, col),
        }
    }

    fn right_turn(self) -> Self {
        match self {
            Self::Right => Self::Down,
            Self::Down => Self::Left,
            Self::Left => Self::Up,
            Self::Up => Self::Right,
        }
    }
}

/// SVG path data around the patches of `token` (of the dropped ones when `None`).
///
/// The path runs `stroke / 2` inside the group, so that a stroke of that width ends where the group
/// does; along the image's own edge it runs as far outside, where the viewport cuts it off. Holes come
/// out as paths of their own, for the even-odd rule. Patches that touch at a corner only are apart.
pub(crate) fn path_data(layout: &Layout, token: Option<usize>, stroke: usize) -> String {
    let mut edges = edges(layout, token);
    let mut data = String::new();
    while let Some((&start, _)) = edges.first_key_value() {
        write_loop(&mut data, layout, &trace(&mut edges, start), stroke);
    }
    data
}

/// Edges between the token's patches and all others, by the corner where they begin.
fn edges(layout: &Layout, token: Option<usize>) -> BTreeMap<Corner, Vec<Heading>> {
    let (rows, cols) = (layout.grid.rows, layout.grid.cols);
    let inside =
        |row: usize, col: usize| row < rows && col < cols && layout.token_of[row * cols + col] == token;
    let mut edges: BTreeMap<Corner, Vec<Heading>> = BTreeMap::new();
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        if !inside(row, col) {
            continue;
        }
        // Rows and columns before the first wrap round to far outside.
        let around = [
            ((row, col), Heading::Right, inside(row.wrapping_sub(1), col)),
            ((row, col + 1), Heading::Down, inside(row, col + 1)),
            ((row + 1, col + 1), Heading::Left, inside(row + 1, col)),
            ((row + 1, col), Heading::Up, inside(row, col.wrapping_sub(1))),
        ];
        for (corner, heading, joined) in around {
            if !joined {
                edges.entry(corner).or_default().push(heading);
            }
        }
    }
    edges
}

/// Takes one closed loop of edges out of the map: each corner where it turns, with the new heading.
///
/// `start` is the topmost, then leftmost, corner in the map: no edge lies above it or to its left, so the
/// loop turns there and passes it once.
fn trace(edges: &mut BTreeMap<Corner, Vec<Heading>>, start: Corner) -> Vec<(Corner, Heading)> {
    let mut turns: Vec<(Corner, Heading)> = Vec::new();
    let mut at = start;
    let mut last: Option<Heading> = None;
    while let Some(out) = edges.get_mut(&at) {
        // Where the group touches itself at a corner, the right turn stays with the same patch.
        let pick = last.and_then(|last| out.iter().position(|&next| next == last.right_turn())).unwrap_or(0);
        let heading = out.swap_remove(pick);
        if out.is_empty() {
            edges.remove(&at);
        }
        if last != Some(heading) {
            turns.push((at, heading));
        }
        last = Some(heading);
        at = heading.step(at);
        if at == start {
            break;
        }
    }
    turns
}

/// Appends one loop, in half pixels divided by two.
fn write_loop(data: &mut String, layout: &Layout, turns: &[(Corner, Heading)], stroke: usize) {
    let line = |(row, col): Corner, heading: Heading| -> isize {
        let (stroke, rows, cols) = (stroke as isize, layout.grid.rows, layout.grid.cols);
        let (x, y) = (2 * layout.xs[col] as isize, 2 * layout.ys[row] as isize);
        match heading {
            Heading::Right => y + if row == 0 { -stroke } else { stroke },
            Heading::Left => y + if row == rows { stroke } else { -stroke },
            Heading::Up => x + if col == 0 { -stroke } else { stroke },
            Heading::Down => x + if col == cols { stroke } else { -stroke },
        }
    };
    let letter = |heading| if matches!(heading, Heading::Right | Heading::Left) { 'V' } else { 'H' };
    // At each turn the path arrives on the line of the edge before and leaves on that of the edge after;
    // the line of the edge after is the coordinate still missing.
    let (&(last_corner, last_heading), (first_corner, first_heading)) = match (turns.last(), turns.first()) {
        (Some(last), Some(&first)) => (last, first),
        _ => return,
    };
    let (before, after) = (line(last_corner, last_heading), line(first_corner, first_heading));
    let (x, y) = if letter(first_heading) == 'V' { (before, after) } else { (after, before) };
    let _ = write!(data, "M{} {}", Halves(x), Halves(y));
    for &(corner, heading) in &turns[1..] {
        let _ = write!(data, "{}{}", letter(heading), Halves(line(corner, heading)));
    }
    data.push('Z');
}

/// A number of half pixels, written in pixels.
struct Halves(isize);

impl std::fmt::Display for Halves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0 % 2, self.0) {
            (0, halves) => write!(f, "{}", halves / 2),
            (_, -1) => f.write_str("-.5"),
            (_, halves) => write!(f, "{}.5", halves / 2),
        }
    }
}
