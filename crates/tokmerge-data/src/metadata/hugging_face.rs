//! Hugging Face's `preprocessor_config.json`, and `processor_config.json`, in which it lies.

use serde_json::Value;

use super::{ConfigError, Keys, side};
use crate::{
    CLIP_MEAN, CLIP_STD, CropMode, CropRounding, HALF_MEAN, HALF_STD, IMAGENET_MEAN, IMAGENET_STD,
    ImageProcessor, Interpolation, NaflexPreprocess, Preprocess, ViltPreprocess,
};

/// What Hugging Face's `size` asks for.
#[derive(Clone, Copy)]
enum Resize {
    Exactly(usize, usize),
    ShortestEdge(usize),
}

/// What a kind of image processor does where the file does not say.
#[derive(Clone, Copy)]
struct Kind {
    /// How the processor's name begins.
    name: &'static str,
    resize: Resize,
    /// Side of the square crop, and whether it is cut where the file does not say.
    crop: Option<(usize, Cut)>,
    interpolation: Interpolation,
    mean: [f32; 3],
    std: [f32; 3],
}

#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Yes,
    No,
}

/// The kinds of transformers 5; one that is not listed has to say its size.
static KINDS: [Kind; 9] = {
    let half = Kind {
        name: "ViT",
        resize: Resize::Exactly(224, 224),
        crop: None,
        interpolation: Interpolation::Bilinear,
        mean: HALF_MEAN,
        std: HALF_STD,
    };
    let clip = Kind {
        name: "CLIP",
        resize: Resize::ShortestEdge(224),
        crop: Some((224, Cut::Yes)),
        interpolation: Interpolation::Bicubic,
        mean: CLIP_MEAN,
        std: CLIP_STD,
    };
    [
        Kind { name: "Bit", ..clip },
        Kind { name: "ChineseCLIP", ..clip },
        clip,
        Kind {
            name: "DeiT",
            resize: Resize::Exactly(256, 256),
            crop: Some((224, Cut::Yes)),
            interpolation: Interpolation::Bicubic,
            ..half
        },
        Kind { name: "Beit", crop: Some((224, Cut::No)), interpolation: Interpolation::Bicubic, ..half },
        Kind { name: "Siglip", interpolation: Interpolation::Bicubic, ..half },
        Kind { name: "DINOv3ViT", mean: IMAGENET_MEAN, std: IMAGENET_STD, ..half },
        Kind {
            name: "VideoMAE",
            interpolation: Interpolation::Bilinear,
            mean: HALF_MEAN,
            std: HALF_STD,
            ..clip
        },
        half,
    ]
};

/// Keys that change the picture in a way that is not done here, each with the only value that is understood.
const ONLY: [(&str, &str, Value); 10] = [
    ("do_resize", "true; images of any size must become one size", Value::Bool(true)),
    (
        "rescale_offset",
        "false; pixels are divided by 255 and nothing is subtracted before the mean",
        Value::Bool(false),
    ),
    ("do_pad", "false; images are resized, not padded", Value::Bool(false)),
    ("do_flip_channel_order", "false; channels stay red, green, blue", Value::Bool(false)),
    ("keep_aspect_ratio", "false; use size with shortest_edge to keep the aspect ratio", Value::Bool(false)),
    ("do_color_quantize", "false; pixels stay numbers", Value::Bool(false)),
    ("do_image_splitting", "false; an image is one input", Value::Bool(false)),
    ("crop_to_patches", "false; an image is one input", Value::Bool(false)),
    ("do_align_long_axis", "false; images are not turned", Value::Bool(false)),
    ("do_thumbnail", "false; images are resized once", Value::Bool(false)),
];

/// Kinds whose resizing follows rules of their own.
const OWN_GEOMETRY: [&str; 4] = ["ConvNext", "Levit", "Perceiver", "PoolFormer"];

