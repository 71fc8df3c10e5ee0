//! Damaged inputs, each a function of its number.

use crate::Target;
use crate::random::Random;

/// The longest input.
const LONGEST: usize = 1 << 16;

/// Inputs made from a target's seeds. Case `n` is the same on every machine, so that a number is all that a finding needs.
pub struct Mutations {
    target: &'static Target,
    seeds: Vec<Vec<u8>>,
}

impl Mutations {
    /// Reads the seeds of a target.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn new(target: &'static Target) -> Self {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        Self { target, seeds }
    }

    /// The input of a number. The first are the seeds themselves.
    #[must_use]
    pub fn case(&self, number: u64) -> Vec<u8> {
        if let Some(seed) = usize::try_from(number).ok().and_then(|number| self.seeds.get(number)) {
            return seed.clone();
        }
        let name = self.target.name.bytes().fold(0, |name, byte| name * 31 + u64::from(byte));
        let mut random = Random::new([number, name]);
        let mut input = random.choose(&self.seeds).clone();
        // Most often one change, seldom many.
        let changes = 1 + random.next().trailing_zeros().min(12);
        for _ in 0..changes {
            self.change(&mut input, &mut random);
            input.truncate(LONGEST);
        }
        if random.below(2) == 0 {
            (self.target.mend)(&mut input);
        }
        input
    }

    fn change(&self, input: &mut Vec<u8>, random: &mut Random) {
        if input.is_empty() {
            input.push(random.next() as u8);
            return;
        }
        let at = random.below(input.len());
        match random.below(16) {
            0 | 1 => input[at] ^= 1 << random.below(8),
            2 => input[at] = random.next() as u8,
            3 => input[at] = *random.choose(BYTES),
            4 | 5 => overwrite(input, at, &integer(random)),
            6 | 7 => {
                let (start, end) = digits(input, at);
                let number = *random.choose(NUMBERS);
                input.splice(start..end, number.bytes());
            }
            8 => input.truncate(at),
            9 => {
                let chunk = chunk(input, at, random);
                input.drain(chunk);
            }
            10 => {
                let copy = input[chunk(input, at, random)].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            11 => {
                // Now and then until the input is as long as it may be.
                let copy = input[at..(at + 1 + random.below(24)).min(input.len())].to_vec();
                let room = LONGEST.saturating_sub(input.len()) / copy.len();
                let times = if random.below(8) == 0 { room } else { room.min(1 + random.below(100)) };
                input.splice(at..at, copy.repeat(times));
            }
            12 => {
                let word = *random.choose(WORDS);
                input.splice(at..at, word.bytes());
            }
            13 => {
                let other = random.choose(&self.seeds);
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            14 => {
                let other = random.choose(&self.seeds);
                if !other.is_empty() {
                    let from = random.below(other.len());
                    overwrite(input, at, &other[chunk(other, from, random)]);
                }
            }
            _ => {
                let random_bytes: Vec<u8> = (0..1 + random.below(8)).map(|_| random.next() as u8).collect();
                input.splice(at..at, random_bytes);
            }
        }
    }
}

/// Bytes that mean something in some format.
const BYTES: &[u8] = b"\x00\x01\x7f\x80\xfe\xff\"'{}[](),:.=-+0199eE\\/\n\t #";

/// Numbers in words: at the ends of types, and none.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "3",
    "255",
    "256",
    "1024",
    "65535",
    "65536",
    "1000000",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "99999999999999999999999",
    "0.5",
    "-0.0",
    "1e308",
    "1e309",
    "-1e308",
    "1e-320",
    "1e999",
    "NaN",
    "nan",
    "inf",
    "Infinity",
    "",
    "00",
    "0x10",
    "1_0",
];

/// Words of JSON, TOML, specs and names.
const WORDS: &[&str] = &[
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "[0]",
    "\"\"",
    "\"x\":",
    "{\"a\":",
    "[[",
    "]]",
    "}}",
    "\\u0000",
    "\\ud800",
    "\u{1b}[31m",
    "\u{202e}",
    "\r\n",
    "\u{feff}",
    "..",
    "../",
    "/",
    "\\",
    "#",
    "=",
    ":",
    ",",
    "'''",
    "\"\"\"",
    "[a]\n",
    "[[a]]\n",
    "a.b = 1\n",
    "module.",
    "model.",
    "blocks.0.",
    ".weight",
    "\0",
    "é",
    "𝄞",
    "tome:",
    "r=",
    "-",
    "  ",
];

/// An integer at the end of a type, or a small one, in one of the ways to write it.
fn integer(random: &mut Random) -> Vec<u8> {
    let bits = *random.choose(&[8_u32, 16, 31, 32, 63, 64]);
    let end = 1_u128 << bits;
    let value = match random.below(6) {
        0 => 0,
        1 => end - 1,
        2 => end / 2,
        3 => end / 2 - 1,
        4 => random.below(64) as u128,
        _ => u128::from(random.next()) % end,
    };
    let length = (bits.div_ceil(8) as usize).next_power_of_two();
    let little = value.to_le_bytes()[..length].to_vec();
    if random.below(2) == 0 { little } else { little.into_iter().rev().collect() }
}

fn overwrite(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = (at + bytes.len()).min(input.len());
    input.splice(at..end, bytes.iter().copied());
}

/// The digits around a place or after it; nothing if none follow soon.
fn digits(input: &[u8], at: usize) -> (usize, usize) {
    let near = input[at..].iter().take(64).position(u8::is_ascii_digit).map_or(at, |digit| at + digit);
    let before = input[..near].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let after = input[near..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (near - before, near + after)
}

/// A part of an input from `at` on, most often a short one.
fn chunk(input: &[u8], at: usize, random: &mut Random) -> std::ops::Range<usize> {
    let most = 1 << random.below(10);
    at..(at + 1 + random.below(most)).min(input.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TARGETS, target};

    #[test]
    fn a_case_is_the_same_whenever_it_is_made() {
        let one = Mutations::new(target("labels").unwrap());
        let other = Mutations::new(target("labels").unwrap());
        let cases: Vec<_> = (0..500).map(|number| one.case(number)).collect();
        assert!((0..500).rev().all(|number| other.case(number) == cases[number as usize]));
        let mut distinct = cases.clone();
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 450, "{} of 500 are different", distinct.len());
    }

    #[test]
    fn seeds_come_first_and_no_case_is_longer_than_the_longest() {
        for target in TARGETS {
            let mutations = Mutations::new(target);
            assert_eq!(mutations.case(0), (target.seeds)()[0], "{}", target.name);
            let longest = (0..2000).map(|number| mutations.case(number).len()).max();
            assert!(longest.is_some_and(|longest| longest <= LONGEST + 8), "{}: {longest:?}", target.name);
        }
    }
}
