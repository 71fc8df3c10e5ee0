//! The shape of a PaLI.

use super::Pali;
use crate::families::text::{Buckets, DecoderConfig, DecoderKind, TextConfig, TextPool, TextPositions};
use crate::families::vit::{ClassToken, NormPlace, Pool, Sizes, VitConfig};
use crate::family::{FamilyConfig, ImageSizeError, Part, PartKind, Shape, ShapeOverrides};
use crate::flops::{Cost, JoiningCost, Work};
use crate::input::InputShape;
use crate::network::Config;
use crate::positions::{Absolute, PositionConfig};
use burn::tensor::Device;
use tokmerge_merge::{Joining, ModelFacts, PositionUse, Readout};
use tokmerge_ops::{Activation, Precision};

/// The shape of a tower of images with a language model behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct PaliConfig {
    /// The image tower, without prefix tokens and without a head.
    pub tower: VitConfig,
    /// The language model, whose blocks look at distances. Its room is that of a question.
    pub text: TextConfig,
}

/// Tokens of a question at most where nobody says otherwise.
pub(crate) const ROOM: usize = 64;

impl PaliConfig {
    /// A SigLIP tower on images of one size, in front of a language model.
    #[must_use]
    pub fn new(tower: VitConfig, text: TextConfig) -> Self {
        let tower = VitConfig {
            class_token: ClassToken::Absent,
            pool: Pool::Average,
            norm_place: NormPlace::BeforePool,
            num_classes: 0,
            ..tower
        };
        Self { tower, text }
    }

    /// Where the question joins the image tokens.
    fn joining(&self) -> Joining {
        let tokens = self.text.room.min(tokmerge_data::text::MAX_TOKENS);
        Joining { layer: self.tower.depth, tokens, channels: self.text.block.channels }
    }

    /// Why the tower is none of these models', if it is not.
    fn check_tower(&self) -> Result<(), String> {
        let VitConfig { pool, norm_place, sizes, num_classes, experts, .. } = &self.tower;
        let facts = self.tower.facts();
        let plain = self.tower.pre_logits.is_none() && self.tower.projection.is_none() && experts.is_none();
        let tokens = (*pool, *norm_place) == (Pool::Average, NormPlace::BeforePool) && *num_classes == 0;
        if !plain || !tokens || facts.prefix > 0 || *sizes != Sizes::One {
            return Err("the tower gives the language model all tokens of images of one size after its last norm: it has \
                        no prefix tokens, no head and no experts"
                .to_owned());
        }
        match facts.positions {
            PositionUse::Free => Ok(()),
            PositionUse::Followed | PositionUse::Fixed(_) => {
                Err("the tower's positions are to be added to its patches, as SigLIP's are".to_owned())
            }
        }
    }
}

impl FamilyConfig for PaliConfig {
    type Model = Pali;

    fn facts(&self) -> ModelFacts {
        let (tower, text) = (self.tower.facts(), self.text.facts());
        ModelFacts {
            depth: tower.depth + text.depth,
            readout: Readout::All,
            positions: PositionUse::Followed,
            joining: Some(self.joining()),
            ..tower
        }
    }

    fn shape(&self) -> Shape {
        let (tower, text) = (self.tower.shape(), self.text.shape());
        let (channels, size) = (self.tower.in_chans, self.tower.img_size);
        let (vocabulary, room) = (self.text.vocabulary, self.joining().tokens);
        Shape {
            input: InputShape::ImageQuestion { channels, size, vocabulary, room },
            embedding: text.embedding,
            classes: text.classes,
            ..tower
        }
    }

    fn cost(&self) -> Cost {
        let (tower, text) = (self.tower.cost(), self.text.cost());
        let (from, to) = (self.tower.block.channels as f64, self.text.block.channels as f64);
        let joining = JoiningCost {
            layer: self.tower.depth,
            channels: self.tower.block.channels,
            entering: Work::norm(from),
            joining: Work::macs(from * to),
            outputs: to,
        };
        Cost {
            stem: tower.stem,
            blocks: [tower.blocks, text.blocks].concat(),
            head: text.head,
            experts: None,
            prefix: 0,
            joining: Some(joining),
        }
    }

    fn check(&self) -> Result<(), String> {
        self.tower.check().map_err(|reason| format!("the tower: {reason}"))?;
        self.text.check().map_err(|reason| format!("the language model: {reason}"))?;
        self.check_tower()?;
        let plain = self.text.token_types == 0 && !self.text.embedding_norm;
        match self.text.positions {
            TextPositions::Buckets(_) if plain && self.text.decoder.is_some() => Ok(()),
            TextPositions::Buckets(_) | TextPositions::Learned | TextPositions::Sinusoids => Err(
                "the language model looks at distances, adds nothing to its words, and has a decoder, which answers, as T5"
                    .to_owned(),
            ),
        }
    }

