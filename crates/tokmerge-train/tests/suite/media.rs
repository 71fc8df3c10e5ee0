//! Sounds, clips and lists of several labels are trained on like images.

#![expect(clippy::print_stderr, reason = "says what was skipped")]

use crate::common::{begin, bytes, clip_recipe, recipe, rows, sound_recipe, start, stripes, tones, wav};
use burn::tensor::Device;
use std::path::{Path, PathBuf};
use tokmerge_data::{Media, Processor, Sample};
use tokmerge_models::{Model, ModelOptions, Weights};
use tokmerge_scenes::{Clips, MOTIONS, Split, write_clips};
use tokmerge_train::{Recipe, Start, Trainer};

fn opened(dir: &Path) -> Model {
    let options = ModelOptions {
        weights: Weights::Pretrained,
        ..ModelOptions::new(format!("local-dir:{}", dir.display()))
    };
    Model::open(&options, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(recipe: Recipe) -> String {
    match Start::open(recipe, &Device::flex()) {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    }
}

/// Percent right of a model on some files.
fn top1(model: &Model, samples: Vec<Sample>) -> f64 {
    use tokmerge_eval::{EvalOptions, Labels, evaluate};
    let reading = tokmerge_data::Reading { batch_size: 8, workers: 0, decoding: Default::default() };
    let options = EvalOptions { reading, convention: tokmerge_models::Convention::Fvcore };
    let reductions = model.bind_all(&["none".parse().unwrap()]).unwrap();
    let found = evaluate(model, &reductions, samples, Labels::Trusted, options, &mut ()).unwrap();
    found[0].top1.unwrap()
}

#[test]
fn tones_are_learnt_from_and_the_folder_is_a_model_of_sounds() {
    let dir = tempfile::tempdir().unwrap();
    tones(&dir.path().join("sounds"), 24);
    let given = sound_recipe(dir.path(), &["train.epochs=5"]);
    let begun = start(given.clone());
    assert_eq!((begun.media(), begun.item_counts()), (Media::Sound, (36, 12)));
    let run = dir.path().join("run");
    let summary = begin(&given, &run).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    let accuracies = &summary.validations[0].accuracies;
    assert!(accuracies.iter().all(|accuracy| accuracy.top1.unwrap() > 90.0), "{accuracies:?}");
    assert_eq!(accuracies[1].mean_tokens, 99.0 - 16.0);

    let model = opened(&run);
    assert_eq!(model.media(), Media::Sound);
    assert_eq!(model.class_names(), ["high", "low"]);
    let sample = |(class, label): (&str, usize)| Sample {
        path: dir.path().join(format!("sounds/{class}/001.wav")),
        label: Some(label),
    };
    assert_eq!(top1(&model, [("high", 0), ("low", 1)].map(sample).to_vec()), 100.0);
}

/// Models that see spectra, one of them with rows of frequencies, patches that overlap, and a folder that says what it is.
#[test]
fn models_of_spectra_are_trained_and_open_again_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    tones(&dir.path().join("sounds"), 12);
    let ast = dir.path().join("ast");
    std::fs::create_dir(&ast).unwrap();
    let config = r#"{"model_type": "audio-spectrogram-transformer", "hidden_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 3, "intermediate_size": 48, "patch_size": 16, "frequency_stride": 10, "time_stride": 10,
        "num_mel_bins": 36, "max_length": 96, "id2label": {"0": "high", "1": "low"}}"#;
    std::fs::write(ast.join("config.json"), config).unwrap();
    let of_folder = format!("model={{name=\"local-dir:{}\"}}", ast.display());
    let mae = "model={name=\"audio_vit_base_patch16_1024x128\",embed_dim=24,depth=2,num_heads=3}";
    for (name, model, epochs, left) in [("ast-run", of_folder.as_str(), 12, 13.0), ("mae-run", mae, 1, 497.0)]
    {
        let changes = [model, &format!("train.epochs={epochs}"), "train.validate=[\"tome:r=8\"]"];
        let given = sound_recipe(dir.path(), &changes);
        let begun = start(given.clone());
        let run = dir.path().join(name);
        let summary = begin(&given, &run).run(&mut ()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let accuracy = &summary.validations[0].accuracies[0];
        assert_eq!((accuracy.images, accuracy.mean_tokens), (6, left), "{name}");
        let model = opened(&run);
        assert_eq!(model.processor(), &begun.architecture().processor, "{name}");
        assert_eq!(model.class_names(), ["high", "low"]);
        if name == "ast-run" {
            assert_eq!(accuracy.top1, Some(100.0));
        }
    }
}

/// What stands for `ffmpeg`, if it is there.
fn ffmpeg() -> Option<PathBuf> {
    let program = std::env::var_os("TOKMERGE_FFMPEG").map_or_else(|| PathBuf::from("ffmpeg"), PathBuf::from);
    let found = std::process::Command::new(&program).arg("-version").output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(program);
    }
    eprintln!("SKIPPED: ffmpeg is neither on the search path nor named in TOKMERGE_FFMPEG");
    None
}

