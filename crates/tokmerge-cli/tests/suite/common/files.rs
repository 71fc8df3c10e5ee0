//! Files that tests hand to `tokmerge`: images, and a tiny model.

use super::Desk;
use image::{GrayImage, RgbImage, RgbaImage};
use serde_json::{Value, json};

/// A picture whose pixels all differ from their neighbours.
pub(crate) fn picture(width: u32, height: u32) -> RgbImage {
    let value = |x: u32, y: u32, step: u32| ((x * step + y * (step + 6)) % 251) as u8;
    RgbImage::from_fn(width, height, |x, y| image::Rgb([value(x, y, 3), value(x, y, 5), value(x, y, 1)]))
}

/// A WAV file of samples as they are stored: integers of so many bits, or floats for 32.
pub(crate) fn wav_file(rate: u32, channels: u16, bits: u16, samples: &[u8]) -> Vec<u8> {
    let align = channels * bits / 8;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + samples.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0");
    file.extend((if bits == 32 { 3_u16 } else { 1 }).to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(align)).to_le_bytes());
    file.extend(align.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend((samples.len() as u32).to_le_bytes());
    file.extend(samples);
    file
}

impl Desk {
    /// Draws [`picture`] into a file; the ending decides the format, WebP being lossless.
    pub(crate) fn draw(&self, name: &str, width: u32, height: u32) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        picture(width, height).save(path).expect("a written image");
    }

    /// The same with an alpha channel that is not opaque.
    pub(crate) fn draw_with_alpha(&self, name: &str, width: u32, height: u32) {
        let rgb = picture(width, height);
        let pixel = |x, y| {
            let [r, g, b] = rgb.get_pixel(x, y).0;
            image::Rgba([r, g, b, (x % 256) as u8])
        };
        RgbaImage::from_fn(width, height, pixel).save(self.path(name)).expect("a written image");
    }

    /// One channel, and the same gray as three channels.
    pub(crate) fn draw_gray(&self, one: &str, three: &str, width: u32, height: u32) {
        let rgb = picture(width, height);
        let gray = |x, y| rgb.get_pixel(x, y).0[0];
        let save_error = "a written image";
        GrayImage::from_fn(width, height, |x, y| image::Luma([gray(x, y)]))
            .save(self.path(one))
            .expect(save_error);
        RgbImage::from_fn(width, height, |x, y| image::Rgb([gray(x, y); 3]))
            .save(self.path(three))
            .expect(save_error);
    }

    /// A JPEG that ends in its middle.
    pub(crate) fn draw_truncated(&self, name: &str) {
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new(&mut bytes);
        picture(96, 64).write_with_encoder(encoder).expect("JPEG");
        self.write(name, &bytes[..bytes.len() / 2]);
    }
}

/// A PNG of a few bytes, valid but for its missing pixels.
pub(crate) fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let typed = [kind.as_slice(), data].concat();
        let length = u32::try_from(data.len()).expect("a short chunk");
        [&length.to_be_bytes(), typed.as_slice(), &crc32fast::hash(&typed).to_be_bytes()].concat()
    };
    // 8 bits, RGB, and the only methods of compression, filtering and interlacing.
    let header = [&width.to_be_bytes(), height.to_be_bytes().as_slice(), &[8, 2, 0, 0, 0]].concat();
    let empty_zlib_stream = [0x78, 0x01, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01];
    let signature = b"\x89PNG\r\n\x1a\n".to_vec();
    [signature, chunk(b"IHDR", &header), chunk(b"IDAT", &empty_zlib_stream), chunk(b"IEND", &[])].concat()
}

/// Tensors of a checkpoint that is written by hand.
pub(crate) type Tensors = Vec<(String, Vec<usize>)>;

/// A ViT of 32 channels, two blocks and five classes for 32x32 pixels in patches of 8, in timm's names.
pub(crate) fn tiny_tensors() -> Tensors {
    const C: usize = 32;
    let mut tensors = vec![
        ("cls_token".to_owned(), vec![1, 1, C]),
        ("pos_embed".to_owned(), vec![1, 17, C]),
        ("patch_embed.proj.weight".to_owned(), vec![C, 3, 8, 8]),
        ("patch_embed.proj.bias".to_owned(), vec![C]),
    ];
    let mut layer = |name: &str, weight: Vec<usize>| {
        tensors.push((format!("{name}.bias"), vec![weight[0]]));
        tensors.push((format!("{name}.weight"), weight));
    };
    for block in ["blocks.0", "blocks.1"] {
        layer(&format!("{block}.norm1"), vec![C]);
        layer(&format!("{block}.attn.qkv"), vec![3 * C, C]);
        layer(&format!("{block}.attn.proj"), vec![C, C]);
        layer(&format!("{block}.norm2"), vec![C]);
        layer(&format!("{block}.mlp.fc1"), vec![4 * C, C]);
        layer(&format!("{block}.mlp.fc2"), vec![C, 4 * C]);
    }
    layer("norm", vec![C]);
    layer("head", vec![5, C]);
    tensors
}

/// The `config.json` of that model, as timm writes it.
pub(crate) fn tiny_config() -> Value {
    json!({
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 5,
        "num_features": 32,
        "global_pool": "token",
        "model_args": {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
        "pretrained_cfg": {
            "tag": "handmade",
            "input_size": [3, 32, 32],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        "label_names": ["ant", "bee", "cat", "dog", "eel"],
    })
}

/// A safetensors file of pseudo-random values that are the same in every run: the length of the header, the
/// header, the values.
pub(crate) fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let (mut header, mut values) = (serde_json::Map::new(), Vec::new());
    let mut state = 7_u32;
    for (name, shape) in tensors {
        let start = values.len();
        for _ in 0..shape.iter().product::<usize>() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (state >> 8) as f32 / (1_u32 << 24) as f32 - 0.5;
            values.extend(value.to_le_bytes());
        }
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, values.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &values].concat()
}

impl Desk {
    /// Puts the tiny model into the folder `name`: use it as `--model local-dir:name`.
    pub(crate) fn model(&self, name: &str, tensors: &Tensors) {
        self.write(&format!("{name}/config.json"), tiny_config().to_string());
        self.write(&format!("{name}/model.safetensors"), safetensors(tensors));
    }
}
