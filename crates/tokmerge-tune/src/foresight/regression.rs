//! Ridge regression of later attention on tokens.

use burn::tensor::{Tensor, TensorData};
use tokmerge_eval::least_squares;
use tokmerge_merge::foresight::Importance;
use tokmerge_merge::{Evidence, MapQueries, Received, Reduction, Tokens, Wants};
use tokmerge_models::{Batch, Model, NotFinite, Pass, Probe};

/// What is added to the diagonal, as a part of the rows: so little that it matters only where channels say the same.
const RIDGE: f64 = 1e-3;

/// Attention below this part of an even share counts as that.
const LEAST: f32 = 1e-6;

/// The map of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) weight: Vec<f64>,
    pub(super) bias: f64,
    /// Part of the variance that it explains.
    pub(super) explained: f64,
}

/// Sums over the patches of all images, layer by layer.
#[derive(Debug)]
pub(super) struct Regression {
    layers: Vec<Sums>,
    depth: usize,
    by_class: bool,
}

/// Of inputs `z`, a last one of which is 1, and a target `t`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    rows: f64,
    /// `z zᵀ`.
    gram: Vec<f64>,
    /// `z t`.
    moment: Vec<f64>,
    /// `t²`.
    squares: f64,
}

/// The norms of the tokens of a batch, and the attention on them.
#[derive(Debug)]
struct Seen {
    by_class: bool,
    /// `[T, C]` per layer.
    norms: Vec<Tensor<2>>,
    /// `[T]` per layer.
    attention: Vec<Vec<f32>>,
    tokens: Option<Tokens>,
}

impl Probe for Seen {
    fn wants(&self, _: usize) -> Wants {
        match self.by_class {
            true => Wants { maps: Some(MapQueries::First), ..Wants::default() },
            false => Wants { received: Received::FromAll, ..Wants::default() },
        }
    }

    fn attended(&mut self, _: usize, tokens: &Tokens, evidence: &Evidence) {
        self.norms.push(Importance::normalised(tokens.x.clone()));
        self.attention.push(match self.by_class {
            true => (0..tokens.layout.items()).flat_map(|item| evidence.map(item).mean_row(0)).collect(),
            false => evidence.received().to_vec(),
        });
        self.tokens.get_or_insert_with(|| tokens.clone());
    }
}

impl Regression {
    pub(super) fn new(depth: usize, by_class: bool) -> Self {
        Self { layers: vec![Sums::default(); depth - 1], depth, by_class }
    }

    /// Adds the patches of a batch.
    pub(super) fn add(&mut self, model: &Model, batch: &Batch) -> Result<(), NotFinite> {
        let mut seen =
            Seen { by_class: self.by_class, norms: Vec::new(), attention: Vec::new(), tokens: None };
        let none = Reduction::none();
        let output = model.run(batch.clone(), Pass::new(&none).probed(&mut seen));
        NotFinite::check_tensor(&output.logits)?;
        let Some(tokens) = seen.tokens.take().filter(|_| seen.norms.len() == self.depth) else {
            return Ok(());
        };
        let patches = patches(&tokens);
        // What is later is summed from behind.
        let mut later = vec![0.0f32; tokens.layout.rows()];
        for (layer, norms) in seen.norms.into_iter().enumerate().rev() {
            if let Some(sums) = self.layers.get_mut(layer) {
                let layers = (self.depth - 1 - layer) as f32;
                let logs = later.iter().zip(&patches);
                let log = |(sum, share): (&f32, &f32)| (sum / layers * share).max(LEAST).ln();
                sums.add(norms, &logs.map(log).collect::<Vec<f32>>(), &patches);
            }
            later.iter_mut().zip(&seen.attention[layer]).for_each(|(sum, more)| *sum += more);
        }
        Ok(())
    }

    /// The maps of all layers but the last; the layer, from 0, of which there is none otherwise.
    pub(super) fn solve(&self) -> Result<Vec<Fit>, usize> {
        self.layers.iter().enumerate().map(|(layer, sums)| sums.solve().ok_or(layer)).collect()
    }
}

