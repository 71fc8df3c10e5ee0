//! Channels of a token as heads, for modules that look at them one by one.

/// Channels of a head in the models of most papers (DeiT, ViT).
pub(super) const HEAD_DIM: usize = 64;

/// Heads of so many channels each, or of more where these do not part the channels of a token evenly; at least one.
pub(super) fn heads(channels: usize, head_dim: usize) -> usize {
    let most = (channels / head_dim.max(1)).max(1);
    (1..=most).rev().find(|heads| channels.is_multiple_of(*heads)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::heads;

    #[test]
    fn heads_part_the_channels_evenly() {
        assert_eq!([192, 384, 768, 1408].map(|channels| heads(channels, 64)), [3, 6, 12, 22]);
        // 90 are no three heads of 25, but three of 30; 7 are one of 7.
        assert_eq!((heads(90, 25), heads(7, 2), heads(8, 64), heads(8, 4)), (3, 1, 1, 2));
    }
}
