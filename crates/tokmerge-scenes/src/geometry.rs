//! Points, directions and places in pixels; y grows downwards.

pub(crate) type Point = [f32; 2];

pub(crate) fn minus(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

pub(crate) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

pub(crate) fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

/// A rotation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    cos: f32,
    sin: f32,
}

impl Turn {
    /// By the angle whose half has this tangent. Only basic arithmetic, so equal on every platform.
    pub(crate) fn by_half_tangent(half: f32) -> Self {
        let square = half * half;
        Self { cos: (1.0 - square) / (1.0 + square), sin: 2.0 * half / (1.0 + square) }
    }

    /// A quarter turn further.
    pub(crate) fn quarter(self) -> Self {
        Self { cos: -self.sin, sin: self.cos }
    }

    /// By a part of a full turn, clockwise in the picture: quarter turns, and a series for the rest, exact to f32's rounding.
    pub(crate) fn by(turns: f32) -> Self {
        let quarters = (turns * 4.0 + 0.5).floor();
        let angle = (turns - quarters * 0.25) * std::f32::consts::TAU;
        let square = angle * angle;
        let cos = 1.0 - square / 2.0 * (1.0 - square / 12.0 * (1.0 - square / 30.0 * (1.0 - square / 56.0)));
        let sin = angle * (1.0 - square / 6.0 * (1.0 - square / 20.0 * (1.0 - square / 42.0)));
        let rest = Self { cos, sin };
        (0..(quarters as i32).rem_euclid(4)).fold(rest, |turn, _| turn.quarter())
    }

    /// This rotation and another.
    pub(crate) fn and(self, other: Self) -> Self {
        let [cos, sin] = self.apply([other.cos, other.sin]);
        Self { cos, sin }
    }

    pub(crate) fn apply(self, [x, y]: Point) -> Point {
        [self.cos * x - self.sin * y, self.sin * x + self.cos * y]
    }

    /// The rotation back.
    pub(crate) fn undo(self, [x, y]: Point) -> Point {
        [self.cos * x + self.sin * y, self.cos * y - self.sin * x]
    }
}

/// Where a figure that is drawn within the unit circle lies in the picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The centre, in pixels.
    pub(crate) centre: Point,
    /// What the unit becomes, in pixels.
    pub(crate) radius: f32,
    pub(crate) turn: Turn,
    /// Factor of the width, before turning.
    pub(crate) stretch: f32,
    /// Pixels to the right per pixel upwards, before turning.
    pub(crate) slant: f32,
}

impl Place {
    pub(crate) fn at(&self, [x, y]: Point) -> Point {
        let [x, y] = self.turn.apply([(x * self.stretch - y * self.slant) * self.radius, y * self.radius]);
        [self.centre[0] + x, self.centre[1] + y]
    }
}

#[cfg(test)]
mod tests {
    use super::Turn;

    #[test]
    fn turns_by_a_part_are_those_of_sine_and_cosine() {
        for step in -300..300_i16 {
            let turns = f32::from(step) / 97.0;
            let [x, y] = Turn::by(turns).apply([1.0, 0.0]);
            let angle = f64::from(turns) * std::f64::consts::TAU;
            let apart = (f64::from(x) - angle.cos()).abs().max((f64::from(y) - angle.sin()).abs());
            assert!(apart < 2e-6, "{turns}: {x} {y}");
            let [u, v] = Turn::by(turns).and(Turn::by(-0.25)).apply([1.0, 0.0]);
            assert!((u - y).abs() < 1e-6 && (v + x).abs() < 1e-6, "{turns}");
        }
    }
}
