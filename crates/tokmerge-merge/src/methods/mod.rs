//! The list of methods. A new one is a file, which implements [`Rule`](rule::Rule), and a line in the list.

pub mod a_vit;
pub(crate) mod atc;
pub(crate) mod atm;
pub(crate) mod ats;
pub(crate) mod bat;
pub(crate) mod cubistmerge;
mod dial;
pub(crate) mod diffrate;
pub(crate) mod draw;
pub mod dynamic_vit;
pub(crate) mod evit;
pub(crate) mod evo_vit;
#[cfg(test)]
mod fixtures;
pub mod foresight;
mod heads;
pub mod ia_red2;
pub(crate) mod idle_vit;
pub(crate) mod layers;
pub(crate) mod ltmp;
mod matching;
pub(crate) mod mctf;
mod none;
mod option;
pub mod patch_merger;
mod patches;
pub(crate) mod pitome;
pub(crate) mod pumer;
pub(crate) mod rapid;
mod rule;
pub mod sp_vit;
pub mod stm;
pub(crate) mod tofu;
pub mod token_learner;
pub(crate) mod token_pooling;
pub(crate) mod token_transforming;
pub(crate) mod tome;
pub mod trainable_pooling;
pub(crate) mod zero_tprune;

use crate::spec::{Given, did_you_mean};
use crate::{
    LastLayer, MergeSpec, MergerShape, Mergers, ModelFacts, Protect, SequencePositions, Site, SpecError,
};
use option::FromOptions;
use std::fmt;
use std::str::FromStr;

pub use matching::Partition;
pub(crate) use rule::{At, Rule};
pub use rule::{Common, ProportionalAttention, TrainedBy};

/// An option of a method, for help texts.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Its name in a spec.
    pub name: &'static str,
    /// What it takes, default first.
    pub values: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// What a user can read about a method.
#[derive(Clone, Copy, Debug)]
pub struct MethodInfo {
    /// Its name in a spec.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Paper and section.
    pub source: &'static str,
    /// A spec that works.
    pub example: &'static str,
    /// All options.
    pub options: &'static [OptionInfo],
}

/// Makes the variants of [`Method`], the entries of [`METHODS`] and the dispatch from one list.
macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident($module:ident::$options:ident),)+) => {
        /// A way to reduce tokens.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Method {
            /// Leave the model as it is.
            None,
            $($(#[$doc])* $variant($module::$options),)+
        }

        /// All methods; help, documentation and tests read this list.
        pub const METHODS: &[MethodInfo] = &[none::INFO, $($module::INFO,)+];

        impl Method {
            pub(crate) fn rule(&self) -> &dyn Rule {
                match self {
                    Self::None => &none::Nothing,
                    $(Self::$variant(options) => options,)+
                }
            }

            /// What a user can read about it.
            #[must_use]
            pub fn info(&self) -> &'static MethodInfo {
                match self {
                    Self::None => &none::INFO,
                    $(Self::$variant(_) => &$module::INFO,)+
                }
            }

            /// Options that differ from their defaults, as they are written in a spec.
            fn written(&self) -> Vec<(String, String)> {
                match self {
                    Self::None => Vec::new(),
                    $(Self::$variant(options) => options.written(),)+
                }
            }

            /// Changes the options that methods share, where this one has them.
            fn set_common(&mut self, change: impl FnOnce(&mut Common)) {
                match self {
                    Self::None => {}
                    $(Self::$variant(options) => options.set_common(change),)+
                }
            }

            /// The same method turned to another strength, its other options kept: nothing merges at 0, more and more
            /// up to the most at 1, in steps so fine that any cost in between is met. What a setting other than its
            /// strength says, such as how a schedule falls from layer to layer, stays as it is. `None` for a method
            /// without such a dial: one whose weights are good for the strength alone that they were trained for, or that merges
            /// nothing.
            #[must_use]
            pub fn at_dial(&self, dial: f64, facts: &ModelFacts) -> Option<Self> {
                match self {
                    Self::None => None,
                    $(Self::$variant(options) => options.at_dial(dial, facts).map(Self::$variant),)+
                }
            }

            /// The same method merging that part of what it merges: nothing at 0, and at 1 all. `None` for methods whose strength
            /// nobody has yet divided; so far that is done for EViT's share of dropped patches and for ToMe's and ToFu's numbers
            /// of tokens.
            #[must_use]
            pub fn in_part(&self, part: f64) -> Option<Self> {
                match self {
                    Self::None => None,
                    $(Self::$variant(options) => options.in_part(part).map(Self::$variant),)+
                }
            }

            fn read(info: &MethodInfo, given: Given) -> Result<Self, SpecError> {
                match info.name {
                    $(name if name == $module::INFO.name => {
                        $module::$options::read(info, given).map(Self::$variant)
                    })+
                    _ => Ok(Self::None),
                }
            }
        }
    };
}

