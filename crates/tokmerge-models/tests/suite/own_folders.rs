//! Folders in the project's own form with a tokenizer: models of texts and of questions are opened as they were written.

use burn::tensor::Device;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tokmerge_checkpoint::{TensorView, save_safetensors};
use tokmerge_data::text::{TextForm, Tokenizer};
use tokmerge_data::{Processor, QuestionProcessor, Rgb, ViltPreprocess};
use tokmerge_merge::Reduction;
use tokmerge_models::{Batch, Convention, Model, ModelOptions, Weights, parameters, timm_config};

const WORDS: [&str; 2] = ["What shape is left of the red one?", "circle square"];

fn write(dir: &Path, config: &Value, tokenizer: &Tokenizer) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_json()).unwrap();
}

fn open(dir: &Path, weights: Weights) -> Model {
    let options = ModelOptions { weights, ..ModelOptions::new(format!("local-dir:{}", dir.display())) };
    Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
}

/// Writes a model as a folder, every parameter 1.5 times what it was, and opens it.
fn written_and_opened(model: &Model, dir: &Path) -> Model {
    let config = timm_config(model.architecture(), model.class_names()).unwrap();
    let text = match model.processor() {
        Processor::Question(questions) => &questions.text,
        other => other.text().expect("of texts"),
    };
    write(dir, &config, text.tokenizer().expect("with a tokenizer"));
    let mut values = parameters::read(model.network());
    values.values_mut().for_each(|values| values.values.iter_mut().for_each(|value| *value *= 1.5));
    let views = values.iter().map(|(name, values)| TensorView::from_f32(name, &values.shape, &values.values));
    let views: Vec<_> = views.map(Result::unwrap).collect();
    save_safetensors(dir.join("model.safetensors"), views, &BTreeMap::new()).unwrap();
    let opened = open(dir, Weights::Pretrained);
    let found = parameters::read(opened.network());
    assert_eq!(found.len(), values.len());
    for (name, values) in &values {
        assert_eq!(found[name].values, values.values, "{name}");
    }
    assert_eq!(opened.config(), model.config());
    assert_eq!(opened.processor(), model.processor(), "its tokenizer and its pictures too");
    opened
}

#[test]
fn a_model_of_questions_is_opened_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::of_words(WORDS, TextForm::ClassAndSeparator).unwrap();
    let config = json!({"architecture": "vilt_b32", "num_classes": 2, "label_names": ["circle", "square"],
        "model_args": {"img_size": [32, 32], "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3,
                       "vocab_size": tokenizer.vocabulary(), "max_text_len": 12}});
    let random = dir.path().join("random");
    write(&random, &config, &tokenizer);
    let model = open(&random, Weights::Random);
    assert_eq!(model.class_names(), ["circle", "square"]);
    let Processor::Question(processor) = model.processor().clone() else { panic!("of questions") };
    let tokmerge_data::ImageProcessor::Vilt(picture) = &processor.picture else { panic!("its own sizes") };
    assert_eq!((picture.shorter, picture.longer), (32, 53));
    // Pictures that are prepared in another way than those of the name.
    let (mean, std) = ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]);
    let picture = ViltPreprocess { longer: 50, mean, std, ..picture.clone() };
    let model = model.with_processor(QuestionProcessor { picture: picture.into(), ..processor }.into());
    let opened = written_and_opened(&model, &dir.path().join("written"));
    assert_eq!(opened.class_names(), ["circle", "square"]);

    let Processor::Question(processor) = opened.processor() else { panic!("of questions") };
    let question = processor.question("What is left of the circle?").unwrap();
    assert_eq!(question.tokens.ids, [2, 4, 6, 7, 8, 9, 13, 12, 3]);
    let picture = Rgb { width: 40, height: 30, data: (0..3600).map(|at| (at % 251) as u8).collect() };
    let asked =
        tokmerge_data::Asked { picture: processor.picture.fit(&picture).unwrap(), tokens: question.tokens };
    let batch: Batch = opened.batch(&[tokmerge_data::Prepared::Question(asked)]).unwrap();
    let measured = opened.measure(batch, &Reduction::none(), Convention::Macs).unwrap();
    assert_eq!((measured.logits[0].len(), measured.tokens_left[0]), (2, 9 + 1 + 4 * 5));
}

#[test]
fn a_model_of_texts_is_opened_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::of_words(WORDS, TextForm::End).unwrap();
    let config = json!({"architecture": "t5_v1_1_small",
        "model_args": {"embed_dim": 24, "depth": 2, "num_heads": 2, "head_dim": 8, "mlp_hidden": 32,
                       "vocab_size": tokenizer.vocabulary(), "max_tokens": 64}});
    let random = dir.path().join("random");
    write(&random, &config, &tokenizer);
    let opened = written_and_opened(&open(&random, Weights::Random), &dir.path().join("written"));
    let text = opened.processor().text().expect("of texts");
    assert_eq!(text.encode("left square").unwrap().ids, [6, 13, 1], "ended once");
}

#[test]
fn pictures_of_questions_that_make_no_sense_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::of_words(WORDS, TextForm::ClassAndSeparator).unwrap();
    for (name, value) in
        [("longer", json!(8)), ("shorter", json!("long")), ("mean", json!([1.0])), ("std", json!([0, 0, 0]))]
    {
        let config = json!({"architecture": "vilt_b32", "num_classes": 2, "pretrained_cfg": {name: value},
            "model_args": {"img_size": [32, 32], "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3,
                           "vocab_size": tokenizer.vocabulary()}});
        write(dir.path(), &config, &tokenizer);
        let options = ModelOptions {
            weights: Weights::Random,
            ..ModelOptions::new(format!("local-dir:{}", dir.path().display()))
        };
        let error = Model::open(&options, &Device::flex()).expect_err("refused").to_string();
        assert!(error.contains("config.json") && !error.contains('\n'), "{name}: {error}");
    }
}
