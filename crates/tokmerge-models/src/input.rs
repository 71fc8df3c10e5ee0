//! What goes into a model.

use burn::tensor::{Device, Tensor, TensorData};
use std::sync::Arc;
use tokmerge_data::Normalised;
use tokmerge_data::text::{Role, TokenIds};
use tokmerge_merge::{Layout, Protect};
use tokmerge_nn::Random;

/// What goes into a model, on its device.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// `[B, channels, height, width]`: images of one size.
    Images(Tensor<4>),
    /// Images of any sizes, cut into patches already (SigLIP 2 NaFlex).
    Patches {
        /// `[N, channels * patch * patch]`: the patches of all images below each other, row by row.
        pixels: Tensor<2>,
        /// Rows and columns of patches of every image.
        grids: Vec<(usize, usize)>,
    },
    /// `[B, channels, frames, height, width]`: clips of one size and length.
    Clips(Tensor<5>),
    /// Texts of any lengths.
    Texts(Texts),
    /// Questions of any lengths about images of any sizes, which are cut into patches already (ViLT).
    Questions {
        /// `[N, channels * patch * patch]`: the patches of all images below each other, row by row.
        pixels: Tensor<2>,
        /// Rows and columns of patches of every image.
        grids: Vec<(usize, usize)>,
        /// What is asked about each.
        texts: Texts,
    },
    /// Questions of any lengths about images of one size (PaLI).
    ImageQuestions {
        /// `[B, channels, height, width]`.
        images: Tensor<4>,
        /// What is asked about each.
        texts: Texts,
    },
}

/// The tokens of some texts, one text after the other.
#[derive(Clone, Debug)]
pub struct Texts {
    /// `[T]`: rows of the model's table.
    pub ids: Vec<u32>,
    /// `[T]`: what each is.
    pub roles: Vec<Role>,
    /// Whose they are.
    pub layout: Layout,
    /// Where they are computed.
    pub device: Device,
}

impl Texts {
    /// Texts as they come from a tokenizer.
    #[must_use]
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a TokenIds>, device: &Device) -> Self {
        let (mut ids, mut roles, mut lens) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            ids.extend_from_slice(&text.ids);
            roles.extend_from_slice(&text.roles);
            lens.push(text.len());
        }
        Self { ids, roles, layout: Layout::from_lens(&lens), device: device.clone() }
    }

    /// Where every token stands in its text, `[T]`, from 0.
    pub(crate) fn places(&self) -> Arc<[u32]> {
        self.layout.lens().flat_map(|len| 0..len as u32).collect()
    }

    /// Checks that a model knows all tokens, and has room for all texts if it has not for texts of any length.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn assert_known(&self, vocabulary: usize, room: Option<usize>) {
        let longest = self.layout.lens().max().unwrap_or(0);
        if let Some(room) = room {
            assert!(longest <= room, "a text of {longest} tokens, and the model has room for {room}");
        }
        let known = self.ids.iter().all(|id| (*id as usize) < vocabulary);
        assert!(known, "a token beyond the {vocabulary} of the model");
    }

    /// Which of them never merge, `[T]`.
    #[must_use]
    pub fn protected(&self, protect: Protect) -> Vec<bool> {
        let is_protected = |role: &Role| match (protect, role) {
            (Protect::Nothing, _) | (_, Role::Word) | (Protect::Class, Role::Separator) => false,
            (Protect::Special, Role::Class | Role::Separator) | (Protect::Class, Role::Class) => true,
        };
        self.roles.iter().map(is_protected).collect()
    }
}

