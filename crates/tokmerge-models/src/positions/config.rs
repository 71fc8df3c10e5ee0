//! The kinds of positions that families choose between.

/// How tokens know where they stand. A model may use several kinds at once (EVA-02).
#[derive(Clone, Debug, PartialEq)]
pub struct PositionConfig {
    /// Added to the tokens before the first block.
    pub absolute: Absolute,
    /// Queries and keys are rotated by where their tokens stand, in every block.
    pub rotary: Option<RotaryConfig>,
    /// A bias for every pair of tokens, by their distance.
    pub relative: Relative,
    /// Rows and columns of patches that the file has tables of distances for, where they are resampled as transformers
    /// does it; `None` where they are taken as they are.
    pub table_grid: Option<(usize, usize)>,
}

impl PositionConfig {
    /// Learned positions for patches and all `prefix` tokens, resampled as timm does.
    #[must_use]
    pub fn learned(prefix: usize) -> Self {
        let absolute = Absolute::Learned { prefix, resampling: Resampling::BicubicAntialias, grid: None };
        Self { absolute, rotary: None, relative: Relative::None, table_grid: None }
    }
}

/// Positions that are added to the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absolute {
    /// None.
    None,
    /// A vector per patch of a grid, and one for each of the first `prefix` prefix tokens.
    Learned {
        /// Prefix tokens that have a position.
        prefix: usize,
        /// How the vectors are resampled for another grid.
        resampling: Resampling,
        /// Rows and columns that the file has positions for, where it is neither the model's own grid nor square.
        grid: Option<(usize, usize)>,
    },
    /// Sines and cosines of row and column, which follow from the grid: a buffer that training leaves as it is.
    Sinusoids {
        /// Prefix tokens that have a row in the table; it is 0 until a file says otherwise.
        prefix: usize,
    },
}

/// How positions are resampled for another grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resampling {
    /// Bicubic with antialiasing, half-pixel centres, a = -0.5: timm.
    BicubicAntialias,
    /// Bicubic without antialiasing, half-pixel centres, a = -0.75: transformers' `interpolate_pos_encoding`.
    Bicubic,
    /// Bicubic without antialiasing, scaled by `(to + 0.1) / from`: DINOv2's own code.
    BicubicOffset,
    /// Bicubic without antialiasing, corners aligned: torchvision and SWAG.
    BicubicAlignedCorners,
    /// Bilinear with antialiasing: SigLIP 2 NaFlex.
    BilinearAntialias,
    /// Bilinear without antialiasing, half-pixel centres: FlexiViT, and the tables of pairs of transformers' BEiT.
    Bilinear,
    /// Bilinear without antialiasing, corners aligned: ViLT.
    BilinearAlignedCorners,
}

/// Rotary positions of patches. Prefix tokens are not rotated.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryConfig {
    /// By how much coordinates turn channels.
    pub frequencies: Frequencies,
    /// Which channels make a pair.
    pub pairs: tokmerge_ops::Pairs,
}

/// By how much coordinates turn pairs of channels.
#[derive(Clone, Debug, PartialEq)]
pub enum Frequencies {
    /// Half of the pairs turn by the row, half by the column: `coordinate * temperature^(-i / n)` (EVA-02, RoPE-ViT axial).
    Axial {
        /// Base of the frequencies.
        temperature: f64,
        /// Which axis comes first.
        order: AxisOrder,
        /// Added to every coordinate.
        offset: f64,
        /// Coordinates are scaled from the model's grid to this one, which the weights were trained on.
        reference: Option<(usize, usize)>,
    },
    /// Every pair of every head of every block turns by a learned mixture of row and column (RoPE-ViT mixed): parameter
    /// `rope.freqs`.
    Mixed {
        /// Which axis comes first.
        order: AxisOrder,
    },
    /// Axial, with patch centres between -1 and 1 and periods of `temperature^(i / n)` turns (DINOv3).
    Normalised {
        /// Base of the periods.
        temperature: f64,
    },
}

/// Which axis of a grid comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisOrder {
    /// Rows, then columns.
    RowsFirst,
    /// Columns, then rows (timm's `xy` indexing).
    ColumnsFirst,
}

/// A bias for every pair of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relative {
    /// None.
    None,
    /// A table in every block (BEiT).
    PerBlock,
    /// One table for all blocks.
    Shared,
}
