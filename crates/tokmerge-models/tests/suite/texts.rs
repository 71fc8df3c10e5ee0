//! Models of texts against what transformers, sentence-transformers and independent references compute: unmerged, with token
//! merging, and with soft token merging.

#![expect(clippy::print_stdout, reason = "says what was measured")]

use crate::common::{
    Golden, Gradient, cross_entropy, floats, gradients_of, integers, material, open, scoring, values,
    worst_absolute,
};
use burn::tensor::{Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokmerge_checkpoint::Checkpoint;
use tokmerge_data::Processor;
use tokmerge_data::text::TokenIds;
use tokmerge_merge::Layout;
use tokmerge_merge::{Method, Positions, Reduction};
use tokmerge_models::{
    Batch, Convention, GenerateOptions, Input, Memory, Model, ModelOptions, MostTokens, Output, Pass,
    Stopping, Texts, Weights,
};

impl Golden {
    /// Compares with a tensor, within ten times what the reference's f32 asks for, a few 1e-5 at most.
    fn check_tenfold(&self, name: &str, actual: &[f32]) {
        let tolerance = (10.0 * self.asked(name).unwrap_or(1e-5)).max(2e-5);
        self.check_within(tolerance, name, actual, &floats(&self.file, name));
    }

    /// The rows of an item in a padded tensor of `width` channels.
    fn rows(&self, name: &str, item: usize, padded: usize, len: usize, width: usize) -> Vec<f32> {
        let all = floats(&self.file, name);
        all[item * padded * width..][..len * width].to_vec()
    }
}

fn text_folder(name: &str) -> Option<PathBuf> {
    material(&format!("text/{name}"))
}

fn bind(model: &Model, spec: &str) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    model.bind(&method).unwrap_or_else(|error| panic!("{error}"))
}

/// The texts of a padded table of ids, 0 being padding: words all, so that nothing is protected but what a test says.
fn unpadded(golden: &Golden, name: &str) -> Vec<TokenIds> {
    let ids = integers(&golden.file, name);
    let width = golden.file.get(name).expect("there").shape[1];
    ids.chunks(width)
        .map(|row| {
            let end = row.iter().rposition(|id| *id != 0).map_or(0, |last| last + 1);
            TokenIds::words(row[..end].iter().map(|id| *id as u32).collect::<Vec<_>>())
        })
        .collect()
}

/// The same with the first token as the class token.
fn with_class(mut texts: Vec<TokenIds>) -> Vec<TokenIds> {
    for text in &mut texts {
        text.roles[0] = tokmerge_data::text::Role::Class;
    }
    texts
}

fn run(model: &Model, texts: &[TokenIds], reduction: &Reduction) -> Output {
    let input = Input::Texts(Texts::new(texts, model.device()));
    model.network().run(input, Pass::new(reduction))
}

fn encoded(model: &Model, output: &Output) -> Vec<f32> {
    let (_, encoder) = model.network().decoder().expect("a decoder");
    values(encoder.encoded(&output.tokens))
}

/// Teacher forcing: `ids: [items, len]`.
fn logits(model: &Model, output: &Output, reduction: &Reduction, ids: &[i32], len: usize) -> Vec<f32> {
    values(forced(model, output, reduction, ids, len))
}

fn forced(model: &Model, output: &Output, reduction: &Reduction, ids: &[i32], len: usize) -> Tensor<2> {
    let (decoder, encoder) = model.network().decoder().expect("a decoder");
    let memory = Memory {
        tokens: encoder.encoded(&output.tokens),
        layout: output.tokens.layout.clone(),
        key_bias: reduction.key_bias(&output.tokens),
    };
    let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
    decoder.forward(encoder, &ids, &Layout::uniform(ids.len() / len, len), &memory)
}

fn parsed(ids: &Value) -> Vec<u32> {
    ids.as_array().expect("a list").iter().map(|id| id.as_u64().expect("a number") as u32).collect()
}

