//! The order in which class folders are numbered.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::ffi::OsStr;

/// The order in which class folders are numbered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassOrder {
    /// Numbers in names count as numbers: 2 before 10.
    #[default]
    Natural,
    /// Character by character, as torchvision and timm sort: 10 before 2.
    Plain,
}

impl ClassOrder {
    /// As users write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Natural => "natural",
            Self::Plain => "plain",
        }
    }

    /// Compares two names.
    pub(super) fn compare(self, a: &OsStr, b: &OsStr) -> Ordering {
        match self {
            Self::Natural => natural(a.as_encoded_bytes(), b.as_encoded_bytes()).then_with(|| a.cmp(b)),
            Self::Plain => a.cmp(b),
        }
    }
}

/// Runs of digits by their value, everything else byte by byte.
fn natural(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let (digits_a, digits_b) = (digits(a), digits(b));
        if digits_a.is_empty() || digits_b.is_empty() {
            match (a.split_first(), b.split_first()) {
                (Some((first, rest_a)), Some((second, rest_b))) if first == second => {
                    (a, b) = (rest_a, rest_b)
                }
                (first, second) => return first.map(|(byte, _)| byte).cmp(&second.map(|(byte, _)| byte)),
            }
        } else {
            let (value_a, value_b) = (value(digits_a), value(digits_b));
            match value_a.len().cmp(&value_b.len()).then_with(|| value_a.cmp(value_b)) {
                Ordering::Equal => (a, b) = (&a[digits_a.len()..], &b[digits_b.len()..]),
                order => return order,
            }
        }
    }
}

/// The digits in front.
fn digits(text: &[u8]) -> &[u8] {
    &text[..text.iter().take_while(|byte| byte.is_ascii_digit()).count()]
}

/// Digits without leading zeros.
fn value(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|digit| **digit == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted<'a>(order: ClassOrder, names: &[&'a str]) -> Vec<&'a str> {
        let mut names = names.to_vec();
        names.sort_by(|a, b| order.compare(OsStr::new(a), OsStr::new(b)));
        names
    }

    #[test]
    fn numbers_count_as_numbers_or_as_text() {
        let names = ["10", "9", "a2b", "a10b", "a2", "a", "", "01", "1", "b", "99999999999999999999999", "x"];
        let natural =
            ["", "01", "1", "9", "10", "99999999999999999999999", "a", "a2", "a2b", "a10b", "b", "x"];
        assert_eq!(sorted(ClassOrder::Natural, &names), natural);
        let mut plain = names.to_vec();
        plain.sort_unstable();
        assert_eq!(sorted(ClassOrder::Plain, &names), plain);
        assert_ne!(plain, natural);
    }
}
