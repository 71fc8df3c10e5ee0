//! Targets of the crate that embeds images: where they come from, and what becomes of them.

use crate::{Outcome, Target, as_it_is, refused, seeds};
use std::path::PathBuf;
use tokmerge_data::{DecodeOptions, Limits, Prepared, Preprocess};
use tokmerge_embed::{Sources, Vectors};

/// WebDataset's shards.
pub(crate) const TAR: Target = Target {
    name: "tar",
    run: |input| images("hostile.tar", input),
    seeds: seeds::archives,
    mend: mend_headers,
    memory: 64 << 20,
};

/// Tables of images.
pub(crate) const PARQUET: Target = Target {
    name: "parquet",
    run: |input| images("hostile.parquet", input),
    seeds: seeds::tables_of_images,
    mend: as_it_is,
    memory: 64 << 20,
};

/// Vectors that are searched: all four formats, of which the input's beginning says which it is.
pub(crate) const VECTORS: Target = Target {
    name: "vectors",
    run: |input| {
        let ending = match input {
            [b'P', b'A', b'R', b'1', ..] => "parquet",
            [0x93, ..] => "npy",
            [b'{', ..] => "jsonl",
            _ => "csv",
        };
        let (dir, path) = written(&format!("hostile.{ending}"), input);
        let mut rows = 0;
        let read = Vectors::open(&path).and_then(|vectors| {
            vectors.for_each(|key, vector| {
                assert!(!vector.is_empty(), "a vector of {key:?} without numbers");
                rows += 1;
                Ok(())
            })
        });
        drop(dir);
        match read {
            Ok(()) => Outcome::Read,
            Err(error) => refused(&error),
        }
    },
    seeds: seeds::vectors,
    mend: as_it_is,
    memory: 64 << 20,
};

/// A file in a folder of its own, which is gone with the first of what is returned.
fn written(name: &str, input: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("room for a folder");
    let path = dir.path().join(name);
    std::fs::write(&path, input).expect("room for the input");
    (dir, path)
}

fn images(name: &str, input: &[u8]) -> Outcome {
    let (dir, path) = written(name, input);
    let opened = Sources { paths: vec![path], ..Sources::default() }.open();
    let outcome = match opened {
        Ok(inputs) => {
            let preprocess = Preprocess { input_size: (8, 8), ..Preprocess::default() };
            let limits = Limits { max_pixels: 1 << 16, max_bytes: 1 << 20, ..Limits::default() };
            let mut read = 0;
            // Tables may claim any number of rows; what they hold is what counts.
            for image in inputs.images(&preprocess.into(), DecodeOptions::from(limits)).take(1000) {
                match image.prepared {
                    Ok(Prepared::Picture(picture)) => {
                        assert_eq!(picture.data.len(), 8 * 8 * 3);
                        read += 1;
                    }
                    Ok(other) => panic!("{other:?} is no picture"),
                    Err(reason) => {
                        refused(&reason);
                    }
                }
            }
            if read > 0 { Outcome::Read } else { Outcome::Refused }
        }
        Err(error) => refused(&error),
    };
    drop(dir);
    outcome
}

/// Puts right the checksum of every block that could be a header.
fn mend_headers(input: &mut [u8]) {
    const PLACE: std::ops::Range<usize> = 148..156;
    for block in input.as_chunks_mut::<512>().0 {
        if block[257..262] != *b"ustar" {
            continue;
        }
        block[PLACE].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[PLACE].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