#[test]
fn t5_equals_transformers() {
    let Some(folder) = text_folder("t5") else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let texts = unpadded(&golden, "input_ids");
    let output = run(&model, &texts, &Reduction::none());
    let all = encoded(&model, &output);
    for (item, text) in texts.iter().enumerate() {
        let rows = output.tokens.layout.range(item);
        let expected = golden.rows("encoder.output", item, 27, text.len(), 32);
        let worst = worst_absolute(&all[rows.start * 32..rows.end * 32], &expected);
        assert!(worst.error < 1e-5, "{item}: {worst:?}");
    }
    let ids = integers(&golden.file, "decoder_input_ids");
    golden.check_tenfold("decoder.logits", &logits(&model, &output, &Reduction::none(), &ids, 21));
    // Alone, bit for bit as in the batch.
    for (item, text) in texts.iter().enumerate() {
        let alone = run(&model, std::slice::from_ref(text), &Reduction::none());
        let rows = output.tokens.layout.range(item);
        assert_eq!(encoded(&model, &alone), all[rows.start * 32..rows.end * 32], "{item}");
    }
}

#[test]
fn t5_writes_what_transformers_writes() {
    let Some(folder) = text_folder("t5") else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let Processor::Text(processor) = model.processor() else { panic!("a model of texts") };
    let generation = &golden.expected["generation"];
    let items = generation["items"].as_array().expect("a list");
    let texts: Vec<TokenIds> = items
        .iter()
        .map(|item| processor.encode(item["source"].as_str().expect("a text")).unwrap())
        .collect();
    let length = MostTokens::Fixed(12);
    let greedy = GenerateOptions { length, ..GenerateOptions::default() };
    let beam4 = GenerateOptions { beams: 4, ..greedy };
    let early = GenerateOptions { length_penalty: 0.6, stopping: Stopping::Early, ..beam4 };
    let none = Reduction::none();
    let tokenizer = processor.tokenizer().expect("a tokenizer");
    for texts in [texts.clone(), texts.iter().rev().cloned().collect()] {
        let of = |options| model.generate(&texts, &none, &options).unwrap().texts;
        let (greedy, beam4, early) = (of(greedy), of(beam4), of(early));
        for (item, wanted) in items.iter().enumerate() {
            let source = processor.encode(wanted["source"].as_str().unwrap()).unwrap();
            let place = texts.iter().position(|text| *text == source).expect("it is there");
            assert_eq!(greedy[place][0].ids, parsed(&wanted["greedy"])[1..], "greedy {item}");
            assert_eq!(
                tokenizer.decode(&greedy[place][0].ids).unwrap(),
                wanted["greedy_text"].as_str().unwrap()
            );
            for (name, found) in [("beam4", &beam4[place]), ("beam4_lp0.6_early", &early[place])] {
                let wanted = wanted[name].as_array().expect("a list");
                assert_eq!(found.len(), wanted.len());
                for (found, wanted) in found.iter().zip(wanted) {
                    assert_eq!(found.ids, parsed(&wanted["ids"])[1..], "{name} {item}");
                    let score = wanted["score"].as_f64().expect("a number");
                    assert!((found.score - score).abs() < 1e-4, "{name} {item}: {} {score}", found.score);
                }
            }
        }
    }
}

#[test]
fn tokens_are_those_of_the_tokenizers() {
    for name in ["t5", "bert"] {
        let Some(folder) = text_folder(name) else { return };
        let (model, golden) = (open(&folder), Golden::of(&folder));
        let Processor::Text(processor) = model.processor() else { panic!("a model of texts") };
        for case in golden.expected["tokenizer"].as_array().expect("a list") {
            let text = case["text"].as_str().expect("a text");
            match processor.encode(text) {
                Ok(tokens) => assert_eq!(tokens.ids, parsed(&case["ids"]), "{name}: {text:?}"),
                Err(_) => assert!(text.trim().is_empty(), "{name}: {text:?}"),
            }
        }
    }
}

