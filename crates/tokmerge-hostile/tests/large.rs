//! Inputs as large as a reader takes them, made so that each byte costs as much as it can.

use std::time::Duration;
use tokmerge_hostile::{Counting, Outcome, target, time_of};

#[global_allocator]
static MEMORY: Counting = Counting;

/// What may be taken for any input, however large.
const MEMORY_LIMIT: usize = 512 << 20;
/// Far more than the largest inputs take when optimised (up to a second), since tests run beside each other; unoptimised
/// code takes many times as long, and says nothing about that which people run.
const TIME_LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 5 });

/// Runs a target where it exists: without the feature `models` some do not.
fn run(name: &str, what: &str, input: impl AsRef<[u8]>) -> Option<Outcome> {
    let target = target(name)?;
    let ((outcome, bytes), time) = time_of(|| Counting::peak_of(|| (target.run)(input.as_ref())));
    assert!(bytes < MEMORY_LIMIT, "{name}, {what}: {} MiB", bytes >> 20);
    assert!(time < TIME_LIMIT, "{name}, {what}: {time:?}");
    Some(outcome)
}

/// A text of `size` bytes made of one piece.
fn repeated(piece: &str, size: usize) -> String {
    piece.repeat(size / piece.len())
}

const MIB: usize = 1 << 20;

