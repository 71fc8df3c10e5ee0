//! Every method at the same cost, side by side.
//!
//! Each method has a dial ([`Method::at_dial`]). It is turned until the method costs what is asked for, on some images;
//! then the method is measured on others. Costs of methods that merge a known number of tokens are known without an image,
//! those of the others are measured, and so is time, in turn with the unmerged model.

mod entrant;
mod meter;
mod outcome;
pub mod report;
mod settle;
mod target;

use crate::measure::MeasureError;
use crate::pace::{ROUNDS, times};
use crate::{Family, Point, Tuner};
use meter::Meter;
use outcome::rank;
use settle::{Aim, Settled, settle};
use target::Unit;
use tokmerge_eval::Spread;
use tokmerge_merge::{Method, Reduction, TrainedBy};
use tokmerge_models::Model;

pub use entrant::{Entrant, Role};
pub use outcome::{Comparison, Estimate, Judge, LeftOut, Row, Standing, Table};
pub use target::{Target, TargetError};

/// What to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareOptions {
    /// The costs that methods are brought to.
    pub targets: Vec<Target>,
    /// The methods; what chance does is compared with them in any case.
    pub entrants: Vec<Entrant>,
    /// Images per batch when time is taken.
    pub batch_size: usize,
    /// For what chance does.
    pub seed: u64,
}

/// Receives the events of a comparison.
pub trait CompareWatcher {
    /// It goes on to something else; `done` of `planned` steps are done.
    fn doing(&mut self, what: &str, done: usize, planned: usize) {
        let _ = (what, done, planned);
    }
}

impl CompareWatcher for () {}

/// Why a comparison ended without an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A cost makes no sense for this model.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Something could not be measured.
    #[error(transparent)]
    Measure(#[from] MeasureError),
}

/// A method that was brought to a cost, or why it was not.
enum Brought {
    There(Method),
    Not(String),
}

/// Brings every method to every cost on the images of `search`, and measures it on those of `held_out`, which must be of
/// the same model. A method that cannot be brought there is named with the reason.
///
/// # Errors
/// When a cost is no saving for this model, or a journal cannot be written.
pub fn compare(
    search: &mut Tuner<'_>,
    held_out: &mut Tuner<'_>,
    options: &CompareOptions,
    watcher: &mut dyn CompareWatcher,
) -> Result<Comparison, CompareError> {
    let targets = each_once(&options.targets);
    targets.iter().try_for_each(|target| target.check(search.unmerged()))?;
    let judge = Judge::of(held_out.model().classes(), held_out.is_labelled());
    let entrants = entrants(options, held_out.model());
    let planned = targets.len() * entrants.len() + 1;
    let unmerged = held_out.unmerged().clone();
    let search_images = search.images().len();
    let mut meter = Meter::new(search, options.batch_size);
    let (mut tables, mut done) = (Vec::new(), 0);
    for at in targets {
        let (unit, cost) = at.cost(meter.unmerged());
        let mut table = Table { at, cost: unit.shown(cost), rows: Vec::new(), left_out: Vec::new() };
        for entrant in &entrants {
            watcher.doing(&format!("{at}, {}", entrant.label), done, planned);
            done += 1;
            let label = &entrant.label;
            let left_out = |reason: String| LeftOut { label: label.clone(), reason };
            match bring(&mut meter, entrant, unit, cost)? {
                Brought::Not(reason) => table.left_out.push(left_out(reason)),
                Brought::There(method) => match measured(held_out, &method)? {
                    Ok(point) => {
                        let row = Row::of(&point, label, entrant.role, judge, &unmerged);
                        table.rows.push(Row { off_by: unit.of(&point) / cost - 1.0, ..row });
                    }
                    Err(reason) => table.left_out.push(left_out(reason)),
                },
            }
        }
        tables.push(table);
    }
    watcher.doing("speeds", done, planned);
    let mut first = Row::of(&unmerged, "unmerged", Role::Unmerged, judge, &unmerged);
    first.standing = Standing::Best;
    time(held_out, &mut first, &mut tables, options.batch_size)?;
    for table in &mut tables {
        if let Target::Speedup(factor) = table.at {
            table.rows.iter_mut().for_each(|row| row.off_by = factor / row.speedup.median - 1.0);
        }
        rank(&mut table.rows, judge);
    }
    Ok(Comparison {
        media: held_out.model().media(),
        judged_by: judge,
        search_images,
        held_out_images: held_out.images().len(),
        batch_size: options.batch_size.min(held_out.images().len()),
        rounds: ROUNDS,
        unmerged: first,
        tables,
    })
}

/// The costs in their order, without repetitions.
fn each_once(targets: &[Target]) -> Vec<Target> {
    let mut once: Vec<Target> = Vec::new();
    for target in targets {
        if !once.contains(target) {
            once.push(*target);
        }
    }
    once
}

/// The methods asked for, each once, and what chance does. Without second looks: they cost the more the more is merged, so that
/// a dial all the way up would not be the cheapest.
fn entrants(options: &CompareOptions, model: &Model) -> Vec<Entrant> {
    let mut all: Vec<Entrant> = Vec::new();
    for entrant in options.entrants.iter().cloned().chain(Entrant::controls(options.seed)) {
        let entrant = entrant.like(model.trained_with());
        let entrant = Entrant { method: entrant.method.with_recheck(None), ..entrant };
        if all.iter().all(|known| known.method != entrant.method) {
            all.push(entrant);
        }
    }
    all
}