#[test]
fn tome_in_t5_merges_and_remembers_as_the_reference_does() {
    let (Some(weights), Some(folder)) = (text_folder("t5"), text_folder("t5_tome")) else { return };
    let (model, golden) = (open(&weights), Golden::of(&folder));
    let texts = unpadded(&golden, "input_ids");
    let ids = integers(&golden.file, "decoder_input_ids");
    for (name, case) in golden.expected["cases"].as_object().expect("cases") {
        let shrunk = if case["positions"] == "shrunk" { ",positions=shrunk" } else { "" };
        let plain = if case["log_size_bias"] == false { ",prop_attn=off" } else { "" };
        let spec = format!("tome:r={},protect=none{shrunk}{plain}", case["r"]);
        let reduction = bind(&model, &spec);
        let output = run(&model, &texts, &reduction);
        let (all, sizes) = (encoded(&model, &output), output.tokens.sizes());
        let plan = output.trace.plan_until(None).expect("something merged");
        let all_logits = logits(&model, &output, &reduction, &ids, 21);
        for item in 0..texts.len() {
            let rows = output.tokens.layout.range(item);
            let at = |what: &str| format!("{name}.item{item}.{what}");
            golden.check_tenfold(&at("encoder.output"), &all[rows.start * 32..rows.end * 32]);
            let expected: Vec<f32> =
                integers(&golden.file, &at("sizes")).iter().map(|size| *size as f32).collect();
            assert_eq!(sizes[rows.clone()], expected[..], "{name} {item}");
            let groups: Vec<i32> =
                plan.groups(item).iter().map(|group| group.expect("kept") as i32).collect();
            assert_eq!(groups, integers(&golden.file, &at("groups")), "{name} {item}");
            if case["positions"] != "shrunk" {
                let Some(Positions::Sequence(found)) = &output.tokens.positions else { panic!("positions") };
                golden.check_tenfold(&at("positions"), &found[rows.clone()]);
            }
            golden.check_tenfold(&at("logits"), &all_logits[item * 21 * 128..(item + 1) * 21 * 128]);
            // Alone it is the same, bit for bit.
            let alone = run(&model, &texts[item..=item], &reduction);
            assert_eq!(encoded(&model, &alone), all[rows.start * 32..rows.end * 32], "{name} {item}");
            let options = GenerateOptions { length: MostTokens::Fixed(12), ..GenerateOptions::default() };
            let written = model.generate(&texts[item..=item], &reduction, &options).unwrap();
            assert_eq!(written.texts[0][0].ids, parsed(&case["items"][item]["greedy"])[1..], "{name} {item}");
        }
    }
}

#[test]
fn soft_merging_in_t5_is_algorithm_1() {
    let (Some(weights), Some(folder)) = (text_folder("t5"), text_folder("t5_stm")) else { return };
    let (model, golden) = (open(&weights), Golden::of(&folder));
    let file = Checkpoint::open(folder.join("stm.safetensors")).expect("a checkpoint");
    let texts = unpadded(&golden, "input_ids");
    let ids = integers(&golden.file, "decoder_input_ids");
    for (name, case) in golden.expected["cases"].as_object().expect("cases") {
        let (p, layer) = (case["p"].as_u64().expect("a number"), &case["layer"]);
        let inflates = case["inflate"] == true;
        let option = |name: &str, value: &Value| format!(",{name}={}", value.as_str().expect("a word"));
        let spec = format!(
            "stm:p={p},layer={layer},protect=none,inflate={}{}{}{}",
            if inflates { "on" } else { "off" },
            option("scale", &case["scale"]),
            option("norm", &case["norm"]),
            option("positions", &case["positions"]),
        );
        let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
        let names = if case["norm"] == "layer" { "stm_layernorm" } else { "stm" };
        let mergers = scoring(&method, names, &file, model.device());
        let reduction = Reduction::bind(method, &model.facts()).expect("fits").with_mergers(mergers);
        let output = run(&model, &texts, &reduction);
        let all = encoded(&model, &output);
        for (item, text) in texts.iter().enumerate() {
            let rows = output.tokens.layout.range(item);
            let padded = if inflates { 27 } else { 27_usize.div_ceil(p as usize) };
            let len = if inflates { text.len() } else { text.len().div_ceil(p as usize) };
            assert_eq!(rows.len(), len, "{name} {item}");
            let expected = golden.rows(&format!("{name}.encoder.output"), item, padded, len, 32);
            let worst = worst_absolute(&all[rows.start * 32..rows.end * 32], &expected);
            assert!(worst.error < 2e-5, "{name} {item}: {worst:?}");
        }
        golden
            .check_tenfold(&format!("{name}.decoder.logits"), &logits(&model, &output, &reduction, &ids, 21));
    }
}

