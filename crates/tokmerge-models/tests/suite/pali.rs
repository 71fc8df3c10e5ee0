//! A SigLIP tower with a T5 behind it, against transformers' parts put together: unmerged, and with soft token merging between
//! them; and what such a model counts, saves and refuses.

use crate::common::{
    Golden, cross_entropy, floats, gradients_of, integers, material, open, open_on, values, worst_absolute,
};
use burn::tensor::{Device, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokmerge_checkpoint::{Dtype, TensorView, save_safetensors};
use tokmerge_data::text::TokenIds;
use tokmerge_data::{Asked, Prepared, Processor, QuestionProcessor, Rgb};
use tokmerge_merge::{Evidence, Layout, Method, Reduction, Tokens, Trace};
use tokmerge_models::{
    Batch, Body, Config, Convention, GenerateOptions, Model, ModelOptions, MostTokens, Output, Pali, Pass,
    Probe, TRAINED_WITH, Weights, architecture, parameters, timm_config,
};

/// Soft merging in front of the language model, behind a tower of two blocks.
const STM: &str = "stm:p=2,layer=3";

impl Golden {
    /// Compares with a tensor, within what the reference asks of an f32 implementation.
    fn check_as_asked(&self, name: &str, actual: &[f32]) {
        let asked = self.asked(name).expect("a tolerance");
        self.check_within(asked, name, actual, &floats(&self.file, name));
    }
}

fn folder() -> Option<PathBuf> {
    material("text/pali")
}

fn pali(model: &Model) -> &Pali {
    let Body::Pali(pali) = model.network().body() else { panic!("PaLI") };
    pali
}

fn bind(model: &Model, spec: &str) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    model.bind(&method).unwrap_or_else(|error| panic!("{error}"))
}

fn processor(model: &Model) -> &QuestionProcessor {
    let Processor::Question(processor) = model.processor() else { panic!("a model of questions") };
    processor
}

/// The items of the golden files, or some of them.
fn batch(model: &Model, golden: &Golden, items: &[usize]) -> Batch {
    let questions = golden.questions();
    let asked = items.iter().map(|item| {
        Prepared::Question(Asked { picture: golden.picture(*item), tokens: questions[*item].clone() })
    });
    model.batch(&asked.collect::<Vec<_>>()).expect("prepared for this model")
}

/// The tokens that enter a block, before anything merges.
struct Entering(usize, Option<Tokens>);

impl Probe for Entering {
    fn entering(&mut self, layer: usize, tokens: &Tokens) {
        if layer == self.0 {
            self.1 = Some(tokens.clone());
        }
    }
}

/// Rows of an item of the encoder's output, image tokens first as the reference has them.
fn encoded(model: &Model, output: &Output, item: usize) -> Vec<f32> {
    let all = values(pali(model).text().encoded(&output.tokens));
    let (range, words) = (output.tokens.layout.range(item), output.tokens.prefix.of(item));
    let (words, image) = all[range.start * 32..range.end * 32].split_at(words * 32);
    [image, words].concat()
}

/// Teacher forcing: `[items * 7, vocabulary]`.
fn forced(model: &Model, golden: &Golden, output: &Output, reduction: &Reduction) -> Tensor<2> {
    let (decoder, encoder) = model.network().decoder().expect("a decoder");
    let memory = model.network().memory(output, reduction).expect("a decoder");
    let ids = integers(&golden.file, "decoder_input_ids");
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    decoder.forward(encoder, &ids, &Layout::uniform(2, 7), &memory)
}

fn loss(golden: &Golden, logits: Tensor<2>) -> Tensor<1> {
    cross_entropy(logits, &integers(&golden.file, "labels"))
}

fn parsed(ids: &Value) -> Vec<u32> {
    serde_json::from_value(ids.clone()).expect("numbers")
}

