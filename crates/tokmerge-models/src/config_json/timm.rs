//! timm's `config.json`: an architecture by name, and the arguments that differ.

use super::open_clip::{Pooled, TimmTower};
use super::{Arguments, ConfigureError};
use crate::input::InputShape;
use crate::network::Config;
use crate::network::SPELLINGS;
use crate::registry::{
    Architecture, UnknownModel, architecture, clip_processor, find, sound_name, sound_processor,
};
use serde_json::{Map, Value, json};
use tokmerge_checkpoint::{ModelConfig, TimmConfig, shortened};
use tokmerge_data::clip::{ClipError, ClipProcessor, Sampling};
use tokmerge_data::sound::SoundProcessor;
use tokmerge_data::text::TextProcessor;
use tokmerge_data::{ImageProcessor, Preprocess, Processor, QuestionProcessor, ViltPreprocess};

/// The model of a timm `config.json`.
///
/// What the name stands for comes first, then what the file says of its weights, then `model_args`: as timm builds it.
pub(crate) fn timm(config: &TimmConfig) -> Result<Architecture, ConfigureError> {
    let written = &config.pretrained_cfg;
    let (name, tag) = match config.architecture.split_once('.') {
        Some((name, tag)) => (name, tag),
        None => (config.architecture.as_str(), written.tag.as_deref().unwrap_or_default()),
    };
    let row = find(name).ok_or_else(|| UnknownModel::new(&config.architecture))?;
    let mut arguments = row.arguments.clone();
    arguments.extend(row.arguments_of(tag));
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            arguments.insert(name.to_owned(), value);
        }
    };
    say("in_chans", written.input_size.map(|[channels, ..]| json!(channels)));
    say("img_size", written.input_size.map(|[_, height, width]| json!([height, width])));
    say("num_classes", config.num_classes.map(|classes| json!(classes)));
    say("global_pool", config.global_pool.as_ref().map(|pool| json!(pool)));
    arguments.extend(config.model_args.clone());

    let built = (row.spelling.read)(row.class, &Arguments::new(&arguments))?;
    built.check().map_err(ConfigureError::Shape)?;
    let settings = row.settings(Some(tag));
    let sound = config.raw.pointer("/pretrained_cfg/sound").and_then(Value::as_str).or(settings.sound());
    let processor = match sound {
        Some(sound) => sound_of(sound, &built, config)?.into(),
        None if matches!(built.shape().input, InputShape::Clip { .. }) => clips_of(&built, config)?.into(),
        None if matches!(built.shape().input, InputShape::Question { .. }) => {
            questions_of(row.settings(Some(tag)).processor(&built), config)?
        }
        None if matches!(built.shape().input, InputShape::ImageQuestion { .. }) => {
            let picture = one_size(&built, config)?.into();
            QuestionProcessor { picture, text: TextProcessor::new(built.room()) }.into()
        }
        None if built.room() > 0 => TextProcessor::new(built.room()).into(),
        None => one_size(&built, config)?.into(),
    };
    Ok(Architecture { name: name.to_owned(), tag: tag.to_owned(), config: built, processor })
}

/// How images are prepared for the size that the model was built for, whatever size its weights came from.
fn one_size(built: &Config, config: &TimmConfig) -> Result<Preprocess, ConfigureError> {
    let input_size = built.shape().img_size();
    Ok(Preprocess { input_size, ..Preprocess::from_timm_config(&config.raw)? })
}

/// How sounds are prepared: as for the weights of the name, or as the file says, with the rate, mean and deviation that it
/// has.
fn sound_of(sound: &str, built: &Config, config: &TimmConfig) -> Result<SoundProcessor, ConfigureError> {
    let (rows, values) = built.shape().img_size();
    let processor = sound_processor(sound, (rows, values)).ok_or_else(|| {
        ConfigureError::Shape(format!("spectrograms of {rows}x{values} are not made of sounds by {sound}"))
    })?;
    let processor = match config.raw.pointer("/pretrained_cfg/sampling_rate") {
        None => processor,
        Some(rate) => {
            let rate = rate.as_u64().filter(|rate| (1000..=192_000).contains(rate));
            processor.with_rate(rate.ok_or_else(|| {
                ConfigureError::Shape(
                    "sampling_rate is a number of samples per second from 1000 to 192000".to_owned(),
                )
            })? as u32)
        }
    };
    let first = |name: &str| config.raw.pointer(&format!("/pretrained_cfg/{name}/0")).and_then(Value::as_f64);
    Ok(processor.with_statistics(first("mean"), first("std")))
}

