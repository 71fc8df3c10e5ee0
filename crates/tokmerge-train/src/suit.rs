//! What the model takes, and what of a recipe goes with it.

use crate::data::{Data, Measure};
use crate::error::TrainError;
use crate::loss::Loss;
use crate::recipe::{Recipe, Recompute, SamplingRecipe, SilenceRecipe};
use tokmerge_data::clip::{ClipProcessor, Sampling, frames_of_folder};
use tokmerge_data::sound::{SILENCE, SoundProcessor};
use tokmerge_data::text::TextError;
use tokmerge_data::{Media, MediaError, Processor, QuestionProcessor};
use tokmerge_merge::{Method, TrainedBy};
use tokmerge_models::{Architecture, BlockOrder, Config, ModelOptions, Weights, describe};

/// What the model of a recipe takes, found without its weights.
pub(crate) fn media(recipe: &Recipe) -> Result<Media, TrainError> {
    let Some(name) = &recipe.model.name else { return Ok(Media::Image) };
    let described = describe(&ModelOptions { weights: Weights::Random, ..ModelOptions::new(name.clone()) })?;
    Ok(described.architecture.processor.media())
}

/// Refuses settings of other kinds of items by name.
pub(crate) fn check(recipe: &Recipe, media: Media) -> Result<(), TrainError> {
    use Media::{Clip, Image, Question, Sound, Text};
    let (with, data) = (&recipe.regularisation, &recipe.data);
    let settings: [(&str, bool, &[Media]); 20] = [
        ("regularisation.mixup", with.mixup > 0.0, &[Image, Sound, Clip]),
        ("data.crop_pct", data.crop_pct.is_some(), &[Image, Clip]),
        ("data.labels", data.labels.is_some(), &[Image, Sound, Clip]),
        ("data.class_order", data.class_order.is_some(), &[Image, Sound, Clip]),
        ("model.img_size", recipe.model.img_size.is_some(), &[Image, Sound, Clip, Question]),
        ("data.max_tokens", data.max_tokens.is_some(), &[Text, Question]),
        ("model.tokenizer", recipe.model.tokenizer.is_some(), &[Text, Question]),
        ("distill", recipe.distill.is_some(), &[Image, Sound, Clip, Question]),
        ("regularisation.flip", with.flip > 0.0, &[Image, Clip]),
        ("regularisation.cutmix", with.cutmix > 0.0, &[Image, Clip]),
        ("regularisation.random_resized_crop", with.random_resized_crop.is_some(), &[Image, Clip]),
        ("regularisation.randaugment", with.randaugment.is_some(), &[Image]),
        ("regularisation.random_erasing", with.random_erasing > 0.0, &[Image]),
        ("regularisation.roll", with.roll, &[Sound]),
        ("regularisation.shift", with.shift > 0.0, &[Sound]),
        ("regularisation.gain", with.gain > 0.0, &[Sound]),
        ("regularisation.spec_augment", with.spec_augment.is_some(), &[Sound]),
        ("data.silence", data.silence.is_some(), &[Sound]),
        ("data.sampling", data.sampling.is_some(), &[Clip]),
        ("model.num_frames", recipe.model.num_frames.is_some(), &[Clip]),
    ];
    let wrong = settings.into_iter().find(|(_, is_given, of)| *is_given && !of.contains(&media));
    let Some((setting, _, of)) = wrong else { return Ok(()) };
    let of: Vec<&str> = of.iter().map(|media| media.words()).collect();
    Err(TrainError::Data(format!(
        "{setting} is a setting of {}, and the model takes {}; leave it out",
        of.join(" and "),
        media.words()
    )))
}

/// The loss of a recipe for its data.
pub(crate) fn loss(recipe: &Recipe, data: &Data) -> Result<Loss, TrainError> {
    let wrong = |text: &str| Err(TrainError::Data(text.to_owned()));
    let loss = match (recipe.train.loss, data.measure() == Measure::Lists) {
        (Some(Loss::CrossEntropy), true) => {
            return wrong(
                "train.loss is \"cross_entropy\", and files of a list have any number of labels; leave it out, or give \"bce\"",
            );
        }
        (Some(loss), _) => loss,
        (None, true) => Loss::Bce,
        (None, false) if data.has_soft_answers() => Loss::Bce,
        (None, false) => Loss::CrossEntropy,
    };
    if loss == Loss::Bce && recipe.consistency.is_some() {
        return wrong(
            "consistency is given, and asks for the probability of one class, where \"bce\" learns any number of them; leave one of them out",
        );
    }
    if loss == Loss::Bce && recipe.distill.is_some() {
        return wrong(
            "distill is given, and what a teacher says are parts of one, which \"bce\" does not learn; leave one of them out",
        );
    }
    Ok(loss)
}