/// Why a method cannot be turned.
fn without_dial(method: &Method) -> &'static str {
    match method {
        Method::None => "it merges nothing: every table has the unmerged model already",
        method if method.has_weights() => {
            "it has weights of its own, trained for one strength, so that there is nothing to turn; measure it with tokmerge eval"
        }
        _ => "how much it merges cannot be turned; measure it with tokmerge eval",
    }
}

/// What a method asks of a model that this one was not trained for, if anything.
fn untrained(model: &Model, method: &Method) -> Option<String> {
    let name = model.name();
    let learns = method.trained_by() != TrainedBy::Merging;
    if model.has_fresh_weights(method) {
        let way_out = match learns {
            true => "train it with this method (tokmerge train), at the same layers",
            false => "fit them with tokmerge calibrate",
        };
        return Some(format!("it has weights of its own, and {name} has none of them; {way_out}"));
    }
    let is_own = model.trained_with().info().name == method.info().name;
    (learns && !method.has_weights() && !is_own).then(|| {
        format!("the model itself has to learn what it says, and {name} has not; train it with this method (tokmerge train)")
    })
}

fn bring(
    meter: &mut Meter<'_, '_>,
    entrant: &Entrant,
    unit: Unit,
    cost: f64,
) -> Result<Brought, MeasureError> {
    /// Steps that cost no time; that run all images of the search; and that are timed, which is no exact thing.
    const COUNTED: Aim = Aim { cost: 0.0, near: 0.0, steps: 40 };
    const MEASURED: Aim = Aim { cost: 0.0, near: 0.005, steps: 14 };
    const TIMED: Aim = Aim { cost: 0.0, near: 0.015, steps: 11 };
    let facts = meter.model().facts();
    let Some(most) = entrant.method.at_dial(1.0, &facts) else {
        return Ok(Brought::Not(without_dial(&entrant.method).to_owned()));
    };
    if let Some(reason) = untrained(meter.model(), &entrant.method) {
        return Ok(Brought::Not(reason));
    }
    if let Err(error) = meter.model().bind(&most) {
        // In the words of the setting that was asked for, where that does not fit either.
        let reason = meter.model().bind(&entrant.method).err().unwrap_or(error);
        return Ok(Brought::Not(reason.to_string()));
    }
    let at = |dial| entrant.method.at_dial(dial, &facts).unwrap_or(Method::None);
    let aim = match unit {
        Unit::Time => TIMED,
        Unit::Gmacs | Unit::Tokens if meter.counts(&at(0.5)) => COUNTED,
        Unit::Gmacs | Unit::Tokens => MEASURED,
    };
    match settle(Aim { cost, ..aim }, |dial| meter.cost(unit, &at(dial))) {
        Ok(Settled::At { dial, .. }) => Ok(Brought::There(at(dial))),
        Ok(Settled::OutOfReach { least }) => Ok(Brought::Not(match unit {
            Unit::Time => format!("it reaches at most {}", unit.shown(least)),
            Unit::Gmacs | Unit::Tokens => format!("at its strongest it still costs {}", unit.shown(least)),
        })),
        Err(error) => unfit(error).map(Brought::Not),
    }
}

fn measured(tuner: &mut Tuner<'_>, method: &Method) -> Result<Result<Point, String>, MeasureError> {
    match tuner.measure(method, Family::Compared) {
        Ok(point) => Ok(Ok(point)),
        Err(error) => unfit(error).map(Err),
    }
}

/// What speaks against a method, if not against the whole comparison.
fn unfit(error: MeasureError) -> Result<String, MeasureError> {
    match error {
        MeasureError::Bind(_) | MeasureError::NotFinite(_) => Ok(error.to_string()),
        MeasureError::Journal(_) => Err(error),
    }
}

/// Takes the time of everything that was measured, in turn with the unmerged model.
fn time(
    tuner: &Tuner<'_>,
    unmerged: &mut Row,
    tables: &mut [Table],
    batch_size: usize,
) -> Result<(), MeasureError> {
    let mut rows: Vec<&mut Row> = tables.iter_mut().flat_map(|table| &mut table.rows).collect();
    let bind = |row: &&mut Row| Ok(tuner.model().bind(&row.merge.parse().unwrap_or(Method::None))?);
    let bound: Vec<Reduction> = rows.iter().map(bind).collect::<Result<_, MeasureError>>()?;
    let none = Reduction::none();
    let all: Vec<&Reduction> = std::iter::once(&none).chain(&bound).collect();
    let times = times(tuner, &all, batch_size, ROUNDS);
    let images = batch_size.min(tuner.images().len()).max(1) as f64;
    let fill = |(row, seconds): (&mut Row, &Vec<f64>)| {
        let ms: Vec<f64> = seconds.iter().map(|seconds| 1e3 * seconds / images).collect();
        let speeds: Vec<f64> =
            times[0].iter().zip(seconds).map(|(unmerged, merged)| unmerged / merged).collect();
        (row.ms_per_image, row.speedup) = (Spread::of(&ms), Spread::of(&speeds));
    };
    std::iter::once(unmerged).chain(rows.iter_mut().map(|row| &mut **row)).zip(&times).for_each(fill);
    Ok(())
}