/// How clips are prepared: with the sampling, mean and deviation that the file has, else as for the published models.
fn clips_of(built: &Config, config: &TimmConfig) -> Result<ClipProcessor, ConfigureError> {
    let InputShape::Clip { frames, size, .. } = built.shape().input else {
        return Err(ConfigureError::Shape("the model takes no clips".to_owned()));
    };
    let given = |name: &str| config.raw.pointer(&format!("/pretrained_cfg/{name}"));
    let processor = clip_processor(frames, size);
    let (mean, std) = processor.fit.normalisation();
    let read = |name, default| match given(name) {
        None => Ok(default),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|_| ConfigureError::Shape(format!("{name} of clips is three numbers"))),
    };
    let processor = processor.with_statistics(read("mean", mean)?, read("std", std)?);
    let refused = |error: ClipError| ConfigureError::Shape(error.to_string());
    let processor = match given("crop_pct").and_then(Value::as_f64) {
        Some(part) => processor.with_crop_pct(part).map_err(refused)?,
        None => processor,
    };
    let wrong = || ConfigureError::Shape("sampling is \"uniform\" or {\"stride\": N, \"fps\": N}".to_owned());
    let sampling = match given("sampling") {
        None => processor.sampling,
        Some(Value::String(word)) if word == "uniform" => Sampling::Uniform { frames },
        Some(Value::Object(spans)) => {
            let number = |name| spans.get(name).and_then(Value::as_f64).ok_or_else(wrong);
            Sampling::Spans { frames, stride: number("stride")? as usize, fps: number("fps")?, views: 1 }
        }
        Some(_) => return Err(wrong()),
    };
    let processor = processor.with_sampling(sampling);
    processor.validate().map_err(refused)?;
    Ok(processor)
}

/// How pictures of questions are prepared: as for the weights of the name, but for the sides, mean and deviation that the file
/// has.
fn questions_of(processor: Processor, config: &TimmConfig) -> Result<Processor, ConfigureError> {
    let Processor::Question(questions) = processor else { return Ok(processor) };
    let ImageProcessor::Vilt(picture) = &questions.picture else { return Ok(questions.into()) };
    let refused = |reason: String| ConfigureError::Shape(format!("pictures of questions: {reason}"));
    let mut written = json!(picture);
    for name in ["shorter", "longer", "interpolation", "mean", "std"] {
        if let Some(given) = config.raw.pointer(&format!("/pretrained_cfg/{name}")) {
            written[name] = given.clone();
        }
    }
    let picture: ViltPreprocess =
        serde_json::from_value(written).map_err(|error| refused(shortened(&error.to_string())))?;
    picture.validate().map_err(|error| refused(error.to_string()))?;
    Ok(QuestionProcessor { picture: picture.into(), ..questions }.into())
}

/// A tower of timm's inside a model of another library.
pub(crate) fn timm_tower(tower: &TimmTower) -> Result<Architecture, ConfigureError> {
    let row = find(&tower.architecture).ok_or_else(|| UnknownModel::new(&tower.architecture))?;
    let mut arguments = row.arguments.clone();
    arguments.insert("img_size".to_owned(), json!([tower.img_size.0, tower.img_size.1]));
    arguments.insert("num_classes".to_owned(), json!(0));
    let read = |pool: Option<&String>| {
        let mut arguments = arguments.clone();
        arguments.extend(pool.map(|pool| ("global_pool".to_owned(), json!(pool))));
        (row.spelling.read)(row.class, &Arguments::new(&arguments))
    };
    let pooled = read(tower.global_pool.as_ref())?;
    let mut config = match tower.pooled {
        Pooled::AtFirst => pooled,
        Pooled::Afterwards => read(None)?.pooled_like(&pooled),
    };
    if let Some((width, bias)) = tower.projection {
        config = config.with_projection(width, bias);
    }
    config.check().map_err(ConfigureError::Shape)?;
    let processor = tower.preprocess.clone().into();
    Ok(Architecture { config, processor, ..architecture(&tower.architecture)? })
}