impl Input {
    /// Items in the batch.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Images(images) | Self::ImageQuestions { images, .. } => images.dims()[0],
            Self::Patches { grids, .. } | Self::Questions { grids, .. } => grids.len(),
            Self::Clips(clips) => clips.dims()[0],
            Self::Texts(texts) => texts.layout.items(),
        }
    }

    /// The images of a batch, `[B, channels, height, width]`, for a model that takes them at one size.
    ///
    /// # Panics
    /// When it is anything else.
    pub(crate) fn images_of(self, size: (usize, usize)) -> Tensor<4> {
        let Self::Images(images) = self else { panic!("the model takes images of one size") };
        let [_, _, height, width] = images.dims();
        assert_eq!((height, width), size, "images of the size that the model was made for");
        images
    }

    /// Where it lies.
    #[must_use]
    pub fn device(&self) -> Device {
        match self {
            Self::Images(images) | Self::ImageQuestions { images, .. } => images.device(),
            Self::Patches { pixels, .. } | Self::Questions { pixels, .. } => pixels.device(),
            Self::Clips(clips) => clips.device(),
            Self::Texts(texts) => texts.device.clone(),
        }
    }
}

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputShape {
    /// Images of one size.
    Image {
        /// Colours.
        channels: usize,
        /// Height and width in pixels.
        size: (usize, usize),
    },
    /// Images of any sizes, as patches.
    Patches {
        /// Colours.
        channels: usize,
        /// Side of a patch in pixels.
        patch: usize,
        /// Patches of an image at most; a number that no grid exceeds.
        most: usize,
    },
    /// Clips of one size and length.
    Clip {
        /// Colours.
        channels: usize,
        /// Frames.
        frames: usize,
        /// Height and width in pixels.
        size: (usize, usize),
    },
    /// Texts of any lengths.
    Text {
        /// Rows of the table of tokens.
        vocabulary: usize,
        /// Tokens of a text at most.
        most: usize,
    },
    /// Questions about images of any sizes, as patches.
    Question {
        /// Colours.
        channels: usize,
        /// Side of a patch in pixels.
        patch: usize,
        /// Patches of an image at most.
        most: usize,
        /// Rows of the table of tokens.
        vocabulary: usize,
        /// Tokens of a question at most.
        room: usize,
    },
    /// Questions about images of one size.
    ImageQuestion {
        /// Colours.
        channels: usize,
        /// Height and width in pixels.
        size: (usize, usize),
        /// Rows of the table of tokens.
        vocabulary: usize,
        /// Tokens of a question at most.
        room: usize,
    },
}

impl InputShape {
    /// Values of one item; of patches those of the largest, of texts tokens of the longest, of questions both.
    #[must_use]
    pub fn len(&self) -> usize {
        match *self {
            Self::Image { .. } | Self::Patches { .. } | Self::Clip { .. } => self.pixels(),
            Self::Text { most, .. } => most,
            Self::Question { room, .. } | Self::ImageQuestion { room, .. } => self.pixels() + room,
        }
    }

    /// Values of the largest image or clip; 0 of what has none.
    #[must_use]
    pub fn pixels(&self) -> usize {
        match *self {
            Self::Patches { channels, patch, most } | Self::Question { channels, patch, most, .. } => {
                channels * patch * patch * most
            }
            Self::Image { channels, size: (height, width) }
            | Self::ImageQuestion { channels, size: (height, width), .. } => channels * height * width,
            Self::Clip { channels, frames, size: (height, width) } => channels * frames * height * width,
            Self::Text { .. } => 0,
        }
    }

    /// Whether an item has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of one item.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * self.len()
    }

    /// Rows of the table of tokens, and tokens of a text or question at most; `None` of what has no texts.
    #[must_use]
    pub fn texts(&self) -> Option<(usize, usize)> {
        match *self {
            Self::Text { vocabulary, most } => Some((vocabulary, most)),
            Self::Question { vocabulary, room, .. } | Self::ImageQuestion { vocabulary, room, .. } => {
                Some((vocabulary, room))
            }
            Self::Image { .. } | Self::Patches { .. } | Self::Clip { .. } => None,
        }
    }

    /// Items of standard normal values, the same for the same seed: never zeros, which some processors multiply faster. Texts
    /// are as long as the model takes them.
    #[must_use]
    pub fn random(&self, items: usize, seed: u64) -> Batch {
        let mut random = Random::new(seed);
        let texts = self.texts().map_or_else(Vec::new, |(vocabulary, len)| {
            let mut text = || (0..len).map(|_| random.below(vocabulary.max(1)) as u32).collect::<Vec<_>>();
            (0..items).map(|_| TokenIds::words(text())).collect()
        });
        let values = (0..items * self.pixels()).map(|_| random.normal() as f32).collect();
        let grids = match *self {
            Self::Image { .. } | Self::Clip { .. } | Self::Text { .. } | Self::ImageQuestion { .. } => None,
            Self::Patches { most, .. } | Self::Question { most, .. } => {
                let side = most.isqrt();
                let rows = (1..=side).rev().find(|rows| most.is_multiple_of(*rows)).unwrap_or(1);
                Some(vec![(rows, most / rows); items])
            }
        };
        Batch { values, grids, texts, ..Batch::default() }
    }
}

/// A batch on the host, as preprocessing makes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Pixels of all images, one after the other.
    pub values: Vec<f32>,
    /// Rows and columns of patches of every image, where images have their own sizes.
    pub grids: Option<Vec<(usize, usize)>>,
    /// The tokens of every text or question, where the model takes some; texts have no values.
    pub texts: Vec<TokenIds>,
    /// Inputs that belong to one item, whose answers are averaged: the views of a clip; `None` where each is its own.
    pub views: Option<usize>,
}

impl From<Vec<f32>> for Batch {
    fn from(values: Vec<f32>) -> Self {
        Self { values, ..Self::default() }
    }
}

