//! Judges texts and answers: pure functions, without models and files.
//!
//! [`Bleu`] and [`ChrF`] count as sacrebleu 2.6 does, digit for digit, and print its signature. [`SoftAnswers`] has the score
//! of visual question answering, [`classes`] its rule for the list of answers. [`pearson`] and [`spearman`] compare
//! scores with what people say.
//!
//! ```
//! use tokmerge_metrics::{Bleu, ChrF, lines};
//!
//! let translations = lines("The cat sits on the mat.\nIt rains today.\n");
//! let references = lines("The cat sat on the mat.\nIt is raining today.\n");
//! let bleu = Bleu::default().corpus(&translations, &[&references])?;
//! assert_eq!(
//!     bleu.to_string(),
//!     "BLEU = 36.66 81.8/55.6/28.6/20.0 (BP = 0.913 ratio = 0.917 hyp_len = 11 ref_len = 12)"
//! );
//! let chrf = ChrF::Characters.corpus(&translations, &[&references])?;
//! assert_eq!(chrf.to_string(), "chrF2 = 55.55");
//! # Ok::<(), tokmerge_metrics::TextError>(())
//! ```

mod bleu;
mod chrf;
mod correlation;
mod runs;
mod text;
mod vqa;

pub use bleu::{Bleu, BleuScore, Case, MAX_ORDER, Orders, Smoothing, Tokenizer};
pub use chrf::{ChrF, ChrFScore};
pub use correlation::{CorrelationError, pearson, spearman};
pub use text::{TextError, lines};
pub use vqa::{
    ANSWERS_PER_QUESTION, CLASS_AT_LEAST, SoftAnswers, Spelling, VqaError, classes, most_frequent, normalise,
};
