//! What a `tokenizer.json` asks for, compared with what it is worth before the `tokenizers` crate sees it: that takes
//! memory and time for whatever the file says.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::fmt;

/// Values of JSON. A vocabulary of a quarter of a million, with twice as many merges, has two million.
const MOST_VALUES: usize = 2_500_000;
/// Normalizers, splitters and decoders, with those in sequences.
const MOST_STEPS: usize = 64;
/// Times that a text may grow: SentencePiece's table of NFKC has 33 bytes for one letter, and a space may become three.
const MOST_GROWTH: usize = 128;
/// Bytes of a pattern.
const LONGEST_PATTERN: usize = 16 << 10;
/// Bytes that are put before or behind a piece, or before a text.
const LONGEST_AFFIX: usize = 64;
/// Characters of a word that is looked up piece by piece.
const LONGEST_WORD: u64 = 10_000;
/// Bytes of a piece of the vocabulary. The crate keeps pieces in a tree of a level for each byte, which it takes down by
/// recursion: one of 60,000 bytes overflows the stack.
const LONGEST_PIECE: usize = 2_000;
/// Bytes of all tokens beside the vocabulary.
const MOST_ADDED: usize = 1 << 20;
/// Places of the text in what is added to it, in one processor and in a pair of texts.
const MOST_PLACES: usize = 8;

/// What is looked at. Vocabulary and merges are as large as the file makes them.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    added_tokens: Option<Vec<Added>>,
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Added {
    #[serde(default)]
    content: String,
}

#[derive(Deserialize)]
struct Model {
    max_input_chars_per_word: Option<u64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    vocab: Option<Longest>,
    #[serde(rename = "merges")]
    _merges: Option<IgnoredAny>,
}

/// Bytes of the longest text in a part of JSON, which is not kept.
struct Longest(usize);

