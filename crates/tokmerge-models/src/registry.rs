//! Model names as timm spells them, and what they mean.

use crate::experts::{ExpertsConfig, Placement};
use crate::families::vit::{ClassToken, NormPlace, Pool, VitConfig};
use tokmerge_data::{CropMode, HALF_MEAN, HALF_STD, IMAGENET_MEAN, IMAGENET_STD, Interpolation, Preprocess};
use tokmerge_merge::KeyBias;

/// What a model name stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// The name without its tag, e.g. `vit_tiny_patch16_224`.
    pub name: String,
    /// How the weights were trained, e.g. `augreg_in21k_ft_in1k`; timm's default where the name gives none.
    pub tag: String,
    /// The shape of the model.
    pub config: VitConfig,
    /// How images are prepared for these weights.
    pub preprocess: Preprocess,
}

impl Architecture {
    /// The name; of a model that is not of the size that its name says, with channels and blocks in place of the size:
    /// `vit_96x8_patch8_96`.
    #[must_use]
    pub fn size_name(&self) -> String {
        self.renamed().unwrap_or_else(|| self.name.clone())
    }

    /// [`size_name`](Self::size_name) and tag, as timm writes them: `vit_96x8_patch8_96.trained`.
    #[must_use]
    pub fn full_name(&self) -> String {
        let name = self.size_name();
        if self.tag.is_empty() { name } else { format!("{name}.{}", self.tag) }
    }

    /// The name with the sizes that the model has, if they are others than those of its name.
    fn renamed(&self) -> Option<String> {
        let sizes = |of: &VitConfig| [of.patch_size, of.embed_dim, of.depth, of.num_heads];
        let VitConfig { patch_size, embed_dim, depth, img_size: (height, width), .. } = self.config;
        if sizes(&read(&self.name)?.config) == sizes(&self.config) {
            return None;
        }
        let mut words: Vec<String> = self.name.split('_').map(str::to_owned).collect();
        *words.get_mut(1)? = format!("{embed_dim}x{depth}");
        *words.iter_mut().find(|word| word.starts_with("patch"))? = format!("patch{patch_size}");
        *words.last_mut()? = if height == width { height.to_string() } else { format!("{height}x{width}") };
        Some(words.join("_"))
    }
}

/// A name that means nothing here.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error(
    "unknown model '{given}'{hint}; `tokmerge models` lists the names, and hf-hub:org/name or local-dir:PATH load a model with its config.json"
)]
pub struct UnknownModel {
    given: String,
    hint: String,
}

impl UnknownModel {
    /// The error for a name, with the nearest known one as a hint.
    pub(crate) fn new(given: &str) -> Self {
        let arch = given.split('.').next().unwrap_or(given).to_lowercase();
        if given.contains('/') {
            return Self { given: given.to_owned(), hint: format!(" (did you mean hf-hub:{given}?)") };
        }
        let nearest = NAMES
            .iter()
            .chain(VMOE_NAMES)
            .map(|known| (strsim::damerau_levenshtein(&arch, known), known))
            .min();
        let hint = match nearest {
            Some((distance, known)) if distance <= arch.len() / 3 => format!(" (did you mean {known}?)"),
            _ => String::new(),
        };
        Self { given: given.to_owned(), hint }
    }
}

/// Channels, blocks, heads and hidden channels of the named sizes.
const SIZES: &[(&str, [usize; 4])] = &[
    ("tiny", [192, 12, 3, 768]),
    ("small", [384, 12, 6, 1536]),
    ("medium", [512, 12, 8, 2048]),
    ("base", [768, 12, 12, 3072]),
    ("large", [1024, 24, 16, 4096]),
    ("huge", [1280, 32, 16, 5120]),
    ("giant", [1408, 40, 16, 6144]),
    ("gigantic", [1664, 48, 16, 8192]),
];