methods! {
    /// Token merging, with all of the paper's choices.
    Tome(tome::Tome),
    /// Adaptive token merging: as many tokens as the image allows.
    Atm(atm::Atm),
    /// PatchMerger: learned queries turn all tokens into a few.
    PatchMerger(patch_merger::Options),
    /// Soft token merging: neighbours become their weighted sum.
    Stm(stm::Options),
    /// PuMer: the words of a question say which patches are dropped.
    Pumer(pumer::Pumer),
    /// EViT: what the class token attends to is kept, the rest fused.
    Evit(evit::Evit),
    /// MCTF: merging by similarity, information and size, inside attention.
    Mctf(mctf::Mctf),
    /// ToFu: pruning in the first layers, merging at full length in the others.
    Tofu(tofu::Tofu),
    /// PiToMe: what many tokens are like merges first.
    Pitome(pitome::Pitome),
    /// Agglomerative token clustering: the two closest clusters become one, again and again.
    Atc(atc::Atc),
    /// DiffRate: tokens by class attention, the last dropped, those before merged into the first.
    Diffrate(diffrate::Diffrate),
    /// Token Pooling: clusters of tokens become their medoids or means.
    TokenPooling(token_pooling::TokenPooling),
    /// CubistMerge: rows and columns of the grid merge, and a smaller grid is left.
    Cubistmerge(cubistmerge::Cubistmerge),
    /// ATS: patches are sampled by how much they matter.
    Ats(ats::Ats),
    /// Zero-TPrune: patches are dropped by similarity and by the graph of attention.
    ZeroTprune(zero_tprune::ZeroTprune),
    /// LTMP: thresholds say what merges and what is dropped.
    Ltmp(ltmp::Ltmp),
    /// RAPID, the idea alone: redundant tokens are dropped, then unimportant ones merge.
    Rapid(rapid::Rapid),
    /// BAT, in part: attentive patches merge in pairs, the others in clusters.
    Bat(bat::Bat),
    /// DynamicViT: learned predictors say which patches are kept.
    DynamicVit(dynamic_vit::Options),
    /// Foresight: what is alike merges where it will hardly be attended to.
    Foresight(foresight::Foresight),
    /// Evo-ViT: patches that the class token has looked at least wait while a stage works on the others.
    EvoVit(evo_vit::EvoVit),
    /// IdleViT: in each block patches of low logits wait, and may be chosen again in the next.
    IdleVit(idle_vit::IdleVit),
    /// TokenLearner: learned maps of weights make a few tokens of all patches.
    TokenLearner(token_learner::Options),
    /// Trainable pooling: learned queries gather a few tokens of all by cross-attention.
    TrainablePooling(trainable_pooling::Options),
    /// Token Transforming, the idea alone: every token goes into all that are kept, in parts.
    TokenTransforming(token_transforming::TokenTransforming),
    /// SP-ViT: learned selectors say which patches are kept, the others become one.
    SpVit(sp_vit::Options),
    /// A-ViT: patches stop when their first channel has said so often enough.
    AVit(a_vit::Options),
    /// IA-RED², the idea alone: learned interpreters, taught by rewards, say which patches are kept.
    IaRed2(ia_red2::Options),
}

impl Method {
    /// Reads a method from its spec.
    ///
    /// # Errors
    /// For an unknown method or option, a value that is not allowed, or one that is missing.
    pub fn from_spec(spec: &MergeSpec) -> Result<Self, SpecError> {
        let info = METHODS.iter().find(|info| info.name == spec.method).ok_or_else(|| {
            let known: Vec<_> = METHODS.iter().map(|info| info.name).collect();
            let hint = match spec.method.split_once(',') {
                Some(_) => " (give one spec for every method)".to_owned(),
                None => did_you_mean(&spec.method, known.iter().copied()),
            };
            SpecError::Method { given: spec.method.clone(), hint, known: known.join(", ") }
        })?;
        Self::read(info, Given::new(info, spec)?)
    }

    /// The spec that reads back as this method, without the options that have their defaults.
    #[must_use]
    pub fn spec(&self) -> MergeSpec {
        MergeSpec { method: self.info().name.to_owned(), options: self.written() }
    }