impl ImageProcessor {
    /// From `preprocessor_config.json`, or from `processor_config.json` with the image processor inside.
    pub fn from_hf(config: &Value) -> Result<Self, ConfigError> {
        let keys = image_processor(config)?;
        if keys.kind().starts_with("Siglip2") {
            return NaflexPreprocess::from_keys(&keys).map(Self::Naflex);
        }
        if keys.kind().starts_with("Vilt") {
            return ViltPreprocess::from_keys(&keys).map(Self::Vilt);
        }
        Preprocess::from_keys(&keys).map(Self::Fixed)
    }
}

impl Preprocess {
    /// From Hugging Face's `preprocessor_config.json` (or `processor_config.json`): `size`, `crop_size`,
    /// `do_center_crop`, `resample`, `image_mean`, `image_std`, `do_normalize`. A processor that gives each picture a
    /// size of its own is refused: see [`ImageProcessor::from_hf`].
    ///
    /// `size` as `{height, width}` distorts, as `{shortest_edge}` keeps the aspect ratio and needs a centre
    /// crop; a plain number is what `default_to_square` says, else the shortest edge for processors that crop so (CLIP,
    /// BiT, VideoMAE) and both edges for others. As the processors do it, a crop that cannot be centred exactly goes
    /// to the lower offset ([`CropRounding::Down`]). One detail stays as in timm: `/ 255` is a division, not a
    /// multiplication by 1/255, which can differ in the last bit.
    pub fn from_hf_preprocessor(config: &Value) -> Result<Self, ConfigError> {
        let keys = image_processor(config)?;
        if ["Siglip2", "Vilt"].iter().any(|own| keys.kind().starts_with(own)) {
            let found = keys.get("image_processor_type").unwrap_or(&Value::Null);
            let allowed = "a processor that gives all images one size";
            return Err(keys.wrong("image_processor_type", found, allowed));
        }
        Self::from_keys(&keys)
    }

    fn from_keys(keys: &Keys<'_>) -> Result<Self, ConfigError> {
        let kind = keys.kind();
        if OWN_GEOMETRY.iter().any(|name| kind.starts_with(name)) {
            let found = keys.get("image_processor_type").unwrap_or(&Value::Null);
            let allowed = "a processor that resizes to size, such as ViTImageProcessor or CLIPImageProcessor";
            return Err(keys.wrong("image_processor_type", found, allowed));
        }
        let defaults = KINDS.iter().find(|known| kind.starts_with(known.name));
        keys.refuse_unknown_operations()?;

        let allowed = "a number, {\"height\", \"width\"} or {\"shortest_edge\"}";
        let square = keys.flag("default_to_square")?;
        let shortest = match (square, defaults) {
            (Some(square), _) => !square,
            (None, Some(Kind { resize, .. })) => matches!(resize, Resize::ShortestEdge(_)),
            (None, None) => false,
        };
        let size = |v: &Value| match v {
            Value::Number(_) if shortest => side(v).map(Resize::ShortestEdge),
            Value::Object(o) if o.len() == 1 => side(o.get("shortest_edge")?).map(Resize::ShortestEdge),
            _ => height_and_width(v).map(|(h, w)| Resize::Exactly(h, w)),
        };
        let resize = match (keys.read("size", allowed, size)?, defaults) {
            (Some(resize), _) => resize,
            (None, Some(known)) => known.resize,
            (None, None) => keys.require("size", allowed, size)?,
        };
        let crop = keys.read("crop_size", "a number or {\"height\", \"width\"}", height_and_width)?;
        let cut_by_default = match defaults {
            Some(known) => known.crop.is_some_and(|(_, cut)| cut == Cut::Yes),
            // In files of other processors the key that is there decides.
            None => crop.is_some(),
        };
        let crop = if keys.flag("do_center_crop")?.unwrap_or(cut_by_default) {
            let default = defaults.and_then(|known| known.crop).map(|(side, _)| (side, side));
            let allowed = "a number or {\"height\", \"width\"} where do_center_crop is true";
            match crop.or(default) {
                Some(crop) => Some(crop),
                None => Some(keys.require("crop_size", allowed, height_and_width)?),
            }
        } else {
            None
        };
        let (input_size, crop_pct, crop_mode) = fitted(keys, resize, crop)?;
        let (mean, std) =
            keys.normalisation(defaults.map_or((IMAGENET_MEAN, IMAGENET_STD), |d| (d.mean, d.std)))?;
        let interpolation = defaults.map_or(Interpolation::Bilinear, |known| known.interpolation);
        let read = Self {
            input_size,
            crop_pct,
            crop_mode,
            crop_rounding: CropRounding::Down,
            interpolation: keys.resample()?.unwrap_or(interpolation),
            mean,
            std,
            ..Self::default()
        };
        read.validate()?;
        Ok(read)
    }
}