/// Where the reference's parameter is in ours: a path, and which rows.
fn our_gradient(
    name: &str,
    network: &BTreeMap<String, Gradient>,
    mergers: &BTreeMap<String, Gradient>,
    order: &[usize],
) -> Vec<f32> {
    let whole = |path: &str| network[path].1.clone();
    let rows = |path: &str, part: usize, parts: usize| {
        let (_, values) = &network[path];
        let len = values.len() / parts;
        values[part * len..(part + 1) * len].to_vec()
    };
    match name {
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight" => whole("distance_bias"),
        "encoder.block.0.layer.0.SelfAttention.q.weight" => rows("blocks.0.attn.qkv.weight", 0, 3),
        "encoder.block.1.layer.1.DenseReluDense.wo.weight" => whole("blocks.1.mlp.fc2.weight"),
        "decoder.block.0.layer.1.EncDecAttention.k.weight" => rows("decoder.blocks.0.cross.kv.weight", 0, 2),
        merger => {
            // `stm.1.query.weight` or `stm_layernorm.1.norm.bias`.
            let mut words = merger.split('.').skip(1);
            let before: usize = words.next().and_then(|word| word.parse().ok()).expect("a number");
            let rest: Vec<&str> = words.collect();
            let rest = match rest[..] {
                ["norm", tensor] => format!("norm.{tensor}"),
                [matrix, _] => matrix.to_owned(),
                _ => panic!("{merger}"),
            };
            let place = order.iter().position(|at| *at == before).expect("a merger stands there");
            mergers[&format!("soft.{place}.{rest}")].1.clone()
        }
    }
}

#[test]
fn soft_merging_in_t5_learns_as_the_reference_does() {
    let (Some(weights), Some(folder)) = (text_folder("t5"), text_folder("t5_stm")) else { return };
    let device = Device::flex().autodiff();
    let options = ModelOptions::new(format!("local-dir:{}", weights.display()));
    let model = Model::open(&options, &device).unwrap_or_else(|error| panic!("{error}"));
    let golden = Golden::of(&folder);
    let file = Checkpoint::open(folder.join("stm.safetensors")).expect("a checkpoint");
    let texts = unpadded(&golden, "input_ids");
    let ids = integers(&golden.file, "decoder_input_ids");
    let labels = integers(&golden.file, "labels");
    let names: Vec<String> = golden.file.names().map(str::to_owned).collect();
    let mut compared = 0;
    for (name, case) in golden.expected["cases"].as_object().expect("cases") {
        for gradient in ["detach", "attached", ""] {
            let prefix = if gradient.is_empty() {
                format!("{name}.grad.")
            } else {
                format!("{name}.{gradient}.grad.")
            };
            let wanted: Vec<&String> = names.iter().filter(|name| name.starts_with(&prefix)).collect();
            if wanted.is_empty() {
                continue;
            }
            let spec = format!(
                "stm:p={},layer={},protect=none,inflate={},scale={},norm={},positions={}{}",
                case["p"],
                case["layer"],
                if case["inflate"] == true { "on" } else { "off" },
                case["scale"].as_str().expect("a word"),
                case["norm"].as_str().expect("a word"),
                case["positions"].as_str().expect("a word"),
                if gradient == "attached" { ",detach=off" } else { "" },
            );
            let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
            let modules = if case["norm"] == "layer" { "stm_layernorm" } else { "stm" };
            let mergers = scoring(&method, modules, &file, &device);
            let order: Vec<usize> = mergers.at.iter().map(|(before, _)| *before).collect();
            let reduction =
                Reduction::bind(method, &model.facts()).expect("fits").with_mergers(mergers.clone());
            let output = run(&model, &texts, &reduction);
            let loss = cross_entropy(forced(&model, &output, &reduction, &ids, 21), &labels);
            let expected = floats(&golden.file, &format!("{name}.loss"))[0];
            let found = loss.clone().without_autodiff().into_scalar::<f32>();
            assert!((found - expected).abs() < 1e-5, "{spec}: {found} {expected}");
            let grads = loss.backward();
            let (network, scores) = (gradients_of(model.network(), &grads), gradients_of(&mergers, &grads));
            for full in wanted {
                let ours = our_gradient(&full[prefix.len()..], &network, &scores, &order);
                golden.check_tenfold(full, &ours);
                compared += 1;
            }
        }
    }
    assert!(compared > 50, "{compared} gradients");
}