impl<'de> Deserialize<'de> for Longest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Looking;

        impl<'de> Visitor<'de> for Looking {
            type Value = usize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
                Ok(text.len())
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<usize, E> {
                Ok(0)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<usize, E> {
                Ok(0)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<usize, E> {
                Ok(0)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<usize, E> {
                Ok(0)
            }

            fn visit_unit<E: Error>(self) -> Result<usize, E> {
                Ok(0)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<usize, A::Error> {
                let mut longest = 0;
                while let Some(Longest(entry)) = list.next_element()? {
                    longest = longest.max(entry);
                }
                Ok(longest)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
                let mut longest = 0;
                while let Some((Longest(key), Longest(value))) = map.next_entry()? {
                    longest = longest.max(key).max(value);
                }
                Ok(longest)
            }
        }

        deserializer.deserialize_any(Looking).map(Self)
    }
}

/// Refuses a file that asks for too much, or is no tokenizer at first sight, with the reason.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let values = values(bytes);
    if values > MOST_VALUES {
        return Err(format!("it has {values} values, and at most {MOST_VALUES} are taken"));
    }
    let parts: Parts = serde_json::from_slice(bytes).map_err(|error| format!("is no tokenizer ({error})"))?;
    let added: usize = parts.added_tokens.iter().flatten().map(|token| token.content.len()).sum();
    if added > MOST_ADDED {
        return Err(format!("its added tokens have {added} bytes, and at most {MOST_ADDED} are taken"));
    }
    if let Some(model) = &parts.model {
        let longest = model.max_input_chars_per_word.unwrap_or(0);
        if longest > LONGEST_WORD {
            return Err(format!(
                "max_input_chars_per_word is {longest}, and at most {LONGEST_WORD} is taken"
            ));
        }
        let piece = model.vocab.as_ref().map_or(0, |longest| longest.0);
        if piece > LONGEST_PIECE {
            return Err(format!(
                "a piece of its vocabulary has {piece} bytes, and at most {LONGEST_PIECE} are taken"
            ));
        }
        for affix in [&model.continuing_subword_prefix, &model.end_of_word_suffix].into_iter().flatten() {
            let len = affix.len();
            if len > LONGEST_AFFIX {
                return Err(format!(
                    "a prefix or suffix of its pieces has {len} bytes, and at most {LONGEST_AFFIX} are taken"
                ));
            }
        }
    }
    let mut steps = Steps::default();
    [&parts.normalizer, &parts.pre_tokenizer].into_iter().try_for_each(|part| steps.add(part))?;
    Steps::default().add(&parts.decoder)?;
    steps.add(&parts.post_processor)
}

/// Values of a JSON text, but for the last of every list and object.
fn values(bytes: &[u8]) -> usize {
    let (mut count, mut text, mut escaped) = (0, false, false);
    for byte in bytes {
        match (text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => text = !text,
            (false, b',' | b'[' | b'{') => count += 1,
            _ => {}
        }
    }
    count
}

/// What the steps do together, whatever their order.
struct Steps {
    count: usize,
    growth: usize,
    /// Where the text stands in what is added to it.
    places: usize,
}

impl Default for Steps {
    fn default() -> Self {
        Self { count: 0, growth: 1, places: 0 }
    }
}

impl Steps {
    /// Adds a step, and those in it.
    fn add(&mut self, step: &Value) -> Result<(), String> {
        match step {
            Value::Array(steps) => steps.iter().try_for_each(|step| self.add(step)),
            Value::Object(fields) => {
                self.count += usize::from(fields.contains_key("type"));
                self.places += usize::from(fields.contains_key("Sequence"));
                if self.count > MOST_STEPS {
                    return Err(format!("it has more than {MOST_STEPS} normalizers and other steps"));
                }
                if self.places > MOST_PLACES {
                    return Err(format!("it repeats a text more than {MOST_PLACES} times"));
                }
                let text = |name: &str| fields.get(name).and_then(Value::as_str);
                if let (Some(pattern), Some(content)) = (fields.get("pattern"), text("content")) {
                    // A pattern may match nothing, between any two letters.
                    let replaced = pattern.get("String").and_then(Value::as_str).map_or(0, str::len);
                    let grown = match replaced {
                        0 => content.len() + 1,
                        len => content.len().div_ceil(len),
                    };
                    self.grow(grown)?;
                }
                if let Some(len) = text("prepend").map(str::len).filter(|len| *len > LONGEST_AFFIX) {
                    return Err(format!("it prepends {len} bytes, and at most {LONGEST_AFFIX} are taken"));
                }
                if let Some(table) = text("precompiled_charsmap") {
                    self.grow(longest_entry(table)?)?;
                }
                if let Some(pattern) = text("Regex").filter(|pattern| pattern.len() > LONGEST_PATTERN) {
                    let len = pattern.len();
                    return Err(format!(
                        "a pattern has {len} bytes, and at most {LONGEST_PATTERN} are taken"
                    ));
                }
                fields.values().try_for_each(|value| self.add(value))
            }
            _ => Ok(()),
        }
    }

    fn grow(&mut self, times: usize) -> Result<(), String> {
        self.growth = self.growth.saturating_mul(times.max(1));
        match self.growth {
            growth if growth <= MOST_GROWTH => Ok(()),
            growth => Err(format!(
                "it makes texts up to {growth} times as long, and at most {MOST_GROWTH} is taken"
            )),
        }
    }
}

/// Bytes of the longest text of SentencePiece's table of characters, in base 64: a number of bytes, as many bytes of a
/// trie, and texts that end with a zero.
fn longest_entry(table: &str) -> Result<usize, String> {
    let bytes = base_64(table);
    let (size, rest) = bytes.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let size = u32::from_le_bytes(*size) as usize;
    let Some(texts) = rest.get(size..) else {
        return Err(format!("its table of characters has {} bytes, not {size} of a trie", rest.len()));
    };
    Ok(texts.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or(0))
}

/// Bytes in base 64; none of what is no base 64, which the `tokenizers` crate refuses itself.
fn base_64(text: &str) -> Vec<u8> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{base_64, check, longest_entry};

    fn refused(part: &str) -> String {
        check(format!("{{{part}, \"model\": {{\"type\": \"WordLevel\", \"vocab\": {{}}}}}}").as_bytes())
            .unwrap_err()
    }

    #[test]
    fn bytes_come_back_from_base_64() {
        for (text, bytes) in [("", ""), ("YQ==", "a"), ("YWI=", "ab"), ("YWJj", "abc"), ("YWJjZA", "abcd")] {
            assert_eq!(base_64(text), bytes.as_bytes());
        }
    }

    #[test]
    fn a_table_of_characters_may_not_claim_more_than_it_has() {
        // Four bytes of a trie, then "ab" and "cde".
        assert_eq!(longest_entry("BAAAAAAAAABhYgBjZGUA"), Ok(3));
        let error =
            refused(r#""normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////wAAAAA="}"#);
        assert!(error.contains("4294967295"), "{error}");
    }

    #[test]
    fn texts_may_not_grow_without_end() {
        let twice = r#"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#;
        let sequence = |count: usize| {
            format!(
                r#""normalizer": {{"type": "Sequence", "normalizers": [{}]}}"#,
                vec![twice; count].join(",")
            )
        };
        assert!(check(format!("{{{}}}", sequence(7)).as_bytes()).is_ok());
        assert!(refused(&sequence(8)).contains("256 times"), "{}", refused(&sequence(8)));
        let anywhere = r#""decoder": {"type": "Replace", "pattern": {"Regex": ""}, "content": "AAAA"}"#;
        assert!(check(format!("{{{anywhere}}}").as_bytes()).is_ok());
        assert!(refused(&anywhere.replace("AAAA", &"A".repeat(200))).contains("201 times"));
    }

    #[test]
    fn steps_places_patterns_and_affixes_are_bounded() {
        let lower = vec![r#"{"type": "Lowercase"}"#; 70].join(",");
        assert!(
            refused(&format!(r#""normalizer": {{"type": "Sequence", "normalizers": [{lower}]}}"#))
                .contains("64")
        );
        let places = [r#"{"Sequence": {"id": "A", "type_id": 0}}"#; 9].join(",");
        let template = format!(r#""post_processor": {{"type": "TemplateProcessing", "single": [{places}]}}"#);
        assert!(refused(&template).contains("8 times"));
        let pattern = format!(
            r#""pre_tokenizer": {{"type": "Split", "pattern": {{"Regex": "{}"}}}}"#,
            "a".repeat(20_000)
        );
        assert!(refused(&pattern).contains("20000 bytes"));
        let prepend = format!(r#""normalizer": {{"type": "Prepend", "prepend": "{}"}}"#, "x".repeat(65));
        assert!(refused(&prepend).contains("prepends 65 bytes"));
        let words =
            r#"{"model": {"type": "WordPiece", "vocab": {}, "max_input_chars_per_word": 4000000000}}"#;
        assert!(check(words.as_bytes()).unwrap_err().contains("max_input_chars_per_word"));
        let affix = format!(r#"{{"model": {{"type": "BPE", "end_of_word_suffix": "{}"}}}}"#, "x".repeat(65));
        assert!(check(affix.as_bytes()).unwrap_err().contains("65 bytes"));
        let added = format!(r#"{{"added_tokens": [{{"content": "{}"}}]}}"#, "x".repeat(2 << 20));
        assert!(check(added.as_bytes()).unwrap_err().contains("2097152 bytes"));
        let piece = |bytes: usize| {
            format!(
                r#"{{"model": {{"type": "Unigram", "vocab": [["a", -1.5], ["{}", null]]}}}}"#,
                "x".repeat(bytes)
            )
        };
        assert!(check(piece(2_000).as_bytes()).is_ok());
        assert!(check(piece(60_000).as_bytes()).unwrap_err().contains("60000 bytes"));
        let many = format!("{{\"x\": [{}0]}}", "0,".repeat(2_500_001));
        assert!(check(many.as_bytes()).unwrap_err().contains("values"));
    }
}