#[test]
fn tower_merging_and_language_model_are_those_of_the_reference() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    assert_eq!(model.trained_with().to_string(), STM, "the configuration names it");
    for (case, spec, image_tokens) in [("plain", "none", 9), ("stm_p2", STM, 5)] {
        let (reduction, mut seen) = (bind(&model, spec), Entering(2, None));
        let output = model.run(batch(&model, &golden, &[0, 1]), Pass::new(&reduction).probed(&mut seen));
        let entering = seen.1.expect("tokens entered it");
        golden.check_as_asked("patch_tokens", &values(entering.x.clone()));
        let at = |what: &str| format!("{case}.{what}");

        let (merged, _) = reduction.enter(2, entering.clone(), Evidence::default(), &mut Trace::default());
        golden.check_as_asked(&at("projected"), &values(pali(&model).project(merged.x.clone())));
        if case == "stm_p2" {
            golden.check_as_asked("stm_p2.merged", &values(merged.x));
            let mixtures = reduction.mixtures(2, &entering).expect("weights stand there");
            let scores = |mixture: &tokmerge_merge::Mixture| {
                (0..9).map(|input| mixture.weights(input / 2)[input]).collect::<Vec<f32>>()
            };
            golden.check_as_asked("stm_p2.scores", &mixtures.iter().flat_map(scores).collect::<Vec<f32>>());
        }
        let padded = floats(&golden.file, &at("encoder.output"));
        for (item, question) in golden.questions().iter().enumerate() {
            let rows = image_tokens + question.len();
            assert_eq!(output.tokens.layout.range(item).len(), rows, "{case} {item}");
            let expected = &padded[item * (image_tokens + 15) * 32..][..rows * 32];
            let worst = worst_absolute(&encoded(&model, &output, item), expected);
            let asked = golden.asked(&at("encoder.output")).expect("a tolerance");
            assert!(f64::from(worst.error) < asked, "{case} {item}: {worst:?}");
            // Alone it is the same, bit for bit.
            let alone = model.run(batch(&model, &golden, &[item]), Pass::new(&reduction));
            assert_eq!(encoded(&model, &alone, 0), encoded(&model, &output, item), "{case} {item}");
        }
        let logits = forced(&model, &golden, &output, &reduction);
        golden.check_as_asked(&at("logits"), &values(logits.clone()));
        golden.check_as_asked(&at("loss"), &values(loss(&golden, logits)));
    }
}

#[test]
fn answers_are_those_of_the_reference() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let tokenizer = processor(&model).text.tokenizer().expect("a tokenizer");
    let options = GenerateOptions { length: MostTokens::Fixed(8), ..GenerateOptions::default() };
    for (case, spec) in [("plain", "none"), ("stm_p2", STM)] {
        let reduction = bind(&model, spec);
        let together = model.generate(batch(&model, &golden, &[0, 1]), &reduction, &options).expect("writes");
        for (item, wanted) in golden.expected["greedy"][case].as_array().expect("a list").iter().enumerate() {
            let [written] = &together.texts[item][..] else { panic!("one answer") };
            assert_eq!(written.ids, parsed(&wanted["ids"])[1..], "{case} {item}");
            let text = tokenizer.decode(written.words(Some(1))).expect("words");
            assert_eq!(text.trim(), wanted["text"].as_str().expect("a text"), "{case} {item}");
            let alone =
                model.generate(batch(&model, &golden, &[item]), &reduction, &options).expect("writes");
            assert_eq!(alone.texts[0], together.texts[item], "{case} {item}");
        }
    }
    let beams = GenerateOptions { beams: 3, ..options };
    let written = model.generate(batch(&model, &golden, &[1]), &bind(&model, STM), &beams).expect("writes");
    assert_eq!(written.texts[0].len(), 3);
    assert!(written.texts[0][0].score >= written.texts[0][1].score);
}

