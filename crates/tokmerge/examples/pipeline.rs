//! The whole way from files to logits, again and again: what `tools/pipeline.py` times.
//!
//! `pipeline DIR MODEL DTYPE MERGE DECODE THREADS WORKERS BATCH` opens a model with random weights, and for each line on
//! standard input goes through the images of DIR once. Each time it prints the seconds of the whole and of the model.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;
use std::time::Instant;

use tokmerge::{
    Affinity, BatchLoader, ClassFolder, Convention, Decode, Device, Method, Model, ModelOptions, Precision,
    Reading, Routing, Unused, Weights, set_threads,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, model, dtype, merge, decode, threads, workers, batch] = &arguments[..] else {
        return Err("DIR MODEL DTYPE MERGE DECODE THREADS WORKERS BATCH".into());
    };
    set_threads(threads.parse()?, Affinity::Free)?;
    let options = ModelOptions {
        model: model.clone(),
        weights: Weights::Random,
        state_dict: None,
        unused: Unused::Refuse,
        img_size: None,
        precision: dtype.parse::<Precision>()?,
        routing: Routing::Free,
    };
    let model = Model::open(&options, &Device::flex())?;
    let reduction = model.bind(&merge.parse::<Method>()?)?;
    let decode = Decode::from_name(decode).ok_or("DECODE is exact or fast")?;
    let reading = Reading { batch_size: batch.parse()?, workers: workers.parse()?, decoding: decode.into() };
    let samples = ClassFolder::open(dir)?.samples().to_vec();
    model.warm_up();
    for line in std::io::stdin().lines() {
        line?;
        let start = Instant::now();
        let mut seconds = 0.0;
        for batch in BatchLoader::new(samples.clone(), model.processor().clone(), reading)? {
            if let Some((path, error)) = batch.failed.first() {
                return Err(format!("{}: {error}", path.display()).into());
            }
            seconds += model.measure(&batch, &reduction, Convention::Fvcore)?.seconds;
        }
        println!("{{\"whole\": {}, \"model\": {seconds}}}", start.elapsed().as_secs_f64());
    }
    Ok(())
}
