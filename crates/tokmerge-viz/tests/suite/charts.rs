//! What `Chart::to_svg` promises, read back from the documents it makes.

use proptest::prelude::*;
use roxmltree::{Document, Node};
use tokmerge_viz::plot::{Axis, Chart, Mark, Note, Palette, Reference, Scale, Series, Side, Tone};

const MARKS: [Mark; 5] = [Mark::Bars, Mark::Dots, Mark::Line, Mark::Step, Mark::Markers];

fn chart(mark: Mark, points: Vec<(f64, f64)>) -> Chart {
    Chart {
        title: "title".into(),
        x: Axis::linear("across"),
        y: Axis::linear("up"),
        series: vec![Series::new("series", mark, points)],
        ..Chart::default()
    }
}

fn texts(document: &Document<'_>) -> Vec<String> {
    let shown = |node: &Node<'_, '_>| node.has_tag_name("text") && node.attribute("aria-hidden").is_none();
    document.descendants().filter(shown).map(|node| node.text().unwrap().to_owned()).collect()
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

/// Tooltips of the marks, in drawing order.
fn tooltips(document: &Document<'_>) -> Vec<String> {
    let titles = document.descendants().filter(|node| {
        node.has_tag_name("title") && node.parent_element().is_some_and(|mark| !mark.has_tag_name("svg"))
    });
    titles.map(|node| node.text().unwrap().to_owned()).collect()
}

/// Centres of the circles with a tooltip.
fn markers(document: &Document<'_>) -> Vec<(f64, f64)> {
    let circles = document.descendants().filter(|node| node.has_tag_name("circle") && node.has_children());
    circles.map(|node| (number(node, "cx"), number(node, "cy"))).collect()
}

/// Every coordinate of the document: attributes, and the absolute ones of paths.
fn check_numbers(document: &Document<'_>) -> Result<(), TestCaseError> {
    let root = document.root_element();
    let (width, height) = (number(root, "width"), number(root, "height"));
    for node in document.descendants() {
        for name in ["x", "y", "cx", "cy", "width", "height", "r"] {
            let Some(text) = node.attribute(name).filter(|text| !text.ends_with('%')) else { continue };
            let value: f64 = text.parse().unwrap();
            prop_assert!((0.0..=width.max(height)).contains(&value), "{name}={text}");
        }
        let Some(path) = node.attribute("d") else { continue };
        for text in path.split(|c: char| c.is_ascii_alphabetic() || c == ' ').filter(|text| !text.is_empty())
        {
            let value: f64 = text.parse().map_err(|_| TestCaseError::fail(format!("{text:?} in {path}")))?;
            prop_assert!((-20.0..=width.max(height)).contains(&value), "{value} in {path}");
        }
    }
    Ok(())
}

#[test]
fn higher_values_lie_higher_and_equal_ratios_are_equal_on_a_log_axis() {
    let points = vec![(1.0, 0.01), (2.0, 0.1), (3.0, 1.0)];
    let linear = chart(Mark::Line, points);
    let log = Chart { y: Axis::log("up"), ..linear.clone() };
    let of = |chart: &Chart| markers(&Document::parse(&chart.to_svg()).unwrap());
    let (linear, log) = (of(&linear), of(&log));
    let steps = |points: &[(f64, f64)]| (points[0].1 - points[1].1, points[1].1 - points[2].1);
    assert!((steps(&linear).0 * 10.0 - steps(&linear).1).abs() < 2.0, "{linear:?}");
    assert!((steps(&log).0 - steps(&log).1).abs() < 0.21, "{log:?}");
    assert!((linear[1].0 - linear[0].0 - (linear[2].0 - linear[1].0)).abs() < 0.21);
}

#[test]
fn bars_stand_on_zero_in_proportion() {
    let text = chart(Mark::Bars, vec![(1.0, 10.0), (2.0, 20.0), (3.0, -5.0)]).to_svg();
    let document = Document::parse(&text).unwrap();
    let bars: Vec<_> =
        document.descendants().filter(|node| node.has_tag_name("rect") && node.has_children()).collect();
    let (top, height): (Vec<_>, Vec<_>) =
        bars.iter().map(|&bar| (number(bar, "y"), number(bar, "height"))).unzip();
    assert!((height[1] - 2.0 * height[0]).abs() < 0.3 && (height[0] - 2.0 * height[2]).abs() < 0.3);
    assert!((top[0] + height[0] - top[2]).abs() < 0.11, "{top:?} {height:?}");
    assert_eq!(tooltips(&document)[0], "series: 10 at across 1");
}

#[test]
fn names_are_escaped() {
    let nasty = r#"<b> & "c" ' ]]> é"#;
    let mut chart = chart(Mark::Line, vec![(1.0, 1.0)]);
    (chart.title, chart.x.label, chart.y.label) = (nasty.into(), nasty.into(), nasty.into());
    chart.series[0].name = format!("\u{0}\u{1b}{nasty}");
    chart.series.push(Series::new(nasty, Mark::Dots, vec![(1.0, 1.0)]).on_right());
    chart.right.label = nasty.into();
    chart.notes.push(Note::new(nasty, (1.0, 1.0)));
    chart.references.push(Reference::new(nasty, 1.0));
    let text = chart.to_svg();
    let document = Document::parse(&text).unwrap();
    assert_eq!(texts(&document).iter().filter(|text| text.ends_with(nasty)).count(), 8);
    assert_eq!(document.root_element().first_element_child().unwrap().text(), Some(nasty));
}

#[test]
fn no_data_is_said() {
    let nothing = [vec![], vec![(f64::NAN, 1.0)], vec![(1.0, f64::INFINITY)]];
    for (mark, points) in MARKS.into_iter().flat_map(|mark| nothing.clone().map(|points| (mark, points))) {
        let left_out = points.len();
        let text = chart(mark, points).to_svg();
        let texts = texts(&Document::parse(&text).unwrap());
        assert!(texts.iter().any(|text| text == "no data"), "{mark:?}");
        let note = texts.iter().any(|text| text == "1 point left out: not finite");
        assert_eq!(note, left_out == 1, "{texts:?}");
    }
    assert!(Document::parse(&Chart::default().to_svg()).is_ok());
}

#[test]
fn points_without_a_place_are_counted_and_break_the_line() {
    let points = vec![(1.0, 1.0), (2.0, 2.0), (3.0, 0.0), (4.0, 3.0), (5.0, 4.0)];
    let chart = Chart { y: Axis::log("up"), ..chart(Mark::Line, points) };
    let text = chart.to_svg();
    let document = Document::parse(&text).unwrap();
    assert_eq!(markers(&document).len(), 4);
    let left_out = "1 point left out: not finite, or not above zero on a logarithmic axis";
    assert!(texts(&document).iter().any(|text| text == left_out));
    let line = |node: &Node<'_, '_>| node.attribute("stroke") == Some("#0072b2") && node.has_attribute("d");
    let lines: Vec<_> = document.descendants().filter(line).filter_map(|node| node.attribute("d")).collect();
    // The sample in the legend comes first.
    assert_eq!(lines[1].matches('M').count(), 2, "{lines:?}");
}

#[test]
fn fixed_ends_cut_off_and_count() {
    let mut chart = chart(Mark::Line, vec![(1.0, 0.1), (2.0, 80.0), (3.0, 81.0)]);
    chart.y.from = Some(75.0);
    let text = chart.to_svg();
    let document = Document::parse(&text).unwrap();
    assert_eq!(markers(&document).len(), 2);
    assert!(texts(&document).iter().any(|text| text == "1 point outside the axes"));
    check_numbers(&document).unwrap();
}

#[test]
fn a_step_holds_its_value_until_the_next_point() {
    let text = chart(Mark::Step, vec![(0.0, 0.0), (1.0, 1.0)]).to_svg();
    let document = Document::parse(&text).unwrap();
    let path = document.descendants().filter_map(|node| node.attribute("d")).next_back().unwrap();
    let at: Vec<f64> = path
        .split(['M', 'L', ' '])
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().unwrap())
        .collect();
    let [x0, y0, x1, y1, x2, y2] = at[..] else { panic!("{path}") };
    assert!(y0 == y1 && x1 == x2 && x1 > x0 && y2 < y1, "{path}");
}