/// The names that `tokmerge models` lists. Other patch and image sizes of the same pattern are understood too.
const NAMES: &[&str] = &[
    "vit_tiny_patch16_224",
    "vit_tiny_patch16_384",
    "vit_small_patch8_224",
    "vit_small_patch16_224",
    "vit_small_patch16_384",
    "vit_small_patch32_224",
    "vit_small_patch32_384",
    "vit_base_patch8_224",
    "vit_base_patch16_224",
    "vit_base_patch16_384",
    "vit_base_patch32_224",
    "vit_base_patch32_384",
    "vit_base_patch16_gap_224",
    "vit_large_patch14_224",
    "vit_large_patch16_224",
    "vit_large_patch16_384",
    "vit_large_patch32_224",
    "vit_large_patch32_384",
    "vit_huge_patch14_224",
    "vit_huge_patch16_gap_448",
    "vit_giant_patch14_224",
    "vit_gigantic_patch14_224",
    "vit_medium_patch16_gap_240",
    "vit_medium_patch16_gap_256",
    "vit_medium_patch16_gap_384",
    "vit_medium_patch16_reg1_gap_256",
    "vit_medium_patch16_reg4_gap_256",
    "vit_base_patch16_reg4_gap_256",
    "deit_tiny_patch16_224",
    "deit_small_patch16_224",
    "deit_base_patch16_224",
    "deit_base_patch16_384",
    "deit_tiny_distilled_patch16_224",
    "deit_small_distilled_patch16_224",
    "deit_base_distilled_patch16_224",
    "deit_base_distilled_patch16_384",
    "deit3_small_patch16_224",
    "deit3_small_patch16_384",
    "deit3_medium_patch16_224",
    "deit3_base_patch16_224",
    "deit3_base_patch16_384",
    "deit3_large_patch16_224",
    "deit3_large_patch16_384",
    "deit3_huge_patch14_224",
];

/// The names of V-MoE that are listed. They follow timm's pattern, but timm has no such models.
const VMOE_NAMES: &[&str] = &[
    "vmoe_small_patch32_224",
    "vmoe_base_patch32_224",
    "vmoe_base_patch16_224",
    "vmoe_large_patch32_224",
    "vmoe_large_patch16_224",
    "vmoe_huge_patch14_224",
    "vmoe_small_patch32_every2_224",
    "vmoe_base_patch32_every2_224",
    "vmoe_base_patch16_every2_224",
    "vmoe_large_patch32_every2_224",
    "vmoe_large_patch16_every2_224",
    "vmoe_small_patch32_e8_224",
    "vmoe_base_patch16_e8_224",
];

/// All listed models, with their default tags.
pub fn architectures() -> impl Iterator<Item = Architecture> {
    NAMES.iter().chain(VMOE_NAMES).filter_map(|name| read(name))
}

/// The model of a timm name, `arch` or `arch.tag`.
///
/// # Errors
/// When the name follows none of the known patterns; the message suggests the nearest name.
pub fn architecture(name: &str) -> Result<Architecture, UnknownModel> {
    read(name).ok_or_else(|| UnknownModel::new(name))
}

/// The parts of a name that choose a variant.
struct Parts<'a> {
    size: &'a str,
    patch: usize,
    /// Between patch size and image size: `gap`, `reg4`, `every2`.
    variants: Vec<&'a str>,
    img_size: usize,
}

fn read(name: &str) -> Option<Architecture> {
    let (arch, tag) = match name.split_once('.') {
        Some((arch, tag)) => (arch, Some(tag)),
        None => (name, None),
    };
    let (family, rest) = arch.split_once('_')?;
    let (size, rest) = rest.split_once('_')?;
    let (distilled, rest) = match rest.strip_prefix("distilled_") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let mut words = rest.split('_');
    let patch = words.next()?.strip_prefix("patch")?.parse().ok().filter(|patch| (1..=64).contains(patch))?;
    let mut variants: Vec<&str> = words.collect();
    let img_size = variants.pop()?.parse().ok().filter(|size| (1..=4096).contains(size))?;
    let parts = Parts { size, patch, variants, img_size };
    let config = match (family, distilled) {
        ("vit", false) => vit(&parts)?,
        ("deit", distilled) => deit(&parts, distilled)?,
        ("deit3", false) => deit3(&parts)?,
        ("vmoe", false) => vmoe(&parts)?,
        _ => return None,
    };
    let config = config.with_img_size((img_size, img_size)).ok()?;
    let tag = tag.map_or_else(|| default_tag(family, &parts), str::to_owned);
    // MAE pretraining already drops tokens: its weights want no proportional attention (ToMe, Table 1f).
    let pretrained_by_mae = tag.starts_with("mae");
    let config = VitConfig {
        num_classes: if pretrained_by_mae { 0 } else { config.num_classes },
        key_bias: if pretrained_by_mae { KeyBias::None } else { KeyBias::LogSize },
        ..config
    };
    let preprocess = preprocess(family, &parts, &tag);
    Some(Architecture { name: arch.to_owned(), tag, config, preprocess })
}

