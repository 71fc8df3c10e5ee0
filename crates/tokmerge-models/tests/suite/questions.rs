//! ViLT against what transformers and an independent reference compute: unmerged, with token merging, and with soft token
//! merging and its gradients.

use crate::common::{Golden, floats, gradients_of, integers, material, open, open_on, scoring, values};
use burn::tensor::{Device, Tensor, TensorData, activation};
use serde_json::Value;
use std::path::PathBuf;
use tokmerge_checkpoint::Checkpoint;
use tokmerge_data::{Asked, Prepared, Processor, QuestionProcessor, ViltPreprocess};
use tokmerge_merge::{Evidence, Method, Prefix, Reduction, Site, Step, Tokens, Trace};
use tokmerge_models::{
    Batch, Body, Convention, Model, ModelOptions, Output, Pass, Probe, Weights, architecture,
};

impl Golden {
    /// Compares with a tensor, within what the reference asks of an f32 implementation, and never closer than 1e-5.
    fn check_rounded(&self, name: &str, actual: &[f32]) {
        let tolerance = self.asked(name).unwrap_or(1e-5).max(1e-5);
        self.check_within(tolerance, name, actual, &floats(&self.file, name));
    }

    fn cases(&self, kind: &str) -> Vec<(&String, &Value)> {
        let cases = self.expected["cases"].as_object().expect("cases");
        cases.iter().filter(|(name, _)| name.starts_with(kind)).collect()
    }
}

fn folder() -> Option<PathBuf> {
    material("text/vilt")
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

fn encoded(model: &Model, output: &Output) -> Vec<f32> {
    let Body::Vilt(vilt) = model.network().body() else { panic!("ViLT") };
    values(vilt.encoded(&output.tokens))
}

/// The tokens that enter every block, and leave it.
#[derive(Default)]
struct Seen {
    entering: Vec<Tokens>,
    left: Vec<Tokens>,
}

impl Probe for Seen {
    fn entering(&mut self, _: usize, tokens: &Tokens) {
        self.entering.push(tokens.clone());
    }

    fn left(&mut self, _: usize, tokens: &Tokens) {
        self.left.push(tokens.clone());
    }
}

/// The values of one item.
fn rows(tokens: &Tokens, item: usize) -> Vec<f32> {
    let [_, width] = tokens.x.dims();
    let range = tokens.layout.range(item);
    values(tokens.x.clone())[range.start * width..range.end * width].to_vec()
}

/// Binary cross entropy of every answer, summed over answers, the mean over items.
fn loss(logits: Tensor<2>, targets: &[f32]) -> Tensor<1> {
    let [items, answers] = logits.dims();
    let targets = TensorData::new(targets.to_vec(), [items, answers]);
    let targets = Tensor::<2>::from_data(targets, &logits.device());
    (activation::softplus(logits.clone(), 1.0) - logits * targets).sum() / items as f64
}

#[test]
fn vilt_equals_transformers() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let (none, mut seen) = (Reduction::none(), Seen::default());
    let output = model.run(batch(&model, &golden, &[0, 1, 2]), Pass::new(&none).probed(&mut seen));
    let all = encoded(&model, &output);
    for item in 0..3 {
        golden.check_rounded(&format!("item{item}.embeddings"), &rows(&seen.entering[0], item));
        golden.check_rounded(&format!("item{item}.block0"), &rows(&seen.left[0], item));
        golden.check_rounded(&format!("item{item}.block1"), &rows(&seen.left[1], item));
        let range = output.tokens.layout.range(item);
        golden
            .check_rounded(&format!("item{item}.last_hidden_state"), &all[range.start * 32..range.end * 32]);
        let pooled = values(output.pooled.clone());
        golden.check_rounded(&format!("item{item}.pooled"), &pooled[item * 32..(item + 1) * 32]);
    }
    golden.check_rounded("logits", &values(output.logits.clone()));
    golden.check_rounded("probabilities", &values(activation::sigmoid(output.logits.clone())));
    golden.check_rounded("loss", &values(loss(output.logits.clone(), &floats(&golden.file, "targets"))));
    let measured = model.measure(batch(&model, &golden, &[0, 1, 2]), &none, Convention::Fvcore).unwrap();
    assert_eq!(measured.logits.concat(), values(output.logits), "reading the answer alone changes nothing");
    for (logits, answer) in measured.logits.iter().zip(golden.expected["predicted"].as_array().unwrap()) {
        let best = (0..7).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("answers");
        assert_eq!(model.class_names()[best], answer.as_str().unwrap());
    }
}

