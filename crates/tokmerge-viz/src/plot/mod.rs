//! Charts as SVG text: lines, bars, steps and scatters, with an optional second axis on the right.
//!
//! A [`Chart`] is plain data; [`Chart::to_svg`] draws it and cannot fail. Points that no axis can place
//! (not finite, or not above zero on a logarithmic axis) are left out, and the chart says how many.
//!
//! ```
//! use tokmerge_viz::plot::{Axis, Chart, Mark, Note, Reference, Series};
//!
//! let chart = Chart {
//!     title: "Accuracy after merging".into(),
//!     x: Axis::linear("GMACs per image"),
//!     y: Axis::linear("top-1 accuracy (%)"),
//!     series: vec![
//!         Series::new("random schedules", Mark::Dots, vec![(2.9, 78.1), (3.1, 79.0)]).muted(),
//!         Series::new("constant", Mark::Line, vec![(2.3, 75.4), (3.1, 80.2), (4.6, 83.1)]),
//!     ],
//!     references: vec![Reference::new("unmerged 83.1", 83.1)],
//!     notes: vec![Note::new("r = 8", (3.1, 80.2))],
//!     ..Chart::default()
//! };
//! assert!(chart.to_svg().starts_with("<svg"));
//! ```

mod axis;
mod chart;
mod draw;
mod marks;
mod number;
mod page;
mod place;
pub(crate) mod text;

pub use chart::{Axis, Chart, Mark, Note, Palette, Reference, Scale, Series, Side, Tone};
