//! Outputs that are numbers.

use burn::tensor::Tensor;

/// An output of a model that is no number, or infinite: no prediction can be read from it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "output {index} of {item} is {value}, and predictions need finite numbers; check the weights, and `mean` and `std` if \
     they were given"
)]
pub struct NotFinite {
    /// Which item of which batch, or its file.
    pub item: String,
    /// Position in the batch.
    pub position: usize,
    /// Which of its outputs.
    pub index: usize,
    /// The output.
    pub value: f32,
}

impl NotFinite {
    /// Refuses rows that are not finite, one of every item.
    ///
    /// # Errors
    /// With the first.
    pub fn check(rows: &[Vec<f32>]) -> Result<(), Self> {
        let wrong = rows.iter().enumerate().find_map(|(position, row)| {
            row.iter().enumerate().find(|(_, value)| !value.is_finite()).map(|(index, value)| Self {
                item: format!("item {position} of a batch"),
                position,
                index,
                value: *value,
            })
        });
        wrong.map_or(Ok(()), Err)
    }

    /// The same of a tensor, `[B, E]`.
    ///
    /// # Errors
    /// With the first.
    pub fn check_tensor(rows: &Tensor<2>) -> Result<(), Self> {
        Self::check(&rows_of(rows.clone()))
    }

    /// The same of inputs of which so many are views of an item.
    #[must_use]
    pub(crate) fn of_views(self, views: usize) -> Self {
        let position = self.position / views.max(1);
        Self { item: format!("item {position} of a batch"), position, ..self }
    }

    /// The same, naming the file that the item came from.
    #[must_use]
    pub fn in_file(self, path: &std::path::Path) -> Self {
        Self { item: path.display().to_string(), ..self }
    }
}

/// The rows of a tensor, read.
pub(crate) fn rows_of(x: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, width] = x.dims();
    let flat: Vec<f32> = x.into_data().iter::<f32>().collect();
    flat.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::NotFinite;

    #[test]
    fn the_first_that_is_no_number_is_named() {
        assert_eq!(NotFinite::check(&[vec![1.0, f32::MAX], vec![]]), Ok(()));
        let found = NotFinite::check(&[vec![1.0], vec![0.0, f32::NAN], vec![f32::INFINITY]]).unwrap_err();
        assert_eq!((found.position, found.index, found.value.is_nan()), (1, 1, true));
        let text = found.in_file("a/b.png".as_ref()).to_string();
        assert!(text.starts_with("output 1 of a/b.png is NaN"), "{text}");
    }
}
