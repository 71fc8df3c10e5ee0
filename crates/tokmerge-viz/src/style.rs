//! How a drawing looks.

/// Width of the border around each group; narrowed so that every patch keeps a pixel of its fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BorderWidth {
    /// A twelfth of the shorter patch side, at least one pixel: 1 px for 16-pixel patches, 3 px when
    /// they are enlarged twice.
    #[default]
    Auto,
    /// So many pixels of the finished picture, on each side of a boundary.
    Pixels(usize),
    /// No border.
    None,
}

impl BorderWidth {
    /// Width in pixels for patches whose shortest side is `side`, both after enlarging.
    ///
    /// Patches of 1 or 2 pixels have no border: it would leave nothing inside.
    pub(crate) fn pixels(self, side: usize) -> usize {
        let wanted = match self {
            Self::Auto => ((side + 6) / 12).max(1),
            Self::Pixels(pixels) => pixels,
            Self::None => 0,
        };
        wanted.min(side.saturating_sub(1) / 2)
    }
}

/// What the inside of a group shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fill {
    /// The mean of the group's pixels, taken over their 8-bit sRGB values as in the paper's figures.
    #[default]
    Mean,
    /// The picture itself, so that only the borders tell the groups apart.
    Original,
}

/// How a drawing looks; the default is that of the paper's figures at the picture's own size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Width of the border around each group.
    pub border: BorderWidth,
    /// Whole number by which the picture is enlarged, 1 or more; 2 or 3 suits a 224-pixel input.
    pub upscale: usize,
    /// What the inside of a group shows.
    pub fill: Fill,
}

impl Default for Style {
    fn default() -> Self {
        Self { border: BorderWidth::Auto, upscale: 1, fill: Fill::Mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_border_follows_the_patch_side_and_leaves_an_inside() {
        let widths = [1, 2, 3, 14, 16, 32, 48].map(|side| BorderWidth::Auto.pixels(side));
        assert_eq!(widths, [0, 0, 1, 1, 1, 3, 4]);
        assert_eq!(BorderWidth::Pixels(99).pixels(16), 7);
        assert_eq!(BorderWidth::None.pixels(16), 0);
    }
}
