//! What the best schedules of merging have in common at each speed (ToMe, Figure 7): results in ranges of their cost, of each
//! range the best, and of these the mean number of tokens merged in every layer.

use super::axis::{Cost, Quality};
use super::error::RunsError;
use super::page::{SCHEDULES, ending, page};
use super::point::Point;
use super::read::Results;
use super::speeds;
use tokmerge_merge::MergeSpec;
use tokmerge_viz::plot::{Axis, Chart, Mark, Palette, Series};

/// How results are put into ranges, and how many of each count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The cost; without one speed over unmerged where it is known, else multiply-adds.
    pub cost: Option<Cost>,
    /// The quality; without one the first that all results have.
    pub quality: Option<Quality>,
    /// Ranges of equal width.
    pub ranges: usize,
    /// The best of each range, at most.
    pub best: usize,
}

/// Mean schedules of ranges of cost.
#[derive(Clone, Debug)]
pub struct Schedules {
    /// What the ranges are of.
    pub cost: Cost,
    /// What the best are chosen by.
    pub quality: Quality,
    /// The ranges that have a schedule, by their cost.
    pub ranges: Vec<ScheduleRange>,
    /// What the user should know, a line each.
    pub notes: Vec<String>,
}

/// The best schedules of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRange {
    /// Costs of the range.
    pub from: f64,
    /// The end of it.
    pub to: f64,
    /// Schedules in it.
    pub count: usize,
    /// Those that count: the best.
    pub best: usize,
    /// Their mean quality.
    pub mean: f64,
    /// Tokens merged in every layer, in the mean of the best.
    pub merged: Vec<f64>,
}

/// A schedule: its cost, its quality, and tokens merged in every layer.
type Schedule = (f64, f64, Vec<f64>);

impl Schedules {
    /// The means of the best schedules. A schedule is a spec whose `r` is a list, as `tune --search random` draws them.
    ///
    /// # Errors
    /// When there are none, or they are of models of different depth.
    pub fn new(results: Results, selection: Selection) -> Result<Self, RunsError> {
        let Results { mut points, mut notes, .. } = results;
        speeds::compared(&mut points);
        let listed: Vec<(&Point, Vec<f64>)> =
            points.iter().filter_map(|point| Some((point, list(&point.merge)?))).collect();
        let depth = listed.first().map(|(_, merged)| merged.len()).ok_or_else(RunsError::no_schedule)?;
        if let Some((_, other)) = listed.iter().find(|(_, merged)| merged.len() != depth) {
            return Err(RunsError::Depths(depth, other.len()));
        }
        let all = |cost: &Cost| listed.iter().all(|(point, _)| point.costs.contains_key(cost));
        let cost = selection.cost.or_else(|| [Cost::Speedup, Cost::Gmacs].into_iter().find(all));
        let cost = cost.unwrap_or(Cost::Gmacs);
        let has = |quality: &Quality| listed.iter().all(|(point, _)| point.qualities.contains_key(quality));
        let quality = selection.quality.or_else(|| Quality::ALL.into_iter().find(has));
        let quality = quality.unwrap_or(Quality::Top1);
        let whole = |(point, merged): &(&Point, Vec<f64>)| {
            Some((*point.costs.get(&cost)?, point.qualities.get(&quality)?.value, merged.clone()))
        };
        let schedules: Vec<Schedule> = listed.iter().filter_map(whole).collect();
        let without = points.len() - schedules.len();
        if without > 0 {
            notes.push(format!(
                "{without} results are left out: they have no list as r, no {} or no {}",
                quality.name(),
                cost.name()
            ));
        }
        if schedules.is_empty() {
            return Err(RunsError::no_cost(cost));
        }
        Ok(Self { cost, quality, ranges: ranged(schedules, selection), notes })
    }

