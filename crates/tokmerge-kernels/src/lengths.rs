//! Comparing lengths with products of sizes, which may be beyond `usize`.

/// Whether `len` is the product of `sizes`.
pub(crate) fn is_product<const N: usize>(len: usize, sizes: [usize; N]) -> bool {
    length_of(sizes) == Some(len)
}

/// The product of `sizes`, unless it is beyond `usize`.
pub(crate) fn length_of<const N: usize>(sizes: [usize; N]) -> Option<usize> {
    if sizes.contains(&0) {
        return Some(0);
    }
    sizes.into_iter().try_fold(1_usize, usize::checked_mul)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_beyond_usize_is_no_length() {
        let half = 1 << (usize::BITS / 2);
        assert!(!is_product(0, [half, half]) && !is_product(half, [half, half + 1]));
        assert!(is_product(0, [half, half, 0]) && is_product(6, [1, 2, 3]) && !is_product(5, [2, 3]));
    }
}
