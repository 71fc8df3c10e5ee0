//! Agglomerative clustering: the two closest clusters become one, until there are few enough.

use crate::methods::matching::cosines::Grouping;

/// How far apart two clusters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// The mean of the distances of their members.
    Average,
    /// The largest of them.
    Complete,
    /// The smallest of them.
    Single,
}

impl Linkage {
    /// How far a cluster is from the union of two, which have so many members and are so far from it.
    fn of_union(self, (a, first): (f64, f64), (b, second): (f64, f64)) -> f64 {
        match self {
            Self::Average => (a * first + b * second) / (a + b),
            Self::Complete => first.max(second),
            Self::Single => first.min(second),
        }
    }
}

/// The nearest of the clusters behind a cluster.
#[derive(Clone, Copy, Debug)]
struct Nearest {
    distance: f64,
    /// Which it is, the first of equals; `None` where that has to be looked up again: none is nearer than `distance`.
    cluster: Option<usize>,
}

const NOTHING_BEHIND: Nearest = Nearest { distance: f64::INFINITY, cluster: None };

/// Clusters, each in the place of its first member.
#[derive(Debug)]
struct Clusters {
    linkage: Linkage,
    /// Places.
    count: usize,
    /// Between any two, infinite where a place is empty, and on the diagonal.
    distance: Vec<f64>,
    /// Members of each.
    members: Vec<f64>,
    /// The cluster that each went into, itself if none.
    into: Vec<u32>,
    nearest: Vec<Nearest>,
}

/// Merges tokens with these distances, `[N, N]`, until there are `remove` fewer. Ties go to the pair that stands first. Clusters
/// take the place of their first member.
pub(super) fn cluster(distance: Vec<f64>, count: usize, remove: usize, linkage: Linkage) -> Grouping {
    let mut clusters = Clusters::new(distance, count, linkage);
    for _ in 0..remove.min(count.saturating_sub(1)) {
        let (first, second) = clusters.closest();
        clusters.merge(first, second);
    }
    clusters.grouping()
}

impl Clusters {
    fn new(distance: Vec<f64>, count: usize, linkage: Linkage) -> Self {
        let members = vec![1.0; count];
        let into = (0..count as u32).collect();
        let nearest = vec![NOTHING_BEHIND; count];
        let mut clusters = Self { linkage, count, distance, members, into, nearest };
        for place in 0..count {
            clusters.distance[place * count + place] = f64::INFINITY;
            clusters.look(place);
        }
        clusters
    }

    /// Looks up the nearest cluster behind another.
    fn look(&mut self, place: usize) {
        let mut nearest = NOTHING_BEHIND;
        for other in place + 1..self.count {
            let distance = self.distance[place * self.count + other];
            if distance < nearest.distance {
                nearest = Nearest { distance, cluster: Some(other) };
            }
        }
        self.nearest[place] = nearest;
    }

    /// The pair that is closest.
    fn closest(&mut self) -> (usize, usize) {
        loop {
            let mut first = 0;
            for place in 1..self.count {
                if self.nearest[place].distance < self.nearest[first].distance {
                    first = place;
                }
            }
            match self.nearest[first].cluster {
                Some(second) => return (first, second),
                None => self.look(first),
            }
        }
    }

    /// Puts the second cluster into the first.
    fn merge(&mut self, first: usize, second: usize) {
        let count = self.count;
        let (a, b) = (self.members[first], self.members[second]);
        for other in (0..count).filter(|other| *other != first && *other != second) {
            let (of_first, of_second) =
                (self.distance[first * count + other], self.distance[second * count + other]);
            let distance = self.linkage.of_union((a, of_first), (b, of_second));
            self.distance[first * count + other] = distance;
            self.distance[other * count + first] = distance;
        }
        for other in 0..count {
            self.distance[other * count + second] = f64::INFINITY;
        }
        self.members[first] += b;
        self.into[second] = first as u32;
        self.nearest[second] = NOTHING_BEHIND;
        self.look(first);
        for place in 0..second {
            self.update(place, first, second);
        }
    }

    /// What is nearest to the cluster at `place`, after the second went into the first.
    fn update(&mut self, place: usize, first: usize, second: usize) {
        let to_union = if place < first { self.distance[place * self.count + first] } else { f64::INFINITY };
        let Nearest { distance, cluster } = self.nearest[place];
        self.nearest[place] = match cluster {
            _ if to_union < distance => Nearest { distance: to_union, cluster: Some(first) },
            // The union is as far or farther.
            Some(gone) if gone == first || gone == second => Nearest { distance, cluster: None },
            Some(later) if to_union == distance && first < later => {
                Nearest { distance, cluster: Some(first) }
            }
            _ => return,
        };
    }

    fn grouping(self) -> Grouping {
        let mut into = self.into;
        let (mut kept, mut pairs) = (Vec::new(), Vec::new());
        for place in 0..into.len() {
            // Clusters go into earlier ones, of which that is known already.
            into[place] = into[into[place] as usize];
            match into[place] == place as u32 {
                true => kept.push(place as u32),
                false => pairs.push((place as u32, into[place])),
            }
        }
        Grouping { kept, pairs }
    }
}