/// How items are prepared for this recipe and these data. What a user should know of it goes to the notes.
pub(crate) fn processor(own: &Processor, recipe: &Recipe, data: &mut Data) -> Result<Processor, TrainError> {
    let own = own.with(&recipe.data.overrides())?;
    Ok(match own {
        Processor::Sound(sounds) => silenced(sounds, recipe.data.silence, data).into(),
        Processor::Clip(clips) => sampled(clips, recipe.data.sampling, data).into(),
        Processor::Text(texts) => match recipe.data.max_tokens {
            Some(most) => texts.with_max_tokens(most).map_err(MediaError::from)?.into(),
            None => texts.into(),
        },
        Processor::Question(questions) => match recipe.data.max_tokens {
            Some(most) => {
                let text = questions.text.with_max_tokens(most).map_err(MediaError::from)?;
                QuestionProcessor { text, ..questions }.into()
            }
            None => questions.into(),
        },
        other => other,
    })
}

/// Refuses a model that cannot learn from texts or questions as they are, and what of a recipe a model that writes does
/// not heed.
pub(crate) fn writes(recipe: &Recipe, architecture: &Architecture, data: &Data) -> Result<(), TrainError> {
    let wrong = |text: String| Err(TrainError::Data(text));
    let config = &architecture.config;
    if recipe.regularisation.dropout > 0.0
        && let Config::Text(text) = config
        && text.block.order != BlockOrder::PreNorm
    {
        return wrong(format!(
            "regularisation.dropout is {}, and is for blocks that begin with their norms, which those of {} do not; leave it out",
            recipe.regularisation.dropout,
            architecture.size_name()
        ));
    }
    if data.measure() == Measure::Texts && !config.writes() {
        return wrong(format!(
            "{} says something of texts and writes none, and what it should learn is not known; take a model with a decoder, \
             e.g. t5_v1_1_small",
            architecture.size_name()
        ));
    }
    let unheeded = [
        (
            recipe.train.recompute == Recompute::Blocks,
            "train.recompute is \"blocks\", and a decoder keeps what its blocks compute",
        ),
        (
            recipe.train.loss == Some(Loss::Bce),
            "train.loss is \"bce\", and a model that writes learns every next token by cross-entropy",
        ),
        (
            recipe.model.num_classes.is_some(),
            "model.num_classes is given, and a model that writes has no classes",
        ),
        (
            recipe.distill.is_some(),
            "the section distill is given, and a model that writes learns from texts alone",
        ),
        (
            recipe.consistency.is_some(),
            "the section consistency is given, and a model that writes has no probability of a class",
        ),
        (
            recipe.merge.parse().is_ok_and(|method: Method| method.trained_by() == TrainedBy::Rewards),
            "merge learns from right answers, and of what a model writes none is right or wrong as a whole",
        ),
    ];
    if config.writes()
        && let Some((_, reason)) = unheeded.iter().find(|(is_given, _)| *is_given)
    {
        return wrong(format!("{reason}; leave it out"));
    }
    let takes_texts = matches!(architecture.processor.media(), Media::Text | Media::Question);
    if takes_texts && architecture.processor.tokenizer().is_none() {
        return wrong(format!("{}: {}", architecture.size_name(), TextError::NoTokenizer));
    }
    Ok(())
}

fn silenced(own: SoundProcessor, wanted: Option<SilenceRecipe>, data: &mut Data) -> SoundProcessor {
    if !data.class_names.iter().any(|class| class == SILENCE) {
        return own;
    }
    let silence = wanted.unwrap_or(SilenceRecipe::Zeros);
    if wanted.is_none() {
        data.notes.push(format!(
            "zeros stand for each recording in {SILENCE}, as in the protocol of Speech Commands (data.silence)"
        ));
    }
    SoundProcessor { silence: silence.silence(), ..own }
}

fn sampled(own: ClipProcessor, wanted: Option<SamplingRecipe>, data: &mut Data) -> ClipProcessor {
    let frames = own.sampling.frames();
    let sampling = match wanted {
        Some(SamplingRecipe::Uniform) => Sampling::Uniform { frames },
        Some(SamplingRecipe::Span) => own.sampling,
        None => {
            let is_whole = |path: &std::path::Path| frames_of_folder(path) == Some(frames);
            let all_whole = data.train.files().chain(data.val.files()).all(is_whole);
            if all_whole && own.sampling != (Sampling::Uniform { frames }) {
                data.notes.push(format!(
                    "every clip has {frames} frames, and all of them are taken (data.sampling)"
                ));
            }
            if all_whole { Sampling::Uniform { frames } } else { own.sampling }
        }
    };
    own.with_sampling(sampling)
}
