//! What a chart holds: axes, series, reference lines and notes, all plain data.

/// A chart: one or more series over an x axis, a y axis on the left and, if used, one on the right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Written above the chart and used as the document's title; an empty one takes no space.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis on the left.
    pub y: Axis,
    /// The vertical axis on the right, drawn only if a series is on [`Side::Right`].
    pub right: Axis,
    /// What is drawn: bars lie at the back, then dots, then lines and steps, and markers in front;
    /// among equals the later one is in front.
    pub series: Vec<Series>,
    /// Horizontal lines to compare with. The left axis always covers them unless its ends are fixed.
    pub references: Vec<Reference>,
    /// Labels of single points.
    pub notes: Vec<Note>,
    /// How series get their colours.
    pub palette: Palette,
}

/// One axis: its label, its scale and, where they should not follow the data, its ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// Quantity and unit, such as `GMACs per image`.
    pub label: String,
    /// How values become positions.
    pub scale: Scale,
    /// Where the axis begins; `None` follows the data. What lies outside is cut off, and counted below
    /// the chart. Ends that make no axis (not finite, `from` not below `to`, not above zero on a
    /// logarithmic axis) are ignored.
    pub from: Option<f64>,
    /// Where the axis ends; as `from`.
    pub to: Option<f64>,
}

/// How an axis turns values into positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equal distances.
    #[default]
    Linear,
    /// As `Linear`, with ticks at whole numbers only: layers, counts.
    Whole,
    /// Equal ratios are equal distances; only values above zero have a place.
    Log,
}

/// Named points that are drawn alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend; a series with an empty name has no entry.
    pub name: String,
    /// `(x, y)` in the order in which a line visits them. A point without a place breaks the line.
    pub points: Vec<(f64, f64)>,
    /// From which `y` to which each point may lie, in the order of `points`: an upright line with ends through lines and
    /// markers. Empty where nothing is known of them.
    pub intervals: Vec<(f64, f64)>,
    /// How the points are drawn.
    pub mark: Mark,
    /// Which vertical axis `y` is measured on.
    pub side: Side,
    /// A colour of its own, or the grey of a background.
    pub tone: Tone,
}

/// How the points of a series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A bar from zero (on a logarithmic axis: from its lower end); several series stand side by side.
    Bars,
    /// Small and translucent, for up to tens of thousands of points.
    Dots,
    /// Straight lines between neighbours, with a marker at each point.
    Line,
    /// A staircase: each `y` holds until the next point's `x`. A front of *less is better* (accuracy over
    /// GMACs) goes by ascending `x`; one of *more is better* (accuracy over speed) by descending `x`.
    Step,
    /// Large markers without a line.
    Markers,
}

/// A vertical axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// [`Chart::y`].
    #[default]
    Left,
    /// [`Chart::right`].
    Right,
}

/// Whether a series stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// The next colour of the palette.
    #[default]
    Color,
    /// Grey, for what the others are seen against.
    Muted,
    /// The colour and the shape of the series before it: another view of the same thing, such as the front of its points.
    Same,
}

/// How series get their colours. Marker shapes differ too, so that no reader depends on colour alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    /// Colours that are easy to tell apart (Okabe and Ito, 2008), for series without an order. After
    /// seven they repeat with another dash.
    #[default]
    Distinct,
    /// From dark to light (viridis), for series that are steps of one quantity, such as thresholds.
    Ordered,
}

/// A horizontal line across the chart, with its label on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// What the line means, such as `unmerged 83.1`.
    pub label: String,
    /// Where it lies on the left axis.
    pub value: f64,
}

/// A short text beside a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The text.
    pub text: String,
    /// The point `(x, y)` it belongs to.
    pub at: (f64, f64),
    /// Which vertical axis `y` is measured on.
    pub side: Side,
}

impl Axis {
    /// A linear axis that follows the data.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// A linear axis with ticks at whole numbers only.
    pub fn whole(label: impl Into<String>) -> Self {
        Self { scale: Scale::Whole, ..Self::linear(label) }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label) }
    }
}

impl Series {
    /// A coloured series on the left axis.
    pub fn new(name: impl Into<String>, mark: Mark, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, intervals: Vec::new(), mark, side: Side::Left, tone: Tone::Color }
    }

    /// The series with an interval of `y` for each of its points.
    pub fn with_intervals(self, intervals: Vec<(f64, f64)>) -> Self {
        Self { intervals, ..self }
    }

    /// The series measured on the right axis.
    pub fn on_right(self) -> Self {
        Self { side: Side::Right, ..self }
    }

    /// The series in grey.
    pub fn muted(self) -> Self {
        Self { tone: Tone::Muted, ..self }
    }

    /// The series in the colour of the one before it.
    pub fn as_before(self) -> Self {
        Self { tone: Tone::Same, ..self }
    }
}

impl Reference {
    /// A line at `value` of the left axis.
    pub fn new(label: impl Into<String>, value: f64) -> Self {
        Self { label: label.into(), value }
    }
}

impl Note {
    /// A text beside a point measured on the left axis.
    pub fn new(text: impl Into<String>, at: (f64, f64)) -> Self {
        Self { text: text.into(), at, side: Side::Left }
    }
}