#[test]
fn pictures_and_questions_are_prepared_as_transformers_does_it() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let processor = processor(&model);
    for case in golden.expected["tokenizer"].as_array().expect("a list") {
        let text = case["text"].as_str().expect("a text");
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).expect("numbers");
        match processor.question(text) {
            Ok(question) => {
                assert_eq!(question.tokens.ids, ids, "{text:?}");
                assert!(!question.is_cut, "{text:?}");
            }
            Err(error) => assert!(text.is_empty(), "{text:?}: {error}"),
        }
    }
    let long = processor.question(&"a cat ".repeat(50_000)).expect("words");
    assert!(long.is_cut && long.tokens.len() == 20, "{}", long.tokens.len());
    // The published size of ViLT-B/32.
    let published = ViltPreprocess::default();
    for (size, wanted) in golden.expected["resize_height_width"].as_object().expect("sizes") {
        let (height, width) = size.split_once('x').expect("height and width");
        let found = published.size(height.parse().unwrap(), width.parse().unwrap()).unwrap();
        assert_eq!(serde_json::json!([found.0, found.1]), *wanted, "{size}");
    }
    assert_eq!(processor.picture, ViltPreprocess { longer: 106, ..ViltPreprocess::new(64, 16) }.into());
    // Sides that are whole patches stay: nothing is resized.
    for item in 0..3 {
        let picture = golden.picture(item);
        let fits = picture.height.min(picture.width) == 64;
        assert!(!fits || processor.picture.fit(&picture).unwrap() == picture, "{item}");
    }
}

#[test]
fn tome_merges_patches_as_the_reference_does() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    for (name, case) in golden.cases("tome") {
        let plain = if case["log_size_bias"] == false { ",prop_attn=off" } else { "" };
        let method: Method = format!("tome:r={}{plain}", case["r"]).parse().unwrap();
        let reduction = model.bind(&method).expect("fits");
        let output = model.run(batch(&model, &golden, &[0, 1, 2]), Pass::new(&reduction));
        let (all, sizes) = (encoded(&model, &output), output.tokens.sizes());
        let plan = output.trace.plan_until(None).expect("something merged");
        golden.check_rounded(&format!("{name}.logits"), &values(output.logits.clone()));
        let Prefix::AfterText { text, own: 1 } = output.tokens.prefix.clone() else { panic!("questions") };
        for item in 0..3 {
            let (range, text) = (output.tokens.layout.range(item), text[item]);
            let at = |what: &str| format!("{name}.item{item}.{what}");
            golden.check_rounded(&at("last_hidden_state"), &all[range.start * 32..range.end * 32]);
            assert!(sizes[range.start..range.start + text + 1].iter().all(|size| *size == 1.0));
            let found: Vec<i32> =
                sizes[range.start + text..range.end].iter().map(|size| *size as i32).collect();
            assert_eq!(found, integers(&golden.file, &at("sizes")), "{name} {item}");
            let groups = plan.groups(item).into_iter().skip(text);
            let groups: Vec<i32> = groups.map(|group| group.expect("kept") as i32 - text as i32).collect();
            assert_eq!(groups, integers(&golden.file, &at("groups")), "{name} {item}");
            for (layer, pairs) in case["items"][item]["merged_pairs"].as_array().unwrap().iter().enumerate() {
                let step = Step { layer, site: Site::InsideBlock };
                let groups = output.trace.plan_at(step).expect("a plan").groups(item);
                for pair in pairs.as_array().unwrap() {
                    let of = |index: usize| groups[text + pair[index].as_u64().unwrap() as usize];
                    assert_eq!(of(0), of(1), "{name} {item}, block {layer}: {pair}");
                }
                let left = case["items"][item]["image_tokens_after_block"][layer].as_u64().unwrap();
                let fed = output.trace.layer_tokens(item, 0, 2)[layer].fed;
                assert_eq!(fed, text + left as usize, "{name} {item}, block {layer}");
            }
            let alone = model.run(batch(&model, &golden, &[item]), Pass::new(&reduction));
            assert_eq!(
                encoded(&model, &alone),
                all[range.start * 32..range.end * 32],
                "alone: {name} {item}"
            );
        }
    }
}

