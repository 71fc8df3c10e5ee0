//! The classes of clips: what an object does over time.

use crate::geometry::{Point, Turn};
use crate::random::Random;

/// Names of the classes of clips, in alphabetical order, so that folders of these names give the same indices.
pub const MOTIONS: [&str; 13] = [
    "appears",
    "bounces",
    "circles",
    "disappears",
    "grows",
    "moves-down",
    "moves-left",
    "moves-right",
    "moves-up",
    "shrinks",
    "still",
    "turns-clockwise",
    "turns-counterclockwise",
];

/// What an object is at a time; lengths are parts of the side, and the middle of the picture is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) centre: Point,
    pub(crate) radius: f32,
    /// Beside the turn that it began with.
    pub(crate) turn: Turn,
    /// From 0, not there, to 1.
    pub(crate) opacity: f32,
}

/// An object's way through time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Motion {
    start: Point,
    /// Square root of the radius.
    root: f32,
    change: Change,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    /// Comes within `over` around the time `at`, or goes.
    Shown {
        at: f32,
        over: f32,
        then: Shown,
    },
    /// By `way`, evenly.
    Moved {
        way: Point,
    },
    /// By `way` until the time `at`, and back at the end.
    ThereAndBack {
        way: Point,
        at: f32,
    },
    /// Around a circle: from `arm` away from its middle, `turns` of it.
    Around {
        arm: Point,
        turns: f32,
    },
    /// The square root of the radius grows by so much.
    Grown {
        by: f32,
    },
    /// By a part of a full turn, clockwise.
    Turned {
        turns: f32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    There,
    Gone,
}

/// How far from the middle an object's centre may be, to each side.
const REACH: f32 = 0.36;
/// Square roots of the smallest and the largest radius, 0.09 and 0.3. Evenly drawn roots make many small objects and few
/// large ones, and let objects of all sizes grow by about the same factor.
const ROOTS: [f32; 2] = [0.3, 0.548];

impl Motion {
    /// A motion of a class below `MOTIONS.len()`. Whatever the class, the ways fill the same room: a single place or size
    /// tells little about what comes before and after.
    pub(crate) fn random(random: &mut Random, class: usize) -> Self {
        let change = match MOTIONS[class] {
            "appears" | "disappears" => {
                let then = if MOTIONS[class] == "appears" { Shown::There } else { Shown::Gone };
                Change::Shown { at: random.between(0.25, 0.75), over: random.between(0.01, 0.2), then }
            }
            "bounces" => {
                let way = random.turn().apply([random.between(0.2, 0.4), 0.0]);
                Change::ThereAndBack { way, at: random.between(0.35, 0.65) }
            }
            "circles" => {
                let arm = random.turn().apply([random.between(0.09, 0.15), 0.0]);
                Change::Around { arm, turns: sign(random) * random.between(0.75, 1.25) }
            }
            "grows" => Change::Grown { by: random.between(0.07, 0.12) },
            "shrinks" => Change::Grown { by: -random.between(0.07, 0.12) },
            "moves-right" => Change::Moved { way: straight(random) },
            "moves-down" => Change::Moved { way: Turn::by(0.25).apply(straight(random)) },
            "moves-left" => Change::Moved { way: Turn::by(0.5).apply(straight(random)) },
            "moves-up" => Change::Moved { way: Turn::by(0.75).apply(straight(random)) },
            "turns-clockwise" => Change::Turned { turns: random.between(0.25, 0.75) },
            "turns-counterclockwise" => Change::Turned { turns: -random.between(0.25, 0.75) },
            _ => Change::None,
        };
        let mut still = Self { start: [0.0; 2], root: 0.0, change };
        // The places that the motion takes beside the first one, and room for all of them.
        let turning = if let Change::ThereAndBack { at, .. } = change { at } else { 1.0 };
        let room = |axis: usize| {
            let times = (0..=32).map(|step| step as f32 / 32.0).chain([turning]);
            let offsets = times.map(|time| still.offset(time)[axis]);
            let (low, high) = offsets.fold((0.0_f32, 0.0_f32), |(low, high), v| (low.min(v), high.max(v)));
            [-REACH - low, REACH - high]
        };
        let [across, down] = [room(0), room(1)];
        still.start = [random.between(across[0], across[1]), random.between(down[0], down[1])];
        let grown = if let Change::Grown { by } = change { by } else { 0.0 };
        still.root = random.between(ROOTS[0] - grown.min(0.0), ROOTS[1] - grown.max(0.0));
        still
    }

    /// An object that stays where it is.
    pub(crate) fn still(random: &mut Random) -> Self {
        let start = [random.between(-REACH, REACH), random.between(-REACH, REACH)];
        Self { start, root: random.between(ROOTS[0], ROOTS[1]), change: Change::None }
    }

    /// Whether the object is not there at one end of time.
    pub(crate) fn comes_or_goes(&self) -> bool {
        matches!(self.change, Change::Shown { .. })
    }

    /// At a time from 0, the first frame, to 1, the last.
    pub(crate) fn at(&self, time: f32) -> State {
        let [x, y] = self.offset(time);
        let (mut root, mut turn, mut opacity) = (self.root, Turn::by(0.0), 1.0);
        match self.change {
            Change::Grown { by } => root += by * time,
            Change::Turned { turns } => turn = Turn::by(turns * time),
            Change::Shown { at, over, then } => {
                let there = ((time - at) / over + 0.5).clamp(0.0, 1.0);
                opacity = if then == Shown::There { there } else { 1.0 - there };
            }
            Change::None | Change::Moved { .. } | Change::ThereAndBack { .. } | Change::Around { .. } => {}
        }
        State { centre: [self.start[0] + x, self.start[1] + y], radius: root * root, turn, opacity }
    }

