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

/// How fast parts of a model learn beside the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Factor from a block to the one before it.
    pub(crate) layer_decay: f64,
    /// Factor on everything but the weights of the merging method.
    pub(crate) backbone: f64,
}

impl Pace {
    /// All alike.
    pub(crate) const EQUAL: Self = Self { layer_decay: 1.0, backbone: 1.0 };
}

/// What learns in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learns {
    /// Everything.
    All,
    /// The weights of the merging method; everything else stays.
    Mergers,
}

/// The blocks of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depths {
    /// All of its encoder.
    pub(crate) encoder: usize,
    /// Those of them that are a tower's, in front of a language model; 0 where there is none.
    pub(crate) tower: usize,
}

impl Member {
    /// A parameter of a model of such depths. Every block learns slower than the next by a factor (BEiT; Bao
    /// et al., 2022): embeddings count as a layer before the first, norm and head as one after the last.
    pub(crate) fn new(path: String, rank: usize, depths: Depths, pace: Pace) -> Self {
        let backbone = if is_of_merger(&path) { 1.0 } else { pace.backbone };
        let lr_scale = backbone * pace.layer_decay.powi((depths.encoder + 1 - layer(&path, depths)) as i32);
        let decays = rank > 1 && !is_embedding(&path);
        Self { path, decays, lr_scale }
    }

    /// Factor on the learning rate of a step in which this learns.
    pub(crate) fn scale(&self, learns: Learns) -> f64 {
        match learns {
            Learns::Mergers if !is_of_merger(&self.path) => 0.0,
            Learns::All | Learns::Mergers => self.lr_scale,
        }
    }
}

/// Whether a parameter is a weight of the merging method.
fn is_of_merger(path: &str) -> bool {
    path.starts_with("mergers.")
}

fn is_embedding(path: &str) -> bool {
    let of_tokens =
        ["pos_embed", "text_pos_embed", "token_embed", "type_embed", "modality_embed", "distance_bias"];
    let path = within_part(path);
    of_tokens.iter().any(|name| path.starts_with(name))
        || path.ends_with("_token")
        || path.ends_with(".distance_bias")
}

/// A path within the part of a model that it is of: a tower of images, or the language model behind it.
pub(crate) fn within_part(path: &str) -> &str {
    ["tower.", "text."].iter().find_map(|part| path.strip_prefix(part)).unwrap_or(path)
}

/// From 0 for the embeddings to one more than there are blocks for norm and head. What stands between a tower and a
/// language model is of the tower's last layer.
fn layer(path: &str, depths: Depths) -> usize {
    let within = within_part(path);
    if is_embedding(path) || within.starts_with("patch_embed") || within.starts_with("norm_pre") {
        return 0;
    }
    if path.starts_with("projector.") || path.starts_with("tower.norm") {
        return depths.tower;
    }
    let before = if path.starts_with("text.") { depths.tower } else { 0 };
    let block = within.strip_prefix("blocks.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    block.map_or(depths.encoder + 1, |block| before + block + 1)
}

#[cfg(test)]
mod tests {
    use super::{Depths, Learns, Member, Pace};

    const VIT: Depths = Depths { encoder: 12, tower: 0 };

    fn decaying(layer_decay: f64) -> Pace {
        Pace { layer_decay, backbone: 1.0 }
    }

    #[test]
    fn biases_norms_tokens_and_positions_do_not_decay() {
        let decays = |path: &str, rank| Member::new(path.to_owned(), rank, VIT, decaying(1.0)).decays;
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
        let scale = |path: &str| Member::new(path.to_owned(), 2, VIT, decaying(0.5)).lr_scale;
        assert_eq!(scale("head.weight"), 1.0);
        assert_eq!(scale("fc_norm.weight"), 1.0);
        assert_eq!(scale("blocks.11.mlp.fc1.weight"), 0.5);
        assert_eq!(scale("blocks.0.mlp.fc1.weight"), 0.5f64.powi(12));
        assert_eq!(scale("pos_embed"), 0.5f64.powi(13));
        assert_eq!(scale("patch_embed.proj.weight"), 0.5f64.powi(13));
    }

    #[test]
    fn weights_of_the_method_learn_at_the_rate_of_the_schedule() {
        let pace = Pace { layer_decay: 0.5, backbone: 0.01 };
        let scale = |path: &str| Member::new(path.to_owned(), 2, VIT, pace).lr_scale;
        assert_eq!(scale("mergers.predictor.0.fc1.weight"), 1.0);
        assert_eq!(scale("head.weight"), 0.01);
        assert_eq!(scale("blocks.11.mlp.fc1.weight"), 0.005);
        let alone = |path: &str| Member::new(path.to_owned(), 2, VIT, pace).scale(Learns::Mergers);
        assert_eq!((alone("mergers.predictor.0.fc1.weight"), alone("head.weight")), (1.0, 0.0));
    }

    #[test]
    fn a_tower_stands_in_front_of_a_language_model() {
        let depths = Depths { encoder: 5, tower: 3 };
        let scale = |path: &str| Member::new(path.to_owned(), 2, depths, decaying(0.5)).lr_scale;
        let layers = [
            ("tower.patch_embed.proj.weight", 0),
            ("tower.pos_embed", 0),
            ("text.token_embed", 0),
            ("tower.blocks.0.attn.qkv.weight", 1),
            ("tower.blocks.2.attn.qkv.weight", 3),
            ("tower.norm.weight", 3),
            ("projector.weight", 3),
            ("text.blocks.0.attn.qkv.weight", 4),
            ("text.blocks.1.attn.qkv.weight", 5),
            ("text.norm.weight", 6),
            ("text.decoder.blocks.0.attn.qkv.weight", 6),
            ("mergers.soft.0.norm.weight", 6),
        ];
        for (path, layer) in layers {
            assert_eq!(scale(path), 0.5f64.powi(6 - layer), "{path}");
        }
    }
}
