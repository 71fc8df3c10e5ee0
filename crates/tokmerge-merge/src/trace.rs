//! What happened to the tokens in one forward pass.

use crate::{Amount, Combination, LastLayer, Layout, MergePlan, Prefix};

/// Where in an encoder a method works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Before a block: attention already sees the fewer tokens.
    BeforeBlock,
    /// Between the attention and the MLP of a block.
    InsideBlock,
    /// Before a block; after the block all tokens are there again.
    AroundBlock,
    /// Between the softmax of a block's attention and its values: queries and keys are those of all tokens, values and
    /// everything after them those of the fewer.
    InsideAttention,
}

/// Where in the model a reduction works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index of the block, from 0.
    pub layer: usize,
    /// Where in it.
    pub site: Site,
}

/// One event of a forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where it happened.
    pub step: Step,
    /// Tokens before it.
    pub entered: Layout,
    /// Tokens that the rest of the block works on.
    pub seen: Layout,
    /// Tokens that the block leaves.
    pub left: Layout,
    /// What it was.
    pub how: How,
    /// How tokens became one, where a plan was followed.
    pub by: Option<Combination>,
}

/// What happened to tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// They merged by a plan.
    Plan(MergePlan),
    /// Those that never merge moved to the front: a plan that merges nothing.
    Moved(MergePlan),
    /// They merged by a plan, and after the block all are there again.
    Unmerged(MergePlan),
    /// They were mixed by weights: see [`Reduction::mixtures`](crate::Reduction::mixtures).
    Weights,
    /// Others joined them: see [`Joining`](crate::Joining).
    Joined,
    /// The rest of the last block was computed for the prefix alone.
    Skipped(LastBlockSkip),
}

/// From some point of the last block on, only the prefix of every item was computed, because nothing else was going to
/// be read. This is not a merge. [`Record::step`] says where it began: at the queries ([`Site::BeforeBlock`]; keys and
/// values are those of all tokens) or at the MLP ([`Site::InsideBlock`]).
#[derive(Clone, Debug, PartialEq)]
pub struct LastBlockSkip {
    /// Tokens of every item that went on, if it had as many.
    pub prefix: Prefix,
    /// What the method would have merged in the part that was skipped.
    pub merges_skipped: Amount,
    /// What the method itself sends through the last MLP, which is what its costs are counted by.
    pub last_layer: LastLayer,
}

impl LastBlockSkip {
    /// Tokens of an item that would be left of `tokens` after the merge that was skipped.
    fn left_of(&self, item: usize, tokens: usize) -> usize {
        tokens - self.merges_skipped.of(tokens, self.prefix.of(item)).unwrap_or(0)
    }
}

/// Everything that happened to the tokens in one forward pass, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Tokens that entered the first block, where a pass has said so.
    entered: Option<Layout>,
    records: Vec<Record>,
    rechecked: Vec<usize>,
}

/// Tokens of one item that the two halves of a block see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTokens {
    /// Before anything merges in the block.
    pub entered: usize,
    /// That join before attention, behind what merges before it.
    pub joined: usize,
    /// Whose queries and keys attention compares.
    pub compared: usize,
    /// Whose values attention mixes, which are as many as it leaves.
    pub attended: usize,
    /// By the MLP.
    pub fed: usize,
}

impl LayerTokens {
    /// A block in which nothing merges.
    #[must_use]
    pub fn unmerged(tokens: usize) -> Self {
        Self { entered: tokens, joined: 0, compared: tokens, attended: tokens, fed: tokens }
    }
}

impl Trace {
    /// The trace of a pass that these tokens enter.
    #[must_use]
    pub fn of(entered: Layout) -> Self {
        Self { entered: Some(entered), ..Self::default() }
    }

    /// Tokens of one item that entered the first block; `otherwise` if nobody said so.
    fn entered(&self, item: usize, otherwise: usize) -> usize {
        self.entered.as_ref().map_or(otherwise, |entered| entered.range(item).len())
    }

    /// All events.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    pub(crate) fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The plans whose merged tokens went on to the next block, in order.
    pub fn plans(&self) -> impl DoubleEndedIterator<Item = (Step, &MergePlan)> {
        self.records.iter().filter_map(|record| match &record.how {
            How::Plan(plan) | How::Moved(plan) => Some((record.step, plan)),
            How::Unmerged(_) | How::Weights | How::Joined | How::Skipped(_) => None,
        })
    }

