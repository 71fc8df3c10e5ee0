//! Text towers, and images compared with texts, against what transformers computes: CLIP and SigLIP, unmerged; and what is
//! refused.

use crate::common::{self, Golden, floats, integers, material, worst_absolute};
use burn::tensor::Device;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tokmerge_checkpoint::{Checkpoint, save_safetensors};
use tokmerge_data::text::{TextProcessor, TokenIds};
use tokmerge_data::{Processor, Rgb};
use tokmerge_merge::{Method, Reduction, Tokens};
use tokmerge_models::{
    Batch, ClassTexts, Convention, Input, Measured, Model, ModelOptions, Pass, Probability, Probe, Template,
    Texts, Weights, ZeroShot, ZeroShotError,
};

const FOLDERS: [&str; 2] = ["clip", "siglip"];

impl Golden {
    fn named(name: &str) -> Option<Self> {
        Some(Self::of(&material(&format!("text/{name}"))?))
    }

    fn open(&self) -> ZeroShot {
        ZeroShot::open(&options(&self.folder), &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn check(&self, name: &str, actual: &[f32]) {
        self.check_rows(name, actual, &floats(&self.file, name));
    }

    fn check_rows(&self, name: &str, actual: &[f32], expected: &[f32]) {
        self.check_within(self.asked(name).expect("a number"), name, actual, expected);
    }

    fn list(&self, name: &str) -> Vec<String> {
        let list = self.expected[name].as_array().expect("a list");
        list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
    }

    fn classes(&self) -> ClassTexts {
        let template: Template =
            self.expected["prompt"].as_str().expect("a text").parse().expect("a template");
        ClassTexts::new(&self.list("labels"), &template).expect("classes")
    }

    fn images(&self) -> Vec<Rgb> {
        (0..)
            .map_while(|item| self.file.get(&format!("image.{item}")))
            .map(|view| Rgb { width: view.shape[1], height: view.shape[0], data: view.bytes().to_vec() })
            .collect()
    }

    fn measured(&self, model: &Model, reduction: &Reduction) -> Measured {
        let batch = model.prepare(&self.images()).expect("pictures");
        model.measure(batch, reduction, Convention::Fvcore).expect("numbers")
    }
}

fn options(folder: &Path) -> ModelOptions {
    ModelOptions::new(format!("local-dir:{}", folder.display()))
}

fn processor(model: &Model) -> &TextProcessor {
    let Processor::Text(processor) = model.processor() else { panic!("a model of texts") };
    processor
}

fn tokens(model: &Model, text: &str) -> TokenIds {
    processor(model).encode(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn parsed(ids: &Value) -> Vec<u32> {
    ids.as_array().expect("a list").iter().map(|id| id.as_u64().expect("a number") as u32).collect()
}

/// What every block gives, `[T, C]` each.
#[derive(Default)]
struct Blocks(Vec<Vec<f32>>);

impl Probe for Blocks {
    fn left(&mut self, _: usize, tokens: &Tokens) {
        self.0.push(common::values(tokens.x.clone()));
    }
}

#[test]
fn text_towers_equal_transformers() {
    for golden in FOLDERS.into_iter().filter_map(Golden::named) {
        let both = golden.open();
        let texts: Vec<TokenIds> =
            golden.list("texts").iter().map(|text| tokens(both.texts(), text)).collect();
        let (padded, ids) =
            (golden.file.get("input_ids").expect("there").shape[1], integers(&golden.file, "input_ids"));
        let channels = both.texts().config().shape().channels;
        let mut blocks = Blocks::default();
        let none = Reduction::none();
        let input = Input::Texts(Texts::new(&texts, both.texts().device()));
        let output = both.texts().network().run(input, Pass { probe: Some(&mut blocks), ..Pass::new(&none) });
        for (item, text) in texts.iter().enumerate() {
            let rows = output.tokens.layout.range(item);
            let given: Vec<u32> = ids[item * padded..][..text.len()].iter().map(|id| *id as u32).collect();
            assert_eq!(text.ids, given, "{item}");
            for (block, found) in blocks.0.iter().enumerate() {
                let name = format!("text.block{block}");
                let expected =
                    floats(&golden.file, &name)[item * padded * channels..][..text.len() * channels].to_vec();
                golden.check_rows(&name, &found[rows.start * channels..rows.end * channels], &expected);
            }
        }
        assert_eq!(blocks.0.len(), both.texts().config().depth());
        golden.check("text_features", &common::values(output.pooled));
        let vectors = both.text_vectors(&golden.list("texts")).expect("vectors");
        golden.check("text_embeds", &vectors.concat());
        // Alone, bit for bit as in the batch.
        for (text, vector) in golden.list("texts").into_iter().zip(&vectors) {
            assert_eq!(&both.text_vectors(&[text]).expect("a vector")[0], vector);
        }
    }
}

#[test]
fn images_are_compared_with_texts_as_transformers_does() {
    for golden in FOLDERS.into_iter().filter_map(Golden::named) {
        let both = golden.open();
        let model = both.classifier(&golden.classes()).expect("a classifier");
        assert_eq!(model.class_names(), golden.list("labels"));
        let measured = golden.measured(&model, &Reduction::none());
        golden.check("image_features", &measured.embeddings.concat());
        golden.check("logits_per_image", &measured.logits.concat());
        let probabilities = measured.logits.iter().map(|logits| model.probability().of(logits));
        golden.check("probabilities", &probabilities.collect::<Vec<_>>().concat());
        let alone = golden.measured(both.images(), &Reduction::none());
        assert_eq!(alone.embeddings, measured.embeddings, "the classifier does not change the embedding");
        let best = |logits: &Vec<f32>| (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let predicted: Vec<_> =
            measured.logits.iter().map(|logits| &model.class_names()[best(logits).expect("one")]).collect();
        assert_eq!(predicted, golden.list("predicted").iter().collect::<Vec<_>>());
    }
}

#[test]
fn the_image_tower_merges_beneath_the_classes() {
    for golden in FOLDERS.into_iter().filter_map(Golden::named) {
        let model = golden.open().classifier(&golden.classes()).expect("a classifier");
        let merged: Method = "tome:r=3".parse().expect("a method");
        let (unmerged, merged) = (
            golden.measured(&model, &Reduction::none()),
            golden.measured(&model, &model.bind(&merged).expect("fits")),
        );
        assert!(merged.gmacs[0] < unmerged.gmacs[0]);
        assert_ne!(merged.logits, unmerged.logits);
        let method: Method = "tome:r=2".parse().expect("a method");
        let error = golden.open().texts().bind(&method).unwrap_err().to_string();
        assert!(error.contains("last token"), "{error}");
    }
}

#[test]
fn tokens_are_those_of_the_tokenizers() {
    for golden in FOLDERS.into_iter().filter_map(Golden::named) {
        let both = golden.open();
        let room = both.texts().config().room();
        let tokenizer = processor(both.texts()).tokenizer().expect("a tokenizer");
        for case in golden.expected["tokenizer"].as_array().expect("a list") {
            let (text, ids) = (case["text"].as_str().expect("a text"), parsed(&case["ids"]));
            match tokenizer.encode(text, room) {
                Ok(tokens) => assert_eq!(tokens.ids, ids, "{text:?}"),
                Err(_) => assert!(text.trim().is_empty(), "{text:?}"),
            }
        }
    }
}

#[test]
fn clip_reads_a_text_up_to_its_first_end_and_siglip_fills_it() {
    let Some(clip) = Golden::named("clip") else { return };
    let both = clip.open();
    // Its tokenizer writes what it does not know as an end.
    let [short, long] = ["it", "it's 2 dogs"].map(|text| tokens(both.texts(), text).ids);
    assert_eq!(long, [178, 12, 34, 179]);
    assert_eq!(short[0], 178);
    let long = tokens(both.texts(), &"a dog ".repeat(100));
    assert_eq!((long.len(), long.ids.last()), (24, Some(&179)));
    let Some(siglip) = Golden::named("siglip") else { return };
    let both = siglip.open();
    let short = tokens(both.texts(), "dogs").ids;
    assert_eq!((short.len(), &short[short.len() - 3..]), (20, &[1, 1, 1][..]));
    let long = tokens(both.texts(), &"a dog ".repeat(100)).ids;
    assert_eq!((long.len(), long.last()), (20, Some(&1)));
}

#[test]
fn probabilities_are_of_one_class_or_of_each() {
    let softmax = Probability::Softmax.of(&[0.0, 0.0, f32::ln(2.0)]);
    assert!(worst_absolute(&softmax, &[0.25, 0.25, 0.5]).error < 1e-6);
    let sigmoid = Probability::Sigmoid.of(&[0.0, f32::ln(3.0), -100.0]);
    assert!(worst_absolute(&sigmoid, &[0.5, 0.75, 0.0]).error < 1e-6);
}

/// A copy of a folder without some of its files, and with its configuration changed.
fn changed(golden: &Golden, without: &[&str], change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"] {
        if !without.contains(&name) {
            std::fs::copy(golden.folder.join(name), copy.path().join(name)).expect("copied");
        }
    }
    let config = std::fs::read_to_string(golden.folder.join("config.json")).expect("config.json");
    let mut config = serde_json::from_str(&config).expect("JSON");
    change(&mut config);
    std::fs::write(copy.path().join("config.json"), config.to_string()).expect("written");
    copy
}

fn refused(folder: &Path) -> String {
    let error = ZeroShot::open(&options(folder), &Device::flex()).expect_err("refused").to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn the_first_files_of_clip_name_another_end_token() {
    let Some(golden) = Golden::named("clip") else { return };
    let folder = changed(&golden, &[], |config| config["text_config"]["eos_token_id"] = json!(2));
    let both = ZeroShot::open(&options(folder.path()), &Device::flex()).unwrap();
    golden.check("text_embeds", &both.class_vectors(&golden.classes()).unwrap().concat());
}

#[test]
fn the_pad_token_is_that_of_the_tokenizer() {
    let Some(golden) = Golden::named("siglip") else { return };
    // What the configuration says is left aside where the tokenizer's settings say it.
    let folder = changed(&golden, &[], |config| config["text_config"]["pad_token_id"] = json!(0));
    let both = ZeroShot::open(&options(folder.path()), &Device::flex()).unwrap();
    golden.check("text_embeds", &both.class_vectors(&golden.classes()).unwrap().concat());
    let folder = changed(&golden, &["tokenizer_config.json"], |config| {
        config["text_config"]["pad_token_id"] = json!(0)
    });
    let both = ZeroShot::open(&options(folder.path()), &Device::flex()).unwrap();
    assert_eq!(tokens(both.texts(), "dogs").ids.last(), Some(&0));
}

#[test]
fn what_has_no_text_tower_is_refused() {
    let Some(golden) = Golden::named("clip") else { return };
    let without = changed(&golden, &[], |config| {
        config.as_object_mut().expect("an object").remove("text_config");
    });
    assert!(refused(without.path()).contains("no text tower"));
    for name in ["hf-dinov2", "hf-clip-vision-projection", "open-clip"] {
        let Some(folder) = material(&format!("folders/{name}")) else { return };
        assert!(refused(&folder).contains("no text tower"), "{name}");
    }
    let options = ModelOptions::new("demo");
    let error = ZeroShot::open(&options, &Device::flex()).unwrap_err();
    assert!(matches!(error, ZeroShotError::OwnClasses { .. }), "{error}");
    let random = ModelOptions { weights: Weights::Random, ..self::options(&golden.folder) };
    let error = ZeroShot::open(&random, &Device::flex()).unwrap_err();
    assert!(matches!(error, ZeroShotError::RandomWeights), "{error}");
}

#[test]
fn texts_without_a_tokenizer_or_a_token_are_refused() {
    let Some(golden) = Golden::named("siglip") else { return };
    let folder = changed(&golden, &["tokenizer.json"], |_| {});
    let both = ZeroShot::open(&options(folder.path()), &Device::flex()).unwrap();
    let error = both.class_vectors(&golden.classes()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
    // Punctuation alone is left out by this tokenizer.
    let error = golden.open().text_vectors(&["!?".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("!?") && error.contains("no token is left"), "{error}");
    let batch = Batch { texts: vec![tokens(golden.open().texts(), "dogs")], ..Batch::default() };
    assert!(golden.open().texts().measure(batch, &Reduction::none(), Convention::Fvcore).is_ok());
}

#[test]
fn text_towers_that_were_saved_alone_open_as_models_of_texts() {
    for (name, kind) in FOLDERS.into_iter().zip(["clip_text_model", "siglip_text_model"]) {
        let Some(golden) = Golden::named(name) else { return };
        let folder = changed(&golden, &["model.safetensors", "preprocessor_config.json"], |config| {
            let projection = config["projection_dim"].clone();
            *config = config["text_config"].clone();
            config["model_type"] = json!(kind);
            if kind.starts_with("clip") {
                config["architectures"] = json!(["CLIPTextModelWithProjection"]);
                config["projection_dim"] = projection;
            }
        });
        let tensors = Checkpoint::open(golden.folder.join("model.safetensors")).unwrap();
        let of_texts: Vec<_> = tensors.tensors().filter(|tensor| tensor.name.starts_with("text_")).collect();
        save_safetensors(folder.path().join("model.safetensors"), of_texts, &BTreeMap::new()).expect("saved");
        let model =
            Model::open(&options(folder.path()), &Device::flex()).unwrap_or_else(|error| panic!("{error}"));
        let texts = golden.list("texts").iter().map(|text| tokens(&model, text)).collect();
        let batch = Batch { texts, ..Batch::default() };
        let measured = model.measure(batch, &Reduction::none(), Convention::Fvcore).unwrap();
        golden.check("text_features", &measured.embeddings.concat());
    }
}
