//! What every method promises, for all of [`METHODS`] and some of their options: a new method is under contract by being
//! listed.

use crate::{
    AttentionMap, Evidence, Layout, Leading, METHODS, Method, ModelFacts, Positions, Prefix, Readout,
    Reduction, TokenKind, Tokens, Trace,
};
use burn::tensor::{Device, Tensor, TensorData, s};
use proptest::prelude::*;

const DEPTH: usize = 5;
const CHANNELS: usize = 6;

/// Every example, and options that change where or how tokens merge.
fn specs() -> Vec<String> {
    let more = [
        "tome:r=3,feature=x_pre",
        "tome:r=3,feature=x_pre,unmerge=on",
        "tome:r=3,combine=keep",
        "tome:r=3,combine=max",
        "tome:r=2,matcher=greedy",
        "tome:r=2,matcher=kmeans",
        "tome:r=2,matcher=random_merge,seed=7",
        "tome:r=2,matcher=random_prune",
        "tome:r=2,matcher=attention_prune",
        "atm:theta=0.5,split=0",
        "patchmerger:m=3,cls=merge",
        "stm:p=3,layer=2,inflate=on",
        "pumer:prune=0%,merge=30%,layer=1",
        "pumer:prune=40%,merge=20%,order=attention,combine=average",
        "mctf:r=35%,layer=[2,4]",
        "mctf:r=4,place=mlp",
        "mctf:above=0.8",
        "mctf:above=[0.9,1,0.5,0.2],direction=one",
        "mctf:r=30%,layer=[1,2,3],direction=one,tau_info=0",
        "tofu:r=3,switch=1,scale=paper",
        "tofu:r=[2,2,2],switch=6",
        "pitome:r=2,split=0",
        "pitome:ratio=80%,margin=0.9,energy=paper",
        "atc:r=3,linkage=single",
        "atc:r=20%,linkage=complete",
        "atc:keep=20%,layer=[1,3]",
        "diffrate:prune=[16,12,9,7,5],merge=[14,10,8,6,4]",
        "diffrate:merge=[20,12,6],prop_attn=auto",
        "token_pooling:tokens=[12,6],layer=[2,4],weights=paper",
        "token_pooling:tokens=[9,5],layer=[3,5],cluster=kmeans",
        "token_pooling:tokens=[10,7],layer=[1,3],cluster=dpc_knn",
        "cubistmerge:rows=1,columns=3,layer=1,combine=paper,distance=euclidean",
        "ats",
        "ats:samples=2,layer=1",
        "ats:samples=[9,5],layer=[2,4],form=token_reduction",
        "zero_tprune:keep=50%,r=0,start=uniform,rounds=3",
        "zero_tprune:keep=40%,r=[4,2],layer=[2,3]",
        "ltmp:merge_above=0.5",
        "ltmp:merge_above=1,prune_at=0.05",
        "ltmp:merge_above=[1,0.8],prune_at=[0.02,0.05,0.9]",
        "rapid:r=3,switch=0",
        "rapid:r=40%,similar=0.5,switch=5",
        "bat:keep=40%,pairs=50%",
        "bat:keep=1%,layer=1",
        "dynamicvit:keep=20%,layer=[1,3]",
        "foresight:limit=1",
        "foresight:limit=[0,0.01,0,0.5]",
        "evo_vit:keep=40%,layer=[2,4]",
        "evo_vit:keep=30%,layer=3,select=layer",
        "idle_vit:keep=60%,layer=[1,3]",
        "idle_vit:keep=20%,layer=2",
        "tokenlearner:tokens=2,layer=2,fuse=on",
        "tokenlearner:tokens=3,layer=4,form=v1",
        "tokenlearner:tokens=3,form=v1,pool=mean,fuse=on",
        "trainable_pooling:m=3,layer=1",
        "trainable_pooling:m=2,width=4",
        "token_transforming:keep=50%,tau=1,layer=[1,3]",
        "token_transforming:keep=1%,temperatures=[0,1,8],feature=k,layer=2",
        "ltmp:target=60%",
        "diffrate:target=60%",
        "ia_red2:keep=60%,layer=[1,4]",
        "a_vit:gamma=2,beta=1",
        "a_vit:gamma=0.5,beta=0",
        "sp_vit:keep=30%,layer=[1,3],head_dim=2",
        "sp_vit:keep=[80%,20%],layer=[2,4],choice=learned,head_dim=3",
    ];
    METHODS.iter().map(|info| info.example).chain(more).map(str::to_owned).collect()
}