    /// The plan that was followed at a step, unmerged after the block or not.
    #[must_use]
    pub fn plan_at(&self, step: Step) -> Option<&MergePlan> {
        self.records.iter().filter(|record| record.step == step).find_map(|record| match &record.how {
            How::Plan(plan) | How::Unmerged(plan) => Some(plan),
            How::Moved(_) | How::Weights | How::Joined | How::Skipped(_) => None,
        })
    }

    /// Records that these items, ascending, ran a second time without merging.
    pub fn set_rechecked(&mut self, items: Vec<usize>) {
        self.rechecked = items;
    }

    /// Items that ran a second time without merging, because the two best answers were too close; ascending.
    #[must_use]
    pub fn rechecked(&self) -> &[usize] {
        &self.rechecked
    }

    /// What was skipped in the last block, and from where on, if anything was.
    #[must_use]
    pub fn last_block_skip(&self) -> Option<(Step, &LastBlockSkip)> {
        self.records.iter().find_map(|record| match &record.how {
            How::Skipped(skip) => Some((record.step, skip)),
            How::Plan(_) | How::Moved(_) | How::Unmerged(_) | How::Weights | How::Joined => None,
        })
    }

    /// Tokens of one item that the method leaves; `tokens` entered the first block if the trace does not know. Tokens that only skip the
    /// last MLP ([`LastLayer::Prefix`]) count as left, and a last merge that was skipped
    /// ([`Trace::last_block_skip`]) counts as done.
    #[must_use]
    pub fn tokens_left(&self, item: usize, tokens: usize) -> usize {
        self.records.iter().fold(self.entered(item, tokens), |left, record| match &record.how {
            How::Plan(_) | How::Moved(_) | How::Unmerged(_) | How::Weights | How::Joined => {
                record.left.range(item).len()
            }
            How::Skipped(skip) => skip.left_of(item, left),
        })
    }

    /// Where every original token is after block `layer` (after all blocks if `None`); `None` if nothing has merged
    /// by then. Tokens that have joined by then stand in front of the original ones.
    #[must_use]
    pub fn plan_until(&self, layer: Option<usize>) -> Option<MergePlan> {
        let reached = |record: &&Record| layer.is_none_or(|layer| record.step.layer <= layer);
        let merged = |record: &Record| matches!(record.how, How::Plan(_));
        if !self.records.iter().filter(reached).any(merged) {
            return None;
        }
        self.records.iter().filter(reached).fold(None, |first, record| match (first, &record.how) {
            (None, How::Plan(plan) | How::Moved(plan)) => Some(plan.clone()),
            (Some(first), How::Plan(plan) | How::Moved(plan)) => Some(first.then(plan)),
            (Some(first), How::Joined) => Some(first.behind(&record.entered, &record.left)),
            (first, How::Unmerged(_) | How::Weights | How::Joined | How::Skipped(_)) => first,
        })
    }

    /// Tokens of one item that attention and MLP of every block see, `tokens` entering the first if the trace does not
    /// know: what the method's costs are counted by. What was skipped because nobody read it ([`Trace::last_block_skip`]) counts
    /// as done.
    #[must_use]
    pub fn layer_tokens(&self, item: usize, tokens: usize, depth: usize) -> Vec<LayerTokens> {
        let mut now = self.entered(item, tokens);
        (0..depth)
            .map(|layer| {
                let mut found = LayerTokens::unmerged(now);
                for record in self.records.iter().filter(|record| record.step.layer == layer) {
                    if let How::Skipped(skip) = &record.how {
                        // Around a block it has worked on fewer than it leaves.
                        let fed = skip.left_of(item, found.fed);
                        now = skip.left_of(item, now);
                        found.fed = match skip.last_layer {
                            LastLayer::All => fed,
                            LastLayer::Prefix => fed.min(skip.prefix.of(item)),
                        };
                        continue;
                    }
                    found.fed = record.seen.range(item).len();
                    if record.how == How::Joined {
                        found.joined = found.fed - record.entered.range(item).len();
                    }
                    match record.step.site {
                        Site::InsideBlock => {}
                        Site::InsideAttention => found.attended = found.fed,
                        Site::BeforeBlock | Site::AroundBlock => {
                            (found.compared, found.attended) = (found.fed, found.fed);
                        }
                    }
                    now = record.left.range(item).len();
                }
                found
            })
            .collect()
    }
}