fn sized(parts: &Parts<'_>) -> Option<VitConfig> {
    let (_, [channels, depth, heads, hidden]) = SIZES.iter().find(|(name, _)| *name == parts.size)?;
    let config = VitConfig::new(parts.patch, *channels, *depth, *heads);
    Some(VitConfig { mlp_dim: *hidden, ..config })
}

fn vit(parts: &Parts<'_>) -> Option<VitConfig> {
    let config = sized(parts)?;
    match parts.variants.as_slice() {
        [] => Some(config),
        ["gap"] => {
            let gap = VitConfig { class_token: ClassToken::Absent, pool: Pool::Average, ..config };
            // The medium ones were trained with LayerScale and without bias.
            Some(match parts.size {
                "medium" => VitConfig { qkv_bias: false, layer_scale: Some(1e-6), ..gap },
                _ => gap,
            })
        }
        [registers, "gap"] => Some(VitConfig {
            layer_scale: (parts.size == "medium").then_some(1e-5),
            class_token: ClassToken::Absent,
            no_embed_class: true,
            reg_tokens: registers
                .strip_prefix("reg")?
                .parse()
                .ok()
                .filter(|count| (1..=64).contains(count))?,
            pool: Pool::Average,
            norm_place: NormPlace::AfterPool,
            ..config
        }),
        _ => None,
    }
}

fn deit(parts: &Parts<'_>, distilled: bool) -> Option<VitConfig> {
    if !(parts.variants.is_empty() && matches!(parts.size, "tiny" | "small" | "base")) {
        return None;
    }
    let class_token = if distilled { ClassToken::Distilled } else { ClassToken::Single };
    Some(VitConfig { class_token, ..sized(parts)? })
}

fn deit3(parts: &Parts<'_>) -> Option<VitConfig> {
    if !(parts.variants.is_empty() && matches!(parts.size, "small" | "medium" | "base" | "large" | "huge")) {
        return None;
    }
    Some(VitConfig { no_embed_class: true, layer_scale: Some(1e-6), ..sized(parts)? })
}

/// V-MoE: by default 32 experts in the last two of every other block, in the last five of a huge model, as
/// PatchMerger's Table 2 has them (§4). `last3`, `every2` and `e8` change that.
fn vmoe(parts: &Parts<'_>) -> Option<VitConfig> {
    let config = match parts.size {
        // Not timm's small.
        "small" => VitConfig::new(parts.patch, 512, 8, 8),
        "base" | "large" | "huge" => sized(parts)?,
        _ => return None,
    };
    let mut experts = ExpertsConfig::new(Placement::Last(if parts.size == "huge" { 5 } else { 2 }));
    let (mut placed, mut counted) = (false, false);
    for word in &parts.variants {
        let twice = match (word.parse(), word.strip_prefix('e').and_then(|count| count.parse().ok())) {
            (Ok(placement), _) => {
                experts.placement = placement;
                std::mem::replace(&mut placed, true)
            }
            (Err(()), Some(count)) => {
                experts.experts = count;
                std::mem::replace(&mut counted, true)
            }
            (Err(()), None) => return None,
        };
        if twice {
            return None;
        }
    }
    if experts.misfit(config.depth).is_some() {
        return None;
    }
    Some(VitConfig { experts: Some(experts), pre_logits: true, ..config })
}