#[test]
fn a_cloud_of_points_stays_a_small_file() {
    let points = (0..15_000).map(|i| (f64::from(i) * 0.618 % 1.0, f64::from(i) * 0.755 % 1.0)).collect();
    let text = chart(Mark::Dots, points).to_svg();
    assert!(text.len() < 800_000, "{} bytes", text.len());
    assert_eq!(text.matches("<circle").count(), 15_001);
}

#[test]
fn a_long_legend_takes_rows_and_long_names_are_cut() {
    let mut chart = chart(Mark::Line, vec![(1.0, 1.0)]);
    chart.series =
        (0..40).map(|i| Series::new(format!("series number {i}"), Mark::Line, vec![(1.0, 1.0)])).collect();
    chart.series[7].name = "long ".repeat(500);
    let text = chart.to_svg();
    let document = Document::parse(&text).unwrap();
    assert!(number(document.root_element(), "height") > 560.0);
    assert!(texts(&document).iter().any(|text| text.starts_with("long long") && text.ends_with('…')));
}

/// Ordinary values, and every kind that breaks a division.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -100.0..100.0,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![0.0, -0.0, 1.0, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, 5e-324, 1e300, -1e300]),
    ]
}

fn axis() -> impl Strategy<Value = Axis> {
    let scale = prop::sample::select(vec![Scale::Linear, Scale::Whole, Scale::Log]);
    let end = || prop::option::weighted(0.2, value());
    (any::<String>(), scale, end(), end()).prop_map(|(label, scale, from, to)| Axis {
        label,
        scale,
        from,
        to,
    })
}

