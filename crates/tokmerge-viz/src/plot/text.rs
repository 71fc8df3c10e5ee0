//! Text without fonts: widths are estimated, a little generously, since the reader's font is unknown.

use crate::svg::printable;

/// One line of text that XML can hold, not yet escaped.
pub(crate) fn line(text: &str) -> String {
    printable(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Estimated width of a line in pixels at a font size, for common sans-serif fonts.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(letter).sum::<f64>() * size
}

/// The text, shortened with an ellipsis to fit into `room` pixels.
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut used = width("…", size);
    let fits = |c: &char| {
        used += letter(*c) * size;
        used <= room
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{}…", kept.trim_end())
}

/// Words in lines of at most `room` pixels; a longer word has a shortened line to itself.
pub(crate) fn wrap(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line, size) + width(word, size) + letter(' ') * size <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(fit(word, size, room)),
        }
    }
    lines
}

/// Width of one letter, in font sizes.
fn letter(c: char) -> f64 {
    match c {
        ' ' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | 'i' | 'j' | 'l' | 'I' => 0.33,
        '(' | ')' | '[' | ']' | '-' | 'f' | 'r' | 't' | '/' => 0.4,
        '⁰' | '¹' | '²' | '³' | '⁴'..='⁻' => 0.4,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '→' => 0.95,
        'A'..='Z' | '×' | '−' | '=' | '+' | '<' | '>' => 0.7,
        _ if c.is_ascii() => 0.6,
        '\u{80}'..='\u{24F}' => 0.62,
        // Wide scripts and symbols fill a square.
        '\u{1100}'.. => 1.0,
        _ => 0.7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_shortened() {
        assert_eq!(fit("short", 10.0, 100.0), "short");
        let cut = fit("a rather long name of a series", 10.0, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 60.0, "{cut}");
    }

    #[test]
    fn lines_hold_no_control_characters() {
        assert_eq!(line(" a\u{b}\u{c}b\tc\n\u{1}"), "a b c \u{FFFD}");
    }

    #[test]
    fn words_wrap_by_width() {
        assert_eq!(wrap("one two three", 10.0, 50.0), ["one two", "three"]);
        assert!(wrap(" ", 10.0, 50.0).is_empty());
    }
}