    fn init(&self, precision: Precision, device: &Device) -> Pali {
        Pali::new(self, precision, device)
    }

    fn with_img_size(self, size: (usize, usize)) -> Result<Self, ImageSizeError> {
        Ok(Self { tower: self.tower.with_img_size(size)?, ..self })
    }

    fn with_num_classes(self, classes: usize) -> Self {
        Self { text: self.text.with_num_classes(classes), ..self }
    }

    fn examples() -> Vec<Self> {
        let mut tower = VitConfig { img_size: (12, 20), ..VitConfig::new(4, 24, 2, 3) };
        tower.block.mlp.hidden = 40;
        tower.block.mlp.activation = Activation::GeluTanh;
        tower.positions = PositionConfig::learned(0);
        let mut text = TextConfig { room: 5, num_classes: 7, ..TextConfig::t5(11, 20, 2, 2, 8, 32) };
        let buckets = Buckets { buckets: 6, distance: 9 };
        text.positions = TextPositions::Buckets(buckets);
        text.decoder =
            text.decoder.map(|decoder| DecoderConfig { kind: DecoderKind::Attention(buckets), ..decoder });
        let example = Self::new(tower, text);
        // A tower as wide as the language model, of another activation.
        let mut equal = example.clone();
        equal.text.block = TextConfig::t5(11, 24, 2, 3, 8, 32).block;
        equal.text.pool = TextPool::Average;
        equal.tower.block.mlp.activation = Activation::Gelu;
        vec![example, equal]
    }

    /// Channels, blocks, heads and MLPs are those of both parts; patches are the tower's.
    fn with_overrides(mut self, overrides: &ShapeOverrides) -> Result<Self, String> {
        let ShapeOverrides { patch_size, embed_dim, depth, num_heads, mlp_ratio, .. } = *overrides;
        let of_both = ShapeOverrides { embed_dim, depth, num_heads, mlp_ratio, ..ShapeOverrides::default() };
        let of_tower = ShapeOverrides { patch_size, ..of_both };
        if *overrides != of_tower {
            return Err("a tower and a language model take embed_dim, depth, num_heads and mlp_ratio, which are then those \
                        of both, and patch_size; leave pool, class_token and num_frames out"
                .to_owned());
        }
        self.tower = self.tower.with_overrides(&of_tower)?;
        self.text = self.text.with_overrides(&of_both)?;
        self.check()?;
        Ok(self)
    }

    fn absolute_positions(&self) -> Option<(Absolute, (usize, usize))> {
        self.tower.absolute_positions()
    }

    fn parts(&self) -> &'static [Part] {
        const PARTS: &[Part] = &[
            Part { kind: PartKind::Tower, prefix: "tower.", holds: &[] },
            Part { kind: PartKind::Text, prefix: "text.", holds: &[] },
        ];
        PARTS
    }

    fn with_part(self, part: PartKind, model: &Config) -> Result<Self, String> {
        let whole = match (part, model) {
            (PartKind::Tower, Config::Vit(tower)) if tower.prefix() > 0 => {
                return Err(
                    "it has a class token or registers, and the tokens of a tower are those of patches alone; give one without, e.g. vit_base_patch16_siglip_224"
                        .to_owned(),
                );
            }
            (PartKind::Tower, Config::Vit(tower)) => {
                let tower = VitConfig { pre_logits: None, projection: None, ..tower.clone() };
                Self::new(tower, self.text)
            }
            (PartKind::Text, Config::Text(text)) => {
                let text = TextConfig { room: self.text.room, num_classes: 0, ..text.clone() };
                Self { text, ..self }
            }
            (PartKind::Tower | PartKind::Image, _) => {
                return Err("it is no Vision Transformer; give one without a class token, e.g. vit_base_patch16_siglip_224".to_owned());
            }
            (PartKind::Text, _) => {
                return Err("it is no model of texts; give one that writes, e.g. t5_v1_1_small".to_owned());
            }
        };
        whole.check()?;
        Ok(whole)
    }

    fn saved(self) -> Self {
        Self { tower: self.tower.saved(), ..self }
    }

    fn fitted(self, has: &dyn Fn(&str) -> bool) -> Self {
        let (in_tower, in_text) =
            (|path: &str| has(&format!("tower.{path}")), |path: &str| has(&format!("text.{path}")));
        Self { tower: self.tower.fitted(&in_tower), text: self.text.fitted(&in_text) }
    }
}
