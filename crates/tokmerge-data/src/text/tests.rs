use super::{Lines, Role, TextError, TextForm, TextProcessor, TokenIds, Tokenizer, check_text, read_lines};
use proptest::prelude::*;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

/// A tokenizer of words with class and separator.
const WORDS: &str = r###"{
  "version": "1.0", "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
  "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
  "pad_token": "[PAD]"}, "added_tokens": [], "normalizer": {"type": "Lowercase"},
  "pre_tokenizer": {"type": "WhitespaceSplit"},
  "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}, "decoder": null,
  "model": {"type": "WordLevel", "vocab": {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "[UNK]": 5}, "unk_token": "[UNK]"}}"###;

fn tokenizer(json: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, json).unwrap();
    (dir, path)
}

fn processor() -> TextProcessor {
    let (_dir, path) = tokenizer(WORDS);
    TextProcessor::new(512).with_tokenizer(Arc::new(Tokenizer::open(&path).unwrap()))
}

#[test]
fn texts_are_neither_padded_nor_cut_by_what_the_file_says() {
    let TokenIds { ids, roles, .. } = processor().encode("A b A zebra").unwrap();
    assert_eq!(ids, [1, 3, 4, 3, 5, 2]);
    let expected = [Role::Class, Role::Word, Role::Word, Role::Word, Role::Word, Role::Separator];
    assert_eq!(roles, expected);
}

#[test]
fn long_texts_keep_their_end_token() {
    let short = processor().with_max_tokens(4).unwrap();
    assert_eq!(short.encode("a b a b a b").unwrap().ids, [1, 3, 4, 2]);
    let long = "a ".repeat(100_000);
    assert_eq!(processor().encode(&long).unwrap().len(), 256);
    let error = processor().with_max_tokens(513).unwrap_err().to_string();
    assert!(error.contains("513") && error.contains("4 to 512"), "{error}");
}

#[test]
fn texts_without_a_token_are_refused() {
    for text in ["", "   ", "\t"] {
        assert!(matches!(processor().encode(text), Err(TextError::Empty)), "{text:?}");
    }
    assert!(processor().encode("😀").is_ok());
    assert!(matches!(TextProcessor::new(8).encode("a"), Err(TextError::NoTokenizer)));
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let (_dir, path) = tokenizer(WORDS);
    let tokenizer = Tokenizer::open(&path).unwrap();
    assert!(tokenizer.check(6).is_ok() && tokenizer.check(100).is_ok());
    let error = tokenizer.check(5).unwrap_err().to_string();
    assert!(
        error.contains("up to 5") && error.contains("up to 4") && error.contains("another model"),
        "{error}"
    );
}

#[test]
fn what_is_no_tokenizer_is_one_line() {
    for text in ["", "{}", "[1, 2", "{\"model\": {\"type\": \"None\"}}"] {
        let (_dir, path) = tokenizer(text);
        let error = Tokenizer::open(&path).err().expect("no tokenizer").to_string();
        assert!(!error.contains('\n') && error.contains("tokenizer.json"), "{error}");
    }
}

