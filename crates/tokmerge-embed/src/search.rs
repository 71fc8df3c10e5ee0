//! Exact search: the cosine of a query with every vector of a file or a folder of parts.

use crate::output::{self, Rows};
use crate::store::vectors_of;
use crate::{EmbedError, Format};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokmerge_checkpoint::shortened;

/// Vectors on disk.
#[derive(Clone, Debug)]
pub struct Vectors {
    path: PathBuf,
    files: Vec<PathBuf>,
    format: Format,
    made_with: Option<Value>,
}

/// A vector that is near a query.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbour {
    /// From 1.
    pub rank: usize,
    /// Path or key of its image.
    pub key: String,
    /// From -1 to 1; 0 where either is a vector of zeros.
    pub cosine: f64,
    /// Its place in the file, from 0.
    pub row: usize,
}

impl Vectors {
    /// Finds vectors: a file that [`embed`](crate::embed) wrote, or a folder of parts.
    ///
    /// # Errors
    /// When there is none, or its ending is that of no format.
    pub fn open(path: &Path) -> Result<Self, EmbedError> {
        if !path.exists() {
            return Err(EmbedError::Missing { path: path.to_owned() });
        }
        let (files, format, made_with) = vectors_of(path)?;
        Ok(Self { path: path.to_owned(), files, format, made_with })
    }

    /// A setting that the vectors were made with, where the file or what lies beside it says so.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&Value> {
        self.made_with.as_ref()?.get("settings")?.get(name).filter(|value| !value.is_null())
    }

    /// The `count` vectors with the largest cosine, the nearest first; of equals the first in the file.
    ///
    /// # Errors
    /// When a file cannot be read, vectors have another length than the query, or a number is not finite.
    pub fn nearest(&self, query: &[f32], count: usize) -> Result<Vec<Neighbour>, EmbedError> {
        if let Some(value) = query.iter().find(|value| !value.is_finite()) {
            return Err(EmbedError::vectors(
                &self.path,
                format!("cannot be searched for a query that holds {value}"),
            ));
        }
        let length = norm(query);
        let (mut best, mut row) = (Vec::<Neighbour>::new(), 0);
        self.each(|rows| {
            if rows.dim != query.len() {
                let (path, file, query) = (self.path.clone(), rows.dim, query.len());
                return Err(EmbedError::Dimension { path, file, query });
            }
            let cosines: Vec<f64> = (0..rows.len())
                .into_par_iter()
                .map(|row| {
                    let vector = rows.row(row);
                    let scale = length * norm(vector);
                    if scale == 0.0 { 0.0 } else { dot(query, vector) / scale }
                })
                .collect();
            for (cosine, key) in cosines.into_iter().zip(rows.keys) {
                if !cosine.is_finite() {
                    return Err(EmbedError::vectors(
                        &self.path,
                        format!("the vector of {} is not finite", shortened(&key)),
                    ));
                }
                let worst = best.last().filter(|_| best.len() >= count).map(|worst| worst.cosine);
                if worst.is_none_or(|worst| cosine > worst) {
                    // Behind those that are as near: they stand first in the file.
                    let place = best.partition_point(|other| other.cosine >= cosine);
                    best.insert(place, Neighbour { rank: 0, key, cosine, row });
                    best.truncate(count);
                }
                row += 1;
            }
            Ok(())
        })?;
        best.iter_mut().zip(1..).for_each(|(neighbour, rank)| neighbour.rank = rank);
        Ok(best)
    }

    /// The vector of a key; the first where there are several.
    ///
    /// # Errors
    /// When there is none, or a file cannot be read.
    pub fn vector(&self, key: &str) -> Result<Vec<f32>, EmbedError> {
        let mut found = None;
        self.each(|rows| {
            if found.is_none() {
                let row = rows.keys.iter().position(|other| other == key);
                found = row.map(|row| rows.row(row).to_vec());
            }
            Ok(())
        })?;
        found.ok_or_else(|| EmbedError::NoKey { path: self.path.clone(), key: key.to_owned() })
    }

    /// Keys and vectors, a row each, in order.
    ///
    /// # Errors
    /// When a file cannot be read, or `visit` fails.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(&str, &[f32]) -> Result<(), EmbedError>,
    ) -> Result<(), EmbedError> {
        self.each(|rows| (0..rows.len()).try_for_each(|row| visit(&rows.keys[row], rows.row(row))))
    }

    fn each(&self, mut each: impl FnMut(Rows) -> Result<(), EmbedError>) -> Result<(), EmbedError> {
        let mut filled = |rows: Rows| if rows.len() == 0 { Ok(()) } else { each(rows) };
        self.files.iter().try_for_each(|file| output::read(file, self.format, &mut filled))
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0_f64; LANES];
    let (a, b) = (a.chunks(LANES), b.chunks(LANES));
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum()
}

fn norm(vector: &[f32]) -> f64 {
    dot(vector, vector).sqrt()
}
