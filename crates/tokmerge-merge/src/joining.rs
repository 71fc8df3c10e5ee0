//! Tokens that join others between two blocks of a model: the words of a question, behind a tower of images (PaLI).

use crate::{How, Layout, MergePlan, Positions, Prefix, Record, Site, Step, Tokens, Trace};
use burn::tensor::Tensor;
use std::sync::Arc;
use tokmerge_ops::{DROPPED, gather_rows};

/// Where tokens join those of a model, and what all are from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joining {
    /// The block, from 0, before which they join: behind what merges before that block, so that they are never part of it.
    pub layer: usize,
    /// How many join the longest item. They never merge.
    pub tokens: usize,
    /// Channels of every token from there on.
    pub channels: usize,
}

impl Joining {
    /// How many join the longest item before a block, from 0.
    pub(crate) fn before(self, layer: usize) -> usize {
        if layer == self.layer { self.tokens } else { 0 }
    }
}

/// Words that are to join the tokens of a batch before a later block. They are not embedded before that: nothing of them is
/// computed, merged or differentiated while they wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Rows of the model's table, `[T]`.
    pub ids: Arc<[u32]>,
    /// Whose they are; as many items as the tokens that they join have.
    pub layout: Layout,
}

impl Tokens {
    /// The same tokens, which others are to join before a later block.
    ///
    /// # Panics
    /// When these have another number of items.
    #[must_use]
    pub fn joined_later(self, waiting: Waiting) -> Self {
        assert_eq!(waiting.layout.items(), self.layout.items(), "what joins has as many items");
        Self { waiting: Some(waiting), ..self }
    }

    /// The same tokens with those in front of every item that have waited, embedded by now, `words: [T, C]`. They never merge,
    /// have size 1, and stand in a sequence behind the others, which are numbered from 0 whatever has merged before.
    ///
    /// # Panics
    /// When none wait, or there are more or fewer rows than wait.
    #[must_use]
    pub fn join(self, words: Tensor<2>) -> Self {
        let counting = self.in_front();
        let Self { x, layout, prefix, size, waiting, policy, carried, .. } = self;
        let front = waiting.expect("tokens that wait").layout;
        assert_eq!(words.dims()[0], front.rows(), "a row for every token that waits");
        let own = prefix.common().expect("items of one model have as many tokens of their own in front");
        let sizes = size.as_ref();
        let (mut rows, mut all, mut places, mut lens) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for item in 0..layout.items() {
            let (front, range) = (front.range(item), layout.range(item));
            let (count, len) = (front.len(), range.len());
            rows.extend(front.map(|row| row as u32));
            rows.extend(range.clone().map(|row| (words.dims()[0] + row) as u32));
            all.extend(std::iter::repeat_n(1.0, count));
            all.extend(sizes.into_iter().flat_map(|sizes| &sizes[range.clone()]));
            // Places are those of inference, which has no others.
            let behind = counting.as_ref().map_or(len, |counting| counting.range(item).len());
            places.extend((behind..behind + count).chain(0..len).map(|place| place as f32));
            lens.push(count + len);
        }
        let text: Arc<[usize]> = front.lens().collect();
        let rows: Arc<[u32]> = rows.into();
        let policy = policy.map(|policy| {
            let all_count = Tensor::ones([words.dims()[0], policy.dims()[1]], &policy.device());
            gather_rows(Tensor::cat(vec![all_count, policy], 0), &rows)
        });
        Self {
            x: gather_rows(Tensor::cat(vec![words, x], 0), &rows),
            layout: Layout::from_lens(&lens),
            prefix: Prefix::AfterText { text, own },
            size: size.is_some().then(|| all.into()),
            positions: Some(Positions::Sequence(places.into())),
            waiting: None,
            policy,
            // Nothing of single tokens: such methods are refused where others join.
            carried,
            standing: None,
        }
    }
}

impl Trace {
    /// Records that tokens have joined those of all items before block `layer`, in front: `entered` became `left`. Nothing is
    /// recorded where none have.
    pub fn join(&mut self, layer: usize, entered: Layout, left: &Layout) {
        if entered != *left {
            let step = Step { layer, site: Site::BeforeBlock };
            self.record(Record {
                step,
                entered,
                seen: left.clone(),
                left: left.clone(),
                how: How::Joined,
                by: None,
            });
        }
    }
}

impl MergePlan {
    /// The same plan for items in front of which others stand that stay as they are: from `entered` to `left` as many have
    /// joined what this plan leaves.
    pub(crate) fn behind(&self, entered: &Layout, left: &Layout) -> Self {
        let joined = |item: usize| left.range(item).len() - entered.range(item).len();
        let (mut dst, mut representative, mut lens) = (Vec::new(), Vec::new(), Vec::new());
        // Rows in front of an item, before and after.
        let (mut before, mut after) = (0, 0);
        for item in 0..self.input().items() {
            let count = joined(item) as u32;
            let (input, output) = (self.input().range(item), self.output().range(item));
            lens.push(input.len() + count as usize);
            let (first, first_left) = (input.start as u32 + before, output.start as u32 + after);
            dst.extend(first_left..first_left + count);
            representative.extend(first..first + count);
            (before, after) = (before + count, after + count);
            dst.extend(self.dst()[input].iter().map(|&row| if row == DROPPED { row } else { row + after }));
            representative.extend(self.representative()[output].iter().map(|row| row + before));
        }
        let plan = Self::new(dst, representative, Layout::from_lens(&lens), left.clone());
        plan.expect("what stays as it is becomes itself")
    }
}

