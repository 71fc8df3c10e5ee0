//! Images read and decoded ahead by threads, in order.
//!
//! One thread lists, `workers` decode: image `i` goes to worker `i % workers` and comes back on that worker's channel, so
//! the order never depends on timing. All channels are bounded, and pictures wait as bytes at the model's size.

use crate::source::{Content, Encoded};
use crate::{EmbedError, Inputs};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;
use tokmerge_checkpoint::shortened;
use tokmerge_data::{DecodeOptions, Limits, MediaError, Prepared, Processor, Reading};
use tokmerge_models::Batch;

/// An image, or why there is none.
#[derive(Debug)]
pub struct Loaded {
    /// Its path or key.
    pub key: String,
    /// What the model sees of it.
    pub prepared: Result<Prepared, String>,
}

/// Images that come in order.
pub struct Stream {
    channels: Vec<Receiver<Loaded>>,
    next: usize,
}

impl Iterator for Stream {
    type Item = Loaded;

    fn next(&mut self) -> Option<Loaded> {
        let loaded = self.channels[self.next % self.channels.len()].recv().ok();
        self.next += 1;
        loaded
    }
}

impl Inputs {
    /// All images, decoded one after the other by the thread that asks for them.
    pub fn images<'a>(
        &'a self,
        processor: &'a Processor,
        decoding: DecodeOptions,
    ) -> impl Iterator<Item = Loaded> + 'a {
        self.read(0..self.len()).map(move |image| load(image, processor, decoding))
    }
}

/// A batch of images, and those of them that are broken.
#[derive(Debug, Default)]
pub struct Filled {
    /// What the model takes.
    pub batch: Batch,
    /// The keys of its images.
    pub keys: Vec<String>,
    /// Broken ones: the place among all that were taken, the key, the reason.
    pub broken: Vec<(usize, String, String)>,
}

impl Filled {
    /// Images that were taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.keys.len() + self.broken.len()
    }

    /// Texts whose end is left out, since the model has no room for it.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.batch.texts.iter().filter(|tokens| tokens.is_cut).count()
    }

    /// Takes images until the batch holds `size`, or `most` were taken, or there are no more.
    pub fn take(
        images: &mut impl Iterator<Item = Loaded>,
        size: usize,
        most: usize,
        processor: &Processor,
    ) -> Self {
        let mut filled = Self::default();
        filled.batch.views = Some(processor.views()).filter(|views| *views > 1);
        while filled.keys.len() < size && filled.taken() < most {
            let Some(Loaded { key, prepared }) = images.next() else { break };
            let Self { batch, keys, broken } = &mut filled;
            let besides = prepared.and_then(|prepared| {
                let besides = processor.normalise(&prepared, &mut batch.values);
                besides.map_err(|error| format!("{}: {error}", shortened(&key)))
            });
            match besides {
                Ok(besides) => {
                    batch.add(besides);
                    keys.push(key);
                }
                Err(reason) => broken.push((keys.len() + broken.len(), key, reason)),
            }
        }
        filled
    }
}

/// Hands the images of some ranges, one after the other, to `consume`.
///
/// # Errors
/// When a thread cannot be started, or `consume` fails.
pub fn stream<T>(
    inputs: &Inputs,
    ranges: &[Range<usize>],
    processor: &Processor,
    reading: Reading,
    consume: impl FnOnce(&mut Stream) -> Result<T, EmbedError>,
) -> Result<T, EmbedError> {
    let images: usize = ranges.iter().map(Range::len).sum();
    let workers = reading.workers.clamp(1, images.max(1));
    let ahead = (2 * reading.batch_size.min(images)).div_ceil(workers).max(2);
    std::thread::scope(|scope| {
        let (mut feeds, mut channels) = (Vec::new(), Vec::new());
        for worker in 0..workers {
            // A few encoded images wait for each worker: they may be large.
            let (feed, fed) = sync_channel::<Encoded>(2);
            let (sender, receiver) = sync_channel(ahead);
            let work = move || decode_all(&fed, &sender, processor, reading.decoding);
            let named = Builder::new().name(format!("tokmerge-decode-{worker}"));
            named.spawn_scoped(scope, work).map_err(EmbedError::Thread)?;
            feeds.push(feed);
            channels.push(receiver);
        }
        let list = move || feed_all(inputs, ranges, &feeds);
        Builder::new()
            .name("tokmerge-list".to_owned())
            .spawn_scoped(scope, list)
            .map_err(EmbedError::Thread)?;
        // The stream is gone when this returns; whoever waits to send to it then ends.
        consume(&mut Stream { channels, next: 0 })
    })
}

fn feed_all(inputs: &Inputs, ranges: &[Range<usize>], feeds: &[SyncSender<Encoded>]) {
    let images = ranges.iter().flat_map(|range| inputs.read(range.clone()));
    for (index, image) in images.enumerate() {
        // The consumer is gone: nobody wants the rest.
        if feeds[index % feeds.len()].send(image).is_err() {
            return;
        }
    }
}

fn decode_all(
    fed: &Receiver<Encoded>,
    sender: &SyncSender<Loaded>,
    processor: &Processor,
    decoding: DecodeOptions,
) {
    for image in fed {
        if sender.send(load(image, processor, decoding)).is_err() {
            return;
        }
    }
}

fn load(image: Encoded, processor: &Processor, decoding: DecodeOptions) -> Loaded {
    let Encoded { key, content } = image;
    let decode = || prepare(&content, processor, &decoding);
    let prepared = match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(prepared)) => Ok(prepared),
        Ok(Err(error)) => Err(reason(&key, &content, &error)),
        Err(_) => {
            let shown = shortened(&key);
            Err(format!("{shown}: made the decoder panic; leave it out, and report it with the file"))
        }
    };
    Loaded { key, prepared }
}

fn prepare(
    content: &Content,
    processor: &Processor,
    decoding: &DecodeOptions,
) -> Result<Prepared, MediaError> {
    match content {
        Content::File(path) => processor.open(path, decoding),
        Content::Member { archive, offset, size } => {
            processor.decode(member(archive, *offset, *size, &decoding.limits)?, decoding)
        }
        Content::Bytes(bytes) => processor.decode(bytes.clone(), decoding),
        Content::Text(text) => match processor {
            Processor::Text(processor) => Ok(Prepared::Text(processor.encode(text)?)),
            other => other.decode(text.clone().into_bytes(), decoding),
        },
        Content::Stdin => processor.read(io::stdin().lock(), decoding),
        Content::Broken(reason) => Err(io::Error::other(reason.clone()).into()),
    }
}

fn member(archive: &Path, offset: u64, size: u64, limits: &Limits) -> io::Result<Vec<u8>> {
    let mut file = File::open(archive)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    // One more than allowed, so that the decoder sees that there are too many.
    file.take(size.min(limits.max_bytes.saturating_add(1))).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why there is no picture, in one line that names the image.
fn reason(key: &str, content: &Content, error: &MediaError) -> String {
    match content {
        Content::Broken(reason) => reason.clone(),
        Content::File(_) if error.names_file() => error.to_string(),
        Content::Stdin => format!("standard input (-): {error}"),
        Content::File(_) | Content::Bytes(_) | Content::Text(_) | Content::Member { .. } => {
            format!("{}: {error}", shortened(key))
        }
    }
}
