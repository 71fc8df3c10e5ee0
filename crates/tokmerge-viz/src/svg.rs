//! Groups as an SVG document: the input beside one path per token, its number and size shown on hover.

use std::fmt::Write;

use crate::error::Result;
use crate::layout::Layout;
use crate::outline::path_data;
use crate::patches::Patches;
use crate::picture::{Picture, Rgb};
use crate::render::{DROPPED, HATCH, hatch};
use crate::style::{Fill, Style};

/// Draws the input beside its groups, as the text of an SVG file.
///
/// The right half holds one path per token, filled and bordered as [`render`](crate::render) does, with
/// the token's number and size as its tooltip; pointing at a token shows the pixels beneath. `caption` (model,
/// merge spec, token counts) is written above and names the document; an empty one takes no space. The
/// input is embedded as PNG once, so the file needs no other.
///
/// # Errors
/// As [`render`](crate::render), and when the input cannot be compressed.
pub fn svg(
    picture: &Picture,
    patches: impl Into<Patches>,
    groups: &[Option<u32>],
    style: &Style,
    caption: &str,
) -> Result<String> {
    svg_over((picture, picture), patches, groups, style, caption)
}

/// As [`svg`], with the groups drawn over the second picture.
pub(crate) fn svg_over(
    (picture, under): (&Picture, &Picture),
    patches: impl Into<Patches>,
    groups: &[Option<u32>],
    style: &Style,
    caption: &str,
) -> Result<String> {
    let layout = Layout::new(under, patches.into(), groups, style)?;
    let Layout { width, height, .. } = layout;
    let left = width + gap(layout.side);
    let heading = Heading::new(caption, left + width);
    let top = heading.height;
    let mut out = String::new();
    heading.open(&mut out, left + width, height);
    write_image(&mut out, "input", picture, (0, top), (width, height))?;
    let _ = writeln!(
        out,
        r#"<svg x="{left}" y="{top}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">"#
    );
    if under == picture {
        let _ = writeln!(out, r##"<use href="#input" y="-{top}"/>"##);
    } else {
        write_image(&mut out, "under", under, (0, 0), (width, height))?;
    }
    write_groups(&mut out, &[layout], style);
    out.push_str("</svg>\n</svg>\n");
    Ok(out)
}

/// White pixels between the input and the groups.
pub(crate) fn gap(side: usize) -> usize {
    (side / 2).max(1)
}

/// The caption above a drawing, in lines.
pub(crate) struct Heading {
    lines: Vec<String>,
    font: usize,
    /// Pixels that it takes.
    pub(crate) height: usize,
}

impl Heading {
    /// A caption over a drawing of so many pixels.
    pub(crate) fn new(caption: &str, width: usize) -> Self {
        let font = (width / 44).clamp(10, 28);
        // Sans-serif letters are about 0.55 of the font size wide.
        let lines = wrap(&printable(caption), width * 20 / (font * 11));
        let height = match lines.len() {
            0 => 0,
            lines => (lines * font * 14 + font * 4) / 10,
        };
        Self { lines, font, height }
    }

    /// Begins a document for a drawing of so many pixels below the heading.
    pub(crate) fn open(&self, out: &mut String, width: usize, height: usize) {
        let Self { font, .. } = *self;
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{0}" viewBox="0 0 {width} {0}">"#,
            height + self.height
        );
        if !self.lines.is_empty() {
            let _ = writeln!(out, "<title>{}</title>", escape(&self.lines.join(" ")));
        }
        out.push_str("<style>path:hover{fill-opacity:.25}</style>\n");
        let _ = writeln!(out, r##"<rect width="100%" height="100%" fill="#fff"/>"##);
        for (line, text) in self.lines.iter().enumerate() {
            let y = font * (line * 14 + 11) / 10;
            let text = escape(text);
            let _ = writeln!(
                out,
                r##"<text y="{y}" font-family="system-ui,sans-serif" font-size="{font}" fill="#222">{text}</text>"##
            );
        }
    }
}

/// Embeds a picture at column `x`, row `y`, at the size of its layout.
pub(crate) fn write_image(
    out: &mut String,
    id: &str,
    picture: &Picture,
    (x, y): (usize, usize),
    (width, height): (usize, usize),
) -> Result<()> {
    let smooth = if width > picture.width() { r#" image-rendering="pixelated""# } else { "" };
    let x = if x > 0 { format!(r#" x="{x}""#) } else { String::new() };
    let png = base64(&picture.png()?);
    let _ = writeln!(
        out,
        r#"<image id="{id}"{x} y="{y}" width="{width}" height="{height}" preserveAspectRatio="none"{smooth} href="data:image/png;base64,{png}"/>"#
    );
    Ok(())
}

/// Draws the dropped patches as one path and each token as one, over all time steps.
///
/// The layouts are of one clip; nothing is drawn without any.
pub(crate) fn write_groups(out: &mut String, steps: &[Layout], style: &Style) {
    let Some(first) = steps.first() else { return };
    let patches = steps.iter().map(|step| step.token_of.len()).sum();
    write_dropped(out, steps, first.side, patches);
    write_tokens(out, steps, first, patches, style);
}

/// Path data around a token's patches, in all steps.
fn outlines(steps: &[Layout], token: Option<usize>, stroke: usize) -> String {
    steps.iter().map(|step| path_data(step, token, stroke)).collect()
}

fn write_dropped(out: &mut String, steps: &[Layout], side: usize, patches: usize) {
    let dropped = steps.iter().flat_map(|step| &step.token_of).filter(|token| token.is_none()).count();
    if dropped == 0 {
        return;
    }
    let (line, every) = hatch(side);
    // As in `render`: the points of a tile at which (x + y) % every < line.
    let _ = writeln!(
        out,
        concat!(
            r#"<pattern id="dropped" width="{every}" height="{every}" patternUnits="userSpaceOnUse">"#,
            r#"<rect width="{every}" height="{every}" fill="{ground}"/>"#,
            r#"<path d="M0 0H{line}L0 {line}ZM{every} 0V{line}L{line} {every}H0Z" fill="{hatch}"/></pattern>"#
        ),
        every = every,
        line = line,
        ground = hex(DROPPED),
        hatch = hex(HATCH)
    );
    let _ = writeln!(
        out,
        r##"<path fill="url(#dropped)" fill-rule="evenodd" shape-rendering="crispEdges" d="{}"><title>dropped: {}</title></path>"##,
        outlines(steps, None, 0),
        share(dropped, patches)
    );
}

fn write_tokens(out: &mut String, steps: &[Layout], first: &Layout, patches: usize, style: &Style) {
    let opacity = match style.fill {
        Fill::Mean => "",
        // Filled but not seen, so that the pointer still finds it.
        Fill::Original => r#" fill-opacity="0""#,
    };
    let border = first.border;
    let _ = writeln!(
        out,
        r#"<g fill-rule="evenodd" shape-rendering="crispEdges" stroke-width="{border}"{opacity}>"#
    );
    for (index, token) in first.tokens.iter().enumerate() {
        let stroke = if border > 0 { format!(r#" stroke="{}""#, hex(token.border)) } else { String::new() };
        let _ = writeln!(
            out,
            r#"<path fill="{}"{stroke} d="{}"><title>token {}: {}</title></path>"#,
            hex(token.mean),
            outlines(steps, Some(index), border),
            token.id,
            share(token.patches, patches)
        );
    }
    out.push_str("</g>\n");
}

/// "9 of 196 patches".
fn share(patches: usize, all: usize) -> String {
    format!("{patches} of {all} {}", if all == 1 { "patch" } else { "patches" })
}

pub(crate) fn hex([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// The text with every character XML 1.0 cannot hold replaced.
pub(crate) fn printable(text: &str) -> String {
    let allowed = |c: char| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}') || c.is_whitespace();
    text.chars().map(|c| if allowed(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// The text as XML character data.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Words in lines of at most `letters` letters; a longer word has a line to itself.
fn wrap(text: &str, letters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= letters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Standard base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().enumerate().fold(0, |bits, (i, &byte)| bits | u32::from(byte) << (16 - 8 * i));
        for i in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_rfc_4648() {
        for (text, code) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), code);
        }
        assert_eq!(base64(&[251, 255, 254]), "+//+");
    }

    #[test]
    fn captions_wrap_at_words() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh i", 3), ["abcdefgh", "i"]);
        assert!(wrap(" ", 3).is_empty());
    }
}
