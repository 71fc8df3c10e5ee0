//! Targets in crates that do not know burn.

use crate::{Outcome, Target, as_it_is, refused, seeds, text, zip};
use std::path::Path;
use tokmerge_checkpoint::{Checkpoint, ModelConfig, ModelSource};
use tokmerge_data::sound::{SoundLimits, SoundProcessor, decode_sound};
use tokmerge_data::text::Tokenizer;
use tokmerge_data::{
    ClassNames, Decode, DecodeOptions, ImageProcessor, Limits, Preprocess, Processor, QuestionList,
    QuestionListForm, decode_image,
};

/// Pictures of a few thousand pixels: what a bomb costs shows as well against low limits as against high ones.
const LIMITS: Limits = Limits { max_pixels: 1 << 16, max_bytes: 1 << 20, max_seconds: 2 };

/// JPEG, PNG, WebP and BMP.
pub(crate) const IMAGE: Target = Target {
    name: "image",
    run: |input| {
        let fitted = |decode| {
            let preprocess = Preprocess { input_size: (7, 9), ..Preprocess::default() };
            let options = DecodeOptions { decode, ..LIMITS.into() };
            ImageProcessor::from(preprocess).decode_fitted(input, &options)
        };
        let exact = fitted(Decode::Exact);
        let fast = fitted(Decode::Fast);
        for picture in [&exact, &fast].into_iter().flatten() {
            assert_eq!(picture.data.len(), 7 * 9 * 3);
        }
        match decode_image(input, &LIMITS) {
            Ok(image) => {
                assert_eq!(image.data.len(), image.width * image.height * 3);
                assert!((image.width * image.height) as u64 <= LIMITS.max_pixels);
                Outcome::Read
            }
            Err(error) => refused(&error),
        }
    },
    seeds: seeds::images,
    mend: mend_png,
    memory: 16 << 20,
};

/// WAV, FLAC, MP3, Ogg and AAC, and what a model makes of them.
pub(crate) const SOUND: Target = Target {
    name: "sound",
    run: |input| {
        let limits = SoundLimits { max_seconds: 2, max_bytes: 1 << 20 };
        match decode_sound(input.to_vec(), &limits) {
            Ok(sound) => {
                assert!(!sound.samples.is_empty() && sound.samples.iter().all(|sample| sample.is_finite()));
                assert!(sound.samples.len() as u64 <= 2 * u64::from(sound.rate) + u64::from(sound.rate));
                match SoundProcessor::keyword_transformer().prepare(sound) {
                    Ok(features) => assert_eq!(features.len(), 98 * 40),
                    Err(error) => {
                        refused(&error);
                    }
                }
                Outcome::Read
            }
            Err(error) => refused(&error),
        }
    },
    seeds: seeds::sounds,
    mend: as_it_is,
    memory: 64 << 20,
};

/// Weights as safetensors, and the index of several such files.
pub(crate) const SAFETENSORS: Target = Target {
    name: "safetensors",
    run: |input| checkpoint("hostile.safetensors", input),
    seeds: seeds::safetensors,
    mend: mend_header,
    memory: 64 << 20,
};

/// PyTorch's zip as it is.
pub(crate) const PYTORCH: Target = Target {
    name: "pytorch",
    run: |input| checkpoint("hostile.pth", input),
    seeds: seeds::pytorch,
    mend: as_it_is,
    memory: 64 << 20,
};

/// The pickle inside such a zip, whose lengths are right whatever the pickle.
pub(crate) const PICKLE: Target = Target {
    name: "pickle",
    run: |input| {
        let data = [0; 256];
        let storages = ["a/data/0", "a/data/1", "a/data/2", "a/data/3"].map(|name| (name, &data[..]));
        let entries: Vec<(&str, &[u8])> = [("a/data.pkl", input)].into_iter().chain(storages).collect();
        checkpoint("hostile.pth", &zip::stored(&entries))
    },
    seeds: seeds::pickles,
    mend: as_it_is,
    memory: 64 << 20,
};

fn checkpoint(name: &str, input: &[u8]) -> Outcome {
    match Checkpoint::from_bytes(name, input.to_vec()) {
        Ok(checkpoint) => {
            for tensor in checkpoint.tensors() {
                let count: usize = tensor.shape.iter().product();
                assert_eq!(tensor.bytes().len(), count * tensor.dtype.size(), "{tensor:?}");
                match tensor.to_f32() {
                    Ok(values) => assert_eq!(values.len(), count, "{tensor:?}"),
                    Err(error) => {
                        refused(&error);
                    }
                }
            }
            Outcome::Read
        }
        Err(error) => refused(&error),
    }
}

/// `config.json` in timm's form and in that of transformers, and `open_clip_config.json`.
pub(crate) const CONFIG: Target = Target {
    name: "config",
    run: |input| match text(input).map(ModelConfig::parse) {
        Some(Ok(_)) => Outcome::Read,
        Some(Err(error)) => refused(&error),
        None => Outcome::Refused,
    },
    seeds: seeds::configs,
    mend: as_it_is,
    memory: 64 << 20,
};