fn reduction(spec: &str) -> Reduction {
    let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    let words = TokenKind::PatchesAfterWords;
    // What is asked of the class token alone is refused where patches are read.
    let readout = if spec.starts_with("a_vit") { Readout::Prefix } else { Readout::All };
    let facts = ModelFacts {
        readout,
        tokens_are: words,
        leading: Leading::ClassToken,
        grid: Some((5, 8)),
        ..ModelFacts::new(DEPTH, 40, 0)
    };
    Reduction::bind(method, &facts)
        .unwrap_or_else(|error| panic!("{error}"))
        .with_fresh_mergers(CHANNELS, &Device::flex())
}

fn values(x: Tensor<2>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Lengths of items and of their prefixes; some are the whole grid behind one.
fn items() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let whole = (0usize..4).prop_map(|prefix| (40 + prefix, prefix));
    prop::collection::vec(prop_oneof![3 => (4usize..24, 0usize..4), 1 => whole], 1..4)
}

/// Whether what is left of these tokens has taken all sizes along, as they were.
fn adds_up(spec: &str) -> bool {
    !spec.starts_with("diffrate")
}

/// Whether a merged token stands where the one stood that it was taken from.
fn is_one_of_its_members(spec: &str) -> bool {
    spec.contains("combine=keep")
        || spec.contains("switch=6")
        || (spec.starts_with("token_pooling") && !spec.contains("cluster="))
}

/// Items whose tokens are alike in groups, so that all methods find something to merge.
fn batch(lens: &[usize], prefixes: &[usize], seed: u64) -> Tokens {
    let layout = Layout::from_lens(lens);
    let mut random = tokmerge_nn::Random::new(seed);
    let mut x = Vec::new();
    let mut positions = Vec::new();
    for len in lens {
        let centres: Vec<f64> = (0..3 * CHANNELS).map(|_| random.normal()).collect();
        for token in 0..*len {
            let centre = random.below(3);
            let value =
                |channel: usize, noise: f64| (centres[centre * CHANNELS + channel] + 0.1 * noise) as f32;
            x.extend((0..CHANNELS).map(|channel| value(channel, random.normal())));
            positions.push([random.below(3) as f32, token as f32, random.unit() as f32]);
        }
    }
    let x = Tensor::from_data(TensorData::new(x, [layout.rows(), CHANNELS]), &Device::flex());
    Tokens::new(x, layout, prefixes.to_vec()).with_positions(Positions::Grid(positions.into()))
}

/// A block that looks at every token alone.
fn block(x: Tensor<2>) -> Tensor<2> {
    x * 1.25 + 0.5
}

fn evidence(tokens: &Tokens) -> Evidence {
    let rows = values(tokens.x.clone());
    Evidence {
        metric: Some(tokens.x.clone().slice(s![.., ..4])),
        received: Some(rows.chunks(CHANNELS).map(|row| row[0].abs()).collect()),
        maps: Some(maps(tokens)),
        ..Evidence::default()
    }
}

/// What the next block might say of every token before it attends.
fn logits(tokens: &Tokens) -> Vec<f32> {
    values(tokens.x.clone()).chunks(CHANNELS).map(|row| row[1] - row[3]).collect()
}

/// What tokens might attend to: two heads, each of which weighs every key by one of its values.
fn maps(tokens: &Tokens) -> Vec<AttentionMap> {
    let rows = values(tokens.x.clone());
    let map = |item: usize| {
        let rows =
            &rows[tokens.layout.range(item).start * CHANNELS..tokens.layout.range(item).end * CHANNELS];
        let keys = rows.len() / CHANNELS;
        let mut values = Vec::new();
        for head in 0..2 {
            for query in 0..keys {
                let logit = |key: usize| 0.3 * rows[key * CHANNELS + head] * rows[query * CHANNELS + 2];
                let weights: Vec<f32> = (0..keys).map(|key| logit(key).clamp(-4.0, 4.0).exp()).collect();
                let sum: f32 = weights.iter().sum();
                values.extend(weights.iter().map(|weight| weight / sum));
            }
        }
        AttentionMap { heads: 2, queries: keys, keys, values }
    };
    (0..tokens.layout.items()).map(map).collect()
}

