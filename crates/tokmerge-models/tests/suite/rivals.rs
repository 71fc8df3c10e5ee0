//! Methods of other papers against their reference code, whose outputs on the real ViT-Ti lie with the material: which tokens
//! went where, logits and costs.

#![expect(clippy::print_stdout, reason = "says what was measured")]

use crate::common::{floats, forward, images, material, values, worst_absolute};
use burn::tensor::Device;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use tokmerge_checkpoint::{Checkpoint, Dtype};
use tokmerge_merge::{MergePlan, Reduction};
use tokmerge_models::{Convention, Network, Precision, architecture, load};

/// Every set of outputs of the material, and how its method is written here.
const CASES: &[(&str, &str)] = &[
    ("evit_k70_fused", "evit:keep=70%"),
    ("topk_k60", "evit:keep=60%,rest=drop"),
    ("mctf_r13", "mctf:r=13"),
    ("mctf_fast35", "mctf:r=35%,layer=[4,7,10]"),
    ("mctf_opentome_r13", "mctf:r=13,place=mlp"),
    ("tofu_r13", "tofu:r=13"),
    ("pitome_ratio925", "pitome:ratio=92.5%,prop_attn=off"),
    ("pitome_r13", "pitome:r=13,prop_attn=off"),
    ("pitome_r13_prop", "pitome:r=13"),
    ("atc_r13_average", "atc:r=13"),
    ("diffrate_t08", "diffrate:schedule=deit_ti_0.8"),
    ("kmedoids_k70", "token_pooling:keep=70%"),
    ("dpcknn_k70", "token_pooling:keep=70%,cluster=dpc_knn"),
    ("ats_official_b3", "ats"),
    ("ats_tr_k70", "ats:samples=[138,97,68],layer=[4,7,10],form=token_reduction"),
    ("cubist_l1_2x2", "cubistmerge:rows=2,columns=2"),
];

/// Sets in which a row of attention is computed for kept tokens alone, as costs are counted there; here it is for all.
const FEWER_ROWS: &[&str] = &["ats_official_b3", "ats_tr_k70"];

const NAME: &str = "vit_tiny_patch16_224.augreg_in21k_ft_in1k";
const IMAGES: usize = 24;
const CLASSES: usize = 1000;
const BATCH: usize = 8;
/// Absolute, on logits of up to 15, where all decisions are the same.
const LOGITS: f32 = 1e-4;
/// Pictures of a set on which a decision that rounding does not turn may differ.
const STRAY: usize = 1;
/// Relative.
const COSTS: f64 = 1e-3;

fn model() -> Option<(Network, Vec<f32>)> {
    let weights = material("vit_tiny_augreg/vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors")?;
    let golden = material("vit_tiny_augreg/golden_tome.safetensors")?;
    let model = architecture(NAME).expect("listed").config.init(Precision::F32, &Device::flex());
    let (model, _) = load(model, &Checkpoint::open(weights).expect("readable")).expect("fits");
    let golden = Checkpoint::open(golden).expect("readable");
    let bytes = golden.get("images_u8").expect("images").bytes();
    let image = |image: &[u8]| -> Vec<f32> {
        let channel = |channel| image.iter().skip(channel).step_by(3);
        let value = |byte: &u8| (f32::from(*byte) / 255.0 - 0.5) / 0.5;
        (0..3).flat_map(|index| channel(index).map(value)).collect()
    };
    Some((model, bytes.chunks_exact(224 * 224 * 3).flat_map(image).collect()))
}

/// Whole numbers of a tensor, by image; `None` where there is no such tensor.
fn whole(golden: &Checkpoint, name: &str) -> Option<Vec<Vec<i32>>> {
    let tensor = golden.get(name)?;
    let all: Vec<i32> = match tensor.dtype {
        Dtype::I16 => {
            tensor.bytes().chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]).into()).collect()
        }
        Dtype::U8 => tensor.bytes().iter().map(|byte| i32::from(*byte)).collect(),
        other => panic!("{name} is of {other:?}"),
    };
    Some(all.chunks(all.len() / IMAGES).map(<[i32]>::to_vec).collect())
}

/// Groups numbered by their first member, -1 for what was dropped.
fn partition(groups: impl Iterator<Item = i32>) -> Vec<i32> {
    let mut numbers = HashMap::new();
    groups
        .map(|group| {
            let next = numbers.len() as i32;
            if group < 0 { -1 } else { *numbers.entry(group).or_insert(next) }
        })
        .collect()
}

/// What became of the tokens of an image.
struct Found {
    logits: Vec<f32>,
    gmacs: f64,
    /// Where every token went.
    groups: Vec<i32>,
    /// The first token that every token left stands for, and how many it has.
    kept: Vec<(i32, usize)>,
    /// After each block.
    tokens: Vec<i32>,
}

fn found(plan: &MergePlan, item: usize) -> (Vec<i32>, Vec<(i32, usize)>) {
    let groups: Vec<i32> =
        plan.groups(item).into_iter().map(|group| group.map_or(-1, |group| group as i32)).collect();
    let start = plan.input().range(item).start;
    let members = |row: usize| groups.iter().filter(|group| **group == row as i32).count();
    let kept = plan.output().range(item).enumerate();
    let kept = kept.map(|(row, at)| ((plan.representative()[at] as usize - start) as i32, members(row)));
    let kept = kept.collect();
    (groups, kept)
}

