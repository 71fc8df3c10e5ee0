//! One line of a CSV file.
//!
//! AudioSet's lists have a space before a quoted field, which CSV as such does not know: there the quote would be part of the
//! field, and the commas within it would divide.

/// The fields of a line, without the spaces around them. A quoted field may hold commas, and `""` for a quote.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(' ');
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (field, after) = quoted_field(quoted)?;
                (field, after.trim_start())
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err("has text after a quoted field; begin the next field with a comma"),
        }
    }
}

/// What is within quotes, and what follows them.
fn quoted_field(text: &str) -> Result<(String, &str), &'static str> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let Some(end) = rest.find('"') else {
            return Err("has a quote that is not closed; a field ends in the line in which it begins");
        };
        field += &rest[..end];
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn fields_are_told_apart_with_and_without_quotes() {
        for (line, expected) in [
            ("a,b", vec!["a", "b"]),
            (
                "-x_, 30.000, 40.000, \"/m/09x0r,/t/dd00088\"",
                vec!["-x_", "30.000", "40.000", "/m/09x0r,/t/dd00088"],
            ),
            ("0,/m/0,\"Say \"\"no\"\", twice\" ", vec!["0", "/m/0", "Say \"no\", twice"]),
            ("a,,\"\",", vec!["a", "", "", ""]),
            ("", vec![""]),
            ("in\"side,é", vec!["in\"side", "é"]),
        ] {
            assert_eq!(fields(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn quotes_that_do_not_match_are_refused() {
        assert!(fields("a,\"b").unwrap_err().contains("not closed"));
        assert!(fields("a,\"b\"\"").unwrap_err().contains("not closed"));
        assert!(fields("\"a\"b,c").unwrap_err().contains("after a quoted field"));
    }
}