    /// How far the centre is from where it began.
    fn offset(&self, time: f32) -> Point {
        let part = |way: Point, part: f32| way.map(|v| v * part);
        match self.change {
            Change::Moved { way } => part(way, time),
            Change::ThereAndBack { way, at } => {
                part(way, if time < at { time / at } else { (1.0 - time) / (1.0 - at) })
            }
            Change::Around { arm, turns } => {
                let [x, y] = Turn::by(turns * time).apply(arm);
                [x - arm[0], y - arm[1]]
            }
            Change::None | Change::Shown { .. } | Change::Grown { .. } | Change::Turned { .. } => [0.0; 2],
        }
    }
}

/// A way to the right, slanting a little.
fn straight(random: &mut Random) -> Point {
    let far = random.between(0.18, 0.36);
    [far, far * random.between(-0.25, 0.25)]
}

fn sign(random: &mut Random) -> f32 {
    if random.chance(50) { 1.0 } else { -1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn motions(count: u64) -> impl Iterator<Item = (usize, Motion)> {
        (0..count).map(|index| {
            let mut random = Random::for_clip(77, index);
            let class = random.below(MOTIONS.len());
            (class, Motion::random(&mut random, class))
        })
    }

    #[test]
    fn names_are_sorted_and_fit_for_folders() {
        assert!(MOTIONS.is_sorted_by(|a, b| a < b));
        assert!(MOTIONS.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn objects_stay_within_sight_and_sizes_within_bounds() {
        for (class, motion) in motions(13_000) {
            for step in 0..=63 {
                let State { centre, radius, opacity, .. } = motion.at(step as f32 / 63.0);
                assert!(centre.iter().all(|v| v.abs() < REACH + 1e-3), "{} {centre:?}", MOTIONS[class]);
                assert!((0.0899..0.301).contains(&radius), "{} {radius}", MOTIONS[class]);
                assert!((0.0..=1.0).contains(&opacity));
            }
        }
    }

    #[test]
    fn each_class_does_what_its_name_says() {
        let mut seen = [0; MOTIONS.len()];
        for (class, motion) in motions(2000) {
            seen[class] += 1;
            let [first, half, last] = [0.0, 0.5, 1.0].map(|time| motion.at(time));
            let [x, y] = [0, 1].map(|axis| last.centre[axis] - first.centre[axis]);
            let far = x.abs().max(y.abs());
            let [_, turned] = motion.at(0.3).turn.apply([1.0, 0.0]);
            let size = last.radius / first.radius;
            match MOTIONS[class] {
                "moves-left" => assert!(x < -0.17 && x.abs() > 3.9 * y.abs()),
                "moves-right" => assert!(x > 0.17 && x.abs() > 3.9 * y.abs()),
                "moves-up" => assert!(y < -0.17 && y.abs() > 3.9 * x.abs()),
                "moves-down" => assert!(y > 0.17 && y.abs() > 3.9 * x.abs()),
                "bounces" => assert!(far < 1e-6 && crate::geometry::length(motion.offset(0.5)) > 0.13),
                "circles" => {
                    // Twice the arm away, once it is halfway around.
                    let furthest = (0..=40).map(|s| crate::geometry::length(motion.offset(s as f32 / 40.0)));
                    assert!((0.17..0.31).contains(&furthest.fold(0.0, f32::max)));
                }
                _ => assert!(far == 0.0 && half.centre == first.centre),
            }
            match MOTIONS[class] {
                "grows" => assert!((1.25..2.0).contains(&size), "{size}"),
                "shrinks" => assert!((1.25..2.0).contains(&size.recip()), "{size}"),
                _ => assert!(size == 1.0),
            }
            match MOTIONS[class] {
                "turns-clockwise" => assert!(turned > 0.4),
                "turns-counterclockwise" => assert!(turned < -0.4),
                _ => assert!(turned == 0.0),
            }
            match MOTIONS[class] {
                "appears" => assert_eq!((first.opacity, last.opacity), (0.0, 1.0)),
                "disappears" => assert_eq!((first.opacity, last.opacity), (1.0, 0.0)),
                _ => assert_eq!([first, half, last].map(|state| state.opacity), [1.0; 3]),
            }
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
    }

    /// Whoever knew place and size in one frame exactly, and how often each class has them, would hardly guess better.
    #[test]
    fn place_and_size_at_a_time_tell_little_about_the_class() {
        for time in [0.0, 0.5, 1.0] {
            let cell = |motion: &Motion| {
                let State { centre, radius, .. } = motion.at(time);
                let of = |v: f32, low: f32, high: f32| (((v - low) / (high - low) * 6.0) as usize).min(5);
                let place = centre.map(|v| of(v, -REACH, REACH));
                (place[0] * 6 + place[1]) * 6 + of(radius.sqrt(), ROOTS[0], ROOTS[1])
            };
            let mut counts = vec![[0_u32; MOTIONS.len()]; 216];
            let mut right = 0_u32;
            for (index, (class, motion)) in motions(120_000).enumerate() {
                let seen = &mut counts[cell(&motion)];
                if index < 80_000 {
                    seen[class] += 1;
                } else {
                    let best = (0..MOTIONS.len()).max_by_key(|&class| seen[class]).unwrap();
                    right += u32::from(best == class);
                }
            }
            let accuracy = f64::from(right) / 40_000.0;
            assert!(accuracy < 2.0 / MOTIONS.len() as f64, "at {time}: {accuracy}");
        }
    }
}
