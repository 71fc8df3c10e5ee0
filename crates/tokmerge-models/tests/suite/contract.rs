//! What every model promises under every way of merging.

use crate::common::{
    input, noise, random, random_at, random_but, random_mergers, under_other_instruction_sets, values, worst,
};
use burn::tensor::Device;
use std::collections::BTreeSet;
use tokmerge_merge::{
    BindError, DROPPED, How, LastLayer, LayerTokens, Layout, Leading, METHODS, Method, PositionUse, Readout,
    Reduction, Site, Softmax, Step, TokenKind,
};
use tokmerge_models::{
    BlockConfig, ClassToken, Config, DistillationHead, ExpertsConfig, FamilyConfig, Network, NormPlace,
    Output, Pass, Placement, Pool, PositionConfig, PreLogits, Precision, QkNorm, QkvBias, VitConfig,
};

/// Relative and absolute, for results that are equal but for the order of additions.
const REORDERED_F32: f32 = 1e-5;

/// Models without prefix tokens and with 1, 2 and 5, on images of odd and even numbers of patches, none square.
fn vits() -> Vec<VitConfig> {
    let mut plain = VitConfig { num_classes: 7, ..VitConfig::new(4, 24, 4, 3) };
    plain.block.mlp.hidden = 40;
    let block = |change: &dyn Fn(&mut BlockConfig)| {
        let mut block = plain.block.clone();
        change(&mut block);
        block
    };
    let prefixes = [
        VitConfig {
            class_token: ClassToken::Absent,
            positions: PositionConfig::learned(0),
            pool: Pool::Average,
            ..plain.clone()
        },
        VitConfig { block: block(&|block| block.layer_scale = Some(0.1)), ..plain.clone() },
        VitConfig {
            experts: Some(ExpertsConfig { experts: 5, chosen: 2, placement: Placement::Every(2) }),
            pre_logits: Some(PreLogits::tanh(12)),
            ..plain.clone()
        },
        VitConfig {
            class_token: ClassToken::Distilled(DistillationHead::Averaged),
            positions: PositionConfig::learned(2),
            block: block(&|block| block.qkv_bias = QkvBias::No),
            ..plain.clone()
        },
        VitConfig {
            reg_tokens: 4,
            positions: PositionConfig::learned(0),
            block: block(&|block| block.qk_norm = QkNorm::PerHead(block.norm)),
            norm_place: NormPlace::AfterPool,
            ..plain.clone()
        },
    ];
    let sizes = [(12, 20), (16, 20)];
    let both = |config: &VitConfig| sizes.map(|size| config.clone().with_img_size(size).expect("multiples"));
    let all: Vec<_> = prefixes.iter().flat_map(both).collect();
    let of = |key: fn(&VitConfig) -> usize| all.iter().map(key).collect::<BTreeSet<_>>();
    assert_eq!(of(VitConfig::prefix), [0, 1, 2, 5].into());
    assert_eq!(of(|config| (config.tokens() + 2 * config.prefix()) % 2), [0, 1].into());
    all
}

/// Those, and the examples of all families: a new family is under contract by being listed.
fn configs() -> Vec<Config> {
    vits().into_iter().map(Config::from).chain(Config::examples()).collect()
}

/// Those of the models that can merge.
fn mergeable() -> Vec<Config> {
    let can = |config: &Config| !matches!(config.facts().positions, PositionUse::Fixed(_));
    configs().into_iter().filter(can).collect()
}

/// The values of an option, from the list that users read.
fn choices(option: &str) -> Vec<&'static str> {
    let tome = METHODS.iter().find(|info| info.name == "tome").expect("listed");
    let option = tome.options.iter().find(|info| info.name == option).expect("an option of tome");
    option.values.split(", ").collect()
}

