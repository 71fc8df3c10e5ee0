//! Speeds that `bench` measured, for results that `eval` measured.

use super::axis::Cost;
use super::point::Point;

const SPEEDS: [Cost; 3] = [Cost::ImagesPerSecond, Cost::Ms, Cost::Speedup];

/// What must be the same where both say it.
const OF_THE_MODEL: [&str; 2] = ["dtype", "img_size"];

/// The points with the speeds that belong to them, once for each, and how many have none: times of `eval` are of batches of
/// files, and not to be drawn beside those of `bench`.
pub(super) fn joined(points: Vec<Point>, speeds: &[Point]) -> (Vec<Point>, usize) {
    if speeds.is_empty() {
        return (points, 0);
    }
    let (mut all, mut without) = (Vec::with_capacity(points.len()), 0);
    for point in points {
        let found = matching(&point, speeds);
        without += usize::from(found.is_empty());
        all.extend(found.into_iter().map(|speed| with(&point, speed)));
    }
    (all, without)
}

/// The speeds of a point's model at its merging: of that very name, else of the name without its tag, since weights change
/// no speed.
fn matching<'s>(point: &Point, speeds: &'s [Point]) -> Vec<&'s Point> {
    let agrees =
        |speed: &Point, setting: &str| match (point.settings.get(setting), speed.settings.get(setting)) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
    let alike: Vec<&Point> = speeds
        .iter()
        .filter(|speed| {
            speed.merge == point.merge && OF_THE_MODEL.iter().all(|setting| agrees(speed, setting))
        })
        .collect();
    let exact = |speed: &&&Point| speed.named == point.named || speed.model == point.model;
    let found: Vec<&Point> = alike.iter().filter(exact).copied().collect();
    if !found.is_empty() {
        return found;
    }
    alike.into_iter().filter(|speed| untagged(&speed.named) == untagged(&point.named)).collect()
}

fn untagged(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn with(point: &Point, speed: &Point) -> Point {
    let mut point = point.clone();
    for cost in SPEEDS {
        point.costs.remove(&cost);
        point.costs.extend(speed.costs.get(&cost).map(|value| (cost, *value)));
    }
    point.settings.extend(speed.settings.clone());
    point
}

/// Fills in speeds over the unmerged model where it was measured beside.
pub(super) fn compared(points: &mut [Point]) {
    let rate = |point: &Point| point.costs.get(&Cost::ImagesPerSecond).copied();
    let unmerged: Vec<Point> = points.iter().filter(|point| point.is_unmerged()).cloned().collect();
    for point in points.iter_mut().filter(|point| !point.costs.contains_key(&Cost::Speedup)) {
        let beside = unmerged.iter().find(|other| {
            other.source == point.source && other.named == point.named && other.settings == point.settings
        });
        let speedup = beside.and_then(rate).zip(rate(point)).map(|(unmerged, merged)| merged / unmerged);
        point.costs.extend(speedup.map(|speedup| (Cost::Speedup, speedup)));
    }
}
