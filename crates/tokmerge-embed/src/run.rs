//! From images to parts of vectors.

use crate::dense::{self, DenseFile};
use crate::output::{self, Kind, Rows};
use crate::store::{Failure, Opened, Store, Summary};
use crate::stream::{Filled, Stream, stream};
use crate::{Detail, EmbedError, Format, Inputs, Length, Target, Writing};
use serde_json::{Map, Value, json};
use std::ops::Range;
use std::path::Path;
use tokmerge_data::{ExifOrientation, ImageProcessor, Processor, Reading};
use tokmerge_merge::Reduction;
use tokmerge_models::{Batch, Convention, Model, NotFinite, Pass};

/// Sees how a run goes.
pub trait Observer {
    /// It begins: images that this process is to do, and those of them that are done already.
    fn begin(&mut self, images: usize, done: usize);

    /// Some more images are done, broken ones included.
    fn done(&mut self, images: usize);

    /// An image could not be read.
    fn failed(&mut self, failure: &Failure);

    /// The ends of some texts are left out, since the model has no room for them.
    fn cut(&mut self, _texts: usize) {}
}

/// Embeds images and writes their vectors. What an earlier run of the same settings has done is not done again.
///
/// # Errors
/// When a setting is not allowed, the output is another's, a file cannot be written, or an embedding is not finite.
/// Images that cannot be read are no error: they are listed in the output.
pub fn embed(
    model: &Model,
    reduction: &Reduction,
    inputs: &Inputs,
    target: &Target,
    writing: &Writing,
    reading: Reading,
    observer: &mut dyn Observer,
) -> Result<Summary, EmbedError> {
    check("shard_size", writing.shard_size)?;
    check("batch_size", reading.batch_size)?;
    let patches = match writing.detail {
        Detail::Image => None,
        Detail::Patches => Some(dense::shape(model, reduction)?),
    };
    let parts = inputs.len().div_ceil(writing.shard_size);
    let settings = settings(model, reduction, inputs, writing, reading);
    let store = match Store::open(target, &settings, writing.shard, parts)? {
        Opened::Finished(summary) => {
            observer.begin(inputs.len(), inputs.len());
            return Ok(summary);
        }
        Opened::Begun(store) => store,
    };
    let range = |part: usize| part * writing.shard_size..((part + 1) * writing.shard_size).min(inputs.len());
    let ours: Vec<usize> = (0..parts).filter(|part| writing.shard.has(*part)).collect();
    let pending: Vec<usize> = ours.iter().copied().filter(|part| store.done(*part).is_none()).collect();
    let images = |parts: &[usize]| parts.iter().map(|part| range(*part).len()).sum::<usize>();
    observer.begin(images(&ours), images(&ours) - images(&pending));
    let metadata = store.made_with.clone();
    let dim = model.config().shape().embedding;
    let kind = Kind { format: writing.format, dtype: writing.dtype, dim, metadata: &metadata };
    let processor = model.processor();
    if !pending.is_empty() {
        let ranges: Vec<Range<usize>> = pending.iter().map(|part| range(*part)).collect();
        stream(inputs, &ranges, processor, reading, |images| {
            let mut run =
                Run { model, reduction, processor, writing, reading, kind: &kind, patches, observer };
            pending.iter().try_for_each(|part| run.part(&store, *part, range(*part), images))
        })?;
    }
    store.finish(&kind, patches, &settings)
}

fn check(setting: &'static str, value: usize) -> Result<(), EmbedError> {
    if value > 0 {
        return Ok(());
    }
    Err(EmbedError::Setting { setting, value: value.to_string(), rule: "it must be at least 1" })
}