/// How pictures are prepared, in all three forms.
pub(crate) const PREPROCESSOR: Target = Target {
    name: "preprocessor",
    run: |input| {
        let Ok(value) = serde_json::from_slice(input) else { return Outcome::Refused };
        let fixed = [Preprocess::from_timm_config, Preprocess::from_open_clip_config];
        let all = fixed.map(|read| read(&value).map(ImageProcessor::Fixed));
        let all = all
            .into_iter()
            .chain([ImageProcessor::from_hf(&value)])
            .map(|read| read.map(Processor::from))
            .chain([Processor::from_hf(&value)]);
        let mut outcome = Outcome::Refused;
        for read in all {
            match read {
                Ok(processor) => {
                    assert!(processor.validate().is_ok(), "{processor:?}");
                    outcome = Outcome::Read;
                }
                Err(error) => {
                    refused(&error);
                }
            }
        }
        outcome
    },
    seeds: seeds::preprocessors,
    mend: as_it_is,
    memory: 64 << 20,
};

/// Names of classes.
pub(crate) const LABELS: Target = Target {
    name: "labels",
    run: |input| match text(input).map(ClassNames::parse) {
        Some(Ok(names)) => {
            assert!(!names.is_empty() && names.name(names.len()).is_none());
            assert!(names.index_of_wnid().values().all(|index| *index < names.len()));
            Outcome::Read
        }
        Some(Err(error)) => refused(&error),
        None => Outcome::Refused,
    },
    seeds: seeds::labels,
    mend: as_it_is,
    memory: 64 << 20,
};

/// `tokenizer.json`, and what becomes of a text by it.
pub(crate) const TOKENIZER: Target = Target {
    name: "tokenizer",
    run: |input| {
        const TEXT: &str = "Hello, the 2 cats' na\u{ef}ve \u{1f600} \u{fb01}ne\u{2026}  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! \u{fdfa}\n\t 123.5";
        let tokenizer = match Tokenizer::from_bytes("tokenizer.json".as_ref(), input) {
            Ok(tokenizer) => tokenizer,
            Err(error) => return refused(&error),
        };
        if let Err(error) = tokenizer.check(1 << 10) {
            refused(&error);
        }
        match tokenizer.encode(TEXT, 64) {
            Ok(tokens) => {
                assert_eq!(tokens.ids.len(), tokens.roles.len());
                if let Err(error) = tokenizer.decode(&tokens.ids) {
                    refused(&error);
                }
            }
            Err(error) => {
                refused(&error);
            }
        }
        Outcome::Read
    },
    seeds: seeds::tokenizers,
    mend: as_it_is,
    memory: 64 << 20,
};

/// Lists of questions about pictures, in all forms.
pub(crate) const QUESTIONS: Target = Target {
    name: "questions",
    run: |input| {
        let mut outcome = Outcome::Refused;
        for form in QuestionListForm::ALL {
            match QuestionList::parse(input, form, Path::new("hostile/questions")) {
                Ok(list) => {
                    assert!(!list.questions().is_empty());
                    for question in list.questions() {
                        assert!(!question.answers.is_empty() && question.picture < list.pictures().len());
                        let fields = question.answers.iter().chain(&question.kind).chain([&question.text]);
                        for field in fields {
                            assert!(
                                !field.trim().is_empty() && !field.contains(char::is_control),
                                "{field:?}"
                            );
                        }
                    }
                    let first = list.clone().limit(1);
                    assert_eq!((first.questions().len(), first.pictures().len()), (1, 1));
                    outcome = Outcome::Read;
                }
                Err(error) => {
                    refused(&error);
                }
            }
        }
        outcome
    },
    seeds: seeds::questions,
    mend: as_it_is,
    memory: 64 << 20,
};

/// What users write where a model is asked for.
pub(crate) const SOURCE: Target = Target {
    name: "source",
    run: |input| match text(input).map(ModelSource::parse) {
        Some(Ok(source)) => {
            assert_eq!(ModelSource::parse(&source.to_string()).ok(), Some(source));
            Outcome::Read
        }
        Some(Err(error)) => refused(&error),
        None => Outcome::Refused,
    },
    seeds: seeds::sources,
    mend: as_it_is,
    memory: 1 << 20,
};

/// The checksum of every chunk of a PNG, for as long as chunks follow each other.
fn mend_png(file: &mut [u8]) {
    const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
    if !file.starts_with(SIGNATURE) {
        return;
    }
    let mut at = SIGNATURE.len();
    while let Some(length) = file.get(at..at + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(end) = at.checked_add(8).and_then(|data| data.checked_add(length)) else { return };
        if file.len() < end + 4 {
            return;
        }
        let sum = crc32fast::hash(&file[at + 4..end]);
        file[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}

/// The length in front of a header that ends with the last brace.
fn mend_header(file: &mut [u8]) {
    if let Some(end) = file.iter().rposition(|byte| *byte == b'}').filter(|end| *end > 8) {
        let length = end + 1 - 8;
        file[..8].copy_from_slice(&(length as u64).to_le_bytes());
    }
}
