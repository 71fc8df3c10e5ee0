//! Where random choices come from.

use super::option::Choice;
use tokmerge_nn::Random;

/// Whether what is drawn at random is drawn anew in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redraw {
    /// For every image of every step; outside training it never is.
    On,
    /// Never.
    Off,
}

pub(super) const REDRAWS: &[Choice<Redraw>] = &[("on", Redraw::On), ("off", Redraw::Off)];

impl Redraw {
    /// What is drawn in a step of training of this seed, or outside training.
    pub(super) fn draw(self, seed: u64, step: Option<u64>) -> Draw {
        match self {
            Self::On => Draw { seed, step },
            Self::Off => Draw::fixed(seed),
        }
    }
}

/// What random choices are drawn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    seed: u64,
    /// The seed of a step of training.
    step: Option<u64>,
}

impl Draw {
    /// The same for all images.
    pub(super) fn fixed(seed: u64) -> Self {
        Self { seed, step: None }
    }

    /// Numbers for another choice.
    pub(super) fn another(self) -> Self {
        Self { seed: self.seed.wrapping_add(1), ..self }
    }

    /// The numbers of item `item` of `len` tokens in block `layer`. Outside training they do not depend on which item of a
    /// batch it is, in training not on its length.
    pub(super) fn numbers(self, layer: usize, item: usize, len: usize) -> Random {
        match self.step {
            None => Random::for_layer(self.seed, layer, len),
            // Other numbers than those of everything else that is random in training.
            Some(step) => Random::for_layer(self.seed ^ step.rotate_left(48), layer, item),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Evidence, Layout, Method, ModelFacts, Reduction, Tokens, Trace};
    use burn::tensor::{Device, Tensor, TensorData};

    /// Two items that are alike, so that only what is drawn can tell them apart.
    fn run(spec: &str, step: Option<u64>) -> Vec<f32> {
        let method: Method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
        let facts = ModelFacts::new(4, 13, 1);
        let device = Device::flex();
        let mut reduction = Reduction::bind(method, &facts).expect("fits").with_fresh_mergers(1, &device);
        if let Some(step) = step {
            reduction = reduction.in_step(step);
        }
        let rows: Vec<f32> = (0..26).map(|row| (row % 13) as f32).collect();
        let x = Tensor::from_data(TensorData::new(rows, [26, 1]), &device);
        let mut trace = Trace::default();
        let batch = Tokens::new(x.clone(), Layout::uniform(2, 13), 1);
        let (entered, _) = reduction.enter(1, batch, Evidence::default(), &mut trace);
        let found = Evidence { metric: Some(x), ..Evidence::default() };
        let after = reduction.apply(1, entered, found, &mut trace);
        after.x.into_data().iter::<f32>().collect()
    }

    const RANDOM: [&str; 4] = [
        "tome:r=4,matcher=random_merge",
        "tome:r=4,matcher=random_prune,seed=3",
        "tome:r=4,partition=random,distance=dot",
        "stm:p=3,layer=2,score=random",
    ];

    #[test]
    fn every_image_of_every_step_of_training_draws_anew() {
        for spec in RANDOM {
            let [one, same, other] = [7, 7, 8].map(|step| run(spec, Some(step)));
            let (first, second) = one.split_at(one.len() / 2);
            assert_ne!(first, second, "{spec}: two images of a step");
            assert_ne!(one, other, "{spec}: two steps");
            assert_eq!(one, same, "{spec}: a step that is repeated");
        }
    }

    #[test]
    fn outside_training_and_where_it_is_off_all_images_draw_the_same() {
        for spec in RANDOM {
            let plain = run(spec, None);
            let (first, second) = plain.split_at(plain.len() / 2);
            assert_eq!(first, second, "{spec}");
            let off = format!("{spec},redraw=off");
            assert_eq!([run(&off, Some(7)), run(&off, None)], [plain.clone(), plain], "{spec}");
            assert!(off.parse::<Method>().expect("a spec").to_string().contains("redraw=off"));
        }
    }

    #[test]
    fn what_is_not_random_does_not_change_in_training() {
        for spec in ["tome:r=4", "stm:p=3,layer=2,score=mean"] {
            assert_eq!(run(spec, Some(7)), run(spec, None), "{spec}");
        }
    }
}