/// The tag that timm resolves a bare name to; `untrained` where it has no weights.
fn default_tag(family: &str, parts: &Parts<'_>) -> String {
    match (family, parts.size, parts.patch, parts.img_size, parts.variants.as_slice()) {
        ("deit" | "deit3", ..) => "fb_in1k",
        ("vmoe", ..) => "untrained",
        (_, "medium", _, 240, ["gap"]) => "sw_in12k",
        (_, "medium", _, _, ["gap"]) => "sw_in12k_ft_in1k",
        (_, "medium", _, _, ["reg1", "gap"]) => "sbb_in1k",
        (_, "medium", _, _, ["reg4", "gap"]) => "sbb_in12k_ft_in1k",
        (_, "huge", _, _, ["gap"]) => "in1k_ijepa",
        (_, _, _, _, [_, ..]) | (_, "giant" | "gigantic", ..) | (_, "large", 14, ..) => "untrained",
        (_, "small", 8, ..) => "dino",
        (_, "base", 8 | 16, 224, _) => "augreg2_in21k_ft_in1k",
        (_, "large", 32, 384, _) => "orig_in21k_ft_in1k",
        (_, "large", 32, 224, _) | (_, "huge", 14, ..) => "orig_in21k",
        _ => "augreg_in21k_ft_in1k",
    }
    .to_owned()
}

/// How images were prepared when these weights were evaluated.
fn preprocess(family: &str, parts: &Parts<'_>, tag: &str) -> Preprocess {
    let input_size = (parts.img_size, parts.img_size);
    if family == "vmoe" {
        // The shorter side to 256 of 224, the middle, values from -1 to 1.
        let (mean, std, interpolation) = (HALF_MEAN, HALF_STD, Interpolation::Bilinear);
        return Preprocess { input_size, crop_pct: 0.875, mean, std, interpolation, ..Preprocess::default() };
    }
    let imagenet =
        family != "vit" || tag.starts_with("mae") || tag.starts_with("dino") || tag.contains("ijepa");
    let (mean, std) = if imagenet { (IMAGENET_MEAN, IMAGENET_STD) } else { (HALF_MEAN, HALF_STD) };
    let crop_pct = match (family, parts.img_size) {
        ("vit", _) if tag.starts_with("sw_") => 0.95,
        ("vit", ..384) if tag.starts_with("sbb") => 0.95,
        ("deit3", _) if tag.starts_with("fb_in22k") => 1.0,
        (_, 384..) => 1.0,
        _ => 0.9,
    };
    let crop_mode =
        if tag.starts_with("sw_") && parts.img_size == 384 { CropMode::Squash } else { CropMode::Center };
    Preprocess { input_size, crop_pct, crop_mode, mean, std, ..Preprocess::default() }
}

#[cfg(test)]
mod tests {
    use super::{NAMES, VMOE_NAMES, architecture, architectures};
    use crate::experts::{ExpertsConfig, Placement};
    use crate::families::vit::ClassToken;
    use tokmerge_merge::KeyBias;

    #[test]
    fn every_listed_name_is_understood() {
        assert_eq!(architectures().count(), NAMES.len() + VMOE_NAMES.len());
    }

    #[test]
    fn a_model_of_another_size_is_called_by_its_size() {
        let of = |name: &str, change: &dyn Fn(&mut super::VitConfig)| {
            let mut found = architecture(name).unwrap();
            change(&mut found.config);
            found.full_name()
        };
        assert_eq!(of("vit_small_patch16_224.dino", &|_| {}), "vit_small_patch16_224.dino");
        assert_eq!(
            of("vit_small_patch16_224.dino", &|config| config.img_size = (96, 96)),
            "vit_small_patch16_224.dino"
        );
        let small = |config: &mut super::VitConfig| {
            (config.patch_size, config.embed_dim, config.depth, config.img_size) = (8, 96, 8, (96, 96));
        };
        assert_eq!(of("vit_small_patch16_224.trained", &small), "vit_96x8_patch8_96.trained");
        assert_eq!(
            of("deit_tiny_distilled_patch16_224.x", &|config| config.depth = 3),
            "deit_192x3_distilled_patch16_224.x"
        );
        let wide = |config: &mut super::VitConfig| (config.embed_dim, config.img_size) = (64, (32, 48));
        assert_eq!(of("vmoe_small_patch32_e8_224.x", &wide), "vmoe_64x8_patch32_e8_32x48.x");
    }

