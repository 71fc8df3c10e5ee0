//! Text of files in errors.

/// At most so many characters of a text, fit for one line of a terminal: control characters are escaped.
pub(crate) fn beginning(text: &str, most: usize) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().take(most).map(escaped).collect()
}

/// What a user can do where a file cannot be read, as the end of a message; nothing where nobody knows.
#[must_use]
pub fn way_out(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "; check the path",
        std::io::ErrorKind::PermissionDenied => "; check its permissions",
        std::io::ErrorKind::IsADirectory => "; give a file in it",
        _ => "",
    }
}