#[test]
fn merging_and_projector_learn_as_in_the_reference() {
    let Some(folder) = folder() else { return };
    let device = Device::flex().autodiff();
    let (model, golden) = (open_on(&folder, &device), Golden::of(&folder));
    let ours = [
        ("multi_modal_projector.linear.weight", "projector.weight"),
        ("multi_modal_projector.linear.bias", "projector.bias"),
        ("stm.norm.weight", "mergers.soft.0.norm.weight"),
        ("stm.norm.bias", "mergers.soft.0.norm.bias"),
        ("stm.query.weight", "mergers.soft.0.query"),
        ("stm.key.weight", "mergers.soft.0.key"),
    ];
    for (case, spec, count) in [("plain", "none", 2), ("stm_p2", STM, 6)] {
        let reduction = bind(&model, spec);
        let output = model.run(batch(&model, &golden, &[0, 1]), Pass::new(&reduction));
        let loss = loss(&golden, forced(&model, &golden, &output, &reduction));
        let found = gradients_of(model.network(), &loss.backward());
        for (theirs, path) in &ours[..count] {
            let (_, gradient) = found.get(*path).unwrap_or_else(|| panic!("{path} has no gradient"));
            golden.check_as_asked(&format!("{case}.grad.{theirs}"), gradient);
        }
    }
}

#[test]
fn the_module_of_the_file_is_used_for_windows_of_any_size() {
    let Some(folder) = folder() else { return };
    let model = open(&folder);
    let fresh = |spec: &str| model.has_fresh_weights(&spec.parse().expect("a method"));
    for trained in ["stm:p=2,layer=3", "stm:p=3,layer=3", "stm:p=2,layer=3,scale=sum", "none", "tome:r=1"] {
        assert!(!fresh(trained), "{trained}");
    }
    for other in ["stm:p=2,layer=2", "stm:p=2,layer=4", "stm:p=2,layer=3,width=7", "patchmerger:m=2,layer=2"]
    {
        assert!(fresh(other), "{other}");
    }
    let query = |reduction: &Reduction| {
        let tokens = Tokens::new(Tensor::ones([6, 36], model.device()), Layout::uniform(1, 6), 0);
        values(reduction.enter(2, tokens, Evidence::default(), &mut Trace::default()).0.x)
    };
    // Of equal tokens every window is their average, divided by its members.
    let thirds = query(&bind(&model, "stm:p=3,layer=3"));
    assert_eq!(thirds.len(), 2 * 36);
    assert!(thirds.iter().all(|value| (value - 1.0 / 3.0).abs() < 1e-6), "{thirds:?}");
}

#[test]
fn image_tokens_merge_in_the_tower_and_in_the_language_model() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let lens: Vec<usize> = golden.questions().iter().map(TokenIds::len).collect();
    let reduction = bind(&model, "tome:r=1");
    let output = model.run(batch(&model, &golden, &[0, 1]), Pass::new(&reduction));
    let plan = output.trace.plan_until(None).expect("something merged");
    for (item, words) in lens.into_iter().enumerate() {
        let fed: Vec<usize> = model.layer_tokens(&output.trace, item).iter().map(|layer| layer.fed).collect();
        assert_eq!(fed, [8, 7, 6 + words, 5 + words]);
        assert_eq!(model.tokens_left(&output.trace, item), 5 + words);
        let groups = plan.groups(item);
        assert_eq!(groups.len(), words + 9, "the question in front of all original patches");
        assert!(groups[..words].iter().enumerate().all(|(at, group)| *group == Some(at as u32)));
        let sizes = output.tokens.sizes();
        let range = output.tokens.layout.range(item);
        assert!(sizes[range.start..range.start + words].iter().all(|size| *size == 1.0));
        assert_eq!(sizes[range].iter().sum::<f32>(), (words + 9) as f32);
    }
    // Costs are counted by what each block has seen.
    let gmacs = |spec: &str, item: usize| {
        let reduction = bind(&model, spec);
        let output = model.run(batch(&model, &golden, &[0, 1]), Pass::new(&reduction));
        model.gmacs(&output.trace, item, &reduction, Convention::Macs)
    };
    assert!(gmacs("none", 1) > gmacs("tome:r=1", 1) && gmacs("none", 1) > gmacs(STM, 1));
    assert!(gmacs("none", 0) != gmacs("none", 1), "the questions are of different lengths");
}