/// What every block reports.
struct Watching(Vec<(Tokens, Evidence)>);

impl Probe for Watching {
    fn attended(&mut self, _: usize, tokens: &Tokens, evidence: &Evidence) {
        self.0.push((tokens.clone(), evidence.clone()));
    }
}

#[test]
fn pumer_leaves_as_many_patches_as_it_says_and_drops_those_that_words_look_at_least() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    for (spec, layers) in [
        ("pumer:prune=10%,merge=30%", &[1][..]),
        ("pumer:prune=25%,merge=40%,layer=[1,2],order=attention,combine=average,prop_attn=off", &[0, 1]),
    ] {
        let reduction = model.bind(&spec.parse::<Method>().unwrap()).expect("fits");
        let (prune, merge) = if spec.contains("10%") { (0.1, 0.3) } else { (0.25, 0.4) };
        let mut seen = Watching(Vec::new());
        let output = model.run(batch(&model, &golden, &[0, 1, 2]), Pass::new(&reduction).probed(&mut seen));
        assert!(values(output.logits.clone()).iter().all(|logit| logit.is_finite()));
        for item in 0..3 {
            let mut now = output.trace.layer_tokens(item, 0, 2)[0].entered;
            for layer in 0..2 {
                let tokens = output.trace.layer_tokens(item, 0, 2)[layer];
                assert_eq!(tokens.entered, now, "{spec}");
                let patches = now - output.tokens.prefix.of(item);
                let part = |share: f64| (share * patches as f64).round_ties_even() as usize;
                let dropped = part(prune);
                let merged = part(merge).min((patches - dropped - 1) / 2);
                if layers.contains(&layer) {
                    assert!(dropped > 0 && merged > 0);
                    now -= dropped + merged;
                    let step = Step { layer, site: Site::InsideBlock };
                    let groups = output.trace.plan_at(step).expect("a plan").groups(item);
                    let (attended, evidence) = &seen.0[layer];
                    let received = &evidence.received()[attended.layout.range(item)];
                    assert!((received.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                    let prefix = attended.prefix.of(item);
                    let (gone, kept): (Vec<usize>, Vec<usize>) =
                        (prefix..groups.len()).partition(|place| groups[*place].is_none());
                    assert_eq!(gone.len(), dropped, "{spec}");
                    let most = gone.iter().map(|place| received[*place]).fold(0.0, f32::max);
                    assert!(kept.iter().all(|place| received[*place] >= most), "{spec}");
                }
                assert_eq!(tokens.fed, now, "{spec}, item {item}, block {layer}");
            }
            let alone = model.run(batch(&model, &golden, &[item]), Pass::new(&reduction));
            let range = output.tokens.layout.range(item);
            assert_eq!(
                encoded(&model, &alone),
                encoded(&model, &output)[range.start * 32..range.end * 32],
                "alone: {spec} {item}"
            );
        }
    }
}

#[test]
fn soft_merging_of_patches_is_algorithm_1_and_so_are_its_gradients() {
    let Some(folder) = folder() else { return };
    let (model, golden) = (open(&folder), Golden::of(&folder));
    let learning = open_on(&folder, &Device::flex().autodiff());
    let targets = floats(&golden.file, "targets");
    let file = Checkpoint::open(folder.join("stm.safetensors")).expect("a checkpoint");
    for (name, case) in golden.cases("stm") {
        let (p, layer) = (case["p"].as_u64().unwrap() as usize, case["layer"].as_u64().unwrap() as usize);
        let inflate = if case["inflate"] == true { ",inflate=on" } else { "" };
        let method: Method = format!("stm:p={p},layer={layer}{inflate}").parse().unwrap();
        let reduction = Reduction::bind(method.clone(), &model.facts()).expect("fits");
        let reduction = reduction.with_mergers(scoring(&method, "stm", &file, model.device()));
        let mut seen = Seen::default();
        let output = model.run(batch(&model, &golden, &[0, 1, 2]), Pass::new(&reduction).probed(&mut seen));
        let all = encoded(&model, &output);
        golden.check_rounded(&format!("{name}.logits"), &values(output.logits.clone()));
        golden.check_rounded(&format!("{name}.loss"), &values(loss(output.logits.clone(), &targets)));
        for item in 0..3 {
            let range = output.tokens.layout.range(item);
            let at = |what: String| format!("{name}.item{item}.{what}");
            golden.check_rounded(&at("last_hidden_state".to_owned()), &all[range.start * 32..range.end * 32]);
            let alone = model.run(batch(&model, &golden, &[item]), Pass::new(&reduction));
            assert_eq!(
                encoded(&model, &alone),
                all[range.start * 32..range.end * 32],
                "alone: {name} {item}"
            );
            for (block, entering) in seen.entering.iter().enumerate() {
                if golden.file.get(&at(format!("block{block}.merged"))).is_none() {
                    continue;
                }
                let (merged, _) =
                    reduction.enter(block, entering.clone(), Evidence::default(), &mut Trace::default());
                let prefix = merged.prefix.of(item);
                golden
                    .check_rounded(&at(format!("block{block}.merged")), &rows(&merged, item)[prefix * 32..]);
                let Some(mixtures) = reduction.mixtures(block, entering) else { continue };
                let mixture = &mixtures[item];
                let scores: Vec<f32> = (prefix..mixture.inputs())
                    .map(|input| mixture.weights(prefix + (input - prefix) / p)[input])
                    .collect();
                golden.check_rounded(&at(format!("block{block}.scores")), &scores);
            }
        }
        let mergers = scoring(&method, "stm", &file, learning.device());
        let reduction = Reduction::bind(method.clone(), &learning.facts()).expect("fits");
        let reduction = reduction.with_mergers(mergers.clone());
        let output = learning.run(batch(&learning, &golden, &[0, 1, 2]), Pass::head(&reduction));
        let grads = loss(output.logits, &targets).backward();
        for (before, merger) in &mergers.at {
            let found = gradients_of(merger, &grads);
            assert_eq!(found.len(), 4, "{name}");
            for (path, (_, gradient)) in found {
                let path = if path.contains('.') { path } else { format!("{path}.weight") };
                golden.check_rounded(&format!("{name}.grad.stm.{before}.{path}"), &gradient);
            }
        }
    }
}

#[test]
fn the_published_model_is_counted_at_its_longest() {
    let config = architecture("vilt_b32").expect("listed").config;
    let facts = config.facts();
    assert_eq!((facts.tokens, facts.prefix, facts.depth), (40 + 1 + 240, 41, 12));
    // 117,588,537 parameters with the classifier of 3129 answers, as transformers counts.
    assert_eq!(config.parameters(), 117_588_537);
    // The paper's 55.9 GFLOPs are two per multiply-add, of a model with a classifier besides.
    let gmacs = config.unmerged_gmacs(Convention::Macs);
    assert!((25.0..28.5).contains(&gmacs), "{gmacs}");
}

#[test]
fn a_model_of_questions_says_what_it_cannot_do() {
    let options = ModelOptions { weights: Weights::Random, ..ModelOptions::new("vilt_b32") };
    let sized = ModelOptions { img_size: Some((224, 224)), ..options.clone() };
    let error = Model::open(&sized, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("224x224") && error.contains("leave it out"), "{error}");
}
