//! What a forward pass costs, counted from shapes.

use crate::experts::{ExpertsConfig, Routing};
use crate::families::vit::NormPlace;
use serde::{Deserialize, Serialize};
use std::fmt;
use tokmerge_merge::{LayerTokens, Reduction};

/// What counts as an operation. A multiply-add is one in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// As fvcore counts, and with it ToMe's tables: multiply-adds of all products, those of the matching
    /// included, and 5 per element that a LayerNorm sees; softmax, GELU, biases and merging are free.
    #[default]
    Fvcore,
    /// Multiply-adds of the model's products alone.
    Macs,
    /// Multiply-adds of the model's products and 1 per element that a LayerNorm sees: what fits the unmerged
    /// figures of ATM's tables best.
    #[serde(rename = "macs+norm")]
    MacsNorm,
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fvcore => "fvcore",
            Self::Macs => "macs",
            Self::MacsNorm => "macs+norm",
        })
    }
}

/// What the parts of an encoder cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// Blocks.
    pub depth: usize,
    /// Channels of a token.
    pub channels: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Hidden channels of the MLP.
    pub mlp_channels: usize,
    /// Multiply-adds of the embedding, per image.
    pub embed_macs: f64,
    /// Multiply-adds of the head, per image.
    pub head_macs: f64,
    /// Whether the last norm sees all tokens or the pooled one.
    pub final_norm: NormPlace,
    /// Experts in place of the MLP of some blocks.
    pub experts: Option<ExpertCost>,
}

/// What is counted of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertCost {
    /// How many, and how many of them a token uses.
    pub config: ExpertsConfig,
    /// Blocks that have them, from 0.
    pub layers: Vec<usize>,
    /// With buffers, their places are counted, filled or not, as V-MoE's implementation multiplies them; if tokens
    /// are free, what runs.
    pub routing: Routing,
}

impl ExpertCost {
    /// Of a model of `depth` blocks whose tokens are free.
    #[must_use]
    pub fn new(config: ExpertsConfig, depth: usize) -> Self {
        Self { config, layers: config.placement.blocks(depth), routing: Routing::Free }
    }

    /// Tokens that run through an expert, for every token of an image of `tokens`.
    fn runs_per_token(&self, tokens: usize) -> f64 {
        let ExpertsConfig { experts, chosen, .. } = self.config;
        match self.routing {
            Routing::Free => chosen as f64,
            Routing::Buffers(buffers) => buffers.places_per_token(tokens, chosen, experts),
        }
    }
}

impl Cost {
    /// Billions of multiply-adds per image, for tokens as they were seen by each block.
    #[must_use]
    pub fn gmacs(&self, layers: &[LayerTokens], reduction: &Reduction, convention: Convention) -> f64 {
        let (channels, hidden) = (self.channels as f64, self.mlp_channels as f64);
        let (mut products, mut normed) = (self.embed_macs + self.head_macs, 0.0);
        for (layer, tokens) in layers.iter().enumerate() {
            let (attended, fed) = (tokens.attended as f64, tokens.fed as f64);
            products += 4.0 * attended * channels * channels + 2.0 * attended * attended * channels;
            let (runs, routed) = self.feed_forward(layer, tokens.fed);
            products += runs * 2.0 * channels * hidden + routed * channels;
            normed += (attended + fed) * channels;
            let (merging, merging_normed) = reduction.merger_cost(layer, tokens.entered, self.channels);
            products += merging;
            normed += merging_normed;
            if convention == Convention::Fvcore {
                products += reduction.matching_macs(layer, tokens.entered, self.head_dim, self.channels);
            }
        }
        normed += match self.final_norm {
            NormPlace::BeforePool => layers.last().map_or(0, |tokens| tokens.fed) as f64 * channels,
            NormPlace::AfterPool => channels,
        };
        match convention {
            Convention::Fvcore => (products + 5.0 * normed) / 1e9,
            Convention::Macs => products / 1e9,
            Convention::MacsNorm => (products + normed) / 1e9,
        }
    }