fn run(model: &Network, pixels: &[f32], spec: &str) -> Vec<Found> {
    let method = spec.parse().unwrap_or_else(|error| panic!("{error}"));
    let config = model.config();
    let reduction = Reduction::bind(method, &config.facts()).unwrap_or_else(|error| panic!("{error}"));
    let mut all = Vec::new();
    for pixels in pixels.chunks_exact(BATCH * 3 * 224 * 224) {
        let output = forward(model, images(pixels, [BATCH, 3, 224, 224], &Device::flex()), &reduction);
        let plan = output.trace.plan_until(None).unwrap_or_else(|| panic!("{spec} merges nothing"));
        let logits = values(output.logits);
        for item in 0..BATCH {
            let layers = output.trace.layer_tokens(item, config.tokens(), config.depth());
            let (groups, kept) = found(&plan, item);
            all.push(Found {
                logits: logits[item * CLASSES..(item + 1) * CLASSES].to_vec(),
                gmacs: config.cost().gmacs(&layers, &reduction, Convention::Fvcore),
                groups,
                kept,
                tokens: layers.iter().map(|layer| layer.fed as i32).collect(),
            });
        }
    }
    all
}

/// What is not as in the reference on one image; nothing if all is.
fn differences(found: &Found, golden: &Checkpoint, image: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let of = |name: &str| whole(golden, name).map(|all| all[image].clone());
    if let Some(wanted) = of("partition")
        && partition(found.groups.iter().copied()) != wanted
    {
        let other =
            partition(found.groups.iter().copied()).iter().zip(&wanted).filter(|(a, b)| a != b).count();
        wrong.push(format!("{other} tokens in other groups"));
    }
    if let Some(wanted) = of("kept") {
        let wanted: Vec<i32> = wanted.into_iter().filter(|kept| *kept != -1).collect();
        // A fused token has no position of its own.
        let same = wanted.len() == found.kept.len()
            && wanted.iter().zip(&found.kept).all(|(wanted, (kept, members))| {
                wanted == kept || (*wanted == -2 && (*members > 1 || !wanted.is_positive()))
            });
        if !same {
            wrong.push(format!("kept {} tokens, not these {}", found.kept.len(), wanted.len()));
        }
    }
    if let Some(wanted) = of("assign")
        && partition(found.groups[1..].iter().copied()) != partition(wanted.iter().copied())
    {
        wrong.push("other clusters".to_owned());
    }
    if let Some(wanted) = of("tokens")
        && found.tokens != wanted
    {
        wrong.push(format!("tokens {:?}, not {wanted:?}", found.tokens));
    }
    let worst =
        worst_absolute(&found.logits, &floats(golden, "logits")[image * CLASSES..(image + 1) * CLASSES]);
    if worst.error > LOGITS {
        wrong.push(format!("a logit is off by {:.1e}", worst.error));
    }
    wrong
}

fn top1(logits: &[f32]) -> usize {
    (0..CLASSES).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("classes")
}

fn listed(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("methods.json")).expect("methods.json");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn decisions_logits_and_costs_are_those_of_the_reference_code() {
    let (Some(folder), Some((model, pixels))) = (material("methods"), model()) else { return };
    let listed = listed(&folder);
    let mut failures = Vec::new();
    for (name, spec) in CASES {
        let golden = Checkpoint::open(folder.join(format!("{name}.safetensors"))).expect("readable");
        let stable: Vec<bool> =
            whole(&golden, "stable").expect("flags").into_iter().map(|flag| flag[0] == 1).collect();
        let all = run(&model, &pixels, spec);
        let mut stray = Vec::new();
        let (mut exact, mut same_class) = (0, 0);
        for (image, found) in all.iter().enumerate() {
            let wrong = differences(found, &golden, image);
            exact += usize::from(wrong.is_empty());
            if stable[image] && !wrong.is_empty() {
                stray.push(format!("image {image}: {}", wrong.join(", ")));
            }
            let wanted = &floats(&golden, "logits")[image * CLASSES..(image + 1) * CLASSES];
            same_class += usize::from(top1(&found.logits) == top1(wanted));
        }
        let gmacs = all.iter().map(|found| found.gmacs).sum::<f64>() / all.len() as f64;
        let wanted = listed[name]["macs"].as_f64().expect("a number") / 1e9;
        let stable = stable.iter().filter(|stable| **stable).count();
        println!(
            "{name:18} {spec:45} {exact} of {IMAGES} exact ({stable} stable), same class {same_class}, GMACs {gmacs:.4} ({wanted:.4})"
        );
        if stray.len() > STRAY || same_class + 1 < IMAGES {
            failures.push(format!("{name}: {stray:#?}"));
        }
        if !FEWER_ROWS.contains(name) && (gmacs / wanted - 1.0).abs() > COSTS {
            failures.push(format!("{name}: {gmacs:.5} GMACs, not {wanted:.5}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let missing: Vec<&String> = listed
        .as_object()
        .expect("an object")
        .keys()
        .filter(|name| !CASES.iter().any(|(known, _)| known == name))
        .collect();
    assert!(missing.is_empty(), "no method here for {missing:?}");
}