#[test]
fn pictures_and_questions_are_prepared_as_its_parts_do_it() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let processor = processor(&model);
    for (text, tokens) in
        golden.expected["questions"].as_array().expect("a list").iter().zip(golden.questions())
    {
        let question = processor.question(text.as_str().expect("a text")).expect("words");
        assert_eq!((question.tokens.ids, question.is_cut), (tokens.ids, false), "{text}");
    }
    let mut values = Vec::new();
    let grid = processor.picture.normalise(&golden.picture(0), &mut values).expect("of the model's size");
    assert_eq!((grid, values.len()), (None, 3 * 42 * 42));
    let first = f32::from(golden.picture(0).data[0]);
    assert!((values[0] - (first / 255.0 - 0.5) / 0.5).abs() < 1e-6);
    let large = Rgb { width: 100, height: 60, data: vec![9; 100 * 60 * 3] };
    let fitted = processor.picture.fit(&large).expect("a picture");
    assert_eq!((fitted.height, fitted.width), (42, 42));
    assert!(processor.clone().with_longer(64).unwrap_err().to_string().contains("`long_side` is 64"));
}

#[test]
fn a_saved_model_is_the_same_when_it_is_opened_again() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let saved = tempfile::tempdir().expect("a folder");
    let config = timm_config(model.architecture(), &[]).unwrap_or_else(|error| panic!("{error}"));
    std::fs::write(saved.path().join("config.json"), config.to_string()).expect("written");
    std::fs::copy(folder.join("tokenizer.json"), saved.path().join("tokenizer.json")).expect("copied");
    let all = parameters::read(model.network());
    assert!(all.keys().filter(|name| name.starts_with("tower.")).count() > 20);
    let bytes: Vec<_> = all
        .iter()
        .map(|(name, found)| {
            let bytes: Vec<u8> = found.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, &found.shape, bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        TensorView::new(name, Dtype::F32, shape, bytes).unwrap_or_else(|error| panic!("{error}"))
    });
    let metadata = BTreeMap::from([(TRAINED_WITH.to_owned(), STM.to_owned())]);
    save_safetensors(saved.path().join("model.safetensors"), views.collect::<Vec<_>>(), &metadata)
        .expect("written");
    let again = open(saved.path());
    assert_eq!((again.config(), again.trained_with()), (model.config(), model.trained_with()));
    let photo =
        Rgb { width: 50, height: 70, data: (0..50 * 70 * 3).map(|value| (value % 251) as u8).collect() };
    let prepared = |model: &Model| processor(model).picture.fit(&photo).expect("a picture");
    assert_eq!(prepared(&again), prepared(&model));
    let run = |model: &Model| {
        let reduction = bind(model, STM);
        values(model.run(batch(model, &golden, &[0, 1]), Pass::new(&reduction)).tokens.x)
    };
    assert_eq!(run(&again), run(&model));
}

#[test]
fn the_papers_size_has_3364_image_tokens_and_1682_after_soft_merging() {
    for name in ["pali_so400m_patch14_812", "pali_gigantic_patch14_812"] {
        let config = architecture(name).expect("listed").config;
        let facts = config.facts();
        let joining = facts.joining.expect("words join");
        assert_eq!((facts.tokens, facts.prefix), (3364, 0));
        let spec = format!("stm:p=2,layer={}", joining.layer + 1);
        let reduction = Reduction::bind(spec.parse().expect("a method"), &facts).expect("fits");
        let layers = reduction.expected_tokens(facts.tokens, facts.depth).expect("known");
        let at = layers[joining.layer];
        assert_eq!((at.entered, at.attended - at.joined, at.joined), (3364, 1682, 64));
        assert_eq!(layers.last().expect("blocks").fed, 1682 + 64);
        let cost =
            |reduction: &Reduction, layers: &[_]| config.cost().gmacs(layers, reduction, Convention::Macs);
        let (merged, whole) = (cost(&reduction, &layers), config.unmerged_gmacs(Convention::Macs));
        assert!(merged < whole, "{name}: {merged} of {whole}");
    }
    // A tower of SigLIP So400m/14 without its head has 427.68 M - 15.19 M parameters at 384 pixels; T5 1.1 large 783.15 M.
    let config = architecture("pali_so400m_patch14_812").expect("listed").config;
    let Config::Pali(of) = &config else { panic!("PaLI") };
    let text = Config::from(of.text.clone());
    assert_eq!(text.parameters(), architecture("t5_v1_1_large").expect("listed").config.parameters());
    let tower = Config::from(of.tower.clone()).parameters();
    assert_eq!(config.parameters(), tower + text.parameters() + 1152 * 1024 + 1024);
}