impl NaflexPreprocess {
    fn from_keys(keys: &Keys<'_>) -> Result<Self, ConfigError> {
        keys.refuse_unknown_operations()?;
        let default = Self::default();
        let (mean, std) = keys.normalisation((default.mean, default.std))?;
        let read = Self {
            patch_size: keys.read("patch_size", "a whole number", side)?.unwrap_or(default.patch_size),
            max_num_patches: keys
                .read("max_num_patches", "a whole number", side)?
                .unwrap_or(default.max_num_patches),
            interpolation: keys.resample()?.unwrap_or(default.interpolation),
            mean,
            std,
        };
        read.validate()?;
        Ok(read)
    }
}

impl ViltPreprocess {
    fn from_keys(keys: &Keys<'_>) -> Result<Self, ConfigError> {
        // Padding is for batches: whoever makes none of pictures of one size needs none.
        keys.refuse_unknown_operations_but(&["do_pad"])?;
        let shortest = |size: &Value| match size {
            Value::Number(_) => side(size),
            Value::Object(size) => side(size.get("shortest_edge")?),
            _ => None,
        };
        let default = Self::default();
        let size = keys.read("size", "a number or {\"shortest_edge\"}", shortest)?.unwrap_or(default.shorter);
        let patch = keys.read("size_divisor", "a whole number", side)?.unwrap_or(default.patch_size);
        let own = Self::new(size, patch);
        let (mean, std) = keys.normalisation((own.mean, own.std))?;
        let interpolation = keys.resample()?.unwrap_or(own.interpolation);
        let read = Self { interpolation, mean, std, ..own };
        read.validate()?;
        Ok(read)
    }
}

impl Keys<'_> {
    /// The name of the processor, without the words that all of them end in.
    fn kind(&self) -> &str {
        let kind = |key: &str| self.get(key).and_then(Value::as_str);
        kind("image_processor_type").or_else(|| kind("feature_extractor_type")).unwrap_or_default()
    }

    fn refuse_unknown_operations(&self) -> Result<(), ConfigError> {
        self.refuse_unknown_operations_but(&[])
    }

    /// The same where some of them change nothing.
    fn refuse_unknown_operations_but(&self, harmless: &[&str]) -> Result<(), ConfigError> {
        for (key, allowed, understood) in ONLY.into_iter().filter(|(key, ..)| !harmless.contains(key)) {
            self.read(key, allowed, |v| (*v == understood).then_some(()))?;
        }
        Ok(())
    }

    /// Mean and standard deviation of pixels that were divided by 255, whatever the file multiplies them with.
    fn normalisation(&self, default: ([f32; 3], [f32; 3])) -> Result<([f32; 3], [f32; 3]), ConfigError> {
        let factor = self.read("rescale_factor", "a number above 0, such as 1/255", |v| {
            v.as_f64().map(|factor| factor * 255.0).filter(|factor| (1e-6..1e6).contains(factor))
        })?;
        let factor = match self.flag("do_rescale")?.unwrap_or(true) {
            true => factor.filter(|factor| (factor - 1.0).abs() > 1e-4).unwrap_or(1.0),
            false => 255.0,
        };
        let scaled = |values: [f32; 3]| values.map(|value| (f64::from(value) / factor) as f32);
        if !self.flag("do_normalize")?.unwrap_or(true) {
            return Ok(([0.0; 3], scaled([1.0; 3])));
        }
        let (mean, std) = (self.per_channel("image_mean")?, self.per_channel("image_std")?);
        Ok((scaled(mean.unwrap_or(default.0)), scaled(std.unwrap_or(default.1))))
    }

    fn resample(&self) -> Result<Option<Interpolation>, ConfigError> {
        let kinds = "0 (nearest), 1 (lanczos), 2 (bilinear), 3 (bicubic), 4 (box) or 5 (hamming)";
        self.read("resample", kinds, |v| match v.as_u64() {
            Some(0) => Some(Interpolation::Nearest),
            Some(1) => Some(Interpolation::Lanczos),
            Some(2) => Some(Interpolation::Bilinear),
            Some(3) => Some(Interpolation::Bicubic),
            Some(4) => Some(Interpolation::Box),
            Some(5) => Some(Interpolation::Hamming),
            Some(_) => None,
            None => Interpolation::from_name(v.as_str()?),
        })
    }
}

