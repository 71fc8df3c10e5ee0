//! Pictures with their questions: `cargo run --release -p tokmerge-scenes --example questions -- sheet.png 28`.
//!
//! The questions are printed in the order of the pictures, seven in a row.

#![expect(clippy::print_stdout, reason = "prints what is asked")]

use tokmerge_scenes::Split;
use tokmerge_scenes::questions::{ANSWERS, Questions};

const COLUMNS: u64 = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or("sheet.png".into());
    let count: u64 = arguments.next().map_or(Ok(28), |count| count.parse())?;
    let questions = Questions::of(Split::Train);
    let side = questions.side() as u32;
    let rows = count.div_ceil(COLUMNS) as u32;
    let mut sheet = image::RgbImage::new(COLUMNS as u32 * (side + 2), rows * (side + 2));
    for index in 0..count {
        let question = questions.question(index);
        println!(
            "{:>2} {:>2}  {} {}",
            index / COLUMNS + 1,
            index % COLUMNS + 1,
            question.text,
            ANSWERS[question.answer]
        );
        let picture = image::RgbImage::from_raw(side, side, question.pixels).expect("pixels of a square");
        let (x, y) = ((index % COLUMNS) as u32 * (side + 2), (index / COLUMNS) as u32 * (side + 2));
        image::imageops::replace(&mut sheet, &picture, x.into(), y.into());
    }
    Ok(sheet.save(path)?)
}