#[test]
fn the_cost_of_what_is_between_the_parts_is_counted() {
    let config = architecture("pali_tiny").expect("listed").config;
    let Config::Pali(of) = &config else { panic!("PaLI") };
    let (facts, cost) = (config.facts(), config.cost());
    let none = Reduction::none();
    let whole = cost.gmacs(&facts.unmerged(), &none, Convention::MacsNorm) * 1e9;
    let joining = cost.joining.expect("words join");
    let without = tokmerge_models::Cost { joining: None, ..cost.clone() };
    let blocks = without.gmacs(&facts.unmerged(), &none, Convention::MacsNorm) * 1e9;
    let (patches, from, to) = (64.0, of.tower.block.channels as f64, of.text.block.channels as f64);
    assert!((whole - blocks - patches * (from + from * to)).abs() < 1.0, "{whole} {blocks}");
    // Half of the tokens are projected, and the module in front sees all, as wide as the tower makes them.
    let stm = format!("stm:p=2,layer={}", joining.layer + 1);
    let stm = Reduction::bind(stm.parse().expect("a method"), &facts).expect("fits");
    assert_eq!(
        stm.merger_cost(joining.layer, 64, joining.channels),
        (64.0 * (64.0 * 64.0 + 64.0), 64.0 * 64.0)
    );
}

#[test]
fn what_makes_no_such_model_is_refused_with_a_reason() {
    let Some(folder) = folder() else { return };
    let text = std::fs::read_to_string(folder.join("config.json")).expect("there");
    let refused = |change: &dyn Fn(&mut Value)| {
        let changed = tempfile::tempdir().expect("a folder");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut config);
        std::fs::write(changed.path().join("config.json"), config.to_string()).expect("written");
        for file in ["model.safetensors", "tokenizer.json", "preprocessor_config.json"] {
            std::fs::copy(folder.join(file), changed.path().join(file)).expect("copied");
        }
        let options = ModelOptions::new(format!("local-dir:{}", changed.path().display()));
        Model::open(&options, &Device::flex()).map(|_| ()).unwrap_err().to_string()
    };
    let error = refused(&|config| config["stm"]["window"] = 0.into());
    assert!(error.contains("window") && error.lines().count() == 1, "{error}");
    let error = refused(&|config| config["stm"]["norm"] = "batch".into());
    assert!(error.contains("stm") && error.contains("layer, rms"), "{error}");
    let error = refused(&|config| config["stm"]["stride"] = 2.into());
    assert!(error.contains("`stride`"), "{error}");
    let error = refused(&|config| config["stm"] = Value::Null);
    assert!(error.contains("stm.key.weight"), "{error}");
    let error = refused(&|config| config["text_config"] = Value::Null);
    assert!(error.contains("text_config"), "{error}");
    let error = refused(&|config| config["vision_config"]["hidden_size"] = 39.into());
    assert!(error.contains("39"), "{error}");

    let options = ModelOptions { weights: Weights::Random, ..ModelOptions::new("pali_tiny") };
    let sized = ModelOptions { img_size: Some((32, 64)), ..options.clone() };
    let model = Model::open(&sized, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(model.config().tokens(), 4 * 8, "its images may have another size");
    let model = Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
    let error = model.bind(&"stm:p=2,layer=1,inflate=on".parse().expect("a method")).unwrap_err().to_string();
    assert!(error.contains("join"), "{error}");
}