    /// Rows that run through an MLP in block `layer`, and logits of its router, for an image of `tokens` there.
    fn feed_forward(&self, layer: usize, tokens: usize) -> (f64, f64) {
        let rows = tokens as f64;
        match &self.experts {
            Some(experts) if experts.layers.contains(&layer) => {
                (rows * experts.runs_per_token(tokens), rows * experts.config.experts as f64)
            }
            _ => (rows, 0.0),
        }
    }

    /// Floating-point operations to train on one image: two per multiply-add of a product, forward and, twice as
    /// many, backward; the embedding has no gradient of its input. What PatchMerger's Tables 1 and 2 count.
    #[must_use]
    pub fn training_flops(&self, layers: &[LayerTokens], reduction: &Reduction) -> f64 {
        let forward = self.gmacs(layers, reduction, Convention::Macs) * 1e9;
        2.0 * (3.0 * forward - self.embed_macs)
    }

    /// Millions of values that products write, per image: what timm lists as activations.
    #[must_use]
    pub fn mega_activations(&self, heads: usize, layers: &[LayerTokens]) -> f64 {
        let (channels, hidden) = (self.channels as f64, self.mlp_channels as f64);
        let entering = layers.first().map_or(0, |tokens| tokens.entered) as f64;
        let per_block = layers.iter().enumerate().map(|(layer, tokens)| {
            let attended = tokens.attended as f64;
            let (runs, routed) = self.feed_forward(layer, tokens.fed);
            5.0 * attended * channels
                + heads as f64 * attended * attended
                + runs * (hidden + channels)
                + routed
        });
        (entering * channels + per_block.sum::<f64>() + self.head_macs / channels) / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::{Convention, Cost};
    use crate::experts::{Buffers, Group, Order, Routing};
    use crate::families::vit::{ClassToken, NormPlace, Pool, VitConfig};
    use crate::registry::architecture;
    use tokmerge_merge::{KeyBias, Method, Readout, Reduction, Seat};

    fn gmacs(cost: &Cost, tokens: usize, spec: &str, convention: Convention) -> f64 {
        let seat = Seat {
            depth: cost.depth,
            tokens,
            prefix: 1,
            key_bias: KeyBias::LogSize,
            readout: Readout::Prefix,
        };
        let reduction = Reduction::bind(spec.parse::<Method>().unwrap(), &seat).unwrap();
        let layers = reduction.expected_tokens(tokens, cost.depth).unwrap();
        cost.gmacs(&layers, &reduction, convention)
    }

    fn spec(r: usize) -> String {
        if r == 0 { "none".to_owned() } else { format!("tome:r={r}") }
    }

    fn named(name: &str) -> VitConfig {
        architecture(name).unwrap().config
    }

    /// An MAE model: average pooling with the norm behind it.
    fn mae(name: &str) -> VitConfig {
        VitConfig { pool: Pool::Average, norm_place: NormPlace::AfterPool, ..named(name) }
    }

    fn check(label: &str, cost: &Cost, tokens: usize, spec: &str, printed: &str) {
        let digits = printed.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let computed = gmacs(cost, tokens, spec, Convention::Fvcore);
        assert_eq!(format!("{computed:.digits$}"), printed, "{label} {spec}: {computed}");
    }

    /// All 40 figures of ToMe's Tables 3, 4, 5, 7, 11 and 12.
    #[test]
    fn published_gflops_of_tome() {
        let mut checked = 0;
        let mut check = |label: &str, cost: &Cost, tokens, spec: &str, printed| {
            check(label, cost, tokens, spec, printed);
            checked += 1;
        };
        let small = named("deit_small_patch16_224");
        let table_11a = [
            (0, "4.61"),
            (8, "3.43"),
            (9, "3.28"),
            (10, "3.14"),
            (12, "2.85"),
            (13, "2.71"),
            (14, "2.57"),
            (15, "2.43"),
            (16, "2.30"),
        ];
        for (r, printed) in table_11a {
            check("DeiT-S", &small.cost(), small.tokens(), &spec(r), printed);
        }
        let tiny = named("deit_tiny_patch16_224");
        let table_11b = [
            (0, "1.26"),
            (8, "0.93"),
            (9, "0.89"),
            (10, "0.85"),
            (11, "0.81"),
            (12, "0.78"),
            (13, "0.74"),
            (14, "0.70"),
            (15, "0.66"),
            (16, "0.63"),
        ];
        for (r, printed) in table_11b {
            check("DeiT-Ti", &tiny.cost(), tiny.tokens(), &spec(r), printed);
        }
        let large = mae("vit_large_patch16_224");
        for (spec, printed) in [("none", "61.6"), ("tome:r=8", "31.0"), ("tome:r=8,inflect=-1", "22.3")] {
            check("MAE ViT-L", &large.cost(), large.tokens(), spec, printed);
        }
        let huge = mae("vit_huge_patch14_224");
        for (spec, printed) in [("none", "167.4"), ("tome:r=7", "92.9"), ("tome:r=7,inflect=-1", "72.6")] {
            check("MAE ViT-H", &huge.cost(), huge.tokens(), spec, printed);
        }
        // Video: 8 x 14 x 14 tubes of 2 x 16 x 16 pixels in colour, a class token, 400 classes.
        let video = Cost { embed_macs: 1568.0 * 1536.0 * 1024.0, head_macs: 1024.0 * 400.0, ..large.cost() };
        let table_12 = [
            (0, "598"),
            (10, "545"),
            (20, "493"),
            (30, "443"),
            (40, "394"),
            (45, "371"),
            (50, "348"),
            (55, "325"),
            (60, "303"),
            (64, "286"),
            (65, "281"),
        ];
        for (r, printed) in table_12 {
            check("video ViT-L", &video, 1569, &spec(r), printed);
        }
        check("video ViT-L", &video, 1569, "tome:r=65,inflect=-1", "184");
        // Audio: 64 x 8 patches of 16 x 16 of a spectrogram, a class token, 527 classes.
        let base = mae("vit_base_patch16_224");
        let audio = Cost { embed_macs: 512.0 * 256.0 * 768.0, head_macs: 768.0 * 527.0, ..base.cost() };
        for (r, printed) in [(0, "48.6"), (20, "36.3"), (40, "24.7")] {
            check("audio ViT-B", &audio, 513, &spec(r), printed);
        }
        assert_eq!(checked, 40);
    }

    /// The unmerged rows of ATM's Tables 1, 2 and A2 to A5 for the models that are known here.
    #[test]
    fn published_gflops_of_atm() {
        let base = mae("vit_base_patch16_224");
        for (label, config, printed, precise) in [
            ("DeiT-T", named("deit_tiny_patch16_224"), "1.25", 1.2546),
            ("DeiT-S", named("deit_small_patch16_224"), "4.60", 4.6008),
            ("DeiT-B", named("deit_base_patch16_224"), "17.57", 17.5676),
            ("MAE ViT-B", base, "17.57", 17.5675),
        ] {
            let computed = gmacs(&config.cost(), config.tokens(), "none", Convention::MacsNorm);
            assert_eq!(format!("{computed:.2}"), printed, "{label}");
            assert!((computed - precise).abs() < 5e-5, "{label}: {computed}");
        }
    }

    /// The rows of models whose stems are not built yet, with the stems' multiply-adds written out.
    #[test]
    fn published_gflops_of_atm_for_other_stems() {
        let encoder = |depth, channels: usize, heads, embed_macs, head_macs| Cost {
            depth,
            channels,
            head_dim: channels / heads,
            mlp_channels: 3 * channels,
            embed_macs,
            head_macs,
            final_norm: NormPlace::BeforePool,
            experts: None,
        };
        // LV-ViT: a 7x7 convolution of stride 2 to 64 channels, two of 3x3, then patches of 8x8; a second head on
        // the patches of the small one.
        let stem = (112 * 112 * 64) as f64 * (3.0 * 49.0 + 2.0 * 64.0 * 9.0);
        let lv = |depth, channels: usize, heads, head_tokens: usize| {
            let patches = (196 * 64 * 64 * channels) as f64;
            encoder(depth, channels, heads, stem + patches, (head_tokens * channels * 1000) as f64)
        };
        // T2T: two stages of attention in 64 channels over 56x56 tokens of 147 and 28x28 of 576, then a projection.
        let t2t = |depth, channels: usize, heads| {
            let stage =
                |tokens: f64, width: f64| tokens * (width * 192.0 + 3.0 * 64.0 * 64.0 + 2.0 * tokens * 64.0);
            let embed = stage(3136.0, 147.0) + stage(784.0, 576.0) + (196 * 576 * channels) as f64;
            let normed = 3136.0 * (147.0 + 64.0) + 784.0 * (576.0 + 64.0);
            encoder(depth, channels, heads, embed + normed, (channels * 1000) as f64)
        };
        // fvcore counts 2 per element of a batch norm; there are three over 112x112x64.
        let with_batch_norms =
            |cost: Cost| Cost { embed_macs: cost.embed_macs + (3 * 112 * 112 * 64 * 2) as f64, ..cost };
        for (label, cost, convention, printed) in [
            ("LV-ViT-T", lv(12, 240, 4, 197), Convention::MacsNorm, "2.87"),
            ("LV-ViT-S", with_batch_norms(lv(16, 384, 6, 197)), Convention::Fvcore, "6.57"),
            ("T2T-ViT_t-14", t2t(14, 384, 6), Convention::MacsNorm, "6.09"),
            ("T2T-ViT_t-19", t2t(19, 448, 7), Convention::MacsNorm, "9.79"),
        ] {
            let computed = gmacs(&cost, 197, "none", convention);
            assert_eq!(format!("{computed:.2}"), printed, "{label}: {computed}");
        }
    }

    #[test]
    fn the_class_token_alone_in_the_last_mlp_saves_5_percent_of_deit_s() {
        let small = named("deit_small_patch16_224");
        let of = |spec| gmacs(&small.cost(), small.tokens(), spec, Convention::Macs);
        let saved = of("tome:r=0") - of("tome:r=0,last=cls");
        assert!((saved - 0.2312).abs() < 1e-4, "{saved}");
    }

    #[test]
    fn pure_multiply_adds_leave_norms_and_matching_out() {
        let small = named("deit_small_patch16_224");
        for (r, expected) in [(0, 4.599), (13, 2.703), (16, 2.291)] {
            let computed = gmacs(&small.cost(), small.tokens(), &spec(r), Convention::Macs);
            assert!((computed - expected).abs() < 5e-4, "{computed} instead of {expected}");
        }
    }

    /// ExaFLOPs of a training run as PatchMerger counts them: 8 tokens behind the middle, the class token merged too,
    /// a head of 18 291 classes, and 304.4 million images per epoch, which was fitted on the first row alone.
    fn exaflops(config: &VitConfig, merger: &str, epochs: f64, routing: Routing) -> f64 {
        let config = VitConfig { num_classes: 18_291, ..config.clone() };
        let reduction = Reduction::bind(merger.parse().unwrap(), &config.seat()).unwrap();
        let layers = reduction.expected_tokens(config.tokens(), config.depth).unwrap();
        let mut cost = config.cost();
        if let Some(experts) = &mut cost.experts {
            experts.routing = routing;
        }
        cost.training_flops(&layers, &reduction) * 304.4e6 * epochs / 1e18
    }

    const MERGER: &str = "patchmerger:m=8,cls=merge";

    fn percent_off(computed: f64, printed: f64) -> f64 {
        100.0 * (computed / printed - 1.0)
    }

    /// PatchMerger's Table 1: all rows within 0.4 %.
    #[test]
    fn published_exaflops_of_training_vit_with_and_without_patch_merger() {
        let rows = [
            ("H/14", named("vit_huge_patch14_224"), 14.0, [4275.92, 2207.33]),
            ("L/16", named("vit_large_patch16_224"), 14.0, [1572.74, 819.29]),
            // The text says 14 epochs, which would be twice as much.
            ("L/32", named("vit_large_patch32_224"), 7.0, [196.11, 114.38]),
            ("B/16", named("vit_base_patch16_224"), 7.0, [224.45, 117.22]),
            ("B/32", named("vit_base_patch32_224"), 7.0, [56.07, 32.99]),
            ("S/32", VitConfig::new(32, 512, 8, 8), 5.0, [12.27, 7.34]),
            // Its base is not in the table.
            ("H/11", named("vit_huge_patch11_220"), 14.0, [f64::NAN, 3464.17]),
        ];
        let mut checked = 0;
        for (label, config, epochs, printed) in rows {
            for (spec, printed) in ["none", MERGER].into_iter().zip(printed) {
                let off = percent_off(exaflops(&config, spec, epochs, Routing::Free), printed);
                if printed.is_finite() {
                    assert!(off.abs() < 0.4, "{label} {spec}: {off:+.2} %");
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 13);
    }

    /// PatchMerger's Table 2: all rows without merging within 0.4 %, and those of large models with it. The others
    /// follow when the places of small groups are counted, which the paper does not state.
    #[test]
    fn published_exaflops_of_training_v_moe_with_and_without_patch_merger() {
        let capacity = |group| Routing::Buffers(Buffers { factor: 1.05, group, order: Order::Position });
        let rows = [
            ("vmoe_huge_patch14_224", 14.0, [4750.73, 2220.96], 0.4),
            ("vmoe_large_patch16_224", 14.0, [1666.10, 823.54], 0.4),
            ("vmoe_large_patch32_224", 7.0, [207.94, 116.70], 0.4),
            ("vmoe_base_patch16_224", 7.0, [250.70, 118.59], 0.4),
            ("vmoe_base_patch32_224", 7.0, [62.75, 34.61], 1.7),
            ("vmoe_small_patch32_224", 5.0, [14.40, 7.95], 3.7),
        ];
        for (name, epochs, [base, merged], within) in rows {
            let off = |spec: &str, group, printed| {
                percent_off(exaflops(&named(name), spec, epochs, capacity(group)), printed)
            };
            let plain = off("none", Group::Batch, base);
            assert!(plain.abs() < 0.4, "{name}: {plain:+.2} %");
            let unrounded = off(MERGER, Group::Batch, merged);
            assert!(unrounded.abs() < within, "{name} merged: {unrounded:+.2} %");
            let rounded = off(MERGER, Group::Images(16), merged);
            assert!(rounded.abs() < 1.0, "{name} merged, 16 images in a group: {rounded:+.2} %");
        }
    }

    /// Of V-MoE at rest: a block with experts runs every token twice, and the router.
    #[test]
    fn experts_cost_what_runs() {
        let moe = named("vmoe_base_patch16_224");
        let dense = VitConfig { experts: None, ..moe.clone() };
        let more = gmacs(&moe.cost(), 197, "none", Convention::Macs)
            - gmacs(&dense.cost(), 197, "none", Convention::Macs);
        let expected = 2.0 * 197.0 * 768.0 * (2.0 * 3072.0 + 32.0) / 1e9;
        assert!((more - expected).abs() < 1e-9, "{more} {expected}");
    }

    /// Soft token merging's Tables 1, 8 and 9 on ViT-S/16 with average pooling, 196 tokens, in multiply-adds of
    /// products: as published where the paper and its own numbers agree, to three digits where they do not.
    #[test]
    fn published_gflops_of_soft_token_merging() {
        let small = VitConfig {
            pool: Pool::Average,
            class_token: ClassToken::Absent,
            norm_place: NormPlace::AfterPool,
            ..named("vit_small_patch16_224")
        };
        let cost = small.cost();
        let seat = Seat { prefix: 0, readout: Readout::All, ..small.seat() };
        let counted = |spec: &str| {
            let reduction = Reduction::bind(spec.parse::<Method>().unwrap(), &seat).unwrap();
            let layers = reduction.expected_tokens(196, 12).unwrap();
            format!("{:.3}", cost.gmacs(&layers, &reduction, Convention::Macs))
        };
        for (spec, expected) in [
            ("none", "4.574"),
            ("stm:p=2,layer=4,score=random", "2.814"),
            ("stm:p=2,layer=4", "2.843"),
            ("stm:p=2,layer=4,width=384", "2.872"),
            ("stm:p=2,layer=6,score=random", "3.205"),
            ("stm:p=2,layer=6", "3.234"),
            ("stm:p=2,layer=6,width=384", "3.263"),
            ("stm:p=4,layer=4,score=random", "1.984"),
            ("stm:p=4,layer=4", "2.013"),
        ] {
            assert_eq!(counted(spec), expected, "{spec}");
        }
    }
}