/// The tokens of the item that each patch is of, `[T]`: one over an even share. 0 of prefix tokens.
fn patches(tokens: &Tokens) -> Vec<f32> {
    let of_item = |item: usize| {
        let len = tokens.layout.range(item).len();
        let prefix = tokens.prefix.of(item).min(len);
        let patches = std::iter::repeat_n(len as f32, len - prefix);
        std::iter::repeat_n(0.0, prefix).chain(patches)
    };
    (0..tokens.layout.items()).flat_map(of_item).collect()
}

impl Sums {
    /// Adds the rows of which `counted` is not 0: `norms: [T, C]`, `targets: [T]`.
    fn add(&mut self, norms: Tensor<2>, targets: &[f32], counted: &[f32]) {
        let ([rows, channels], device) = (norms.dims(), norms.device());
        let mask: Vec<f32> = counted.iter().map(|counted| f32::from(u8::from(*counted != 0.0))).collect();
        let kept: Vec<f32> = targets.iter().zip(&mask).map(|(target, mask)| target * mask).collect();
        self.rows += mask.iter().map(|mask| f64::from(*mask)).sum::<f64>();
        self.squares += kept.iter().map(|target| f64::from(*target).powi(2)).sum::<f64>();
        let column = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [rows, 1]), &device);
        let mask = column(mask);
        let z = Tensor::cat(vec![norms * mask.clone(), mask], 1);
        let all = z.clone().transpose().matmul(Tensor::cat(vec![z, column(kept)], 1));
        let all: Vec<f32> = all.into_data().iter::<f32>().collect();
        let width = channels + 1;
        self.gram.resize(width * width, 0.0);
        self.moment.resize(width, 0.0);
        for (row, values) in all.chunks(width + 1).enumerate() {
            let sums = self.gram[row * width..].iter_mut().zip(values);
            sums.take(width).for_each(|(sum, value)| *sum += f64::from(*value));
            self.moment[row] += f64::from(values[width]);
        }
    }

    fn solve(&self) -> Option<Fit> {
        let (width, channels) = (self.moment.len(), self.moment.len().checked_sub(1)?);
        let mut gram = self.gram.clone();
        (0..channels).for_each(|channel| gram[channel * (width + 1)] += RIDGE * self.rows);
        let found = least_squares(gram, self.moment.clone())?;
        let mean = self.moment[channels] / self.rows;
        let variance = self.squares / self.rows - mean * mean;
        let explained = 1.0 - self.error(&found) / self.rows / variance.max(f64::MIN_POSITIVE);
        let bias = found[channels];
        Some(Fit { weight: found[..channels].to_vec(), bias, explained })
    }

    /// The sum of `(w z - t)²`.
    fn error(&self, w: &[f64]) -> f64 {
        let width = w.len();
        let of_row = |(row, factor): (usize, &f64)| {
            let products = self.gram[row * width..].iter().zip(w).map(|(gram, w)| gram * w);
            factor * (products.sum::<f64>() - 2.0 * self.moment[row])
        };
        w.iter().enumerate().map(of_row).sum::<f64>() + self.squares
    }
}

#[cfg(test)]
mod tests {
    use super::Sums;
    use burn::tensor::{Device, Tensor};

    #[test]
    fn a_line_is_found_and_what_is_masked_counts_for_nothing() {
        // t = 2 z + 1 at -1, 0, 1 and 2; the row of 9 is a prefix token's.
        let norms = Tensor::<2>::from_data([[-1.0], [0.0], [9.0], [1.0], [2.0]], &Device::default());
        let mut sums = Sums::default();
        sums.add(norms, &[-1.0, 1.0, 7.0, 3.0, 5.0], &[5.0, 5.0, 0.0, 5.0, 5.0]);
        assert_eq!((sums.rows, sums.squares), (4.0, 36.0));
        assert_eq!((sums.gram.clone(), sums.moment.clone()), (vec![6.0, 2.0, 2.0, 4.0], vec![14.0, 8.0]));
        let fit = sums.solve().unwrap();
        assert!((fit.weight[0] - 2.0).abs() < 2e-3 && (fit.bias - 1.0).abs() < 2e-3, "{fit:?}");
        assert!(fit.explained > 0.999 && fit.explained <= 1.0, "{fit:?}");
        assert_eq!(Sums::default().solve(), None);
    }
}
