//! tokmerge makes pretrained Transformers for images, sounds, video and text faster by merging their redundant tokens.
//!
//! The public API: re-exports from the crates behind it, and what takes several of them at once.
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod ask;
mod charts;
mod classify;
mod demo;
mod picture;
pub mod runs;
mod sheet;
mod threads;

pub use ask::{
    Answer, Answered, AnsweredBy, AskError, AskOptions, answer_batch, ask, question_processor, questions,
};
pub use burn::tensor::Device;
pub use charts::{loss_chart, merges_chart};
pub use classify::{
    ClassNamesSource, Classification, ClassifyError, Ranked, class_names, classify, classify_batch,
};
pub use demo::demo_pictures;
pub use picture::{
    Column, Drawn, Membership, PictureError, Weighed, clip_picture, picture, picture_grid, picture_sheet,
    sound_picture, weights_picture,
};
pub use sheet::contact_sheet;
pub use threads::{Affinity, ThreadsError, set_threads};
pub use tokmerge_checkpoint::{
    AtomicFile, Checkpoint, CheckpointError, Downloaded, LockError, ModelSource, OutputLock,
    Progress as DownloadProgress, discover, is_obeyed, read_text,
};
pub use tokmerge_data::{
    BatchLoader, ClassFolder, ClassNames, ClassOrder, CropMode, DatasetError, Decode, DecodeOptions,
    ExifOrientation, ImageError, ImageProcessor, Interpolation, Labelled, LabelledBy, LeftOut, Limits,
    ListedQuestion, Media, MediaError, MultiLabelError, MultiLabelList, MultiLabelSample, Place, Prepared,
    Preprocess, PreprocessOverrides, Processor, Question, QuestionList, QuestionListError, QuestionListForm,
    QuestionProcessor, Reading, Rgb, Sample, ViltPreprocess, clip, decode_image, open_image, read_image,
    sound, text, way_out,
};
pub use tokmerge_embed as embedding;
pub use tokmerge_eval::{
    Accuracy, AnswersAccuracy, AnswersEvaluation, BenchOptions, EvalError, EvalOptions, Extracted, Features,
    FewShot, FewShotAccuracy, FewShotError, KindAccuracy, Labels, LinearHead, ListEvaluation,
    MeanAveragePrecision, Observer, PairsAccuracy, PairsError, PeakOf, Prediction, QuestionPrediction,
    QuestionsAccuracy, QuestionsEvaluation, SentencePair, Speed, Spread, WrittenAccuracy, WrittenError,
    WrittenOptions, analysis, average_precision, bench, evaluate, evaluate_answers, evaluate_lists,
    evaluate_pairs, evaluate_questions, evaluate_written, extract, read_pairs, top, wilson,
};
pub use tokmerge_merge::{
    Amount, Atm, BatchRule, BindError, LastBlockSkip, LastLayer, LayerTokens, METHODS, MergePlan, MergeSpec,
    Method, MethodInfo, Reduction, SpecError, Threshold, Tokens, Tome, Trace, split_list,
};
pub use tokmerge_metrics as metrics;
pub use tokmerge_models::{
    Architecture, Batch, Buffers, ClassTexts, Config, Convention, Cost, Described, EMBEDDED, ExpertsConfig,
    GenerateError, GenerateOptions, Generated, Group, Hypothesis, InputShape, Isa, IsaError, LoadReport,
    Measured, Model, ModelError, ModelOptions, MostTokens, Network, NotFinite, Order, Output, Pass,
    Placement, Precision, Probability, Probe, Routing, RoutingError, ShapeOverrides, Stopping, Template,
    UnknownModel, Unused, VitConfig, Weights, ZeroShot, ZeroShotError, architecture, architectures, describe,
    describe_with_progress,
};
pub use tokmerge_scenes as scenes;
pub use tokmerge_train as train;
pub use tokmerge_tune as tune;
pub use tokmerge_viz::{ClipFormat, ClipStyle, Format, Shown, Style, plot};
