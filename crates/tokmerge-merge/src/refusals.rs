//! What a model cannot be merged by is refused when it is bound, with the reason.

use crate::{BindError, METHODS, Method, ModelFacts, PositionUse, Reduction, TokenKind};

fn bind(spec: &str, positions: PositionUse) -> Result<Reduction, BindError> {
    let words = TokenKind::PatchesAfterWords;
    let grid = Some((14, 14));
    let facts = ModelFacts { positions, tokens_are: words, grid, ..ModelFacts::new(12, 197, 1) };
    Reduction::bind(spec.parse().expect("a spec"), &facts)
}

#[test]
fn nothing_but_none_binds_where_merging_cannot_be_right() {
    let reason = "its attention adds a bias to every pair of positions";
    for info in METHODS {
        match bind(info.example, PositionUse::Fixed(reason)) {
            Ok(reduction) => assert_eq!(reduction.method(), &Method::None),
            Err(error) => assert_eq!(
                error.to_string(),
                format!(
                    "{}: merging cannot be right in this model, because {reason}; use none",
                    info.example
                )
            ),
        }
    }
}

#[test]
fn where_blocks_follow_positions_methods_that_lose_them_are_refused() {
    for info in METHODS {
        let bound = bind(info.example, PositionUse::Followed);
        let keeps = info.example.parse::<Method>().expect("a spec").keeps_positions();
        assert_eq!(bound.is_ok(), keeps, "{}", info.name);
        assert!(bind(info.example, PositionUse::Free).is_ok(), "{}", info.name);
    }
    for spec in ["patchmerger:m=8", "tokenlearner", "trainable_pooling:m=8", "token_transforming:keep=70%"] {
        let error = bind(spec, PositionUse::Followed).unwrap_err().to_string();
        assert!(error.contains("have no positions") && error.contains("e.g. tome:r=8"), "{error}");
    }
}

#[test]
fn words_are_asked_only_where_a_question_stands_in_front() {
    let spec = "pumer:prune=10%,merge=30%";
    for tokens_are in [TokenKind::Patches, TokenKind::Words] {
        let facts = ModelFacts { tokens_are, ..ModelFacts::new(12, 197, 1) };
        let error = Reduction::bind(spec.parse().unwrap(), &facts).unwrap_err();
        assert_eq!(error, BindError::NoWords { merge: spec.to_owned() });
        let error = error.to_string();
        assert!(error.contains("takes no questions") && error.contains("tome:r=8"), "{error}");
    }
    assert!(bind(spec, PositionUse::Free).is_ok());
}

#[test]
fn a_schedule_of_any_length_is_refused_in_one_short_line() {
    let spec = format!("tome:r=[{}1]", "1,".repeat(100_000));
    let error = bind(&spec, PositionUse::Free).unwrap_err().to_string();
    assert!(error.contains("100001 layers") && error.len() < 500, "{error}");
}