#[test]
fn bert_sentences_equal_sentence_transformers() {
    let Some(folder) = text_folder("bert") else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let texts = with_class(unpadded(&golden, "input_ids"));
    let vectors = |spec: &str| {
        let reduction = bind(&model, spec);
        let batch = Batch { texts: texts.clone(), ..Batch::default() };
        let measured = model.measure(batch, &reduction, Convention::Fvcore).expect("numbers");
        (measured, run(&model, &texts, &reduction))
    };
    golden.check_tenfold("sentence_embeddings", &vectors("none").0.embeddings.concat());
    for (name, case) in golden.expected["cases"].as_object().expect("cases") {
        let plain = if case["log_size_bias"] == false { ",prop_attn=off" } else { "" };
        let (measured, output) = vectors(&format!("tome:r={},protect=class{plain}", case["r"]));
        golden.check_tenfold(&format!("{name}.sentence_embeddings"), &measured.embeddings.concat());
        let all = values(output.tokens.x.clone());
        let plan = output.trace.plan_until(None).expect("something merged");
        for item in 0..texts.len() {
            let rows = output.tokens.layout.range(item);
            let at = |what: &str| format!("{name}.item{item}.{what}");
            golden.check_tenfold(&at("last_hidden_state"), &all[rows.start * 32..rows.end * 32]);
            let groups: Vec<i32> =
                plan.groups(item).iter().map(|group| group.expect("kept") as i32).collect();
            assert_eq!(groups, integers(&golden.file, &at("groups")), "{name} {item}");
            let left = parsed(&case["items"][item]["tokens_after_block"]);
            let fed: Vec<u32> = measured.tokens[item].iter().map(|tokens| *tokens as u32).collect();
            assert_eq!(fed, left, "{name} {item}: tokens are counted by the text's own length");
        }
    }
}

#[test]
fn minilm_sentences_equal_the_published_models() {
    let (Some(weights), Some(folder)) = (material("minilm_l6"), text_folder("real_minilm")) else { return };
    let (model, golden) = (open(&weights), Golden::of(&folder));
    let Processor::Text(processor) = model.processor() else { panic!("a model of texts") };
    let sentences = golden.expected["texts"].as_array().expect("a list");
    let texts: Vec<TokenIds> =
        sentences.iter().map(|text| processor.encode(text.as_str().expect("a text")).unwrap()).collect();
    let ids = unpadded(&golden, "input_ids");
    assert!(texts.iter().zip(&ids).all(|(text, ids)| text.ids == ids.ids));
    let vectors = |spec: &str| {
        let batch = Batch { texts: texts.clone(), ..Batch::default() };
        let measured = model.measure(batch, &bind(&model, spec), Convention::Fvcore).expect("numbers");
        measured.embeddings
    };
    let unmerged = worst_absolute(&vectors("none").concat(), &floats(&golden.file, "sentence_embeddings"));
    assert!(unmerged.error < 1e-5, "{unmerged:?}");
    for name in ["tome_r1", "tome_r2"] {
        let found = vectors(&format!("tome:r={},protect=class", &name[6..]));
        let expected = floats(&golden.file, &format!("{name}.sentence_embeddings"));
        let firm = golden.expected["tome"][name]["firm"].as_array().expect("a list");
        let mut largest = 0.0_f32;
        for (item, found) in found.iter().enumerate().filter(|(item, _)| firm[*item] == true) {
            largest = largest.max(worst_absolute(found, &expected[item * 384..(item + 1) * 384]).error);
        }
        println!("{name}: {largest:.1e}");
        assert!(largest < 1e-4, "{name}: {largest:e}");
    }
}