#[test]
fn video_files_are_trained_on_from_anywhere_in_their_time() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (class, colour) in [("dark", "0x203040"), ("light", "0xd0c0b0")] {
        let folder = dir.path().join("clips").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        for at in 0..8 {
            let source = format!("color=c={colour}:s=40x{}:r=30:d=1", 24 + 2 * at);
            let mut command = std::process::Command::new(&program);
            command.args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", &source, "-c:v", "mpeg4"]);
            assert!(command.arg(folder.join(format!("{at}.mp4"))).status().unwrap().success());
        }
    }
    std::fs::write(dir.path().join("clips/dark/broken.mp4"), b"no video").unwrap();
    let files = dir.path().join("clips");
    let crop = ["regularisation.random_resized_crop=[0.5,1.0]", "train.epochs=5", "train.batch_size=4"];
    let weights = ["1", "3"].map(|workers| {
        let threads = format!("data.workers={workers}");
        let changes = [&crop[..], &[&threads, "data.sampling=span"]].concat();
        let text = clip_recipe(&files.display().to_string(), &files, &changes).to_toml();
        let mut given = Recipe::parse(&text, "a test", &[]).unwrap();
        (given.data.val, given.data.split) = (None, Some(0.3));
        let mut told = Told::default();
        let run = dir.path().join(workers);
        let trainer = Trainer::new(start(given), &run).unwrap();
        let summary = trainer.run(&mut told).unwrap_or_else(|error| panic!("{error}"));
        assert!(summary.validations[0].score() > 90.0, "{:?}", summary.validations);
        bytes(run.join("model.safetensors"))
    });
    assert!(weights[0] == weights[1], "the threads that read files change nothing");
}

#[test]
fn recordings_of_silence_are_zeros_unless_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    tones(&dir.path().join("sounds"), 8);
    std::fs::rename(dir.path().join("sounds/low"), dir.path().join("sounds/_silence_")).unwrap();
    let notes = |changes: &[&str]| {
        let begun = start(sound_recipe(dir.path(), changes));
        let Processor::Sound(sounds) = begun.architecture().processor.clone() else { panic!("no sounds") };
        (begun.notes().join("; "), sounds.silence == tokmerge_data::sound::Silence::Zeros)
    };
    let (said, zeros) = notes(&[]);
    assert!(zeros && said.contains("data.silence"), "{said}");
    let (said, zeros) = notes(&["data.silence=recorded"]);
    assert!(!zeros && !said.contains("silence"), "{said}");
}

/// The model's classes are in the order of its table of labels, and fine-tuning on the same folders must not mix them up.
#[test]
fn fine_tuning_keeps_the_order_of_the_classes_of_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    tones(&dir.path().join("sounds"), 24);
    let labels = dir.path().join("labels.txt");
    std::fs::write(&labels, "low\nhigh\n").unwrap();
    let labels = format!("data.labels={}", labels.display());
    let first = dir.path().join("first");
    begin(&sound_recipe(dir.path(), &["train.epochs=5", &labels]), &first).run(&mut ()).unwrap();
    assert_eq!(opened(&first).class_names(), ["low", "high"]);
    let name = format!("model={{name=\"local-dir:{}\",weights=\"pretrained\"}}", first.display());
    let begun = start(sound_recipe(dir.path(), &[&name]));
    assert_eq!(begun.class_names(), ["low", "high"]);
    assert!(begun.notes().iter().any(|note| note.contains("numbered as the classes of the weights")));
    let none = ["train.epochs=0", "schedule.warmup_epochs=0"];
    let again = sound_recipe(dir.path(), &[&name, none[0], none[1]]);
    let summary =
        begin(&again, &dir.path().join("again")).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    assert!(summary.validations[0].score() > 90.0, "{:?}", summary.validations);
}

