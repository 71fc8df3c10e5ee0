//! The operations of RandAugment against Pillow; `fixtures/augment.py` made the cases.

use crate::common::{Tensors, image_of};
use serde_json::Value;
use tokmerge_data::augment::{Op, Resample};

fn op_of(case: &Value) -> Op {
    let argument = case["argument"].as_f64().unwrap();
    match case["op"].as_str().unwrap() {
        "auto_contrast" => Op::AutoContrast,
        "equalize" => Op::Equalize,
        "invert" => Op::Invert,
        "posterize" => Op::Posterize(argument as u32),
        "solarize" => Op::Solarize(argument as u32),
        "solarize_add" => Op::SolarizeAdd(argument as u32),
        "color" => Op::Color(argument),
        "contrast" => Op::Contrast(argument),
        "brightness" => Op::Brightness(argument),
        "sharpness" => Op::Sharpness(argument),
        "rotate" => Op::Rotate(argument),
        "shear_x" => Op::ShearX(argument),
        "shear_y" => Op::ShearY(argument),
        "translate_x" => Op::TranslateX(argument),
        "translate_y" => Op::TranslateY(argument),
        other => panic!("no operation {other}"),
    }
}

#[test]
fn operations_equal_pillow_bit_for_bit() {
    let fixture = Tensors::fixture("augment.safetensors");
    let fill = fixture.bytes("fill").try_into().unwrap();
    let mut different = Vec::new();
    for case in fixture.cases() {
        let mut image = image_of(&case);
        if case["shift"] != 0 {
            image.data.iter_mut().for_each(|v| *v = (*v >> case["shift"].as_u64().unwrap()) + 40);
        }
        let resample = serde_json::from_value::<Resample>(case["resample"].clone()).unwrap();
        let got = op_of(&case).apply(image, resample, fill);
        if u64::from(crc32fast::hash(&got.data)) != case["crc32"].as_u64().unwrap() {
            different.push(case.to_string());
        }
    }
    assert!(different.is_empty(), "{} cases differ:\n{}", different.len(), different.join("\n"));
}
