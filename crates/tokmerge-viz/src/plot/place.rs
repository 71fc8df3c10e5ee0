//! Where labels go: of several places the one that covers least.

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// A place for a label: what it covers, and the line that leads back to its point if it is not beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) area: Area,
    pub(super) leader: Option<[(f64, f64); 2]>,
}

/// What has been drawn so far.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    dots: Vec<(f64, f64)>,
    lines: Vec<(f64, f64)>,
    markers: Vec<(f64, f64)>,
    labels: Vec<Area>,
}

impl Area {
    fn holds(&self, (x, y): (f64, f64)) -> bool {
        self.left <= x && x <= self.right && self.top <= y && y <= self.bottom
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    /// The part of a straight line inside, both ends exact where they are inside (Liang and Barsky, 1984).
    pub(super) fn clip(&self, from: (f64, f64), to: (f64, f64)) -> Option<[(f64, f64); 2]> {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let (mut enter, mut leave) = (0.0f64, 1.0f64);
        for (toward, room) in [
            (-dx, from.0 - self.left),
            (dx, self.right - from.0),
            (-dy, from.1 - self.top),
            (dy, self.bottom - from.1),
        ] {
            if toward == 0.0 && room < 0.0 {
                return None;
            } else if toward < 0.0 {
                enter = enter.max(room / toward);
            } else if toward > 0.0 {
                leave = leave.min(room / toward);
            }
        }
        let at = |part: f64| (from.0 + dx * part, from.1 + dy * part);
        (enter <= leave)
            .then(|| [if enter > 0.0 { at(enter) } else { from }, if leave < 1.0 { at(leave) } else { to }])
    }

    fn within(&self, other: &Self) -> bool {
        self.left >= other.left
            && self.right <= other.right
            && self.top >= other.top
            && self.bottom <= other.bottom
    }
}

impl Drawn {
    /// One of a cloud, which shows through: together they count little.
    pub(super) fn dot(&mut self, at: (f64, f64)) {
        self.dots.push(at);
    }

    /// A point with a meaning of its own.
    pub(super) fn marker(&mut self, at: (f64, f64)) {
        self.markers.push(at);
    }

    /// Points along a straight line, close enough for no label to slip between.
    pub(super) fn segment(&mut self, [from, to]: [(f64, f64); 2]) {
        let steps = ((to.0 - from.0).hypot(to.1 - from.1) / 6.0).clamp(1.0, 200.0) as usize;
        self.lines.extend((0..=steps).map(|i| {
            let part = i as f64 / steps as f64;
            (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part)
        }));
    }

    /// Which of some places hides least, the earlier of equals; it is then taken.
    pub(super) fn place(&mut self, inside: &Area, places: &[Place]) -> Option<usize> {
        let best = (0..places.len()).min_by_key(|&at| self.cost(inside, &places[at]))?;
        self.labels.push(places[best].area);
        Some(best)
    }

    fn cost(&self, inside: &Area, place: &Place) -> usize {
        let covered = |points: &[(f64, f64)]| points.iter().filter(|&&point| place.area.holds(point)).count();
        let labels = self.labels.iter().filter(|label| label.meets(&place.area)).count();
        let leader = place.leader.map_or(0, |[from, to]| {
            let passed = self.markers.iter().filter(|&&marker| {
                // Its own point does not count.
                distance(marker, [from, to]) < 6.0 && (marker.0 - from.0).hypot(marker.1 - from.1) > 1.0
            });
            let length = (to.0 - from.0).hypot(to.1 - from.1) as usize;
            10 + length / 2 + passed.count() * 60
        });
        usize::from(!place.area.within(inside)) * 1_000_000
            + labels * 10_000
            + covered(&self.markers) * 60
            + covered(&self.lines) * 6
            + covered(&self.dots).min(8)
            + leader
    }
}

/// From a point to the nearest point of a straight line.
fn distance(point: (f64, f64), [from, to]: [(f64, f64); 2]) -> f64 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let along = (point.0 - from.0) * dx + (point.1 - from.1) * dy;
    let part = (along / (dx * dx + dy * dy).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
    (from.0 + dx * part - point.0).hypot(from.1 + dy * part - point.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Area = Area { left: 0.0, top: 0.0, right: 60.0, bottom: 10.0 };

    fn place(left: f64) -> Place {
        Place { area: Area { left, top: 0.0, right: left + 10.0, bottom: 10.0 }, leader: None }
    }

    #[test]
    fn labels_avoid_lines_labels_and_the_edge() {
        let mut drawn = Drawn::default();
        drawn.segment([(0.0, 5.0), (15.0, 5.0)]);
        let places = [place(-5.0), place(5.0), place(20.0), place(40.0)];
        assert_eq!(drawn.place(&PAGE, &places), Some(2));
        assert_eq!(drawn.place(&PAGE, &places), Some(3));
        assert_eq!(drawn.place(&PAGE, &[]), None);
    }

    #[test]
    fn labels_cover_a_cloud_rather_than_a_marker_or_going_far() {
        let mut drawn = Drawn::default();
        (0..1000).for_each(|i| drawn.dot((20.0 + f64::from(i) / 100.0, 5.0)));
        drawn.marker((5.0, 5.0));
        let far = Place { leader: Some([(30.0, 5.0), (45.0, 5.0)]), ..place(45.0) };
        assert_eq!(drawn.place(&PAGE, &[place(0.0), place(20.0), far]), Some(1));
    }

    #[test]
    fn lines_end_at_the_edge() {
        assert_eq!(PAGE.clip((1.0, 1.0), (59.0, 9.0)), Some([(1.0, 1.0), (59.0, 9.0)]));
        assert_eq!(PAGE.clip((-30.0, 5.0), (90.0, 5.0)), Some([(0.0, 5.0), (60.0, 5.0)]));
        assert_eq!(PAGE.clip((30.0, 5.0), (30.0, 500.0)), Some([(30.0, 5.0), (30.0, 10.0)]));
        assert_eq!(PAGE.clip((-10.0, 5.0), (-1.0, 5.0)), None);
        assert_eq!(PAGE.clip((-10.0, 0.0), (0.0, 20.0)), None);
        assert_eq!(PAGE.clip((3.0, 3.0), (3.0, 3.0)), Some([(3.0, 3.0), (3.0, 3.0)]));
    }
}
