//! The words of both languages.

use super::grammar::{Agreement, Gender, Number, Tense};

pub(super) const NOUNS: [&str; 48] = [
    "fox", "king", "boat", "farmer", "tree", "river", "teacher", "stone", "child", "horse", "doctor", "lamp",
    "bird", "soldier", "house", "cat", "queen", "road", "dog", "baker", "book", "wolf", "singer", "door",
    "bear", "judge", "letter", "sheep", "painter", "bridge", "mouse", "sailor", "garden", "goat", "poet",
    "window", "snake", "miller", "table", "eagle", "hunter", "cup", "frog", "nurse", "chair", "whale",
    "guard", "clock",
];
pub(super) const ADJECTIVES: [&str; 20] = [
    "red", "old", "small", "quiet", "tall", "young", "blue", "heavy", "happy", "dark", "green", "poor",
    "quick", "cold", "proud", "soft", "white", "lazy", "brave", "round",
];
pub(super) const VERBS: [&str; 24] = [
    "see", "give", "carry", "follow", "hear", "find", "paint", "push", "love", "watch", "help", "lift",
    "call", "fear", "bring", "hide", "draw", "keep", "miss", "praise", "wash", "touch", "catch", "greet",
];
pub(super) const ADVERBS: [&str; 8] =
    ["slowly", "often", "never", "gladly", "again", "loudly", "alone", "twice"];
pub(super) const PREPOSITIONS: [&str; 6] = ["near", "behind", "under", "with", "beside", "without"];
pub(super) const CONJUNCTIONS: [&str; 3] = ["and", "because", "while"];
/// Indefinite and definite of one, then of many.
pub(super) const ARTICLES: [&str; 4] = ["a", "the", "some", "these"];
/// What says the tense, in front of a clause.
pub(super) const TIMES: [(&str, Tense); 3] =
    [("yesterday", Tense::Past), ("today", Tense::Present), ("tomorrow", Tense::Future)];
pub(super) const THAT: &str = "that";
pub(super) const STOP: &str = ".";
/// Marks an object in the second language.
pub(super) const OBJECT: &str = "wo";
/// Ends a relative clause in the second language.
pub(super) const RELATIVE: &str = "ke";

const CONSONANTS: [&str; 12] = ["p", "t", "k", "m", "n", "s", "l", "r", "b", "d", "g", "v"];
const VOWELS: [&str; 5] = ["a", "e", "i", "o", "u"];

/// A word of the second language: two syllables that say which, and a letter that says of what kind.
fn made(kind: &str, index: usize) -> String {
    // 7 has no divisor in common with 60: neighbours are unlike.
    let at = index * 7 % 60;
    let syllable = |at: usize| format!("{}{}", CONSONANTS[at % 12], VOWELS[at / 12]);
    format!("{}{}{kind}", syllable(at), syllable((at * 5 + 11) % 60))
}

pub(super) fn noun(index: usize) -> String {
    made("n", index)
}

pub(super) fn adjective(index: usize, agreement: Agreement) -> String {
    format!("{}{}", made("l", index), ending(agreement))
}

pub(super) fn verb(index: usize) -> String {
    made("r", index)
}

/// What follows a verb: its tense, and what it agrees with.
pub(super) fn verb_ending(tense: Tense, agreement: Agreement) -> String {
    let tense = match tense {
        Tense::Past => "ti",
        Tense::Present => "mo",
        Tense::Future => "zu",
    };
    format!("{tense}{}", ending(agreement))
}

pub(super) fn article(is_definite: bool, agreement: Agreement) -> String {
    format!("{}{}", if is_definite { "h" } else { "j" }, ending(agreement))
}

pub(super) fn adverb(index: usize) -> String {
    made("s", index)
}

pub(super) fn preposition(index: usize) -> String {
    made("k", index)
}

pub(super) fn conjunction(index: usize) -> String {
    made("m", index)
}

fn ending(Agreement { gender, number }: Agreement) -> &'static str {
    match (gender, number) {
        (Gender::First, Number::One) => "a",
        (Gender::First, Number::Many) => "ai",
        (Gender::Second, Number::One) => "o",
        (Gender::Second, Number::Many) => "oi",
        (Gender::Third, Number::One) => "u",
        (Gender::Third, Number::Many) => "ui",
    }
}

/// All words.
pub(super) fn words() -> Vec<String> {
    let first = [&NOUNS[..], &ADJECTIVES, &VERBS, &ADVERBS, &PREPOSITIONS, &CONJUNCTIONS, &ARTICLES].concat();
    let first = first.into_iter().chain(TIMES.map(|(word, _)| word)).chain([THAT, STOP, OBJECT, RELATIVE]);
    let mut words: Vec<String> = first.map(str::to_owned).collect();
    words.extend((0..NOUNS.len()).map(noun));
    words.extend((0..VERBS.len()).map(verb));
    words.extend((0..ADVERBS.len()).map(adverb));
    words.extend((0..PREPOSITIONS.len()).map(preposition));
    words.extend((0..CONJUNCTIONS.len()).map(conjunction));
    for agreement in Agreement::all() {
        words.extend((0..ADJECTIVES.len()).map(|index| adjective(index, agreement)));
        words.extend([false, true].map(|is_definite| article(is_definite, agreement)));
        words.extend(TIMES.map(|(_, tense)| verb_ending(tense, agreement)));
    }
    words
}
