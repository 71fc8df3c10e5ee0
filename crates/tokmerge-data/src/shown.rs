//! Text of files in errors.

/// At most so many characters of a text, fit for one line of a terminal: control characters are escaped.
pub(crate) fn beginning(text: &str, most: usize) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().take(most).map(escaped).collect()
}
