//! Which parameters decay, and how fast each layer learns.

/// What the optimiser wants to know of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    /// Its path, timm's name.
    pub(crate) path: String,
    /// Whether weight decay is for it.
    pub(crate) decays: bool,
    /// Factor on the learning rate.
    pub(crate) lr_scale: f64,
}

impl Member {
    /// A parameter of a model of `depth` blocks. Every block learns slower than the next by `layer_decay` (BEiT; Bao
    /// et al., 2022): embeddings count as a layer before the first, norm and head as one after the last.
    pub(crate) fn new(path: String, rank: usize, depth: usize, layer_decay: f64) -> Self {
        let lr_scale = layer_decay.powi((depth + 1 - layer(&path, depth)) as i32);
        let decays = rank > 1 && !is_embedding(&path);
        Self { path, decays, lr_scale }
    }
}

fn is_embedding(path: &str) -> bool {
    let of_tokens =
        ["pos_embed", "text_pos_embed", "token_embed", "type_embed", "modality_embed", "distance_bias"];
    let path = ["tower.", "text."].iter().find_map(|part| path.strip_prefix(part)).unwrap_or(path);
    of_tokens.iter().any(|name| path.starts_with(name))
        || path.ends_with("_token")
        || path.ends_with(".distance_bias")
}

/// From 0 for the embeddings to `depth + 1` for norm and head.
fn layer(path: &str, depth: usize) -> usize {
    if is_embedding(path) || path.starts_with("patch_embed") || path.starts_with("norm_pre") {
        return 0;
    }
    let block = path.strip_prefix("blocks.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    block.map_or(depth + 1, |block| block + 1)
}

#[cfg(test)]
mod tests {
    use super::Member;

    #[test]
    fn biases_norms_tokens_and_positions_do_not_decay() {
        let decays = |path: &str, rank| Member::new(path.to_owned(), rank, 12, 1.0).decays;
        assert!(
            decays("blocks.3.attn.qkv.weight", 2)
                && decays("patch_embed.proj.weight", 4)
                && decays("head.weight", 2)
        );
        for (path, rank) in [
            ("blocks.3.attn.qkv.bias", 1),
            ("blocks.3.norm1.weight", 1),
            ("blocks.3.ls1.gamma", 1),
            ("pos_embed", 3),
            ("pos_embed_temporal", 3),
            ("cls_token", 3),
            ("reg_token", 3),
            ("token_embed", 2),
            ("text_pos_embed", 2),
            ("distance_bias", 2),
            ("decoder.distance_bias", 2),
        ] {
            assert!(!decays(path, rank), "{path}");
        }
    }

    #[test]
    fn layers_near_the_head_learn_faster() {
        let scale = |path: &str| Member::new(path.to_owned(), 2, 12, 0.5).lr_scale;
        assert_eq!(scale("head.weight"), 1.0);
        assert_eq!(scale("fc_norm.weight"), 1.0);
        assert_eq!(scale("blocks.11.mlp.fc1.weight"), 0.5);
        assert_eq!(scale("blocks.0.mlp.fc1.weight"), 0.5f64.powi(12));
        assert_eq!(scale("pos_embed"), 0.5f64.powi(13));
        assert_eq!(scale("patch_embed.proj.weight"), 0.5f64.powi(13));
    }
}
