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
