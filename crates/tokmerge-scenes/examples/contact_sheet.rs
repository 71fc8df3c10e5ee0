//! A row of pictures per class: `cargo run --release -p tokmerge-scenes --example contact_sheet -- sheet.png 12`.

use tokmerge_scenes::{CLASSES, Scenes, Split};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or("sheet.png".into());
    let columns: usize = arguments.next().map_or(Ok(12), |count| count.parse())?;
    let scenes = Scenes::of(Split::Train);
    let side = scenes.side() as u32;
    let mut sheet = image::RgbImage::new(columns as u32 * (side + 2), CLASSES.len() as u32 * (side + 2));
    let mut shown = [0; CLASSES.len()];
    for index in 0.. {
        let class = scenes.class(index);
        if shown[class] < columns {
            let scene = scenes.draw(index);
            let picture = image::RgbImage::from_raw(side, side, scene.pixels).expect("pixels of a square");
            let (x, y) = (shown[class] as u32 * (side + 2), class as u32 * (side + 2));
            image::imageops::replace(&mut sheet, &picture, x.into(), y.into());
            shown[class] += 1;
        } else if shown.iter().all(|&count| count == columns) {
            break;
        }
    }
    Ok(sheet.save(path)?)
}
