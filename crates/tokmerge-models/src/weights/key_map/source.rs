//! How the tensors of a file become the values of a parameter: parts, stacked, then transformed.

use super::Names;
use std::borrow::Cow;
use std::ops::Range;

/// Where the values of a parameter come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Stacked along their first dimension, in this order; all of one shape.
    pub parts: Vec<Part>,
    /// Done to the stack, in this order.
    pub then: Vec<Transform>,
}

/// A part of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A tensor.
    Tensor(String),
    /// A range of a tensor along one dimension.
    Slice {
        /// The tensor.
        name: String,
        /// The dimension.
        dim: usize,
        /// Which of its indices.
        range: Range<usize>,
    },
    /// Zeros of this shape, where a file leaves out what is always zero.
    Zeros(Vec<usize>),
}

/// What is done to values on their way into the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transform {
    /// Dimensions in another order: the first of the result is this one of the source, and so on.
    Permute(Vec<usize>),
    /// The same values in another shape.
    Reshape(Vec<usize>),
    /// The sum over the first dimension, which stays with a length of 1.
    SumLeading,
}

/// Values and their shape.
pub type Values<'a> = (Cow<'a, [f32]>, Vec<usize>);

impl Part {
    /// The tensor that is read, if any.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Tensor(name) | Self::Slice { name, .. } => Some(name),
            Self::Zeros(_) => None,
        }
    }

    fn name_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Tensor(name) | Self::Slice { name, .. } => Some(name),
            Self::Zeros(_) => None,
        }
    }

    fn shape(&self, file: &Names) -> Option<Vec<usize>> {
        match self {
            Self::Tensor(name) => file.shape_on_disk(name).map(<[usize]>::to_vec),
            Self::Zeros(shape) => Some(shape.clone()),
            Self::Slice { name, dim, range } => {
                let mut shape = file.shape_on_disk(name)?.to_vec();
                let length = shape.get_mut(*dim).filter(|length| range.end <= **length)?;
                *length = range.len();
                Some(shape)
            }
        }
    }
}

impl Source {
    /// One tensor as it is.
    #[must_use]
    pub fn tensor(name: impl Into<String>) -> Self {
        Self::stack(vec![Part::Tensor(name.into())])
    }

    /// Parts stacked along their first dimension.
    #[must_use]
    pub fn stack(parts: Vec<Part>) -> Self {
        Self { parts, then: Vec::new() }
    }

    /// The same, with one more transform.
    #[must_use]
    pub fn then(mut self, transform: Transform) -> Self {
        self.then.push(transform);
        self
    }

    /// The tensors that are read.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(Part::name)
    }

    /// The same of tensors in a module.
    pub(super) fn below(mut self, module: &str) -> Self {
        for name in self.parts.iter_mut().filter_map(Part::name_mut) {
            name.insert_str(0, module);
        }
        self
    }

    /// The same with the wrapper in front of every name.
    pub(super) fn on_disk(mut self, file: &Names) -> Self {
        for name in self.parts.iter_mut().filter_map(Part::name_mut) {
            *name = file.on_disk(name);
        }
        self
    }

    /// The shape of the values, by the file's names; `None` where a tensor is absent or the parts do not fit together.
    #[must_use]
    pub fn shape(&self, file: &Names) -> Option<Vec<usize>> {
        let parts = self.parts.iter().map(|part| part.shape(file)).collect::<Option<Vec<_>>>()?;
        let mut shape = stacked(&parts)?;
        for transform in &self.then {
            shape = transform.shape(&shape)?;
        }
        Some(shape)
    }

    /// The values, with `read` giving those of a tensor by its name in the file. `None` where a tensor is absent or the
    /// parts do not fit together.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn values<'a, E>(
        &self,
        mut read: impl FnMut(&str) -> Result<Option<Values<'a>>, E>,
    ) -> Result<Option<Values<'a>>, E> {
        let mut found = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let values = match part {
                Part::Tensor(name) => read(name)?,
                Part::Zeros(shape) => Some((Cow::Owned(vec![0.0; shape.iter().product()]), shape.clone())),
                Part::Slice { name, dim, range } => read(name)?.and_then(|values| slice(values, *dim, range)),
            };
            let Some(values) = values else { return Ok(None) };
            found.push(values);
        }
        let Some(mut values) = join(found) else { return Ok(None) };
        for transform in &self.then {
            let Some(shape) = transform.shape(&values.1) else { return Ok(None) };
            values = (transform.apply(values), shape);
        }
        Ok(Some(values))
    }
}

impl Transform {
    /// The shape that follows, or `None` if this transform does not fit the shape.
    fn shape(&self, shape: &[usize]) -> Option<Vec<usize>> {
        match self {
            Self::Permute(order) => {
                let complete = order.len() == shape.len() && (0..shape.len()).all(|dim| order.contains(&dim));
                complete.then(|| order.iter().map(|dim| shape[*dim]).collect())
            }
            Self::Reshape(new) => {
                (new.iter().product::<usize>() == shape.iter().product::<usize>()).then(|| new.clone())
            }
            Self::SumLeading => match shape {
                [_, rest @ ..] => Some([&[1], rest].concat()),
                [] => None,
            },
        }
    }

    /// The values that follow; the shape was checked.
    fn apply<'a>(&self, (values, shape): Values<'a>) -> Cow<'a, [f32]> {
        match self {
            Self::Permute(order) => Cow::Owned(permuted(&values, &shape, order)),
            Self::Reshape(_) => values,
            Self::SumLeading => {
                let row: usize = shape[1..].iter().product();
                let mut sum = vec![0.0; row];
                for part in values.chunks_exact(row.max(1)) {
                    sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
                }
                Cow::Owned(sum)
            }
        }
    }
}