#[test]
fn drawn_clips_are_trained_on_and_folders_of_frames_validate() {
    let dir = tempfile::tempdir().unwrap();
    let val = dir.path().join("val");
    let clips = Clips::of(Split::Validation).with_side(16).unwrap().with_frames(4).unwrap();
    write_clips(&clips, &val, 0..120).unwrap();
    let given = clip_recipe("clips:24", &val, &["regularisation.flip=0.5", "regularisation.mixup=0.2"]);
    let run = dir.path().join("run");
    let begun = start(given.clone());
    assert!(begun.notes().iter().any(|note| note.contains("data.sampling")), "{:?}", begun.notes());
    let summary = begin(&given, &run).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(summary.steps, 3);
    let accuracy = &summary.validations[0].accuracies[0];
    assert_eq!((accuracy.images, accuracy.mean_tokens), (120, 9.0));

    // What was trained is opened with its frames, sampling and crop, and answers as in validation.
    let model = opened(&run);
    assert_eq!(model.processor(), &begun.architecture().processor);
    assert_eq!(model.class_names(), MOTIONS);
    let samples = (0..120)
        .map(|index| {
            let class = clips.class(index);
            Sample { path: val.join(MOTIONS[class]).join(format!("{index:07}")), label: Some(class) }
        })
        .collect();
    assert!((top1(&model, samples) - accuracy.top1.unwrap()).abs() < 1e-9);

    // Folders of frames are trained on too, and the threads that read them change nothing.
    let train = dir.path().join("train");
    write_clips(&clips, &train, 0..120).unwrap();
    let weights = ["1", "3"].map(|workers| {
        let workers = format!("data.workers={workers}");
        let files = clip_recipe(&train.display().to_string(), &val, &[&workers, "regularisation.flip=0.5"]);
        let run = dir.path().join(&workers);
        begin(&files, &run).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
        bytes(run.join("model.safetensors"))
    });
    assert!(weights[0] == weights[1]);
}

#[test]
fn replicas_share_a_batch_of_sounds_and_of_clips() {
    let dir = tempfile::tempdir().unwrap();
    tones(&dir.path().join("sounds"), 12);
    let val = dir.path().join("val");
    let clips = Clips::of(Split::Validation).with_side(16).unwrap().with_frames(4).unwrap();
    write_clips(&clips, &val, 0..120).unwrap();
    let two = ["train.replicas=2", "train.epochs=1"];
    let clips = clip_recipe("clips:16", &val, &two);
    for (name, given) in [("sounds-run", sound_recipe(dir.path(), &two)), ("clips-run", clips)] {
        let summary = begin(&given, &dir.path().join(name)).run(&mut ());
        assert_eq!(summary.unwrap_or_else(|error| panic!("{error}")).steps, 2);
    }
}

/// Low tones, high tones, both or none.
fn list(dir: &Path, name: &str, count: usize) {
    std::fs::create_dir_all(dir).unwrap();
    let mut text = "path,labels\n".to_owned();
    for i in 0..count {
        let (mut frequencies, mut labels) = (Vec::new(), Vec::new());
        let vary = 1.0 + 0.015 * (i % 9) as f64;
        for (bit, frequency, label) in [(1, 350.0, "low"), (2, 2200.0, "high")] {
            if i & bit != 0 {
                frequencies.push(frequency * vary);
                labels.push(label);
            }
        }
        std::fs::write(dir.join(format!("{name}{i}.wav")), wav(&frequencies, 0.1 * i as f64)).unwrap();
        text += &format!("{name}{i}.wav,{}\n", labels.join(";"));
    }
    std::fs::write(dir.join(format!("{name}.csv")), text).unwrap();
    std::fs::write(dir.join("classes.txt"), "low\nhigh\nnever\n").unwrap();
}