impl From<&[TokenIds]> for Batch {
    fn from(texts: &[TokenIds]) -> Self {
        Self { texts: texts.to_vec(), ..Self::default() }
    }
}

impl From<&Vec<TokenIds>> for Batch {
    fn from(texts: &Vec<TokenIds>) -> Self {
        texts.as_slice().into()
    }
}

impl From<&tokmerge_data::Batch> for Batch {
    fn from(read: &tokmerge_data::Batch) -> Self {
        let views = (read.views > 1).then_some(read.views);
        Self { values: read.values.clone(), grids: read.grids.clone(), texts: read.texts.clone(), views }
    }
}

impl Batch {
    /// Number of inputs.
    #[must_use]
    pub fn items(&self, shape: &InputShape) -> usize {
        if !self.texts.is_empty() {
            return self.texts.len();
        }
        self.grids.as_ref().map_or_else(|| self.values.len() / shape.len().max(1), Vec::len)
    }

    /// Adds what normalising an item has given besides its values.
    pub fn add(&mut self, besides: Normalised) {
        let Normalised { grid, tokens } = besides;
        if let Some(grid) = grid {
            self.grids.get_or_insert_default().push(grid);
        }
        self.texts.extend(tokens);
    }

    /// Adds the inputs of another.
    pub fn append(&mut self, other: Self) {
        self.values.extend(other.values);
        self.texts.extend(other.texts);
        self.views = self.views.or(other.views);
        if let Some(grids) = other.grids {
            self.grids.get_or_insert_default().extend(grids);
        }
    }

    /// Some of the inputs, each as an item of its own.
    ///
    /// # Panics
    /// When the batch is not a whole number of items, or has no such item.
    #[must_use]
    pub fn select(&self, items: &[usize], shape: &InputShape) -> Self {
        let texts = match self.texts.is_empty() {
            true => Vec::new(),
            false => items.iter().map(|item| self.texts[*item].clone()).collect(),
        };
        if let InputShape::Text { .. } = shape {
            return Self { texts, ..Self::default() };
        }
        let range = |item: usize| match (&self.grids, *shape) {
            (
                Some(grids),
                InputShape::Patches { channels, patch, .. } | InputShape::Question { channels, patch, .. },
            ) => {
                let values = |grids: &[(usize, usize)]| {
                    grids.iter().map(|(rows, columns)| rows * columns).sum::<usize>()
                        * channels
                        * patch
                        * patch
                };
                values(&grids[..item])..values(&grids[..=item])
            }
            _ => item * shape.pixels()..(item + 1) * shape.pixels(),
        };
        let values = items.iter().flat_map(|item| &self.values[range(*item)]).copied().collect();
        let grids = self.grids.as_ref().map(|grids| items.iter().map(|item| grids[*item]).collect());
        Self { values, grids, texts, ..Self::default() }
    }

    /// The batch on a device.
    ///
    /// # Panics
    /// When the batch is not a whole number of items of this shape.
    #[must_use]
    pub fn into_input(self, shape: &InputShape, device: &Device) -> Input {
        match (*shape, self.grids) {
            (InputShape::Text { .. }, _) => Input::Texts(Texts::new(&self.texts, device)),
            (
                InputShape::Image { channels, size: (height, width) }
                | InputShape::ImageQuestion { channels, size: (height, width), .. },
                _,
            ) => {
                let items = self.values.len() / (channels * height * width).max(1);
                let images = TensorData::new(self.values, [items, channels, height, width]);
                let images = Tensor::from_data(images, device);
                match shape {
                    InputShape::ImageQuestion { .. } => {
                        Input::ImageQuestions { images, texts: Texts::new(&self.texts, device) }
                    }
                    _ => Input::Images(images),
                }
            }
            (InputShape::Clip { channels, frames, size: (height, width) }, _) => {
                let items = self.values.len() / shape.len().max(1);
                let clips = TensorData::new(self.values, [items, channels, frames, height, width]);
                Input::Clips(Tensor::from_data(clips, device))
            }
            (
                InputShape::Patches { channels, patch, .. } | InputShape::Question { channels, patch, .. },
                grids,
            ) => {
                let grids = grids.unwrap_or_default();
                let patches = grids.iter().map(|(rows, columns)| rows * columns).sum();
                let pixels = TensorData::new(self.values, [patches, channels * patch * patch]);
                let pixels = Tensor::from_data(pixels, device);
                match shape {
                    InputShape::Question { .. } => {
                        Input::Questions { pixels, grids, texts: Texts::new(&self.texts, device) }
                    }
                    _ => Input::Patches { pixels, grids },
                }
            }
        }
    }
}