    #[test]
    fn names_carry_patch_image_size_and_tag() {
        let tiny = architecture("vit_tiny_patch16_384.augreg_in21k_ft_in1k").unwrap();
        assert_eq!((tiny.config.embed_dim, tiny.config.tokens()), (192, 577));
        assert_eq!(tiny.preprocess.crop_pct, 1.0);
        assert_eq!(architecture("vit_huge_patch14_518").unwrap().config.tokens(), 1370);
        let distilled = architecture("deit_small_distilled_patch16_224").unwrap().config;
        assert_eq!((distilled.class_token, distilled.tokens()), (ClassToken::Distilled, 198));
        let registers = architecture("vit_medium_patch16_reg4_gap_256").unwrap().config;
        assert_eq!((registers.prefix(), registers.tokens()), (4, 260));
        let mae = architecture("vit_base_patch16_224.mae").unwrap().config;
        assert_eq!((mae.key_bias, mae.num_classes), (KeyBias::None, 0));
    }

    #[test]
    fn a_mistyped_name_suggests_the_near_one() {
        let error = architecture("vit_tinny_patch16_224").unwrap_err().to_string();
        assert!(error.contains("did you mean vit_tiny_patch16_224?"), "{error}");
        for wrong in [
            "",
            "resnet50",
            "vit_tiny_patch0_224",
            "vit_tiny_patch16_225",
            "vit_tiny_patch16_",
            "deit_large_patch16_224",
            "vit_base_patch16_reg0_gap_256",
            "vit_tiny_patch99999999999999999999_224",
            "vmoe_tiny_patch16_224",
            "vmoe_base_patch16_last7_224",
            "vmoe_base_patch16_every0_224",
            "vmoe_base_patch16_e0_224",
            "vmoe_base_patch16_e1_224",
            "vmoe_base_patch16_e99999_224",
            "vmoe_base_patch16_last2_every2_224",
            "vmoe_base_patch16_gap_224",
        ] {
            assert!(architecture(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_v_moe_carry_experts_and_their_blocks() {
        let of = |name: &str| {
            let config = architecture(name).unwrap().config;
            let experts: ExpertsConfig = config.experts.unwrap();
            let blocks = experts.placement.blocks(config.depth);
            (config.embed_dim, experts.experts, experts.chosen, blocks)
        };
        assert_eq!(of("vmoe_small_patch32_224"), (512, 32, 2, vec![5, 7]));
        assert_eq!(of("vmoe_base_patch16_every2_e8_224"), (768, 8, 2, vec![1, 3, 5, 7, 9, 11]));
        assert_eq!(of("vmoe_huge_patch14_224"), (1280, 32, 2, vec![23, 25, 27, 29, 31]));
        assert_eq!(of("vmoe_large_patch16_every5_224").3, [4, 9, 14, 19]);
        let placement =
            architecture("vmoe_base_patch32_last1_384").unwrap().config.experts.unwrap().placement;
        assert_eq!(placement, Placement::Last(1));
    }

    /// Published parameter counts.
    #[test]
    fn parameters() {
        use burn::module::Module;
        for (name, count) in [
            ("deit_tiny_patch16_224", 5_717_416),
            ("deit_small_patch16_224", 22_050_664),
            ("deit_base_patch16_224", 86_567_656),
            ("vit_base_patch16_384", 86_859_496),
            ("vit_large_patch16_224", 304_326_632),
            ("deit_small_distilled_patch16_224", 22_436_432),
        ] {
            let device = burn::tensor::Device::flex();
            let model = architecture(name).unwrap().config.init(crate::Precision::F32, &device);
            assert_eq!(crate::parameters(&model), count, "{name}");
            let _ = model.devices();
        }
    }
}
