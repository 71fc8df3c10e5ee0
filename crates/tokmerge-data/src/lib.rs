//! Images, sounds and clips for token merging: decoding, preprocessing and loading, without any tensor type.
//!
//! | step | item | agrees with |
//! |---|---|---|
//! | decode | [`open_image`], [`decode_image`] under [`Limits`] | Pillow's `convert("RGB")`, after its EXIF turn |
//! | resize | [`resize`] | Pillow, bit for bit |
//! | resize, crop, normalise | [`Preprocess`] | timm's evaluation transform, bit for bit; open_clip's and those of transformers |
//! | the same, at a size of the picture's own | [`NaflexPreprocess`] | the SigLIP 2 NaFlex processor of transformers |
//! | a picture and a question about it | [`QuestionProcessor`] with [`ViltPreprocess`] | ViLT's processor of transformers |
//! | list | [`ClassFolder`], [`ClassNames`] | torchvision's `ImageFolder` |
//! | list files with several labels each | [`MultiLabelList`] | AudioSet's CSV files |
//! | list questions about pictures | [`QuestionList`] | easy-VQA's JSON |
//! | split, verify, shuffle | [`ClassFolder::split`], [`ClassFolder::verify`], [`epoch_order`] | |
//! | train | [`augment`] | timm's training transform; operations bit for bit as Pillow |
//! | decode and resize in one | [`ImageProcessor::open_fitted`]; [`Decode::Fast`] decodes large JPEGs smaller | the same, or Pillow's `draft` |
//! | load | [`BatchLoader`] | order of the samples, whatever the number of workers |
//! | clips | [`clip`]: video files and folders of frames, the frames of each view | Spatiotemporal MAE's test |
//! | sounds | [`sound`]: files, rates, mel spectra and cepstra | torchaudio's Kaldi filter bank; the Keyword Transformer's front end |
//!
//! A preprocessing is read from a checkpoint's metadata by [`Preprocess::from_timm_config`],
//! [`ImageProcessor::from_hf`] and [`Preprocess::from_open_clip_config`]; [`Preprocess::with`] changes what the user
//! wants otherwise. Every error is one line: the rule, the value that broke it, the
//! way out. Bytes from outside are not trusted: sizes are checked in the header, before memory is taken.
//!
//! ```
//! use tokmerge_data::{Preprocess, Rgb};
//!
//! let image = Rgb { width: 300, height: 200, data: vec![128; 300 * 200 * 3] };
//! let preprocess = Preprocess::default();
//! let mut pixels = vec![0.0; preprocess.output_len()];
//! preprocess.apply(&image, &mut pixels)?;
//! assert_eq!(pixels.len(), 3 * 224 * 224);
//! # Ok::<(), tokmerge_data::PreprocessError>(())
//! ```

pub mod augment;
mod choices;
pub mod clip;
mod dataset;
mod decode;
mod labels;
mod loader;
mod media;
mod metadata;
mod naflex;
mod overrides;
mod processor;
mod question;
mod question_list;
mod resample;
mod shown;
pub mod sound;
pub mod text;
mod transform;
mod vilt;

pub use choices::{
    CLIP_MEAN, CLIP_STD, Colour, CropMode, CropRounding, HALF_MEAN, HALF_STD, IMAGENET_MEAN, IMAGENET_STD,
};
pub use dataset::{
    Broken, ClassFolder, ClassOrder, DatasetError, EXTENSIONS, Labelled, LabelledBy, LeftOut, Sample,
    epoch_order, files_in, holds_frames, is_left_behind, path_text,
};
pub use decode::{
    Decode, DecodeOptions, ExifOrientation, ImageError, Limits, Rgb, decode_image, open_image, read_image,
};
pub use labels::{ClassNames, LabelsError, MissingFiles, MultiLabelError, MultiLabelList, MultiLabelSample};
pub use loader::{Batch, BatchLoader, LoaderError, Reading};
pub use media::{Media, MediaError, Normalised, Prepared, Processor};
pub use metadata::ConfigError;
pub use naflex::{NaflexPreprocess, Patches};
pub use overrides::PreprocessOverrides;
pub use processor::ImageProcessor;
pub use question::{Asked, Question, QuestionProcessor};
pub use question_list::{ListedQuestion, Place, QuestionList, QuestionListError, QuestionListForm};
pub use resample::{Interpolation, resize};
pub use shown::way_out;
pub use transform::{Preprocess, PreprocessError};
pub use vilt::ViltPreprocess;