fn run(reduction: &Reduction, mut tokens: Tokens) -> (Tokens, Trace) {
    let mut trace = Trace::default();
    let mut before = Evidence::default();
    for layer in 0..DEPTH {
        let told = Evidence { logits: Some(logits(&tokens)), ..before };
        let (mut entered, held) = reduction.enter(layer, tokens, told, &mut trace);
        if reduction.opens_softmax(layer) {
            let evidence = evidence(&entered);
            entered = reduction.merge_inside(layer, entered, evidence, &mut trace).0;
        }
        let attended = entered.clone().with(block(entered.x));
        before = evidence(&attended);
        tokens = reduction.leave(reduction.apply(layer, attended, before.clone(), &mut trace), held);
        // What the next block is told is of the tokens that enter it.
        before = evidence(&tokens);
    }
    (tokens, trace)
}

/// Item `item` of a batch as a batch of its own.
fn alone(tokens: &Tokens, item: usize) -> Tokens {
    let range = tokens.layout.range(item);
    let rows: Vec<u32> = range.clone().map(|row| row as u32).collect();
    let x = tokens.x.clone().slice(s![range.start..range.end, ..]);
    let positions = tokens.positions.as_ref().expect("positions").select(&rows);
    Tokens::new(x, Layout::uniform(1, range.len()), tokens.prefix.of(item)).with_positions(positions)
}

