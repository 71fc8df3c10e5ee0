use super::*;

#[test]
fn each_form_gives_the_same_names() {
    let names = ["tench", "goldfish, Carassius auratus"];
    for text in [
        "index\twnid\tname\n1\tn01443537\tgoldfish, Carassius auratus\n0\tn01440764\ttench\n",
        "0\ttench\r\n1\tgoldfish, Carassius auratus\r\n",
        "tench\ngoldfish, Carassius auratus\n",
        "\u{feff}tench\r\ngoldfish, Carassius auratus\n\n",
        "index,mid,display_name\r\n1,/m/03fj2,\"goldfish, Carassius auratus\"\r\n0,/m/0,tench\r\n",
        r#"["tench", "goldfish, Carassius auratus"]"#,
        r#"{"1": "goldfish, Carassius auratus", "0": "tench"}"#,
        r#"{"id2label": {"0": "tench", "1": "goldfish, Carassius auratus"}, "hidden_size": 4}"#,
    ] {
        let got = ClassNames::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(got.names(), names, "{text}");
        assert_eq!((got.len(), got.name(1), got.name(2)), (2, Some(names[1]), None));
    }
    let table = ClassNames::parse("0\tn01440764\ttench\n").unwrap();
    assert_eq!((table.wnid(0), table.index_of_wnid()["n01440764"]), (Some("n01440764"), 0));
    let audioset = ClassNames::parse("index,mid,display_name\n0,/m/09x0r,\"Speech\"\n").unwrap();
    assert_eq!((audioset.wnid(0), audioset.name(0)), (Some("/m/09x0r"), Some("Speech")));
}

#[test]
fn imagenets_classes_are_found_by_all_that_they_are_called() {
    let names = ClassNames::imagenet_1k();
    assert_eq!((names.len(), names.name(281), names.wnid(281)), (1000, Some("tabby"), Some("n02123045")));
    let index = NameIndex::of(names);
    for name in ["n02123045", "N02123045", "Tabby", "tabby_cat", "tabby-cat", " tabby cat"] {
        assert_eq!(index.find(name), Some(NamedClass::One(281)), "{name}");
    }
    assert_eq!(index.find("crane"), Some(NamedClass::Several(134, 517)));
    assert_eq!(index.find("cat"), None);
}

#[test]
fn errors_say_where_and_what() {
    let text = |input: &str| ClassNames::parse(input).unwrap_err().to_string();
    assert!(text(" \n").contains("no class names"));
    assert!(text("index\tname\n").contains("no class names"));
    assert!(text("[]").contains("no class names"));
    assert!(text("0\ta\nx\tb").contains("line 2"));
    assert!(text("0\ta\n1\tb\tc").contains("line 2"));
    assert!(text("0\ta\tb\tc\td").contains("line 1"));
    let audioset = |rows: &str| text(&format!("index,mid,display_name\n{rows}"));
    assert!(audioset("").contains("no class names"));
    assert!(audioset("0,/m/0,a\n1,b").starts_with("line 3 has 2 fields, and each line must be index,mid"));
    assert!(audioset("x,/m/0,a").starts_with("line 2 does not begin with an index"));
    assert!(audioset("0,/m/0,\"a").contains("line 2 has a quote that is not closed"));
    assert!(audioset("0,/m/0,\u{1b}a").ends_with("name: 0,/m/0,\\u{1b}a"));
    assert!(audioset("0,/m/0,a\n0,/m/1,b").contains("given twice"));
    assert!(text("0\ta\n0\tb").contains("given twice"));
    assert!(text("0\ta\n7\tb").contains("class 7 is out of range"));
    assert!(text("0\ta\n18446744073709551615\tb").contains("out of range"));
    assert!(text(r#"{"0": 5}"#).contains("name of 0 is 5"));
    assert!(text(r#"{"zero": "a"}"#).contains("zero"));
    assert!(text("[1, ").contains("JSON"));
    for many in ["a\n", "0,", "[],"] {
        let form = if many == "a\n" { many.repeat(1 << 20) } else { format!("[{}0]", many.repeat(1 << 20)) };
        assert!(text(&form).contains("more than 524288 names"));
    }
    assert!(text(&format!("{{\"{}\": \"a\"}}", "x".repeat(100_000))).len() < 300);
    let path = std::path::Path::new("/nowhere/labels.tsv");
    assert!(ClassNames::open(path).unwrap_err().to_string().starts_with("/nowhere/labels.tsv"));
}