#[test]
fn what_makes_the_library_panic_is_one_line() {
    let damaged = |normalizer: &str| WORDS.replace(r#"{"type": "Lowercase"}"#, normalizer);
    let open = |json: String| Tokenizer::from_bytes("tokenizer.json".as_ref(), json.as_bytes());
    // A table of characters that is not base 64.
    let error =
        open(damaged(r#"{"type": "Precompiled", "precompiled_charsmap": "*"}"#)).err().expect("refused");
    assert!(error.to_string().contains("panic"), "{error}");
    // A trie whose first node points beyond its end.
    let opened = open(damaged(r#"{"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhYgBjZGUA"}"#));
    let error = opened.expect("opens").encode("a b", 8).unwrap_err();
    assert!(error.to_string().contains("panic"), "{error}");
    let error = open(damaged("{\"type\": \"Lowercase\"}, \"normalizer\": null")).err().expect("refused");
    assert!(error.to_string().contains("duplicate field"), "{error}");
}

#[test]
fn texts_of_one_length_are_filled_with_tokens_that_take_part() {
    let filled = processor().filled_with(2).with_max_tokens(6).unwrap().encode("a").unwrap();
    assert_eq!(filled.ids, [1, 3, 2, 2, 2, 2]);
    assert_eq!(filled.roles[3..], [Role::Separator; 3]);
}

#[test]
fn an_end_is_added_where_the_tokenizer_adds_none() {
    let ended = |text| processor().ended_by(4).with_max_tokens(5).unwrap().encode(text).unwrap();
    assert_eq!((ended("a").ids, ended("a").roles[3]), (vec![1, 3, 2, 4], Role::Separator));
    assert_eq!(ended("a a a a a").ids, [1, 3, 3, 3, 4], "within the limit");
    assert_eq!(processor().ended_by(2).encode("a").unwrap().ids, [1, 3, 2], "once");
}

#[test]
fn a_text_says_whether_its_end_is_left_out() {
    let five = processor().with_max_tokens(5).unwrap();
    let is_cut = |processor: &TextProcessor, text: &str| processor.encode(text).unwrap().is_cut;
    assert_eq!(["a a a", "a a a a"].map(|text| is_cut(&five, text)), [false, true]);
    // The end that is added takes the place of a separator.
    let ended = five.ended_by(4);
    assert_eq!(["a a a", "a a a a"].map(|text| is_cut(&ended, text)), [false, true]);
}

#[test]
fn what_stands_behind_the_first_end_is_left_out_where_nobody_reads_it() {
    let read = |text| processor().up_to_first_end().ended_by(5).encode(text).unwrap();
    assert_eq!(read("a b").ids, [1, 3, 4, 2, 5]);
    // The tokenizer writes what it does not know as the end.
    let TokenIds { ids, roles, .. } = read("a zebra b");
    assert_eq!((ids, roles.len()), (vec![1, 3, 5], 3));
}

#[test]
fn a_file_is_one_text_a_line_and_bad_lines_are_named() {
    let bytes = b"\xEF\xBB\xBFone\r\n\ntwo \xFF\nthree".to_vec();
    let lines: Vec<_> = Lines::new(Cursor::new(bytes)).map(Result::unwrap).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0].as_deref().unwrap(), "one");
    assert_eq!(lines[1].as_deref().unwrap(), "");
    let error = lines[2].as_ref().unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("byte 5"), "{error}");
    assert_eq!(lines[3].as_deref().unwrap(), "three");
}

#[test]
fn what_is_no_file_of_texts_is_known_by_its_beginning() {
    for texts in [&b""[..], b"one\ntwo", b"one\n\xFF\n", "ä\nö".as_bytes(), &b"caf\xC3"[..], b"\n\n\n"] {
        assert!(check_text(texts).is_ok(), "{texts:?}");
    }
    let said = |bytes: &[u8]| check_text(bytes).unwrap_err().to_string();
    assert!(said(b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR").contains("byte 9 is zero"));
    let latin = said(b"caf\xE9 au lait\nna\xEFve\nwell\n\n");
    assert!(latin.contains("not UTF-8 (in 2 of its first 3 lines); save it as UTF-8"), "{latin}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("photo.png");
    std::fs::write(&path, b"\x89PNG\r\n\x1A\n\0").unwrap();
    assert!(read_lines(&path).is_err_and(|error| error.to_string().contains("no file of texts")));
}

#[test]
fn a_tokenizer_of_words_numbers_them_as_they_come_and_adds_what_its_form_says() {
    let words = ["What colour", "is it?", "what", "RED"];
    let bert = Tokenizer::of_words(words, TextForm::ClassAndSeparator).unwrap();
    let TokenIds { ids, roles, .. } = bert.encode("Is it  red? zebra", 64).unwrap();
    assert_eq!(ids, [2, 6, 7, 9, 8, 1, 3]);
    assert_eq!((roles[0], roles[1], roles[6]), (Role::Class, Role::Word, Role::Separator));
    assert_eq!(
        (bert.id("[PAD]"), bert.id("what"), bert.id("What"), bert.vocabulary()),
        (Some(0), Some(4), None, 10)
    );
    let t5 = Tokenizer::of_words(words, TextForm::End).unwrap();
    let TokenIds { ids, roles, .. } = t5.encode("red zebra", 64).unwrap();
    assert_eq!((ids, roles), (vec![8, 2, 1], vec![Role::Word, Role::Word, Role::Separator]));
    assert_eq!(["<pad>", "</s>", "<unk>"].map(|token| t5.id(token)), [Some(0), Some(1), Some(2)]);
    assert_eq!(t5.encode("red red red red", 3).unwrap().ids, [8, 8, 1]);
}

#[test]
fn a_tokenizer_that_was_saved_is_the_same_when_it_is_opened() {
    for form in [TextForm::ClassAndSeparator, TextForm::End] {
        let made = Tokenizer::of_words(["one", "two", "Ünïcode", "?"], form).unwrap();
        let (_dir, path) = tokenizer(made.to_json());
        let opened = Tokenizer::open(&path).unwrap();
        assert_eq!((opened.digest(), opened.to_json()), (made.digest(), made.to_json()));
        for text in ["one two?", "ÜNÏCODE three", "?"] {
            assert_eq!(opened.encode(text, 32).unwrap(), made.encode(text, 32).unwrap());
        }
    }
}

#[test]
fn a_tokenizer_of_no_words_is_refused() {
    for words in [&[][..], &["", "  \n"]] {
        assert!(matches!(Tokenizer::of_words(words, TextForm::End), Err(TextError::NoWords)));
    }
}

proptest! {
    #[test]
    fn texts_of_the_words_of_a_tokenizer_come_back_in_lower_case(
        words in prop::collection::vec("[a-zA-Z0-9äÖŠı一二]{1,9}|[?!.,;'-]", 1..24),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let text = picks.iter().map(|pick| pick.get(&words).as_str()).collect::<Vec<_>>().join(" ");
        let lower: String = text.chars().flat_map(char::to_lowercase).collect();
        for form in [TextForm::ClassAndSeparator, TextForm::End] {
            let tokenizer = Tokenizer::of_words(&words, form).unwrap();
            let ids = tokenizer.encode(&text, 64).unwrap().ids;
            let around = if form == TextForm::End { 1 } else { 2 };
            prop_assert_eq!(ids.len(), picks.len() + around);
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), lower.clone());
        }
    }
}