fn grid(tokens: &Tokens) -> Option<&[[f32; 3]]> {
    match &tokens.positions {
        Some(Positions::Grid(positions)) => Some(positions),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Over ragged batches with a prefix per item.
    #[test]
    fn an_item_in_a_batch_is_what_it_is_alone(items in items(), seed: u64) {
        let (lens, prefixes): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        for spec in specs() {
            let reduction = reduction(&spec);
            let tokens = batch(&lens, &prefixes, seed);
            let (together, trace) = run(&reduction, tokens.clone());
            for (item, len) in lens.iter().enumerate() {
                let (single, its) = run(&reduction, alone(&tokens, item));
                let range = together.layout.range(item);
                prop_assert_eq!(range.len(), single.layout.rows(), "{}", spec);
                let x = values(together.x.clone().slice(s![range.start..range.end, ..]));
                prop_assert_eq!(x, values(single.x.clone()), "{}", spec);
                prop_assert_eq!(&together.sizes()[range.clone()], &single.sizes()[..], "{}", spec);
                prop_assert_eq!(grid(&together).map(|at| &at[range]), grid(&single), "{}", spec);
                prop_assert_eq!(trace.layer_tokens(item, *len, DEPTH), its.layer_tokens(0, *len, DEPTH));
                prop_assert_eq!(trace.tokens_left(item, *len), single.layout.rows(), "{}", spec);
            }
        }
    }

    #[test]
    fn prefixes_stay_sizes_add_up_and_positions_follow(items in items(), seed: u64) {
        let (lens, prefixes): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        for spec in specs() {
            let reduction = reduction(&spec);
            let method = reduction.method();
            let tokens = batch(&lens, &prefixes, seed);
            let (after, trace) = run(&reduction, tokens.clone());
            let have_positions = method.keeps_positions() || method.inflates();
            prop_assert_eq!(after.positions.is_some(), have_positions, "{}", spec);
            let untouched = values((0..DEPTH).fold(tokens.x.clone(), |x, _| block(x)));
            let rows = values(after.x.clone());
            for (item, len) in lens.iter().enumerate() {
                let (was, is) = (tokens.layout.range(item), after.layout.range(item));
                // Prefix tokens are what the blocks made of them, in front.
                let prefix = prefixes[item].min(*len);
                if !spec.contains("cls=merge") {
                    prop_assert_eq!(
                        &rows[is.start * CHANNELS..(is.start + prefix) * CHANNELS],
                        &untouched[was.start * CHANNELS..(was.start + prefix) * CHANNELS],
                        "{}", spec
                    );
                }
                if !method.has_weights() && !method.inflates() {
                    let sizes = &after.sizes()[is];
                    prop_assert!(sizes[..prefix].iter().all(|size| *size == 1.0), "{}", spec);
                    if method.mixes() {
                        // Parts of tokens add up to tokens, but for rounding.
                        let sum = sizes.iter().sum::<f32>();
                        prop_assert!((sum - *len as f32).abs() < 1e-3 && sizes.iter().all(|size| *size > 0.0), "{}", spec);
                        continue;
                    }
                    prop_assert!(sizes.iter().all(|size| *size >= 1.0), "{}", spec);
                    if adds_up(&spec) {
                        let plan = trace.plan_until(None);
                        let left = plan.map_or(*len, |plan| plan.groups(item).into_iter().flatten().count());
                        prop_assert_eq!(sizes.iter().sum::<f32>(), left as f32, "{}", spec);
                    }
                }
            }
            if method.inflates() {
                prop_assert_eq!(&after.layout, &tokens.layout, "{}", spec);
                prop_assert_eq!(grid(&after), grid(&tokens), "{}", spec);
            }
            // Where sizes shrink as tokens merge, they are no weights of all that a token is made of.
            if spec.starts_with("diffrate") {
                continue;
            }
            // A merged token stands where its members stood on average, or where the one stood that it was taken from.
            if spec.starts_with("tofu") && !spec.contains("switch") {
                // In some layers the one, in others the other.
                continue;
            }
            let (Some(plan), Some(at), Some(before)) = (trace.plan_until(None), grid(&after), grid(&tokens))
            else { continue };
            for (row, at) in at.iter().enumerate() {
                let representative = before[plan.representative()[row] as usize];
                let members: Vec<[f32; 3]> = (0..before.len())
                    .filter(|member| plan.dst()[*member] == row as u32).map(|member| before[member]).collect();
                for axis in 0..3 {
                    let mean = members.iter().map(|member| member[axis]).sum::<f32>() / members.len() as f32;
                    let wanted = if is_one_of_its_members(&spec) { representative[axis] } else { mean };
                    prop_assert!((at[axis] - wanted).abs() < 1e-3, "{}: {} {}", spec, at[axis], wanted);
                }
            }
        }
    }
}

#[test]
fn tokens_that_are_no_numbers_still_merge() {
    for spec in specs() {
        let reduction = reduction(&spec);
        let tokens = batch(&[12, 9, 41], &[1, 2, 1], 3);
        let broken: Vec<f32> = values(tokens.x.clone())
            .into_iter()
            .enumerate()
            .map(|(index, value)| if index % 7 == 3 { f32::NAN } else { value })
            .collect();
        let x = Tensor::from_data(TensorData::new(broken, tokens.x.dims()), &Device::flex());
        let (after, trace) = run(&reduction, tokens.with(x));
        assert_eq!(trace.tokens_left(0, 12), after.layout.range(0).len(), "{spec}");
        assert_eq!(after.prefix.front(&after.layout).lens().collect::<Vec<_>>().len(), 3, "{spec}");
    }
}

#[test]
fn what_is_counted_beforehand_is_what_happens() {
    for spec in specs() {
        let reduction = reduction(&spec);
        let (_, trace) = run(&reduction, batch(&[40, 17], &[0, 0], 5));
        for (item, len) in [40, 17].into_iter().enumerate() {
            if let Some(expected) = reduction.expected_tokens(len, DEPTH) {
                assert_eq!(trace.layer_tokens(item, len, DEPTH), expected, "{spec}");
                assert_eq!(reduction.expected_left(len, DEPTH), Some(trace.tokens_left(item, len)), "{spec}");
            }
        }
    }
}

#[test]
fn a_pass_is_repeated_from_its_trace() {
    for spec in specs() {
        let reduction = reduction(&spec);
        let tokens = batch(&[12, 9, 41], &[1, 2, 1], 8);
        let (after, trace) = run(&reduction, tokens.clone());
        let (again, repeated) = run(&reduction.replaying(&trace), tokens);
        assert_eq!((values(again.x), repeated), (values(after.x), trace), "{spec}");
    }
}

#[test]
fn prefixes_per_item_are_the_same_as_one_for_all_where_they_are_equal() {
    for spec in specs() {
        let reduction = reduction(&spec);
        let one = batch(&[9, 9], &[2, 2], 4);
        let each = Tokens { prefix: Prefix::Each([2, 2].into()), ..one.clone() };
        assert_eq!(values(run(&reduction, each).0.x), values(run(&reduction, one).0.x), "{spec}");
    }
}