#[test]
fn long_texts_equal_the_published_models() {
    let Some(folder) = material("minilm_l6") else { return };
    let model = open(&folder);
    let golden = Checkpoint::open(folder.join("golden_minilm.safetensors")).expect("a checkpoint");
    for (item, hidden) in
        ["long_hidden_0", "long_hidden_1", "long_hidden_2", "long_hidden_3"].iter().enumerate()
    {
        let ids: Vec<u32> =
            integers(&golden, &format!("long_ids_{item}")).iter().map(|id| *id as u32).collect();
        let output = run(&model, &[TokenIds::words(ids)], &Reduction::none());
        let expected = floats(&golden, hidden);
        let rows = values(output.tokens.x);
        let actual = match item {
            0 => rows,
            _ => {
                let mean = |channel: usize| {
                    rows.iter().skip(channel).step_by(384).sum::<f32>() / (rows.len() / 384) as f32
                };
                (0..384).map(mean).collect()
            }
        };
        let worst = worst_absolute(&actual, &expected);
        assert!(worst.error < 1e-4, "{item}: {worst:?}");
    }
}

fn marian() -> Option<(Model, Golden)> {
    let (weights, folder) = (material("marian_tiny_enpt")?, text_folder("real_marian")?);
    let weights = Weights::File(weights.join("model_f16.safetensors"));
    let options = ModelOptions { weights, ..ModelOptions::new("marian_tiny_enpt") };
    let model = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
    Some((model, Golden::of(&folder)))
}

#[test]
fn marian_translates_as_the_reference_does() {
    let Some((model, golden)) = marian() else { return };
    let Processor::Text(processor) = model.processor() else { panic!("a model of texts") };
    let items = golden.expected["items"].as_array().expect("a list");
    let source = |item: &Value| processor.encode(item["source"].as_str().expect("a text")).unwrap();
    let texts: Vec<TokenIds> = items.iter().map(source).collect();
    let tokenizer = processor.tokenizer().expect("a tokenizer");
    let written = model.generate(&texts, &Reduction::none(), &GenerateOptions::default()).unwrap();
    for (item, wanted) in items.iter().enumerate() {
        assert_eq!(texts[item].ids, parsed(&wanted["source_ids"]), "{item}");
        let ids: Vec<u32> = written.texts[item][0].ids.iter().copied().filter(|id| *id != 0).collect();
        assert_eq!(ids, parsed(&wanted["target_ids"]), "{item}");
        assert_eq!(tokenizer.decode(&ids).unwrap().trim(), wanted["target"].as_str().unwrap(), "{item}");
    }
    let words: Vec<TokenIds> = texts.iter().map(|text| TokenIds::words(text.ids.clone())).collect();
    let reduction = bind(&model, "tome:r=1,protect=none");
    let merged = model.generate(&words, &reduction, &GenerateOptions::default()).unwrap();
    let output = run(&model, &words, &reduction);
    let all = encoded(&model, &output);
    for (item, wanted) in items.iter().enumerate().filter(|(_, item)| item["tome_r1"]["firm"] == true) {
        let ids: Vec<u32> = merged.texts[item][0].ids.iter().copied().filter(|id| *id != 0).collect();
        assert_eq!(ids, parsed(&wanted["tome_r1"]["target_ids"]), "{item}");
        if item < 4 {
            let rows = output.tokens.layout.range(item);
            golden.check_tenfold(
                &format!("item{item}.tome_r1.encoder.output"),
                &all[rows.start * 256..rows.end * 256],
            );
        }
    }
}