#[test]
fn json_of_countless_values_is_refused_before_memory_is_taken_for_them() {
    for (what, piece) in
        [("numbers", "0,"), ("lists", "[],"), ("nested lists", "[[[[[[[[[[]]]]]]]]]],"), ("objects", "{},")]
    {
        let list = format!("[{}0]", repeated(piece, 15 * MIB));
        for name in ["config", "architecture", "labels"] {
            run(name, what, &list);
            run(name, what, format!(r#"{{"model_type":"vit","id2label":{list}}}"#));
            run(
                name,
                what,
                format!(r#"{{"architecture":"vit_tiny_patch16_224","model_args":{{"depth":{list}}}}}"#),
            );
        }
    }
    let deep = repeated("[", MIB);
    let deeper = repeated(r#"{"a":"#, MIB);
    for name in ["config", "labels", "preprocessor", "safetensors"] {
        assert_ne!(run(name, "depth", &deep), Some(Outcome::Read));
        assert_ne!(run(name, "depth", &deeper), Some(Outcome::Read));
    }
}

#[test]
fn a_tokenizer_takes_no_more_than_it_is_worth() {
    let file = |parts: &str| {
        format!(r#"{{{parts},"model":{{"type":"WordLevel","vocab":{{"a":0}},"unk_token":"a"}}}}"#)
    };
    for (what, piece) in
        [("numbers", "0,"), ("lists", "[],"), ("objects", "{},"), ("types", r#"{"type":0},"#)]
    {
        let list = repeated(piece, 3 * MIB);
        for part in ["normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens", "x"] {
            run("tokenizer", what, file(&format!(r#""{part}":[{list}0]"#)));
        }
        run("tokenizer", what, file(&format!(r#""x":[{}0]"#, repeated(piece, 60 * MIB))));
    }
    let deep = repeated(r#"{"type":"Sequence","normalizers":["#, MIB);
    assert_ne!(run("tokenizer", "depth", file(&format!(r#""normalizer":{deep}"#))), Some(Outcome::Read));
    let words: String = (1..250_000).map(|word| format!(r#""{word:x}":{word},"#)).collect();
    let words = format!(r#"{{"model":{{"type":"WordLevel","vocab":{{{words}"a":0}},"unk_token":"a"}}}}"#);
    assert_eq!(run("tokenizer", "words", words), Some(Outcome::Read));
    let pieces = repeated(r#"["a",-1.5],"#, 10 * MIB);
    let pieces = format!(r#"{{"model":{{"type":"Unigram","unk_id":0,"vocab":[{pieces}["b",0]]}}}}"#);
    run("tokenizer", "pieces", pieces);
    let token = r#"{"id":1,"content":"x","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false},"#;
    run(
        "tokenizer",
        "added",
        file(&format!(r#""added_tokens":[{}{}]"#, repeated(token, 10 * MIB), &token[..token.len() - 1])),
    );
    let long = "x".repeat(60 * MIB);
    run("tokenizer", "long", file(&format!(r#""normalizer":{{"type":"Prepend","prepend":"{long}"}}"#)));
    run("tokenizer", "long", file(&format!(r#""normalizer":{{"type":"{long}"}}"#)));
    run(
        "tokenizer",
        "long",
        format!(r#"{{"model":{{"type":"WordLevel","vocab":{{"{long}":0}},"unk_token":"a"}}}}"#),
    );
}

#[test]
fn very_long_names_in_a_configuration_cost_no_time() {
    let name = repeated("vit_", 4 * MIB);
    run("architecture", "architecture", format!(r#"{{"architecture":"{name}"}}"#));
    run(
        "architecture",
        "pool",
        format!(r#"{{"architecture":"vit_tiny_patch16_224","global_pool":"{name}"}}"#),
    );
    run(
        "architecture",
        "argument",
        format!(r#"{{"architecture":"vit_tiny_patch16_224","model_args":{{"{name}":1}}}}"#),
    );
    run("architecture", "model_type", format!(r#"{{"model_type":"{name}"}}"#));
    run("architecture", "class", format!(r#"{{"model_type":"vit","architectures":["{name}"]}}"#));
    run(
        "architecture",
        "tower",
        format!(r#"{{"model_cfg":{{"embed_dim":8,"vision_cfg":{{"timm_model_name":"{name}"}}}}}}"#),
    );
    run("source", "name", &name);
    run("tensor_names", "name", &name);
    run("merge_spec", "method", &name);
    run("merge_spec", "option", format!("tome:{name}=1"));
}

#[test]
fn headers_of_safetensors_as_large_as_they_may_be_are_read_or_refused() {
    let file = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    let tensors = |name: &dyn Fn(usize) -> String, count: usize| {
        let tensor =
            |index| format!(r#""{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#, name(index));
        format!("{{{}}}", (0..count).map(tensor).collect::<Vec<_>>().join(","))
    };
    let many = tensors(&|index| index.to_string(), 100_000);
    assert_eq!(run("safetensors", "tensors", file(&many)), Some(Outcome::Read));
    let long = tensors(&|index| format!("{index}{}", repeated("x", 100_000)), 100);
    run("safetensors", "long names", file(&long));
    let text = format!(r#"{{"a":"{}"}}"#, repeated("\\u001b", 10 * MIB));
    run("safetensors", "a text for a tensor", file(&text));
    let dtype =
        format!(r#"{{"a":{{"dtype":"{}","shape":[],"data_offsets":[0,0]}}}}"#, repeated("x", 10 * MIB));
    run("safetensors", "a long dtype", file(&dtype));
    let shape =
        format!(r#"{{"a":{{"dtype":"U8","shape":[{}0],"data_offsets":[0,0]}}}}"#, repeated("1,", 10 * MIB));
    run("safetensors", "a long shape", file(&shape));
    let index =
        (0..400_000).map(|name| format!(r#""{name}":"{}.safetensors""#, name % 10)).collect::<Vec<_>>();
    run("safetensors", "an index", format!(r#"{{"weight_map":{{{}}}}}"#, index.join(",")));
    let shards = (0..300_000).map(|name| format!(r#""{name}":"{name}.safetensors""#)).collect::<Vec<_>>();
    run("safetensors", "an index of many shards", format!(r#"{{"weight_map":{{{}}}}}"#, shards.join(",")));
}

#[test]
fn pickles_as_large_as_they_may_be_are_read_or_refused() {
    let pickle = |parts: &[&[u8]]| [b"\x80\x02", &parts.concat()[..], b"."].concat();
    let text = |text: &[u8]| [b"X", &(text.len() as u32).to_le_bytes()[..], text].concat();
    let long = text(&vec![b'k'; MIB]);
    // A long name and an empty dict, remembered, then both as an item of a dict again and again.
    let begin = [&long[..], b"q\0", b"0}q\x010}("].concat();
    run("pickle", "one name for many dicts", pickle(&[&begin, &b"h\0h\x01".repeat(250_000), b"u"]));
    let named = [&text(&vec![b'k'; 1000])[..], b"q\0", b"0}q\x010}("].concat();
    run("pickle", "one short name for many dicts", pickle(&[&named, &b"h\0h\x01".repeat(250_000), b"u"]));
    run("pickle", "lists", pickle(&[&b"]".repeat(900_000)]));
    run("pickle", "dicts", pickle(&[b"}(", &b"}}".repeat(450_000), b"u"]));
    run("pickle", "marks", pickle(&[&b"(".repeat(MIB)]));
    run("pickle", "a memo", pickle(&[b"]", &b"\x94".repeat(MIB)]));
    run("pickle", "tuples in tuples", pickle(&[b")", &b"\x85".repeat(MIB)]));
    let module = [b"c__torch__.a\nB\n)\x81", &b"}"[..]].concat();
    run("pickle", "modules", pickle(&[&module.repeat(100_000), b"b"]));
    run("pickle", "texts", pickle(&[b"}(", &[text(b"a"), b"N".to_vec()].concat().repeat(450_000), b"u"]));
}

#[test]
fn toml_as_large_as_it_may_be_is_read_or_refused() {
    for name in ["recipe", "merge_toml"] {
        let dotted = format!("{}b = 1\n", repeated("a.", MIB));
        run(name, "dotted keys", &dotted);
        run(name, "a deep table", format!("[{}b]\n", repeated("a.", MIB)));
        run(name, "a deep list", format!("a = {}", repeated("[", MIB)));
        run(name, "a deep inline table", format!("a = {}", repeated("{a = ", MIB)));
        run(name, "many keys", (0..80_000).map(|key| format!("k{key} = 1\n")).collect::<String>());
        run(name, "many tables", (0..80_000).map(|key| format!("[t{key}]\n")).collect::<String>());
        run(name, "a list of tables", repeated("[[a]]\n", MIB));
        run(
            name,
            "nested dotted tables",
            (0..4000).map(|key| format!("{}k{key} = 1\n", "a.".repeat(100))).collect::<String>(),
        );
        run(name, "a long text", format!("merge = \"{}\"\n", repeated("x", MIB)));
        run(name, "a long method", format!("method = \"{}\"\n", repeated("x", MIB)));
        run(name, "a long list", format!("method = \"tome\"\nr = [{}]\n", repeated("1,", MIB)));
        run(name, "no newline", repeated("x", MIB));
        run(name, "an unclosed text", format!("a = \"{}", repeated("\\u0000", MIB)));
    }
}

#[test]
fn specs_and_names_as_long_as_they_may_be_are_read_or_refused() {
    let options = (0..60_000).map(|option| format!("o{option}=1")).collect::<Vec<_>>().join(",");
    run("merge_spec", "many options", format!("tome:{options}"));
    run("merge_spec", "a long list", format!("tome:r=[{}1]", repeated("1,", MIB)));
    run("merge_spec", "many brackets", format!("tome:r={}", repeated("[", MIB)));
    let names =
        (0..60_000).map(|name| format!("model.blocks.{name}.attn.qkv.weight 3 4\n")).collect::<String>();
    run("tensor_names", "many blocks", &names);
    let wrapped = (0..20_000)
        .map(|name| format!("w{name}.cls_token 1 1 8\nw{name}.pos_embed 1 5 8\n"))
        .collect::<String>();
    run("tensor_names", "many models", &wrapped);
    run("labels", "lines", repeated("a\n", 15 * MIB));
    run("labels", "rows", (0..900_000).map(|row| format!("{row}\ta\tb\n")).collect::<String>());
    run("labels", "a line", repeated("a, ", 15 * MIB));
}
