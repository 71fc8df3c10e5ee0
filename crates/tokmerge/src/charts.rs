//! The results of [`analysis`](crate::analysis) as charts.

use tokmerge_eval::analysis::{LayerLoss, LayerMerges, MergeProfile, loss_per_layer};
use tokmerge_viz::plot::{Axis, Chart, Mark, Palette, Scale, Series};

/// Information loss over the layers: a line per threshold, grey bars for the mean over the thresholds (ATM,
/// Figure 2). On a [logarithmic](Scale::Log) axis an exponential curve is a straight line, and losses of zero
/// have no place.
#[must_use]
pub fn loss_chart(model: &str, losses: &[LayerLoss], scale: Scale) -> Chart {
    let mut thresholds: Vec<f64> = Vec::new();
    for loss in losses {
        if !thresholds.contains(&loss.threshold) {
            thresholds.push(loss.threshold);
        }
    }
    let line = |threshold: &f64| {
        let points = losses.iter().filter(|loss| loss.threshold == *threshold);
        let points = points.map(|loss| (loss.layer as f64, loss.distance)).collect();
        Series::new(format!("threshold {threshold}"), Mark::Line, points)
    };
    let means = loss_per_layer(losses).into_iter().map(|(layer, mean)| (layer as f64, mean)).collect();
    let bars = Series::new("mean", Mark::Bars, means).muted();
    let images = losses.first().map_or(0, |loss| loss.images);
    Chart {
        title: format!("Information loss per layer: {model}"),
        x: Axis::whole("the only layer that merges"),
        y: Axis { scale, ..Axis::linear(format!("cosine distance of the output, mean of {images} images")) },
        series: [bars].into_iter().chain(thresholds.iter().map(line)).collect(),
        palette: Palette::Ordered,
        ..Chart::default()
    }
}

/// Merged tokens over the layers: bars per method, and its thresholds as a line on the right axis where it has
/// them (ATM, Figure 6).
#[must_use]
pub fn merges_chart(model: &str, profiles: &[MergeProfile]) -> Chart {
    let bars = profiles.iter().map(|profile| {
        let points = profile.layers.iter().map(|layer| (layer.layer as f64, layer.merged.mean)).collect();
        Series::new(profile.merge.as_str(), Mark::Bars, points)
    });
    let lines = profiles.iter().filter_map(|profile| {
        let point = |layer: &LayerMerges| Some((layer.layer as f64, layer.threshold?));
        let points: Vec<_> = profile.layers.iter().filter_map(point).collect();
        let name = match profiles {
            [_] => "threshold".to_owned(),
            _ => format!("threshold of {}", profile.merge),
        };
        (!points.is_empty()).then(|| Series::new(name, Mark::Line, points).on_right())
    });
    let images = profiles.first().map_or(0, |profile| profile.images);
    Chart {
        title: format!("Merged tokens per layer: {model}"),
        x: Axis::whole("layer"),
        y: Axis::linear(format!("merged tokens per image, mean of {images} images")),
        right: Axis::linear("threshold (cosine similarity)"),
        series: bars.chain(lines).collect(),
        ..Chart::default()
    }
}
