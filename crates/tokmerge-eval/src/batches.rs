//! From a list of images to batches that a model can run.

use crate::{EvalError, Observer};
use tokmerge_data::{Batch, BatchLoader, Processor, Reading, Sample};

/// Hands the images, prepared by `processor`, batch by batch to `run`. Images that cannot be read are told to the observer and left out.
///
/// # Errors
/// When the reading cannot start, `run` fails, or there were images but none could be read.
pub(crate) fn each_batch<E: From<EvalError>>(
    samples: Vec<Sample>,
    processor: Processor,
    reading: Reading,
    observer: &mut dyn Observer,
    mut run: impl FnMut(&Batch, &mut dyn Observer) -> Result<(), E>,
) -> Result<(), E> {
    let media = processor.media();
    let loader = BatchLoader::new(samples, processor, reading).map_err(EvalError::from)?;
    let (mut read, mut failed, mut first) = (0, 0, String::new());
    for batch in loader {
        for (path, error) in &batch.failed {
            if failed == 0 {
                first = error.to_string();
            }
            failed += 1;
            observer.failed(path, error);
        }
        if !batch.is_empty() {
            run(&batch, observer)?;
            read += batch.len();
        }
        observer.done(batch.len() + batch.failed.len());
    }
    if read == 0 && failed > 0 { Err(EvalError::NothingRead { media, failed, first }.into()) } else { Ok(()) }
}