    /// The mean schedules as lines over the layers.
    #[must_use]
    pub fn chart(&self, title: Option<&str>) -> Chart {
        let series = self.ranges.iter().map(|range| {
            let points = range.merged.iter().enumerate().map(|(layer, merged)| ((layer + 1) as f64, *merged));
            Series::new(
                format!("{} ({} of {})", self.shown(range), range.best, range.count),
                Mark::Line,
                points.collect(),
            )
        });
        Chart {
            title: title.map_or_else(|| self.title(), str::to_owned),
            x: Axis::whole("layer"),
            y: Axis { from: Some(0.0), ..Axis::linear("tokens merged, mean of the best schedules") },
            series: series.collect(),
            palette: Palette::Ordered,
            ..Chart::default()
        }
    }

    fn title(&self) -> String {
        format!("The best schedules by {}", self.quality.words().trim_end_matches(" %"))
    }

    fn shown(&self, range: &ScheduleRange) -> String {
        format!("{} to {}", self.cost.shown(range.from), self.cost.shown(range.to))
    }

    /// Headings and rows, for people.
    #[must_use]
    pub fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let depth = self.ranges.first().map_or(0, |range| range.merged.len());
        let mut header =
            vec![self.cost.words().to_owned(), "best of".to_owned(), self.quality.words().to_owned()];
        header.extend((1..=depth).map(|layer| format!("layer {layer}")));
        let row = |range: &ScheduleRange| {
            let mut cells = vec![
                self.shown(range),
                format!("{} of {}", range.best, range.count),
                self.quality.shown(range.mean),
            ];
            cells.extend(range.merged.iter().map(|merged| format!("{merged:.1}")));
            cells
        };
        (header, self.ranges.iter().map(row).collect())
    }

    /// The means as a page of Markdown.
    #[must_use]
    pub fn to_markdown(&self, title: Option<&str>, picture: Option<&str>, command: &str) -> String {
        let title = title.map_or_else(|| self.title(), str::to_owned);
        let (header, rows) = self.cells();
        let mut page = page(&title, picture, (&header, &rows), 1);
        let reading = "Tokens merged in each layer, means of the best schedules of each range.".to_owned();
        let sentences: Vec<String> = [reading].into_iter().chain(self.notes.clone()).collect();
        ending(&mut page, &sentences, command);
        page
    }

    /// A row for every range and layer as CSV.
    ///
    /// # Errors
    /// When a row cannot be written as CSV.
    pub fn to_csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(SCHEDULES.into_iter().chain(["from", "to", "count", "best", "mean"]))?;
        for range in &self.ranges {
            for (layer, merged) in range.merged.iter().enumerate() {
                writer.write_record([
                    (layer + 1).to_string(),
                    merged.to_string(),
                    self.cost.name().to_owned(),
                    self.quality.name().to_owned(),
                    range.from.to_string(),
                    range.to.to_string(),
                    range.count.to_string(),
                    range.best.to_string(),
                    range.mean.to_string(),
                ])?;
            }
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }
}

/// Tokens merged in every layer, where a spec lists them.
fn list(merge: &str) -> Option<Vec<f64>> {
    let spec: MergeSpec = merge.parse().ok()?;
    let (_, value) = spec.options.iter().find(|(option, _)| option == "r")?;
    let inside = value.strip_prefix('[')?.strip_suffix(']')?;
    let numbers = inside.split(',').map(|number| number.trim().parse::<f64>().ok().filter(|r| r.is_finite()));
    numbers.collect()
}

