//! Decoding no more of a picture than its use needs.

/// How much of a JPEG's detail is decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Decode {
    /// All of it: the pixels of Pillow.
    #[default]
    Exact,
    /// A half, a quarter or an eighth of it along both sides, as Pillow's `Image.draft` does it: the smallest that is not
    /// below the size that the picture is resized to. Other formats, and JPEGs that cannot be decoded so, are exact.
    Fast,
}

impl Decode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Exact, Self::Fast];

    /// `exact` or `fast`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|decode| decode.name() == name)
    }

    /// By how much both sides of a picture of `size` may shrink while it is decoded, if it is then resized to `wanted`.
    pub(super) fn reduction(self, size: [usize; 2], wanted: [usize; 2]) -> u32 {
        let covered = |by: &u32| size.iter().zip(wanted).all(|(side, wanted)| side / *by as usize >= wanted);
        match self {
            Self::Exact => 1,
            Self::Fast => [8, 4, 2].into_iter().find(covered).unwrap_or(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_reductions_are_those_of_pillow() {
        for (size, wanted, by) in [
            ([1600, 1200], [341, 256], 4),
            ([500, 375], [341, 256], 1),
            ([682, 512], [341, 256], 2),
            ([681, 512], [341, 256], 1),
            ([5000, 5000], [256, 256], 8),
            ([5000, 500], [256, 256], 1),
            ([10, 10], [256, 256], 1),
        ] {
            assert_eq!(Decode::Fast.reduction(size, wanted), by, "{size:?} to {wanted:?}");
            assert_eq!(Decode::Exact.reduction(size, wanted), 1);
        }
    }

    #[test]
    fn names_lead_back() {
        for decode in Decode::ALL {
            assert_eq!(Decode::from_name(decode.name()), Some(decode));
        }
        assert_eq!(Decode::from_name("draft"), None);
    }

    proptest! {
        #[test]
        fn no_side_gets_shorter_than_wanted(
            size in proptest::array::uniform2(1..5000_usize), wanted in proptest::array::uniform2(1..2000_usize),
        ) {
            let by = Decode::Fast.reduction(size, wanted) as usize;
            for (side, wanted) in size.into_iter().zip(wanted) {
                prop_assert!(by == 1 || side.div_ceil(by) >= wanted);
            }
        }
    }
}