#[test]
fn intervals_stand_through_their_points_and_the_axis_holds_them() {
    let mut chart = chart(Mark::Markers, vec![(1.0, 80.0), (2.0, 82.0)]);
    let without = chart.to_svg();
    chart.series[0] = chart.series[0].clone().with_intervals(vec![(70.0, 88.0), (f64::NAN, 83.0)]);
    let with = chart.to_svg();
    // One upright line with two ends; the one that is no number is left out.
    let path = with.lines().find(|line| line.contains("stroke-opacity")).expect("an interval");
    assert_eq!((path.matches('V').count(), path.matches("h8").count()), (1, 2), "{path}");
    assert!(with.contains(">70<") && !without.contains(">70<"), "{with}");
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(vec![Side::Left, Side::Right])
}

fn series() -> impl Strategy<Value = Series> {
    let points = || prop::collection::vec((value(), value()), 0..12);
    let mark = prop::sample::select(MARKS.to_vec());
    let tone = prop::sample::select(vec![Tone::Color, Tone::Muted, Tone::Same]);
    let parts = (any::<String>(), points(), points(), mark, side(), tone);
    parts.prop_map(|(name, points, intervals, mark, side, tone)| Series {
        name,
        points,
        intervals,
        mark,
        side,
        tone,
    })
}

fn any_chart() -> impl Strategy<Value = Chart> {
    let series = prop::collection::vec(series(), 0..9);
    let reference = (any::<String>(), value()).prop_map(|(label, value)| Reference { label, value });
    let note =
        (any::<String>(), (value(), value()), side()).prop_map(|(text, at, side)| Note { text, at, side });
    let palette = prop::sample::select(vec![Palette::Distinct, Palette::Ordered]);
    let extras = (prop::collection::vec(reference, 0..3), prop::collection::vec(note, 0..5), palette);
    (any::<String>(), axis(), axis(), axis(), series, extras).prop_map(
        |(title, x, y, right, series, (references, notes, palette))| Chart {
            title,
            x,
            y,
            right,
            series,
            references,
            notes,
            palette,
        },
    )
}

proptest! {
    #[test]
    fn every_chart_is_a_document_with_its_parts_on_the_page(chart in any_chart()) {
        let text = chart.to_svg();
        let document = Document::parse(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        check_numbers(&document)?;
        prop_assert_eq!(text, chart.to_svg());
    }
}