/// Puts schedules into ranges of equal width, and takes the mean of the best of each. The last range has its end.
fn ranged(schedules: Vec<Schedule>, selection: Selection) -> Vec<ScheduleRange> {
    let costs = || schedules.iter().map(|(cost, ..)| *cost);
    let (low, high) = (costs().fold(f64::INFINITY, f64::min), costs().fold(f64::NEG_INFINITY, f64::max));
    let ranges = selection.ranges.max(1);
    let width = (high - low) / ranges as f64;
    let range_of =
        |cost: f64| if width > 0.0 { (((cost - low) / width) as usize).min(ranges - 1) } else { 0 };
    let range = |index: usize| {
        let mut inside: Vec<&Schedule> =
            schedules.iter().filter(|(cost, ..)| range_of(*cost) == index).collect();
        inside.sort_by(|a, b| b.1.total_cmp(&a.1));
        let best = &inside[..selection.best.max(1).min(inside.len())];
        let depth = best.first()?.2.len();
        let mean =
            |of: &dyn Fn(&Schedule) -> f64| best.iter().map(|each| of(each)).sum::<f64>() / best.len() as f64;
        Some(ScheduleRange {
            from: low + width * index as f64,
            to: low + width * (index + 1) as f64,
            count: inside.len(),
            best: best.len(),
            mean: mean(&|(_, quality, _)| *quality),
            merged: (0..depth).map(|layer| mean(&|(.., merged)| merged[layer])).collect(),
        })
    };
    (0..if width > 0.0 { ranges } else { 1 }).filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{is_csv, is_page, read_text};

    const POINTS: &str = "merge,family,images,gmacs,top1,seconds,unmerged_seconds\n\
                          none,unmerged,96,1.0,80.0,0.02,0.02\n\
                          \"tome:r=[4,0]\",random,96,0.9,70.0,0.02,0.02\n\
                          \"tome:r=[0,4]\",random,96,0.9,78.0,0.02,0.02\n\
                          \"tome:r=[2,4]\",random,96,0.9,76.0,0.02,0.02\n\
                          \"tome:r=[8,6]\",random,96,0.5,60.0,0.01,0.02\n";

    const SELECTION: Selection = Selection { cost: None, quality: None, ranges: 2, best: 2 };

    #[test]
    fn the_best_of_every_range_are_averaged_layer_by_layer() {
        let found = Schedules::new(read_text(POINTS, "s.csv").unwrap(), SELECTION).unwrap();
        assert_eq!((found.cost, found.quality), (Cost::Speedup, Quality::Top1));
        let ranges: Vec<_> = found.ranges.iter().map(|range| (range.count, range.best, range.mean)).collect();
        assert_eq!(ranges, [(3, 2, 77.0), (1, 1, 60.0)]);
        assert_eq!((found.ranges[0].from, found.ranges[0].to), (1.0, 1.5));
        assert_eq!(found.ranges[0].merged, [1.0, 4.0]);
        assert_eq!(found.ranges[1].merged, [8.0, 6.0]);
        assert!(found.notes[0].starts_with("1 results are left out"), "{:?}", found.notes);
        let chart = found.chart(None);
        assert_eq!(chart.series[0].name, "1.00x to 1.50x (2 of 3)");
        assert_eq!(chart.series[0].points, [(1.0, 1.0), (2.0, 4.0)]);
        let page = found.to_markdown(None, None, "tokmerge report");
        assert!(page.contains("| 1.00x to 1.50x | 2 of 3 | 77.0 | 1.0 | 4.0 |"), "{page}");
        let csv = String::from_utf8(found.to_csv().unwrap()).unwrap();
        assert!(is_page(&page) && is_csv(&csv), "{csv}");
    }

    #[test]
    fn one_cost_is_one_range_and_what_is_no_schedule_is_refused() {
        let one = Selection { cost: Some(Cost::Gmacs), ..SELECTION };
        let text = POINTS.replace(",0.5,", ",0.9,");
        assert_eq!(Schedules::new(read_text(&text, "s.csv").unwrap(), one).unwrap().ranges.len(), 1);
        let refused = |text: &str| {
            Schedules::new(read_text(text, "s.csv").unwrap(), SELECTION).unwrap_err().to_string()
        };
        let constant = refused("merge,gmacs,top1\ntome:r=8,1.0,80\n");
        assert!(constant.contains("none of the results has a list as r"), "{constant}");
        let depths = refused("merge,gmacs,top1\n\"tome:r=[8,4]\",1.0,80\n\"tome:r=[8,4,2]\",1.0,80\n");
        assert!(depths.contains("2 layers and others 3"), "{depths}");
    }
}