    /// Where it works.
    #[must_use]
    pub fn site(&self) -> Site {
        self.rule().site()
    }

    /// Whether merged tokens have a position, that of their members, so that models whose blocks need positions can
    /// run with it.
    #[must_use]
    pub fn keeps_positions(&self) -> bool {
        self.rule().keeps_positions()
    }

    /// Which tokens of a text never merge.
    #[must_use]
    pub fn protect(&self) -> Protect {
        self.rule().common().protect
    }

    /// Where merged tokens of a text stand.
    #[must_use]
    pub fn positions(&self) -> SequencePositions {
        self.rule().common().positions
    }

    /// Which tokens go through the MLP of the last layer.
    #[must_use]
    pub fn last_layer(&self) -> LastLayer {
        self.rule().common().last_layer
    }

    /// How close the two best logits of an image may be before it runs a second time, unmerged.
    #[must_use]
    pub fn recheck(&self) -> Option<f32> {
        self.rule().common().recheck
    }

    /// The same method with another recheck; an unmerged model has nothing to check.
    #[must_use]
    pub fn with_recheck(mut self, recheck: Option<f32>) -> Self {
        self.set_common(|common| common.recheck = recheck);
        self
    }

    /// Whether the method has weights of its own, which have to be trained.
    #[must_use]
    pub fn has_weights(&self) -> bool {
        self.rule().has_weights()
    }

    /// The same method with the numbers that its weights have learned written out: it does the same, and has no weights. `None`
    /// for a method whose weights are more than a few numbers, or that has none.
    #[must_use]
    pub fn given(&self, mergers: &Mergers, facts: &ModelFacts) -> Option<Self> {
        self.rule().given(mergers, facts)
    }

    /// Whether it mixes tokens, so that what it makes stands for none of them alone: there is no plan then.
    #[must_use]
    pub fn mixes(&self) -> bool {
        self.rule().mixes()
    }

    /// What training does in its place.
    #[must_use]
    pub fn trained_by(&self) -> TrainedBy {
        self.rule().trained_by()
    }

    /// Whether training keeps every token in its place and masks those that are to go before blocks, so that what is left at the
    /// end can be told apart ([`Tokens::settling`](crate::Tokens::settling)).
    #[must_use]
    pub fn masks_in_place(&self) -> bool {
        self.trained_by() != TrainedBy::Merging && self.site() == Site::BeforeBlock
    }

    /// Number of parameters of the method's own weights in a model of this shape.
    #[must_use]
    pub fn parameters(&self, shape: MergerShape) -> usize {
        let places = self.mergers_before(shape.depth).into_iter().enumerate();
        let parameters =
            |(index, before)| self.rule().merger_parameters(index, shape.channels_seen(self, before));
        places.map(parameters).sum()
    }

    /// The blocks, from 0, before which weights of the method stand; none for methods without weights.
    #[must_use]
    pub fn mergers_before(&self, depth: usize) -> Vec<usize> {
        self.rule().mergers_before(depth)
    }

    /// Whether tokens that it merged are there again after the block.
    #[must_use]
    pub fn inflates(&self) -> bool {
        self.site() == Site::AroundBlock
    }

    /// Tokens that weights before block `layer` make of an item of `tokens`, if any stand there.
    pub(crate) fn merged_before(
        &self,
        layer: usize,
        depth: usize,
        tokens: usize,
        prefix: usize,
    ) -> Option<usize> {
        let index = self.mergers_before(depth).iter().position(|before| *before == layer)?;
        Some(self.rule().merged(index, tokens, prefix))
    }
}

impl FromStr for Method {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, SpecError> {
        Self::from_spec(&spec.parse()?)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{METHODS, Method};

    #[test]
    fn every_example_reads_back() {
        for info in METHODS {
            let method: Method = info.example.parse().unwrap();
            assert_eq!(method.to_string().parse::<Method>().unwrap(), method);
            assert!(!info.summary.is_empty() && !info.source.is_empty());
        }
    }

    #[test]
    fn a_mistyped_name_suggests_the_near_one() {
        let error = "tomee:r=8".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("did you mean tome?") && error.contains("none, tome"), "{error}");
        let error = "tome:r=8,featur=k".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("did you mean feature?"), "{error}");
        let error = "tome:r=8,feature=z".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("feature=z") && error.contains("k, q, v, x, x_pre"), "{error}");
        let error = "tome".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("tome needs r, e.g. tome:r=8"), "{error}");
        let error = "none:r=8".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("its options: none"), "{error}");
    }
}
