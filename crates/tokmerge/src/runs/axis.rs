//! What is drawn over what.

use tokmerge_eval::Better;

/// What a result costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cost {
    /// Billions of multiply-adds per item.
    Gmacs,
    /// Tokens after the last layer.
    Tokens,
    /// Items per second.
    ImagesPerSecond,
    /// Milliseconds per item.
    Ms,
    /// Speed over that of the unmerged model.
    Speedup,
    /// Hours that training took.
    Hours,
    /// Operations of a whole training, in 10^18.
    Exaflops,
}

/// How good a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Percent of items whose label is the first answer.
    Top1,
    /// Percent of questions that are answered right.
    Accuracy,
    /// Mean average precision of items with several labels, in percent.
    Map,
    /// BLEU of texts that are written.
    Bleu,
    /// Rank correlation of scores of pairs of sentences, times 100.
    Spearman,
    /// Percent of items to which the answer is the unmerged model's.
    Agreement,
    /// Mean cosine of embeddings to the unmerged ones.
    Cosine,
    /// Percent of items whose label is among the first five answers.
    Top5,
}

/// How far training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Steps.
    Step,
    /// Epochs.
    Epoch,
}

/// What a curve of training shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// The loss on what is trained on.
    Loss,
    /// What validations measured.
    Quality(Quality),
}

impl Cost {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Gmacs,
        Self::Tokens,
        Self::ImagesPerSecond,
        Self::Ms,
        Self::Speedup,
        Self::Hours,
        Self::Exaflops,
    ];

    /// The name, as options and columns have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gmacs => "gmacs",
            Self::Tokens => "tokens",
            Self::ImagesPerSecond => "images_per_second",
            Self::Ms => "ms",
            Self::Speedup => "speedup",
            Self::Hours => "hours",
            Self::Exaflops => "exaflops",
        }
    }

    /// In words, for axes and headings.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Gmacs => "GMACs",
            Self::Tokens => "tokens left",
            Self::ImagesPerSecond => "images per second",
            Self::Ms => "ms per image",
            Self::Speedup => "speed over unmerged",
            Self::Hours => "hours of training",
            Self::Exaflops => "ExaFLOPs of training",
        }
    }

    /// Whether less or more of it is better.
    #[must_use]
    pub fn better(self) -> Better {
        match self {
            Self::ImagesPerSecond | Self::Speedup => Better::More,
            _ => Better::Less,
        }
    }

    /// Whether it is a speed, which `bench` measures best.
    pub(super) fn is_speed(self) -> bool {
        matches!(self, Self::ImagesPerSecond | Self::Ms | Self::Speedup)
    }

    /// A value with as many digits as it is worth.
    pub(super) fn shown(self, value: f64) -> String {
        match self {
            Self::Gmacs if value < 0.1 => format!("{value:.5}"),
            Self::Gmacs => format!("{value:.3}"),
            Self::Tokens | Self::ImagesPerSecond => format!("{value:.1}"),
            Self::Ms => format!("{value:.2}"),
            Self::Speedup => format!("{value:.2}x"),
            Self::Hours | Self::Exaflops if value < 0.1 => format!("{value:.2e}"),
            Self::Hours | Self::Exaflops => format!("{value:.2}"),
        }
    }
}

impl Quality {
    /// All of them; the first that all results have is what is drawn where nothing is asked for.
    pub const ALL: [Self; 8] = [
        Self::Top1,
        Self::Accuracy,
        Self::Map,
        Self::Bleu,
        Self::Spearman,
        Self::Agreement,
        Self::Cosine,
        Self::Top5,
    ];

    /// The name, as options and columns have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Top1 => "top1",
            Self::Accuracy => "accuracy",
            Self::Map => "map",
            Self::Bleu => "bleu",
            Self::Spearman => "spearman",
            Self::Agreement => "agreement",
            Self::Cosine => "cosine",
            Self::Top5 => "top5",
        }
    }

    /// In words, for axes and headings.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Top1 => "top-1 %",
            Self::Accuracy => "accuracy %",
            Self::Map => "mAP %",
            Self::Bleu => "BLEU",
            Self::Spearman => "Spearman's rank correlation (times 100)",
            Self::Agreement => "agreement with unmerged %",
            Self::Cosine => "cosine to unmerged",
            Self::Top5 => "top-5 %",
        }
    }

    /// Whether it counts items, so that their number says how sure it is.
    pub(super) fn is_share(self) -> bool {
        matches!(self, Self::Top1 | Self::Accuracy | Self::Agreement | Self::Top5)
    }

    /// A value with as many digits as it is worth.
    pub(super) fn shown(self, value: f64) -> String {
        if self == Self::Cosine { format!("{value:.4}") } else { format!("{value:.1}") }
    }
}

impl Progress {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Step, Self::Epoch];

    /// The name, as options and columns have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Epoch => "epoch",
        }
    }
}

impl Curve {
    /// The name, as options and columns have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Quality(quality) => quality.name(),
        }
    }
}