#[cfg(test)]
mod tests {
    use super::{Joining, Waiting};
    use crate::{
        BindError, Evidence, LayerTokens, Layout, MergerShape, Method, ModelFacts, PositionUse, Positions,
        Prefix, Reduction, Step, Tokens, Trace,
    };
    use burn::tensor::{Device, Tensor, TensorData};

    /// Four blocks; before the third, up to 3 words join 6 tokens.
    fn facts() -> ModelFacts {
        let joining = Some(Joining { layer: 2, tokens: 3, channels: 5 });
        ModelFacts { positions: PositionUse::Followed, joining, ..ModelFacts::new(4, 6, 0) }
    }

    fn bound(spec: &str) -> Result<Reduction, BindError> {
        let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
        Reduction::bind(method, &facts())
    }

    fn rows(from: usize, rows: usize) -> Tensor<2> {
        let values: Vec<f32> =
            (from..from + rows).flat_map(|row| [row as f32, (row * row % 7) as f32]).collect();
        Tensor::from_data(TensorData::new(values, [rows, 2]), &Device::flex())
    }

    /// Two items of 6 tokens, which 3 words and 1 are to join.
    fn waiting() -> Tokens {
        let words = Waiting { ids: [4, 5, 6, 7].into(), layout: Layout::from_lens(&[3, 1]) };
        Tokens::new(rows(0, 12), Layout::uniform(2, 6), 0).joined_later(words)
    }

    fn first_column(tokens: &Tokens) -> Vec<f32> {
        tokens.x.clone().into_data().iter::<f32>().step_by(2).collect()
    }