/// The `config.json` that describes a model in timm's form, so that a folder with it and the weights can be opened
/// as `local-dir:`. A name that timm does not know is replaced by one that the arguments change into the model.
///
/// # Errors
/// When the shape makes no model, or arguments cannot say it.
pub fn timm_config(architecture: &Architecture, class_names: &[String]) -> Result<Value, ConfigureError> {
    let architecture = &Architecture { config: architecture.config.clone().saved(), ..architecture.clone() };
    let Architecture { config, .. } = architecture;
    config.check().map_err(ConfigureError::Shape)?;
    let unsaid = || {
        let name = architecture.size_name();
        ConfigureError::Shape(format!(
            "a model such as {name} with these changes cannot be written in timm's form"
        ))
    };
    let row = find(&architecture.name);
    let of_name = row.and_then(|row| {
        let written = (row.spelling.write)(config, Some(row.class))?;
        Some((architecture.name.as_str(), written))
    });
    let of_any = || {
        let written = SPELLINGS.iter().find_map(|spelling| (spelling.write)(config, None))?;
        Some((written.base, written))
    };
    let (name, written) = of_name.or_else(of_any).ok_or_else(unsaid)?;

    let file = |arguments: &Map<String, Value>| described(architecture, name, arguments, class_names);
    let mut arguments = written.arguments;
    if read_back(&file(&arguments)).as_ref() != Some(config) {
        return Err(unsaid());
    }
    // timm stumbles over words of our own, and nulls are noise: they stay only where the name says otherwise.
    for (name, _) in arguments
        .clone()
        .iter()
        .filter(|(name, value)| value.is_null() || written.own.contains(&name.as_str()))
    {
        let mut fewer = arguments.clone();
        fewer.shift_remove(name);
        if read_back(&file(&fewer)).as_ref() == Some(config) {
            arguments = fewer;
        }
    }
    Ok(file(&arguments))
}

fn described(
    architecture: &Architecture,
    name: &str,
    arguments: &Map<String, Value>,
    class_names: &[String],
) -> Value {
    let Architecture { tag, config, processor, .. } = architecture;
    let (height, width) = config.shape().img_size();
    let channels = arguments.get("in_chans").and_then(Value::as_u64).map_or(3, |channels| channels as usize);
    let per_channel =
        |values: [f32; 3]| values.iter().take(channels).map(|value| decimal(*value)).collect::<Vec<_>>();
    let mut written = json!({
        "architecture": name,
        "num_classes": config.shape().classes,
        "num_features": config.shape().embedding,
        "model_args": arguments,
        "pretrained_cfg": {
            "tag": tag,
            "input_size": [channels, height, width],
            "fixed_input_size": true,
        },
    });
    let given = &mut written["pretrained_cfg"];
    match processor {
        // What a text is brought to lies in the tokenizer beside it.
        Processor::Text(_) => *given = json!({"tag": tag}),
        // Numbers in JSON have 64 bits; the shortest decimals read back as the same 32.
        Processor::Question(QuestionProcessor { picture: ImageProcessor::Vilt(picture), .. }) => {
            (given["shorter"], given["longer"]) = (json!(picture.shorter), json!(picture.longer));
            given["mean"] = json!(picture.mean.map(decimal));
            given["std"] = json!(picture.std.map(decimal));
            given["interpolation"] = json!(picture.interpolation);
        }
        Processor::Sound(processor) => {
            if let Some((mean, std)) = processor.statistics() {
                (given["mean"], given["std"]) = (json!([mean]), json!([std]));
            }
            let sound = sound_name(processor);
            let named = find(name).is_some_and(|row| row.settings(Some(tag)).sound() == Some(sound));
            if !named {
                given["sound"] = json!(sound);
            }
            if processor.rate() != SoundProcessor::audio_mae().rate() {
                given["sampling_rate"] = json!(processor.rate());
            }
        }
        Processor::Clip(processor) => {
            let (mean, std) = processor.fit.normalisation();
            (given["mean"], given["std"]) = (json!(per_channel(mean)), json!(per_channel(std)));
            given["crop_pct"] = json!(processor.crop_pct());
            given["sampling"] = match processor.sampling {
                Sampling::Uniform { .. } => json!("uniform"),
                Sampling::Spans { stride, fps, .. } => json!({"stride": stride, "fps": fps}),
            };
        }
        _ => {
            let preprocess = of_pictures(processor).cloned().unwrap_or_default();
            given["mean"] = json!(per_channel(preprocess.mean));
            given["std"] = json!(per_channel(preprocess.std));
            given["interpolation"] = json!(preprocess.interpolation.name());
            given["crop_pct"] = json!(preprocess.crop_pct);
            given["crop_mode"] = json!(preprocess.crop_mode.name());
        }
    }
    if let Some(pool) = arguments.get("global_pool") {
        written["global_pool"] = pool.clone();
    }
    if !class_names.is_empty() {
        written["label_names"] = json!(class_names);
    }
    written
}

/// How pictures of one size are prepared, alone or with a question.
fn of_pictures(processor: &Processor) -> Option<&Preprocess> {
    match processor {
        Processor::Question(QuestionProcessor { picture: ImageProcessor::Fixed(preprocess), .. }) => {
            Some(preprocess)
        }
        other => other.preprocess(),
    }
}

fn read_back(file: &Value) -> Option<Config> {
    match ModelConfig::parse(&file.to_string()) {
        Ok(ModelConfig::Timm(read)) => timm(&read).ok().map(|found| found.config),
        _ => None,
    }
}

/// The shortest decimal that reads back as this value.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests;
