//! Milliseconds that one core spends on JPEGs for a model's input of 224x224: `decode ROUNDS FILE...`, medians as JSON.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::path::PathBuf;
use std::time::Instant;

use tokmerge_data::{Decode, ImageProcessor, Limits, Preprocess, open_image};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let rounds: usize = arguments.next().and_then(|n| n.to_str()?.parse().ok()).ok_or("ROUNDS FILE...")?;
    let files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let processor = ImageProcessor::from(Preprocess::default());
    let limits = Limits::default();
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        for file in &files {
            let start = Instant::now();
            let image = open_image(file, &limits)?;
            times[0].push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            processor.fit(&image)?;
            times[1].push(start.elapsed().as_secs_f64());
            for (times, decode) in times[2..].iter_mut().zip(Decode::ALL) {
                let start = Instant::now();
                processor.open_fitted(file, &decode.into())?;
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let [decode, resize, exact, fast] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).map_or(f64::NAN, |seconds| seconds * 1e3)
    });
    println!(
        "{{\"decode\": {decode:.3}, \"resize\": {resize:.3}, \"exact\": {exact:.3}, \"fast\": {fast:.3}}}"
    );
    Ok(())
}
