//! The images of a search, read once and kept.

use tokmerge_data::{BatchLoader, DecodeOptions, LoaderError, MediaError, Reading, Sample};
use tokmerge_models::{Batch, Model};

/// Prepared images in memory, in batches.
#[derive(Clone, Debug)]
pub struct Images {
    batches: Vec<Batch>,
    samples: Vec<Sample>,
    decoding: DecodeOptions,
}

/// Images per batch in memory. Results do not depend on it, so it is not the user's concern.
const BATCH: usize = 32;

impl Images {
    /// Reads and prepares images on `workers` threads; tells `failed` of those that cannot be read, which are left out.
    ///
    /// # Errors
    /// When the reading cannot start.
    pub fn load(
        model: &Model,
        samples: Vec<Sample>,
        workers: usize,
        decoding: DecodeOptions,
        mut failed: impl FnMut(&std::path::Path, &MediaError),
    ) -> Result<Self, LoaderError> {
        let mut images = Self { batches: Vec::new(), samples: Vec::new(), decoding };
        let reading = Reading { batch_size: BATCH, workers, decoding };
        for batch in BatchLoader::new(samples, model.processor().clone(), reading)? {
            for (path, error) in &batch.failed {
                failed(path, error);
            }
            if !batch.is_empty() {
                images.batches.push(Batch::from(&batch));
                images.samples.extend(batch.samples);
            }
        }
        Ok(images)
    }

    /// Images from memory, `pixels: [B, 3, H, W]`, with the samples that they come from.
    #[must_use]
    pub fn from_pixels(pixels: Vec<f32>, samples: Vec<Sample>) -> Self {
        Self { batches: vec![pixels.into()], samples, decoding: DecodeOptions::default() }
    }

    /// Pixels, batch by batch.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The images that could be read, in order.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// How they were decoded.
    #[must_use]
    pub fn decoding(&self) -> DecodeOptions {
        self.decoding
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}
