//! How much merges in each step of training.

use crate::error::TrainError;
use crate::recipe::Recipe;
use tokmerge_merge::{Method, ModelFacts, Reduction};
use tokmerge_nn::Random;

/// What the steps of a run merge by.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    ways: Ways,
    /// Of draws.
    seed: u64,
}

#[derive(Clone, Debug)]
enum Ways {
    /// The same in all steps.
    One(Reduction),
    /// One in the first steps, and another one after that.
    Two { steps: f64, ways: Box<[Reduction; 2]> },
    /// More and more, in half a cosine over some steps (EViT; published code), up to all.
    Rising { whole: Reduction, facts: ModelFacts, from: f64, steps: f64 },
    /// One of several, each as likely.
    Drawn(Vec<Reduction>),
}

impl Course {
    /// That of a recipe whose epochs have `steps_per_epoch` steps, in a model.
    ///
    /// # Errors
    /// When a way of merging does not fit the model.
    pub(crate) fn new(
        recipe: &Recipe,
        facts: &ModelFacts,
        steps_per_epoch: usize,
    ) -> Result<Self, TrainError> {
        let whole = bound(&recipe.merge, facts)?;
        let (schedule, seed) = (&recipe.schedule, recipe.train.seed);
        let [from, steps] = [schedule.merge_start_epoch, schedule.merge_rise_epochs]
            .map(|epochs| epochs * steps_per_epoch as f64);
        let ways = match recipe.train.random_merge.as_slice() {
            [] if schedule.merge_before != "none" => {
                let ways = Box::new([bound(&schedule.merge_before, facts)?, whole]);
                Ways::Two { steps: from, ways }
            }
            [] if from + steps > 0.0 => Ways::Rising { whole, facts: *facts, from, steps },
            [] => Ways::One(whole),
            _ => return Self::drawn(&recipe.train.random_merge, facts, seed),
        };
        Ok(Self { ways, seed })
    }

    /// One of several ways in every step.
    ///
    /// # Errors
    /// When one does not fit the model.
    pub(crate) fn drawn(ways: &[String], facts: &ModelFacts, seed: u64) -> Result<Self, TrainError> {
        let ways = ways.iter().map(|way| bound(way, facts)).collect::<Result<_, _>>()?;
        Ok(Self { ways: Ways::Drawn(ways), seed })
    }

    /// What step `step`, counted from 0, merges by.
    ///
    /// # Panics
    /// Never: what rises was bound as a whole.
    pub(crate) fn at(&self, step: usize) -> Reduction {
        match &self.ways {
            Ways::One(reduction) => reduction.clone(),
            Ways::Two { steps, ways } => ways[usize::from(step as f64 >= *steps)].clone(),
            Ways::Rising { whole, facts, from, steps } => match risen(step as f64, *from, *steps) {
                part if part >= 1.0 => whole.clone(),
                part => {
                    let method = if part > 0.0 { whole.method().in_part(part) } else { Some(Method::None) };
                    let method = method.expect("a recipe is refused whose method is not known in parts");
                    Reduction::bind(method, facts).expect("less than what was bound fits")
                }
            },
            Ways::Drawn(ways) => {
                let mut random = Random::for_layer(self.seed.rotate_left(48), step, ways.len());
                ways[random.below(ways.len())].clone()
            }
        }
    }
}

/// The part of all that merges in a step.
fn risen(step: f64, from: f64, steps: f64) -> f64 {
    let done = if steps > 0.0 { (step - from) / steps } else { f64::from(step >= from) };
    0.5 * (1.0 - (std::f64::consts::PI * done.clamp(0.0, 1.0)).cos())
}

/// A way of merging, bound to the model that is trained.
pub(crate) fn bound(spec: &str, facts: &ModelFacts) -> Result<Reduction, TrainError> {
    let method: Method =
        spec.parse().map_err(|error: tokmerge_merge::SpecError| TrainError::Data(error.to_string()))?;
    Ok(Reduction::bind(method, facts)?)
}

#[cfg(test)]
mod tests {
    use super::{Course, Ways, bound};
    use tokmerge_merge::ModelFacts;

    fn facts() -> ModelFacts {
        ModelFacts::new(12, 197, 1)
    }

    fn merges(course: &Course, step: usize) -> String {
        course.at(step).method().to_string()
    }

    /// As EViT's: all patches until the start, then down to 70 % in half a cosine.
    #[test]
    fn what_merges_rises_from_nothing_to_all() {
        let course = |spec: &str, from, steps| {
            let whole = bound(spec, &facts()).expect("fits");
            Course { ways: Ways::Rising { whole, facts: facts(), from, steps }, seed: 0 }
        };
        let evit = course("evit:keep=70%", 100.0, 1000.0);
        assert_eq!(
            [0, 100, 1100, 5000].map(|step| merges(&evit, step)),
            ["none", "none", "evit:keep=70%", "evit:keep=70%"]
        );
        // base + (1 - base) (cos(pi t) + 1) / 2, halfway and after a third.
        assert_eq!(merges(&evit, 600), "evit:keep=85%");
        let tokmerge_merge::Method::Evit(third) = course("evit:keep=70%", 0.0, 3.0).at(1).method().clone()
        else {
            panic!("it is EViT")
        };
        assert!((third.keep - (0.7 + 0.3 * 0.75)).abs() < 1e-12);
        let tome = course("tome:r=12", 0.0, 4.0);
        assert_eq!(
            [0, 1, 2, 3, 4].map(|step| merges(&tome, step)),
            ["none", "tome:r=2", "tome:r=6", "tome:r=10", "tome:r=12"]
        );
        // All at once.
        let late = course("tome:r=13", 2.0, 0.0);
        assert_eq!([1, 2].map(|step| merges(&late, step)), ["none", "tome:r=13"]);
    }

    #[test]
    fn another_way_comes_first() {
        let [before, then] = ["evo_vit:keep=50%,select=layer", "evo_vit:keep=50%"];
        let ways = Box::new([before, then].map(|spec| bound(spec, &facts()).expect("fits")));
        let course = Course { ways: Ways::Two { steps: 1.5, ways }, seed: 0 };
        assert_eq!([0, 1, 2, 9].map(|step| merges(&course, step)), [before, before, then, then]);
    }

    #[test]
    fn every_step_draws_one_and_always_the_same() {
        let list = ["none", "tome:r=4", "tome:r=8"].map(str::to_owned);
        let course = |seed| Course::drawn(&list, &facts(), seed).expect("fits");
        let of = |seed| (0..300).map(|step| merges(&course(seed), step)).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        for spec in &list {
            let count = of(1).iter().filter(|drawn| *drawn == spec).count();
            assert!((60..140).contains(&count), "{spec}: {count} of 300");
        }
    }
}