    #[test]
    fn what_joins_stands_in_front_and_is_numbered_behind() {
        let joined = waiting().join(rows(100, 4));
        assert_eq!(joined.layout, Layout::from_lens(&[9, 7]));
        assert_eq!(joined.prefix, Prefix::AfterText { text: [3, 1].into(), own: 0 });
        assert_eq!(first_column(&joined)[..4], [100.0, 101.0, 102.0, 0.0]);
        assert_eq!(first_column(&joined)[8..12], [5.0, 103.0, 6.0, 7.0]);
        let Some(Positions::Sequence(places)) = &joined.positions else { panic!("a sequence") };
        assert_eq!(places[..9], [6.0, 7.0, 8.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(places[9..11], [6.0, 0.0]);
        assert!(joined.size.is_none() && joined.waiting.is_none());
    }

    /// In training tokens that are gone are still there, and those that count stand in front: words are numbered behind these.
    #[test]
    fn what_joins_masked_tokens_is_numbered_as_without_them() {
        let counts = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        let numbers: Vec<f32> = counts.iter().flat_map(|counts| [*counts, 1.0, 0.5]).collect();
        let policy = Tensor::from_data(TensorData::new(numbers, [12, 3]), &Device::flex());
        let joined = Tokens { policy: Some(policy), ..waiting() }.join(rows(100, 4));
        let Some(Positions::Sequence(places)) = &joined.positions else { panic!("a sequence") };
        assert_eq!((&places[..7], places[9]), (&[4.0, 5.0, 6.0, 0.0, 1.0, 2.0, 3.0][..], 6.0));
        let policy: Vec<f32> = joined.policy.expect("still there").into_data().iter::<f32>().collect();
        assert_eq!(
            (&policy[..9], &policy[6 * 3..8 * 3]),
            (&[1.0; 9][..], &[1.0, 1.0, 0.5, 0.0, 1.0, 0.5][..])
        );
    }

    #[test]
    fn merged_tokens_keep_their_sizes_and_words_have_size_one() {
        let reduction = bound("tome:r=2").expect("fits");
        let tokens = waiting();
        let (evidence, mut trace) =
            (Evidence { metric: Some(tokens.x.clone()), ..Evidence::default() }, Trace::default());
        let merged = reduction.apply(0, tokens, evidence, &mut trace);
        let sizes = merged.sizes();
        let joined = merged.join(rows(100, 4));
        assert_eq!(joined.sizes()[..3], [1.0; 3]);
        assert_eq!(joined.sizes()[3..7], sizes[..4]);
        assert_eq!(joined.sizes()[7], 1.0);
    }

    #[test]
    fn plans_on_both_sides_of_a_join_are_one_plan() {
        let reduction = bound("tome:r=2").expect("fits");
        let tokens = waiting();
        let mut trace = Trace::of(tokens.layout.clone());
        let evidence = |tokens: &Tokens| Evidence { metric: Some(tokens.x.clone()), ..Evidence::default() };
        let before = evidence(&tokens);
        let merged = reduction.apply(1, tokens, before, &mut trace);
        let entered = merged.layout.clone();
        let joined = merged.join(rows(100, 4));
        trace.join(2, entered, &joined.layout);
        let between = evidence(&joined);
        let left = reduction.apply(2, joined, between, &mut trace);
        assert_eq!(left.layout, Layout::from_lens(&[5, 3]));

        let first = trace.plan_until(Some(1)).expect("a plan");
        assert_eq!((first.input(), first.output()), (&Layout::uniform(2, 6), &Layout::uniform(2, 4)));
        let both = trace.plan_until(None).expect("a plan");
        assert_eq!((both.input(), both.output()), (&Layout::from_lens(&[9, 7]), &left.layout));
        assert_eq!(both.groups(0)[..3], [Some(0), Some(1), Some(2)], "words stay where they are");
        assert_eq!(both.sizes(None), left.sizes());
        // The same tokens, all at once.
        let all = waiting().join(rows(100, 4));
        let at_once: Vec<f32> =
            all.merge(&both, crate::Combine::WeightedAverage).x.into_data().iter::<f32>().collect();
        let in_steps: Vec<f32> = left.x.into_data().iter::<f32>().collect();
        assert!(at_once.iter().zip(&in_steps).all(|(a, b)| (a - b).abs() < 1e-4), "{at_once:?} {in_steps:?}");

        let layers = trace.layer_tokens(0, 0, 4);
        assert_eq!(layers[1], LayerTokens { entered: 6, joined: 0, compared: 6, attended: 6, fed: 4 });
        assert_eq!(layers[2], LayerTokens { entered: 4, joined: 3, compared: 7, attended: 7, fed: 5 });
        assert_eq!((trace.tokens_left(0, 0), trace.tokens_left(1, 0)), (5, 3));
    }

    #[test]
    fn tokens_are_known_before_anything_runs() {
        let expected = |spec: &str| {
            let layers = bound(spec).expect("fits").expected_tokens(6, 4).expect("known");
            layers.into_iter().map(|layer| (layer.entered, layer.attended, layer.fed)).collect::<Vec<_>>()
        };
        assert_eq!(expected("none"), [(6, 6, 6), (6, 6, 6), (6, 9, 9), (9, 9, 9)]);
        assert_eq!(expected("tome:r=1"), [(6, 6, 5), (5, 5, 4), (4, 7, 6), (6, 6, 5)]);
        // Before the words join, and among them.
        assert_eq!(expected("stm:p=2,layer=3"), [(6, 6, 6), (6, 6, 6), (6, 6, 6), (6, 6, 6)]);
        assert_eq!(expected("stm:p=2,layer=4"), [(6, 6, 6), (6, 6, 6), (6, 9, 9), (9, 6, 6)]);
        assert_eq!(
            facts().unmerged()[2],
            LayerTokens { entered: 6, joined: 3, compared: 9, attended: 9, fed: 9 }
        );
        assert_eq!(
            facts().unmerged()[3],
            LayerTokens { entered: 9, joined: 0, compared: 9, attended: 9, fed: 9 }
        );
    }

    #[test]
    fn modules_have_the_channels_of_what_enters_them() {
        let shape = MergerShape { depth: 4, channels: 2, joining: facts().joining };
        assert_eq!([0, 2, 3].map(|before| shape.channels_before(before)), [2, 2, 5]);
        let method: Method = "stm:p=2,layer=[3,4]".parse().expect("a method");
        let mergers = crate::Mergers::new(&method, shape, &Device::flex());
        assert_eq!(mergers.parameters(), 2 * (2 + 2) + 5 * (2 + 2 * 2));
        assert_eq!(method.parameters(shape), mergers.parameters());
    }

    #[test]
    fn what_would_have_to_come_back_behind_a_join_is_refused() {
        for spec in ["stm:p=2,layer=1,inflate=on", "tome:r=1,feature=x_pre,unmerge=on"] {
            let error = bound(spec).unwrap_err().to_string();
            assert!(error.contains("join") && error.ends_with("use none"), "{error}");
        }
        assert!(bound("stm:p=2,layer=4,inflate=on").is_ok(), "words are there already");
        // Without positions only where nobody has asked for them yet.
        assert!(bound("patchmerger:m=2,layer=2").is_ok());
        assert!(matches!(bound("patchmerger:m=2,layer=3"), Err(BindError::LosesPositions { .. })));
    }

    #[test]
    fn words_wait_through_everything_that_merges() {
        for spec in ["stm:p=2,layer=3", "patchmerger:m=2,layer=2"] {
            let reduction = bound(spec).expect("fits").with_fresh_mergers(2, &Device::flex());
            let (merged, _) = reduction.enter(2, waiting(), Evidence::default(), &mut Trace::default());
            assert_eq!(merged.waiting, waiting().waiting, "{spec}");
        }
        let step = Step { layer: 2, site: crate::Site::BeforeBlock };
        let mut trace = Trace::default();
        trace.join(2, Layout::uniform(2, 6), &Layout::uniform(2, 6));
        assert!(trace.records().iter().all(|record| record.step != step), "none have joined");
    }
}