/// Everything that the vectors depend on.
fn settings(
    model: &Model,
    reduction: &Reduction,
    inputs: &Inputs,
    writing: &Writing,
    reading: Reading,
) -> Map<String, Value> {
    let preprocess = match model.processor() {
        Processor::Image(ImageProcessor::Fixed(preprocess)) => json!(preprocess),
        Processor::Image(ImageProcessor::Naflex(preprocess)) => json!(preprocess),
        other => json!(other.to_string()),
    };
    let mut settings = writing.made_with.clone();
    let own = [
        ("merge", json!(reduction.method().to_string())),
        ("preprocess", preprocess),
        ("decode", json!(reading.decoding.decode.name())),
        ("exif", json!(reading.decoding.orientation == ExifOrientation::Applied)),
        ("format", json!(writing.format.name())),
        ("vector_dtype", json!(writing.dtype.name())),
        ("normalize", json!(writing.length == Length::Unit)),
        ("dense", json!(writing.detail == Detail::Patches)),
        ("shard_size", json!(writing.shard_size)),
        ("sources", json!(format!("{} {}, list {}", inputs.len(), model.media().words(), inputs.digest()))),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
    ];
    settings.extend(own.map(|(name, value)| (name.to_owned(), value)));
    settings
}

/// What every part needs.
struct Run<'a> {
    model: &'a Model,
    reduction: &'a Reduction,
    processor: &'a Processor,
    writing: &'a Writing,
    reading: Reading,
    kind: &'a Kind<'a>,
    /// `[patches, C]` where features of patches are written.
    patches: Option<[usize; 2]>,
    observer: &'a mut dyn Observer,
}

impl Run<'_> {
    /// The next `range.len()` images of the stream.
    fn part(
        &mut self,
        store: &Store<'_>,
        part: usize,
        range: Range<usize>,
        images: &mut Stream,
    ) -> Result<(), EmbedError> {
        let (mut rows, mut errors) = (Rows::new(self.kind.dim), Vec::new());
        let dense = |shape| DenseFile::create(&store.path(part, "dense.npy"), shape, self.kind.dtype);
        let mut dense = self.patches.map(dense).transpose()?;
        let mut index = range.start;
        // A batch never reaches into the next part: so no part depends on which others are done.
        while index < range.end {
            let filled = Filled::take(images, self.reading.batch_size, range.end - index, self.processor);
            let taken = filled.taken();
            if taken == 0 {
                let reason = "a thread that reads images has ended";
                return Err(EmbedError::Thread(std::io::Error::other(reason)));
            }
            let cut = filled.cut();
            if cut > 0 {
                self.observer.cut(cut);
            }
            let Filled { batch, keys, broken } = filled;
            for (place, key, reason) in broken {
                let failure = Failure { index: index + place, key, reason };
                self.observer.failed(&failure);
                errors.push(failure);
            }
            if !keys.is_empty() {
                self.batch(batch, keys, &mut rows, dense.as_mut())?;
            }
            index += taken;
            self.observer.done(taken);
        }
        let mut endings = vec![self.kind.format.name()];
        output::write(&store.path(part, self.kind.format.name()), &rows, self.kind)?;
        if self.kind.format == Format::Npy {
            endings.push("keys.txt");
        }
        if let Some(dense) = dense {
            dense.finish(rows.len())?;
            endings.push("dense.npy");
        }
        store.finish_part(part, &endings, rows.len(), errors)
    }

    fn batch(
        &self,
        batch: Batch,
        keys: Vec<String>,
        rows: &mut Rows,
        dense: Option<&mut DenseFile>,
    ) -> Result<(), EmbedError> {
        let named = |error: NotFinite| {
            let key = keys[error.position].clone();
            EmbedError::NotFinite(error.in_file(Path::new(&key)))
        };
        let embeddings = match (dense, self.patches) {
            (Some(dense), Some(shape)) => {
                let output = self.model.run(batch, Pass::new(self.reduction));
                let flat: Vec<f32> = output.pooled.clone().into_data().iter::<f32>().collect();
                let embeddings: Vec<Vec<f32>> = flat.chunks(self.kind.dim).map(<[f32]>::to_vec).collect();
                NotFinite::check(&embeddings).map_err(named)?;
                dense.write(&dense::features(self.model, output, keys.len(), shape)?, &keys)?;
                embeddings
            }
            _ => {
                let measured = self.model.measure(batch, self.reduction, Convention::Fvcore);
                measured.map_err(named)?.embeddings
            }
        };
        for (key, embedding) in keys.into_iter().zip(&embeddings) {
            rows.push(key, embedding, self.writing.length, self.writing.dtype)?;
        }
        Ok(())
    }
}