#[test]
fn lists_of_several_labels_learn_each_and_report_average_precision() {
    let dir = tempfile::tempdir().unwrap();
    let sounds = dir.path().join("sounds");
    list(&sounds, "train", 40);
    list(&sounds, "val", 16);
    let set = |key: &str, file: &str| format!("data.{key}={}", sounds.join(file).display());
    let (train, val, labels) =
        (set("train", "train.csv"), set("val", "val.csv"), set("labels", "classes.txt"));
    let text = sound_recipe(dir.path(), &["train.epochs=8", "regularisation.mixup=0"]).to_toml();
    let text = text.replace("split = 0.25\n", "");
    let changes = [train.clone(), val, labels];
    let given = Recipe::parse(&text, "a test", &changes).unwrap();
    let begun = start(given.clone());
    assert!(begun.notes().iter().all(|note| !note.contains("left out")), "{:?}", begun.notes());
    let run = dir.path().join("run");
    let summary = begin(&given, &run).run(&mut ()).unwrap_or_else(|error| panic!("{error}"));
    let accuracy = &summary.validations[0].accuracies[0];
    assert_eq!((accuracy.images, accuracy.top1), (16, None));
    assert!(accuracy.mean_average_precision.unwrap() > 95.0, "{accuracy:?}");
    assert_eq!(rows(run.join("validation.csv"), 8)[0][4], "map");
    assert!(summary.best.unwrap().1 > 95.0);
    assert_eq!(opened(&run).class_names(), ["low", "high", "never"]);

    let error = refusal(Recipe::parse(&text, "a test", &changes[..2]).unwrap());
    assert!(error.contains("data.labels is missing"), "{error}");
    let wrong = [&changes[..], &["train.loss=cross_entropy".to_owned()]].concat();
    let error = refusal(Recipe::parse(&text, "a test", &wrong).unwrap());
    assert!(error.contains("train.loss is \"cross_entropy\""), "{error}");
}

#[test]
fn other_kinds_of_data_and_settings_of_theirs_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    tones(&dir.path().join("sounds"), 6);
    stripes(&dir.path().join("images"), 6);
    for (change, expected) in [
        ("regularisation.flip=0.5", "regularisation.flip is a setting of images and clips"),
        (
            "regularisation.randaugment=rand-m9-mstd0.5-inc1",
            "regularisation.randaugment is a setting of images",
        ),
        ("regularisation.random_resized_crop=[0.5,1.0]", "regularisation.random_resized_crop"),
        ("regularisation.random_erasing=0.2", "regularisation.random_erasing"),
        ("regularisation.cutmix=1.0", "regularisation.cutmix"),
        ("data.crop_pct=0.9", "crop_pct"),
        ("data.sampling=uniform", "data.sampling is a setting of clips"),
        ("model.num_frames=8", "model.num_frames is a setting of clips"),
        ("data.train=clips:100", "draws clips, and the model takes sounds"),
        ("regularisation.spec_augment.frames=200", "frames is 200"),
    ] {
        let error = refusal(sound_recipe(dir.path(), &[change]));
        assert!(error.contains(expected), "{change}: {error}");
    }
    let images = |changes: &[&str]| refusal(recipe(dir.path(), changes));
    let error = images(&["regularisation.roll=true"]);
    assert!(
        error.contains("regularisation.roll is a setting of sounds, and the model takes images"),
        "{error}"
    );
    let sounds = format!("data.train={}", dir.path().join("sounds").display());
    let error = images(&[&sounds]);
    assert!(error.contains("no images"), "{error}");
    let swapped = format!("data.train={}", dir.path().join("images").display());
    let error = refusal(sound_recipe(dir.path(), &[&swapped]));
    assert!(error.contains("no sounds"), "{error}");
}

#[test]
fn a_broken_sound_is_replaced_and_named() {
    let dir = tempfile::tempdir().unwrap();
    tones(&dir.path().join("sounds"), 12);
    std::fs::write(dir.path().join("sounds/low/003.wav"), b"RIFF no sound").unwrap();
    let given = sound_recipe(dir.path(), &["train.epochs=2"]);
    let mut told = Told::default();
    let trainer = Trainer::new(start(given), &dir.path().join("run")).unwrap();
    trainer.run(&mut told).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(told.0.len(), 1, "{:?}", told.0);
    assert!(told.0[0].contains("003.wav"));
    assert!(!bytes(dir.path().join("run/model.safetensors")).is_empty());
}

#[derive(Default)]
struct Told(Vec<String>);

impl tokmerge_train::Observer for Told {
    fn event(&mut self, event: tokmerge_train::Event<'_>) {
        if let tokmerge_train::Event::Unreadable(reason) | tokmerge_train::Event::LeftOut(reason) = event {
            self.0.push(reason.to_owned());
        }
    }
}