/// The keys of the image processor, wherever in the file they are.
fn image_processor(config: &Value) -> Result<Keys<'_>, ConfigError> {
    let file = "Hugging Face preprocessor config";
    let keys = Keys { object: config, file };
    if let Some(inside) = keys.get("image_processor") {
        if !inside.is_object() {
            return Err(keys.wrong("image_processor", inside, "an object"));
        }
        return Ok(Keys { object: inside, file });
    }
    // What a processor_config.json holds where the image processor has a file of its own.
    let is_bare =
        keys.get("processor_class").is_some() && keys.kind().is_empty() && keys.get("size").is_none();
    if is_bare {
        return Err(ConfigError::Missing {
            key: "image_processor",
            file,
            allowed: "the image processor's object",
        });
    }
    Ok(keys)
}

fn height_and_width(value: &Value) -> Option<(usize, usize)> {
    match value {
        Value::Number(_) => side(value).map(|s| (s, s)),
        Value::Object(o) if o.len() == 2 => Some((side(o.get("height")?)?, side(o.get("width")?)?)),
        _ => None,
    }
}

/// Input size, `crop_pct` and mode that do what `resize` and `crop` ask for.
fn fitted(
    keys: &Keys<'_>,
    resize: Resize,
    crop: Option<(usize, usize)>,
) -> Result<((usize, usize), f64, CropMode), ConfigError> {
    let refuse = |key, allowed| Err(keys.wrong(key, keys.get(key).unwrap_or(&Value::Null), allowed));
    match (resize, crop) {
        (Resize::Exactly(h, w), None) => Ok(((h, w), 1.0, CropMode::Squash)),
        (Resize::Exactly(h, w), Some(crop)) => match crop_pct(crop, (h, w)) {
            Some(pct) => Ok((crop, pct, CropMode::Squash)),
            None => refuse("crop_size", "above 0 and of the shape of size"),
        },
        (Resize::ShortestEdge(edge), Some(crop)) => {
            let short = crop.0.min(crop.1);
            let mode = if crop.0 == crop.1 { CropMode::Center } else { CropMode::Shortest };
            match crop_pct((short, short), (edge, edge)) {
                Some(pct) => Ok((crop, pct, mode)),
                None => refuse("crop_size", "above 0, as shortest_edge"),
            }
        }
        (Resize::ShortestEdge(_), None) => {
            refuse("size", "{\"height\", \"width\"} where do_center_crop is not true")
        }
    }
}

/// The number for which `floor(crop / number)` is `size` along both edges.
fn crop_pct(crop: (usize, usize), size: (usize, usize)) -> Option<f64> {
    let fits = |pct: f64| {
        let scale = |side: usize| (side as f64 / pct).floor() as usize;
        (scale(crop.0), scale(crop.1)) == size
    };
    // The plain quotient may miss by rounding, or by the two shapes differing by less than a pixel.
    let candidates = [crop.0 as f64 / size.0 as f64, crop.0 as f64 / (size.0 as f64 + 0.5)];
    candidates.into_iter().find(|&pct| pct > 0.0 && pct.is_finite() && fits(pct))
}

#[cfg(test)]
mod tests;
