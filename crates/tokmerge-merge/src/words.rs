//! What merging in texts needs beyond merging in images: words that never merge, and places in a sequence.

use crate::plan::PlanBuilder;
use crate::{MergePlan, Positions, Tokens};

/// Which tokens of a text never merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protect {
    /// What a tokenizer adds to a text: class, separator and end tokens.
    #[default]
    Special,
    /// The class token alone.
    Class,
    /// None.
    Nothing,
}

/// Where merged tokens of a text stand, for models whose blocks look at distances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SequencePositions {
    /// At the mean of the places of their members, weighted by size.
    #[default]
    Rescaled,
    /// At 0, 1, 2 and so on, as if nothing had been there before: what T5X does without being told otherwise.
    Shrunk,
}

/// What the tokens of a model are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Parts of a picture, a sound or a clip: the model says which never merge.
    Patches,
    /// Words of a text, which never merge as [`Protect`] says.
    Words,
    /// Parts of a picture behind the words of a question about it, which never merge.
    PatchesAfterWords,
}

/// The plan that moves protected tokens to the front of their items, where they become the prefix, all in their order;
/// `None` where that is where they are. `protected: [T]`. With it how many each item has.
///
/// # Panics
/// When there are more or fewer marks than rows.
pub(crate) fn to_front(tokens: &Tokens, protected: &[bool]) -> (Option<MergePlan>, Vec<usize>) {
    assert_eq!(protected.len(), tokens.layout.rows(), "one mark per row");
    let mut builder = PlanBuilder::new(tokens.layout.clone());
    let (mut counts, mut moves) = (Vec::new(), false);
    for item in 0..tokens.layout.items() {
        let marks = &protected[tokens.layout.range(item)];
        let places = 0..marks.len() as u32;
        let (front, rest): (Vec<u32>, Vec<u32>) = places.partition(|place| marks[*place as usize]);
        moves |= front.iter().enumerate().any(|(at, place)| at as u32 != *place);
        counts.push(front.len());
        builder.item(front.into_iter().chain(rest), &[]);
    }
    (moves.then(|| builder.finish()), counts)
}

impl Tokens {
    /// The same tokens, standing at 0, 1, 2 and so on of their items.
    pub(crate) fn renumbered(self) -> Self {
        let places = self.layout.lens().flat_map(|len| (0..len).map(|place| place as f32));
        let places = Positions::Sequence(places.collect());
        Self { positions: Some(places), ..self }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Evidence, How, Layout, Method, ModelFacts, PositionUse, Positions, Prefix, Reduction, TokenKind,
        Tokens, Trace,
    };
    use burn::tensor::{Device, Tensor, TensorData};

    fn facts() -> ModelFacts {
        let positions = PositionUse::Followed;
        ModelFacts { positions, tokens_are: TokenKind::Words, ..ModelFacts::new(2, 8, 0) }
    }

    /// Two texts: class, two words, end; and a word and an end. Every row has its number as its value.
    fn texts() -> (Tokens, Vec<bool>) {
        let values: Vec<f32> = (0..12).map(|value| (value / 2) as f32).collect();
        let x = Tensor::<2>::from_data(TensorData::new(values, [6, 2]), &Device::flex());
        let places = Positions::Sequence([0.0, 1.0, 2.0, 3.0, 0.0, 1.0].into());
        let tokens = Tokens::new(x, Layout::from_lens(&[4, 2]), 0).with_positions(places);
        (tokens, vec![true, false, false, true, false, true])
    }

    fn bound(spec: &str) -> Reduction {
        let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
        Reduction::bind(method, &facts()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn protected_tokens_move_to_the_front_with_their_places() {
        let (tokens, protected) = texts();
        let mut trace = Trace::of(tokens.layout.clone());
        let moved = bound("tome:r=1").protect(tokens, &protected, &mut trace);
        assert_eq!(moved.prefix, Prefix::from(vec![2, 1]));
        assert_eq!(moved.positions, Some(Positions::Sequence([0.0, 3.0, 1.0, 2.0, 1.0, 0.0].into())));
        let first: Vec<f32> = moved.x.into_data().iter::<f32>().step_by(2).collect();
        assert_eq!(first, [0.0, 3.0, 1.0, 2.0, 5.0, 4.0]);
        assert!(moved.size.is_none(), "nothing has merged");
        assert!(matches!(trace.records()[0].how, How::Moved(_)));
        let (_, plan) = trace.plans().next().expect("a plan");
        assert_eq!(plan.groups(0), [Some(0), Some(2), Some(3), Some(1)]);
        assert!(trace.plan_until(None).is_none(), "nothing has merged");
        assert_eq!(trace.layer_tokens(0, 99, 1)[0].fed, 4);
        assert_eq!(trace.layer_tokens(1, 99, 1)[0].fed, 2);
    }

    #[test]
    fn what_merges_nothing_moves_nothing() {
        for spec in ["none", "tome:r=0"] {
            let (tokens, protected) = texts();
            let mut trace = Trace::default();
            let same = bound(spec).protect(tokens.clone(), &protected, &mut trace);
            assert_eq!((same.positions, trace.records().len()), (tokens.positions, 0), "{spec}");
        }
    }

    #[test]
    fn shrunk_positions_count_from_zero_and_rescaled_ones_stay_where_they_were() {
        for (spec, places) in [
            ("tome:r=1", [0.0, 3.0, 1.5, 1.0, 0.0]),
            ("tome:r=1,positions=shrunk", [0.0, 1.0, 2.0, 0.0, 1.0]),
        ] {
            let (tokens, protected) = texts();
            let mut trace = Trace::default();
            let reduction = bound(spec);
            let tokens = reduction.protect(tokens, &protected, &mut trace);
            let evidence = Evidence { metric: Some(tokens.x.clone()), ..Evidence::default() };
            let merged = reduction.apply(0, tokens, evidence, &mut trace);
            assert_eq!(merged.positions, Some(Positions::Sequence(places.into())), "{spec}");
        }
    }

    #[test]
    fn options_of_texts_are_refused_where_there_are_none() {
        let bind = |spec: &str, facts: &ModelFacts| {
            let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
            Reduction::bind(method, facts).map(|_| ()).map_err(|error| error.to_string())
        };
        let images = ModelFacts::new(2, 8, 1);
        let error = bind("tome:r=1,protect=class", &images).unwrap_err();
        assert!(error.contains("protect=class") && error.contains("leave protect out"), "{error}");
        let error = bind("tome:r=1,positions=shrunk", &images).unwrap_err();
        assert!(error.contains("positions=shrunk") && error.contains("leave positions out"), "{error}");
        let learned = ModelFacts { positions: PositionUse::Free, ..facts() };
        assert!(bind("tome:r=1,positions=shrunk", &learned).is_err(), "nobody asks for places");
        assert!(bind("tome:r=1,protect=none", &learned).is_ok());
        // Outputs of a PatchMerger stand nowhere, unless they are counted.
        assert!(bind("patchmerger:m=2,layer=1", &facts()).is_err());
        assert!(bind("patchmerger:m=2,layer=1,positions=shrunk", &facts()).is_ok());
    }
}