/// The shape of parts below each other.
fn stacked(parts: &[Vec<usize>]) -> Option<Vec<usize>> {
    let (first, others) = parts.split_first()?;
    if others.is_empty() {
        return Some(first.clone());
    }
    let (rows, rest) = first.split_first()?;
    // Queries, keys and values of different heights would be read as each other.
    let equal = others.iter().all(|other| other == first);
    equal.then(|| [&[rows * parts.len()], rest].concat())
}

fn join(mut parts: Vec<Values<'_>>) -> Option<Values<'_>> {
    if parts.len() == 1 {
        return parts.pop();
    }
    let shapes: Vec<_> = parts.iter().map(|(_, shape)| shape.clone()).collect();
    let shape = stacked(&shapes)?;
    let values: Vec<f32> = parts.iter().flat_map(|(values, _)| values.iter().copied()).collect();
    Some((Cow::Owned(values), shape))
}

fn slice<'a>((values, mut shape): Values<'a>, dim: usize, range: &Range<usize>) -> Option<Values<'a>> {
    let length = *shape.get(dim).filter(|length| range.end <= **length)?;
    let inner: usize = shape[dim + 1..].iter().product();
    let kept = range.start * inner..range.end * inner;
    let values =
        values.chunks_exact((length * inner).max(1)).flat_map(|row| row[kept.clone()].iter().copied());
    let values = values.collect();
    shape[dim] = range.len();
    Some((Cow::Owned(values), shape))
}

fn permuted(values: &[f32], shape: &[usize], order: &[usize]) -> Vec<f32> {
    let stride_of = |dim: usize| shape[dim + 1..].iter().product::<usize>();
    let (lengths, strides): (Vec<usize>, Vec<usize>) =
        order.iter().map(|dim| (shape[*dim], stride_of(*dim))).unzip();
    (0..values.len())
        .map(|index| {
            let (mut left, mut from) = (index, 0);
            for (length, stride) in lengths.iter().zip(&strides).rev() {
                from += left % length * stride;
                left /= length;
            }
            values[from]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn assembled(source: &Source) -> (Vec<f32>, Vec<usize>) {
        let file = Names::new([("a", [2, 3].as_slice()), ("b", &[1, 3])]);
        let read = |name: &str| {
            let values: Option<Values<'static>> = match name {
                "a" => Some((Cow::Owned(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), vec![2, 3])),
                "b" => Some((Cow::Owned(vec![10.0, 20.0, 30.0]), vec![1, 3])),
                _ => None,
            };
            Ok::<_, Infallible>(values)
        };
        let Ok(found) = source.values(read);
        let (values, shape) = found.expect("both tensors are there");
        assert_eq!(source.shape(&file).as_ref(), Some(&shape), "the shape foretold is that of the values");
        (values.into_owned(), shape)
    }

    #[test]
    fn parts_are_stacked_and_absent_ones_are_zeros() {
        let b = || Part::Tensor("b".into());
        let (values, shape) = assembled(&Source::stack(vec![b(), Part::Zeros(vec![1, 3]), b()]));
        assert_eq!(shape, [3, 3]);
        assert_eq!(values, [10.0, 20.0, 30.0, 0.0, 0.0, 0.0, 10.0, 20.0, 30.0]);
    }

    #[test]
    fn transforms_follow_in_order() {
        let (values, shape) = assembled(&Source::tensor("a").then(Transform::Permute(vec![1, 0])));
        assert_eq!(
            (values.as_slice(), shape.as_slice()),
            ([0.0, 3.0, 1.0, 4.0, 2.0, 5.0].as_slice(), [3, 2].as_slice())
        );
        let folded = Source::stack(vec![
            Part::Tensor("b".into()),
            Part::Slice { name: "a".into(), dim: 0, range: 1..2 },
        ]);
        let (values, shape) =
            assembled(&folded.then(Transform::SumLeading).then(Transform::Reshape(vec![1, 1, 3])));
        assert_eq!(
            (values.as_slice(), shape.as_slice()),
            ([13.0, 24.0, 35.0].as_slice(), [1, 1, 3].as_slice())
        );
        let columns = Source::stack(vec![Part::Slice { name: "a".into(), dim: 1, range: 1..3 }]);
        assert_eq!(assembled(&columns), (vec![1.0, 2.0, 4.0, 5.0], vec![2, 2]));
        let folded = Source::tensor("a")
            .then(Transform::Reshape(vec![1, 2, 3]))
            .then(Transform::Permute(vec![2, 0, 1]));
        assert_eq!(assembled(&folded), (vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0], vec![3, 1, 2]));
    }

    #[test]
    fn what_does_not_fit_has_no_shape() {
        let file = Names::new([("a", [2, 3].as_slice()), ("c", &[2, 4])]);
        assert_eq!(Source::tensor("absent").shape(&file), None);
        for other in [Part::Tensor("c".into()), Part::Zeros(vec![1, 3])] {
            assert_eq!(Source::stack(vec![Part::Tensor("a".into()), other]).shape(&file), None);
        }
        assert_eq!(Source::tensor("a").then(Transform::Reshape(vec![7])).shape(&file), None);
        let slice = Part::Slice { name: "a".into(), dim: 1, range: 2..4 };
        assert_eq!(Source::stack(vec![slice]).shape(&file), None);
    }
}