/// No merging, all kinds of schedules and thresholds, and every matcher, of which only what cannot be right in a model is
/// left out.
fn specs(config: &Config) -> Vec<String> {
    let plain = [
        "none",
        "tome:r=3",
        "tome:r=9",
        "tome:r=2,inflect=-1",
        "tome:r=3,feature=x_pre",
        "tome:r=3,last=cls",
        // Thresholds at which random tokens merge, in some images more than in others.
        "atm:theta=0.5",
        "atm:theta=[0.2,0.7],split=0,last=keep",
        "pumer:prune=20%,merge=20%,layer=[1,2,3,4],order=attention",
        "diffrate:prune=[14,11],merge=[12,9]",
        "mctf:r=3,last=cls",
        // Patches stop after every layer, and the class token too.
        "a_vit:gamma=2,beta=1",
        "sp_vit:keep=60%,layer=[1,2],choice=learned",
    ];
    // A new method is under contract by being listed.
    let listed = METHODS.iter().map(|info| info.example.to_owned());
    let matchers = choices("matcher").into_iter().map(|matcher| format!("tome:r=3,matcher={matcher}"));
    let all = plain.into_iter().map(str::to_owned).chain(matchers).chain(listed);
    all.filter(|spec| binds(spec, config)).collect()
}

fn binds(spec: &str, config: &Config) -> bool {
    let facts = config.facts();
    match Reduction::bind(spec.parse().unwrap_or_else(|error| panic!("{error}")), &facts) {
        Ok(_) => true,
        Err(BindError::LosesPositions { .. }) => {
            assert_eq!(facts.positions, PositionUse::Followed, "{spec}");
            false
        }
        Err(BindError::NoWords { .. }) => {
            assert_ne!(facts.tokens_are, TokenKind::PatchesAfterWords, "{spec}");
            false
        }
        Err(BindError::NoClassToken { .. }) => {
            assert_eq!(facts.leading, Leading::Other, "{spec}");
            false
        }
        Err(BindError::NoPatches { .. }) => {
            assert_eq!(facts.tokens_are, TokenKind::Words, "{spec}");
            false
        }
        Err(BindError::ClosedSoftmax { .. } | BindError::ClosedKeys { .. }) => {
            assert_eq!(facts.softmax, Softmax::Closed, "{spec}");
            false
        }
        Err(BindError::NoGrid { .. }) => {
            assert_eq!(facts.grid, None, "{spec}");
            false
        }
        Err(BindError::ReadsPatches { .. }) => {
            assert!(facts.readout == Readout::All || facts.joining.is_some(), "{spec}");
            false
        }
        // An example may name layers that a small model does not have.
        Err(BindError::Schedule { .. }) if !spec.starts_with("tome") => false,
        Err(BindError::Unmergeable { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

fn bind(spec: &str, config: &Config) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    let mergers = random_mergers(&method, config, &Device::flex());
    let reduction =
        Reduction::bind(method, &config.facts()).unwrap_or_else(|error| panic!("{spec}: {error}"));
    reduction.with_mergers(mergers)
}

fn pixels(config: &Config, items: usize) -> Vec<f32> {
    noise(items * config.shape().input.len(), 41)
}

fn run(model: &Network, pixels: &[f32], spec: &str) -> Output {
    let config = model.config();
    model.run(input(config, pixels, &Device::flex()), Pass::new(&bind(spec, config)))
}

fn predict(model: &Network, pixels: &[f32], spec: &str) -> Output {
    let config = model.config();
    model.run(input(config, pixels, &Device::flex()), Pass::head(&bind(spec, config)))
}

/// Where the tokens of an item of a model without merging, or with, ended; those that join them are among them.
fn groups(classified: &Output, item: usize, tokens: usize) -> Vec<Option<u32>> {
    let unmerged = || (0..classified.trace.tokens_left(item, tokens) as u32).map(Some).collect();
    classified.trace.plan_until(None).map_or_else(unmerged, |plan| plan.groups(item))
}

/// Tokens that attention and MLP of every block saw.
fn layers(classified: &Output, item: usize, config: &Config) -> Vec<LayerTokens> {
    classified.trace.layer_tokens(item, config.tokens(), config.depth())
}

#[test]
fn removing_nothing_is_the_plain_model_bit_for_bit() {
    for config in mergeable() {
        let model = random(&config, 1, &Device::flex());
        let pixels = pixels(&config, 3);
        let plain = run(&model, &pixels, "none");
        let logits = values(plain.logits);
        assert!(logits.iter().all(|logit| logit.is_finite()));
        assert!(plain.trace.records().iter().all(|record| record.how == How::Joined));
        for spec in ["tome:r=0", "tome:r=[0,0]", "tome:r=0,feature=x_pre", "tome:r=0,matcher=kmeans"] {
            let merged = run(&model, &pixels, spec);
            assert!(merged.trace == plain.trace && merged.tokens.size.is_none(), "{spec}");
            assert_eq!(values(merged.logits), logits, "{spec} on {config:?}");
        }
    }
}

#[test]
fn thresholds_leave_images_different_numbers_of_tokens() {
    for config in mergeable() {
        let model = random(&config, 2, &Device::flex());
        let pixels = pixels(&config, 5);
        let ragged = |theta: &&str| {
            let batch = run(&model, &pixels, &format!("atm:theta={theta},last=keep"));
            batch.tokens.layout.lens().collect::<BTreeSet<_>>().len() > 1
        };
        // How alike random tokens are differs from model to model.
        let thresholds = ["0.5", "0.3", "0.7", "0.8", "0.9", "0.95", "0.99"];
        assert!(thresholds.iter().any(ragged), "no threshold makes a batch ragged on {config:?}");
    }
}

#[test]
fn skipping_what_the_head_does_not_read_changes_nothing() {
    for config in mergeable() {
        let model = random(&config, 8, &Device::flex());
        let pixels = pixels(&config, 3);
        for (all, prefix) in [
            ("tome:r=3", "tome:r=3,last=cls"),
            ("tome:r=0", "tome:r=0,last=cls"),
            ("atm:theta=0.5,last=keep", "atm:theta=0.5"),
        ] {
            let (all, prefix) = (run(&model, &pixels, all), run(&model, &pixels, prefix));
            assert_eq!(values(all.logits), values(prefix.logits), "{config:?}");
            assert!(all.trace.plans().eq(prefix.trace.plans()));
        }
    }
}

#[test]
fn predicting_leaves_out_what_the_head_does_not_read_and_changes_nothing() {
    let more = [
        "tome:r=3,feature=x",
        "tome:r=3,heads=concat,last=cls",
        "tome:r=3,feature=x_pre,last=cls",
        "tome:r=3,feature=x_pre,unmerge=on",
        "tome:r=3,feature=x_pre,unmerge=on,last=cls",
        "evo_vit:keep=40%,layer=2,select=layer",
        "idle_vit:keep=40%,layer=[1,3]",
    ];
    let device = Device::flex();
    for (config, precision) in
        configs().into_iter().flat_map(|c| [Precision::F32, Precision::Bf16].map(|p| (c.clone(), p)))
    {
        let model = random_at(&config, precision, 8, &device, |_, _| ());
        let pixels = pixels(&config, 5);
        let more = more.into_iter().filter(|spec| binds(spec, &config)).map(str::to_owned);
        for spec in &specs(&config).into_iter().chain(more).collect::<Vec<_>>() {
            let what = format!("{spec} {precision:?} on {config:?}");
            let (all, read) = (run(&model, &pixels, spec), predict(&model, &pixels, spec));
            let logits = values(all.logits);
            assert!(logits.iter().all(|logit| logit.is_finite()), "{what}");
            assert_eq!(logits, values(read.logits), "{what}");
            let (depth, tokens) = (config.depth(), config.tokens());
            for item in 0..5 {
                let seen = |trace: &tokmerge_merge::Trace| {
                    (trace.layer_tokens(item, tokens, depth), trace.tokens_left(item, tokens))
                };
                assert_eq!(seen(&all.trace), seen(&read.trace), "{what}: what was left out counts");
            }
            // What merges in the last block after its attention is all that is missing.
            let unread = |step: &Step| *step == Step { layer: depth - 1, site: Site::InsideBlock };
            let steps = all.trace.plans().filter(|(step, _)| !unread(step));
            match config.facts().readout {
                // What the class token becomes there hangs on all tokens, or how many are left is known by doing it.
                _ if bind(spec, &config).needs_whole_block(depth - 1) => {
                    assert_eq!(read.trace, all.trace, "{what}");
                }
                Readout::Prefix => {
                    assert!(read.trace.plans().eq(steps), "{what}");
                    let (from, skip) =
                        read.trace.last_block_skip().expect("the head reads class tokens only");
                    assert_eq!(from, Step { layer: depth - 1, site: Site::BeforeBlock });
                    assert_eq!(skip.prefix.common(), Some(config.facts().prefix));
                }
                Readout::All => assert_eq!(read.trace, all.trace, "{what}"),
            }
        }
    }
}

#[test]
fn averaging_over_the_batch_takes_as_many_tokens_from_every_image() {
    for config in mergeable() {
        let model = random(&config, 2, &Device::flex());
        let pixels = pixels(&config, 5);
        let batch = run(&model, &pixels, "atm:theta=0.3,batch=average,last=keep");
        assert!(batch.trace.plans().next().is_some());
        for (_, plan) in batch.trace.plans() {
            assert!(matches!(plan.output(), Layout::Uniform { .. }), "{plan}");
        }
        let image = &pixels[..pixels.len() / 5];
        let alone = run(&model, image, "atm:theta=0.3,batch=average");
        let by_itself = run(&model, image, "atm:theta=0.3");
        assert_eq!(values(alone.logits), values(by_itself.logits), "a batch of one is an image by itself");
    }
}

#[test]
fn a_batch_is_its_images_one_by_one_bit_for_bit() {
    for config in configs() {
        let model = random(&config, 2, &Device::flex());
        let pixels = pixels(&config, 5);
        for spec in specs(&config) {
            let batch = run(&model, &pixels, &spec);
            let together = values(batch.logits.clone());
            for (item, image) in pixels.chunks_exact(pixels.len() / 5).enumerate() {
                let alone = run(&model, image, &spec);
                let what = format!("image {item} under {spec} on {config:?}");
                let tokens = config.tokens();
                assert_eq!(groups(&batch, item, tokens), groups(&alone, 0, tokens), "{what}");
                assert_eq!(values(alone.logits), together[item * 7..(item + 1) * 7], "{what}");
            }
        }
    }
}

#[test]
fn permuting_images_permutes_outputs() {
    let order = [4, 2, 0, 1, 3];
    for config in configs() {
        let model = random(&config, 3, &Device::flex());
        let pixels = pixels(&config, 5);
        let images: Vec<&[f32]> = pixels.chunks_exact(pixels.len() / 5).collect();
        let permuted = order.map(|item| images[item]).concat();
        for spec in specs(&config) {
            let (before, after) = (run(&model, &pixels, &spec), run(&model, &permuted, &spec));
            let logits = values(before.logits.clone());
            let expected: Vec<f32> =
                order.iter().flat_map(|item| logits[item * 7..(item + 1) * 7].to_vec()).collect();
            assert_eq!(values(after.logits.clone()), expected, "{spec}");
            for (to, from) in order.into_iter().enumerate() {
                let tokens = config.tokens();
                assert_eq!(groups(&after, to, tokens), groups(&before, from, tokens), "{spec}");
            }
        }
    }
}

#[test]
fn sizes_count_every_token_after_every_layer() {
    for config in configs() {
        let model = random(&config, 4, &Device::flex());
        // Sizes that shrink as tokens merge do not add up.
        for spec in specs(&config).into_iter().filter(|spec| !spec.starts_with("diffrate")) {
            let classified = run(&model, &pixels(&config, 3), &spec);
            for layer in 0..config.depth() {
                let Some(plan) = classified.trace.plan_until(Some(layer)) else { continue };
                let sizes = plan.sizes(None);
                for item in 0..3 {
                    let sum: f32 = sizes[plan.output().range(item)].iter().sum();
                    let layers = layers(&classified, item, &config);
                    let joined: usize = layers[..=layer].iter().map(|layer| layer.joined).sum();
                    let dropped = plan.groups(item).iter().filter(|group| group.is_none()).count();
                    let counted = config.tokens() + joined - dropped;
                    assert_eq!(sum, counted as f32, "{spec}, layer {layer}");
                }
                assert!(
                    sizes[..config.facts().prefix].iter().all(|size| *size == 1.0),
                    "prefix tokens stay alone"
                );
            }
            let narrowed = bind(&spec, &config).last_layer() == LastLayer::Prefix;
            if narrowed {
                assert_eq!(classified.tokens.layout, Layout::uniform(3, config.facts().prefix), "{spec}");
            } else if let Some(plan) = classified.trace.plan_until(None) {
                assert_eq!(plan.sizes(None), classified.tokens.sizes(), "{spec}");
                // Unmerging brings every row back to where it was.
                let x = classified.tokens.x.clone();
                let back = plan.unmerge(x.clone());
                let joining = config.facts().joining;
                let channels = joining.map_or(config.shape().channels, |joining| joining.channels);
                let joined = joining.map_or(0, |joining| joining.tokens);
                assert_eq!(back.dims(), [3 * (config.tokens() + joined), channels]);
                let (x, back) = (values(x), values(back));
                for (row, &dst) in plan.dst().iter().enumerate().filter(|(_, dst)| **dst != DROPPED) {
                    let at = |row: usize| row * channels..(row + 1) * channels;
                    assert_eq!(back[at(row)], x[at(dst as usize)], "{spec}, row {row}");
                }
            }
        }
    }
}

/// Models for which equal patches are equal tokens once [`without_positions`].
fn placeless() -> Vec<Config> {
    let known = |config: &Config| match config {
        Config::Vit(vit) => vit.in_chans == 3 && config.facts().positions == PositionUse::Free,
        _ => false,
    };
    configs().into_iter().filter(known).collect()
}

/// A model for which equal patches are equal tokens, wherever they are.
fn without_positions(config: &Config) -> Network {
    random_but(config, 5, &Device::flex(), |name, values| {
        if name == "pos_embed" {
            values.fill(0.0);
        }
    })
}

/// `images[item]` made of patches, of which patch `p` looks like `kind(p)`.
fn patchwork(config: &Config, items: usize, kind: impl Fn(usize) -> usize) -> Vec<f32> {
    let (height, width) = config.shape().img_size();
    let (side, columns) = (config.shape().patch.0, config.shape().grid.expect("images of one size").1);
    let kinds = noise(items * 64 * 3 * side * side, 17);
    let mut pixels = vec![0.0; items * 3 * height * width];
    for (index, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = (index % width, index / width % height);
        let (channel, item) = (index / (width * height) % 3, index / (width * height * 3));
        let patch = item * 64 + kind(y / side * columns + x / side);
        *pixel = kinds[((patch * 3 + channel) * side + y % side) * side + x % side];
    }
    pixels
}

#[test]
fn merging_equal_tokens_changes_nothing_under_proportional_attention() {
    for config in placeless() {
        let model = without_positions(&config);
        let uniform = patchwork(&config, 3, |_| 0);
        let plain = values(run(&model, &uniform, "none").logits);
        for spec in [
            "tome:r=3",
            "tome:r=2,inflect=-1",
            "tome:r=9",
            "tome:r=3,matcher=kmeans",
            "tome:r=3,matcher=random_merge",
            "tome:r=3,feature=x_pre",
            "tome:r=3,combine=max",
        ] {
            let merged = run(&model, &uniform, spec);
            let worst = worst(&values(merged.logits), &plain);
            assert!(worst.error <= REORDERED_F32, "{spec} on {config:?}: {worst:?}");
        }
    }
}

#[test]
fn merging_pairs_of_equal_tokens_changes_nothing_under_proportional_attention_only() {
    // Twenty patches, ten looks: neighbours look alike, so that each pair has one even and one odd position.
    for config in placeless().into_iter().filter(|config| config.tokens() - config.facts().prefix == 20) {
        let model = without_positions(&config);
        let pairs = patchwork(&config, 3, |patch| patch / 2);
        let plain = values(run(&model, &pairs, "none").logits);
        let difference = |spec: &str| worst(&values(run(&model, &pairs, spec).logits), &plain).error;
        for spec in [
            "tome:r=[6]",
            "tome:r=[0,4]",
            "tome:r=[6],feature=v",
            "tome:r=[6],distance=euclidean",
            "tome:r=[6],matcher=greedy",
        ] {
            let difference = difference(spec);
            assert!(difference <= REORDERED_F32, "{spec} on {config:?}: {difference:e}");
        }
        let without = difference("tome:r=[6],prop_attn=off");
        assert!(without > 1e-3, "attention that forgets sizes would pass this test: {without:e}");
    }
}

/// A prime: every choice of every option is met many times with every choice of every other.
const STEP: usize = 7;

#[test]
fn every_option_runs_and_leaves_the_scheduled_tokens() {
    let config =
        configs().into_iter().find(|config| config.facts().prefix == 1).expect("one with a class token");
    let model = random(&config, 6, &Device::flex());
    let pixels = pixels(&config, 2);
    let mut specs = vec!["tome:r=3".to_owned(), "tome:r=2,inflect=-1,rounding=exact".to_owned()];
    for option in ["matcher", "feature", "distance", "heads", "combine", "partition", "prop_attn"] {
        // Every choice together with every choice of the options before it.
        let values = choices(option);
        assert!(values.len() > 1, "{option}");
        specs = specs
            .iter()
            .flat_map(|spec| values.iter().map(move |value| format!("{spec},{option}={value}")))
            .collect();
    }
    assert_eq!(specs.len(), 2 * 6 * 5 * 4 * 2 * 4 * 3 * 3);
    let pruned_before_attention = |spec: &str| spec.contains("attention_prune") && spec.contains("x_pre");
    for spec in specs.iter().step_by(STEP) {
        if pruned_before_attention(spec) {
            assert!(spec.parse::<Method>().is_err(), "attention is not known before it: {spec}");
            continue;
        }
        let reduction = bind(spec, &config);
        let classified = run(&model, &pixels, spec);
        let expected = reduction.expected_tokens(config.tokens(), config.depth());
        for item in 0..2 {
            assert_eq!(Some(layers(&classified, item, &config)), expected, "{spec}");
        }
        assert_eq!(
            classified.tokens.layout.rows(),
            2 * expected.expect("known beforehand")[config.depth() - 1].fed,
            "{spec}"
        );
        assert!(values(classified.logits).iter().all(|logit| logit.is_finite()), "{spec}");
    }
}

#[test]
fn a_model_that_learns_computes_what_a_frozen_one_does() {
    let tracked = Device::flex().autodiff();
    for config in mergeable() {
        let (plain, learning) = (random(&config, 7, &Device::flex()), random(&config, 7, &tracked));
        let pixels = pixels(&config, 3);
        for spec in ["tome:r=0", "tome:r=3", "atm:theta=0.5"] {
            let expected = run(&plain, &pixels, spec);
            let (input, reduction) = (input(&config, &pixels, &tracked), bind(spec, &config));
            let read = learning.run(input.clone(), Pass::head(&reduction));
            let actual = learning.run(input, Pass::new(&reduction));
            assert_eq!(actual.trace, expected.trace, "{spec}");
            // Learning runs an op as its parts, which round where the fused kernel does not.
            let expected = values(expected.logits);
            for logits in [actual.logits, read.logits] {
                let worst = worst(&values(logits), &expected);
                assert!(worst.error <= REORDERED_F32, "{spec} on {config:?}: {worst:?}");
            }
        }
    }
}

#[test]
fn every_instruction_set_predicts_as_it_computes() {
    under_other_instruction_sets(
        "contract::predicting_leaves_out_what_the_head_does_not_read_and_changes_nothing",
    );
}

#[test]
fn every_instruction_set_treats_images_alone() {
    under_other_instruction_sets("contract::a_batch_is_its_images_one_by_one_bit_for_bit");
}
