//! What the official evaluation of VQA makes of an answer before it compares it.

/// Marks that are taken out: beside a space, and everywhere where the answer has a comma between digits; elsewhere a space
/// takes their place.
const MARKS: &[char] = &[
    ';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',', '?', '!',
];

const ARTICLES: [&str; 3] = ["a", "an", "the"];

const NUMBERS: [(&str, &str); 12] = [
    ("none", "0"),
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
];

/// Contractions that are common and are no words without their apostrophe.
const CONTRACTIONS: [&str; 40] = [
    "ain't",
    "aren't",
    "can't",
    "couldn't",
    "didn't",
    "doesn't",
    "don't",
    "hadn't",
    "hasn't",
    "haven't",
    "he's",
    "how's",
    "i'm",
    "i've",
    "isn't",
    "it'll",
    "let's",
    "ma'am",
    "mightn't",
    "mustn't",
    "needn't",
    "o'clock",
    "she's",
    "shouldn't",
    "somebody's",
    "someone's",
    "that's",
    "there's",
    "they'd",
    "they'll",
    "they're",
    "they've",
    "wasn't",
    "weren't",
    "what's",
    "where's",
    "who's",
    "won't",
    "wouldn't",
    "you're",
];

/// The answer in lower case, without articles and punctuation, with the number words from none to ten as digits, the
/// apostrophes of common contractions, and one space between words.
///
/// A full stop stays in front of a digit, an apostrophe everywhere; a mark between two words becomes a space.
///
/// ```
/// use tokmerge_metrics::normalise;
///
/// assert_eq!(normalise("The two, black-and-white dogs."), "2 black and white dogs");
/// ```
#[must_use]
pub fn normalise(answer: &str) -> String {
    without_marks(answer.trim())
        .to_lowercase()
        .split_whitespace()
        .filter(|word| !ARTICLES.contains(word))
        .map(|word| {
            let digits = NUMBERS.iter().find(|(name, _)| *name == word).map(|(_, digits)| *digits);
            digits.or_else(|| contraction(word)).unwrap_or(word)
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn contraction(word: &str) -> Option<&'static str> {
    CONTRACTIONS.iter().copied().find(|contraction| {
        contraction.len() == word.len() + 1 && contraction.chars().filter(|c| *c != '\'').eq(word.chars())
    })
}

/// The answer without punctuation.
fn without_marks(answer: &str) -> String {
    let characters: Vec<char> = answer.chars().collect();
    let neighbours =
        |at: usize| (at.checked_sub(1).map(|at| characters[at]), characters.get(at + 1).copied());
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let grouped = (0..characters.len()).any(|at| {
        let (before, after) = neighbours(at);
        characters[at] == ',' && is_digit(before) && is_digit(after)
    });
    // One place decides for all marks of a kind.
    let vanishes = |mark: char| {
        grouped
            || (0..characters.len()).any(|at| {
                let (before, after) = neighbours(at);
                characters[at] == mark && (before == Some(' ') || after == Some(' '))
            })
    };
    let kept = characters.iter().enumerate().filter_map(|(at, &character)| match character {
        '.' => is_digit(neighbours(at).1).then_some('.'),
        mark if MARKS.contains(&mark) => (!vanishes(mark)).then_some(' '),
        other => Some(other),
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn capitals_articles_number_words_and_marks_go() {
        for (answer, expected) in [
            ("Red", "red"),
            ("  a Dog and the\tcat ", "dog and cat"),
            ("None", "0"),
            ("twenty one", "twenty 1"),
            ("An apple a day", "apple day"),
            ("yes!", "yes"),
            ("1,000", "1000"),
            ("2.5", "2.5"),
            ("3 p.m.", "3 pm"),
            ("$.50.", "$.50"),
            ("dont", "don't"),
            ("it's", "it's"),
            ("its", "its"),
            ("ÄPFEL", "äpfel"),
            ("?", ""),
        ] {
            assert_eq!(normalise(answer), expected, "{answer}");
        }
    }

    #[test]
    fn a_mark_between_words_parts_them_unless_one_of_its_kind_stands_beside_a_space() {
        assert_eq!(normalise("black/white"), "black white");
        assert_eq!(normalise("black/white / grey"), "blackwhite grey");
        assert_eq!(normalise("black-white, grey"), "black white grey");
    }
}
