//! Pictures in rows and columns, with headings above the columns and a label below each, as an SVG document.

use std::fmt::Write;

use crate::error::{Error, Result};
use crate::picture::Picture;
use crate::plot::text::{fit, line, wrap};
use crate::svg::{escape, write_image};

/// A picture and what is written below it.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// The picture.
    pub picture: Picture,
    /// One line; an empty one is left free.
    pub label: String,
}

/// Headings of more lines than this are cut.
const LINES: usize = 3;

/// Draws pictures of one size row by row, a column for each of the headings, as the text of an SVG file.
///
/// # Errors
/// When there are none, they differ in size, do not fill the columns, or one cannot be compressed.
pub fn labelled_sheet(cells: &[Labelled], headings: &[String], gap: usize) -> Result<String> {
    let first = cells.first().ok_or(Error::EmptyPicture { width: 0, height: 0 })?;
    let (width, height) = (first.picture.width(), first.picture.height());
    let size = |cell: &Labelled| (cell.picture.width(), cell.picture.height());
    if let Some(other) = cells.iter().find(|cell| size(cell) != (width, height)) {
        return Err(Error::NotAMultiple { original: (width, height), rendered: size(other) });
    }
    let columns = headings.len().clamp(1, cells.len());
    let font = (width / 18).clamp(9, 18);
    let lines: Vec<Vec<String>> = headings.iter().map(|text| heading(text, font, width)).collect();
    let top = lines.iter().map(Vec::len).max().unwrap_or(0) * font * 13 / 10 + font / 2;
    // A label has a line of its own below its picture.
    let (across, down) = (width + gap, height + gap + font * 3 / 2);
    let total = (across * columns - gap, top + down * cells.len().div_ceil(columns) - gap);
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" font-family="system-ui,sans-serif" font-size="{font}" fill="#222">
<rect width="100%" height="100%" fill="#fff"/>"##,
        total.0, total.1
    );
    for (column, lines) in lines.iter().enumerate() {
        for (row, text) in lines.iter().enumerate() {
            let (x, y) = (column * across, font * (row * 13 + 10) / 10);
            let _ = writeln!(out, r#"<text x="{x}" y="{y}">{}</text>"#, escape(text));
        }
    }
    for (index, cell) in cells.iter().enumerate() {
        let (x, y) = (index % columns * across, top + index / columns * down);
        write_image(&mut out, &format!("cell{index}"), &cell.picture, (x, y), (width, height))?;
        let label = fit(&line(&cell.label), font as f64, width as f64);
        if !label.is_empty() {
            let y = y + height + font * 12 / 10;
            let _ = writeln!(out, r#"<text x="{x}" y="{y}">{}</text>"#, escape(&label));
        }
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// A heading in lines over a column. Specs have no spaces: they may break after their commas.
fn heading(text: &str, font: usize, width: usize) -> Vec<String> {
    let broken = line(text).replace(',', ", ");
    let lines = wrap(&broken, font as f64, width as f64);
    lines.into_iter().take(LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::{Labelled, labelled_sheet};
    use crate::Picture;

    fn cell(label: &str) -> Labelled {
        Labelled { picture: Picture::new(40, 20, vec![9; 40 * 20 * 3]).unwrap(), label: label.to_owned() }
    }

    #[test]
    fn pictures_stand_below_their_headings_and_above_their_labels() {
        let cells = ["a", "b", "c & d", ""].map(cell);
        let headings = ["image".to_owned(), "tome".to_owned()];
        let svg = labelled_sheet(&cells, &headings, 4).unwrap();
        // A line of 11 pixels and half a font above; two rows of 20 pixels with a label of 13 each and a gap of 4.
        assert!(svg.starts_with("<svg") && svg.contains(r#"width="84" height="85""#), "{svg}");
        for fragment in [">tome</text>", ">c &amp; d</text>", r#"id="cell3" x="44" y="52""#] {
            assert!(svg.contains(fragment), "{fragment} in {svg}");
        }
        assert_eq!(svg.matches("<image").count(), 4);
        assert_eq!(svg.matches("<text").count(), 2 + 3);
    }

    #[test]
    fn pictures_of_other_sizes_are_refused() {
        let mut cells = vec![cell("a"), cell("b")];
        cells[1].picture = Picture::new(10, 20, vec![9; 10 * 20 * 3]).unwrap();
        assert!(labelled_sheet(&cells, &["one".to_owned()], 4).is_err());
        assert!(labelled_sheet(&[], &["one".to_owned()], 4).is_err());
    }
}
