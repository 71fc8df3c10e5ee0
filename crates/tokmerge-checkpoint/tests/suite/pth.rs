//! PyTorch files: what `torch.save` writes (`fixtures/make_pth.py`), and what an attacker would.

use std::path::{Path, PathBuf};

use crate::common::{StoredZip, ramp};
use tokmerge_checkpoint::{Checkpoint, CheckpointError, Dtype, Format, OpenMode};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixture(name)).unwrap()
}

fn f32s(checkpoint: &Checkpoint, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = checkpoint.get(name).unwrap_or_else(|| panic!("{name} is missing in {checkpoint:?}"));
    (tensor.shape.to_vec(), tensor.to_f32().unwrap().into_owned())
}

#[test]
fn a_plain_state_dict_is_read() {
    for name in ["plain.pth", "plain_protocol4.pth"] {
        let checkpoint = open(name);
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["bias", "weight"]);
        assert_eq!(f32s(&checkpoint, "weight"), (vec![2, 3], ramp(6)));
        assert_eq!(f32s(&checkpoint, "bias"), (vec![2], ramp(2)));
        assert_eq!(checkpoint.provenance().format, Format::Pytorch);
        let provenance = checkpoint.provenance();
        assert_eq!(
            (provenance.state_dict_key.as_deref(), provenance.stripped_prefix.as_deref()),
            (None, None)
        );
    }
}

#[test]
fn f32_is_borrowed_from_the_mapped_file() {
    let checkpoint = open("plain.pth");
    let weight = checkpoint.get("weight").unwrap();
    assert!(matches!(weight.to_f32().unwrap(), std::borrow::Cow::Borrowed(_)));
    let read = Checkpoint::open_with(fixture("plain.pth"), OpenMode::Read).unwrap();
    assert_eq!(read.get("weight").unwrap().bytes(), weight.bytes());
}

/// Where the tensors lay, the raw weights beside them, what was dropped from every name.
fn origin(checkpoint: &Checkpoint) -> (Option<&str>, Option<&str>, Option<&str>) {
    let provenance = checkpoint.provenance();
    (
        provenance.state_dict_key.as_deref(),
        provenance.raw_weights_key.as_deref(),
        provenance.stripped_prefix.as_deref(),
    )
}

#[test]
fn nested_weights_are_found_and_the_rest_is_told() {
    let checkpoint = open("state_dict_first.pth");
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["b"]);
    assert_eq!(origin(&checkpoint), (Some("state_dict"), None, None));
    assert_eq!(checkpoint.provenance().ignored, ["model"]);
}

#[test]
fn averaged_weights_are_preferred_to_raw_ones_and_that_is_told() {
    let nested = open("nested.pth");
    assert_eq!(f32s(&nested, "x"), (vec![1], ramp(1)));
    assert_eq!(origin(&nested), (Some("model_ema"), Some("model"), None));
    assert_eq!(nested.provenance().ignored, ["model", "epoch", "args", "(an int)"]);
    let averaged = open("averaged.pth");
    assert_eq!(f32s(&averaged, "a"), (vec![2], ramp(2)));
    assert_eq!(origin(&averaged), (Some("state_dict_ema"), Some("state_dict"), Some("_orig_mod.module.")));
    assert_eq!(averaged.provenance().ignored, ["state_dict", "metric"]);
    let teacher = open("teacher.pth");
    assert_eq!(f32s(&teacher, "a"), (vec![2], ramp(2)));
    assert_eq!(origin(&teacher), (Some("teacher"), Some("student"), None));
}

#[test]
fn weights_are_found_in_lists_and_tuples() {
    let tuple = open("tuple.pth");
    assert_eq!(f32s(&tuple, "layer.a"), (vec![2], ramp(2)));
    assert_eq!(origin(&tuple), (Some("1.0.model"), None, None));
}

#[test]
fn a_torchscript_archive_gives_its_tensors_and_its_code_is_left_alone() {
    let checkpoint = open("scripted.pt");
    assert_eq!(checkpoint.provenance().format, Format::TorchScript);
    let names: Vec<_> = checkpoint.names().collect();
    assert_eq!(names, ["layers.0.bias", "layers.0.weight", "visual.proj", "visual.size"]);
    assert_eq!(f32s(&checkpoint, "layers.0.weight"), (vec![2, 2], ramp(4)));
    assert_eq!(f32s(&checkpoint, "visual.proj"), (vec![2, 2], ramp(4)));
    assert_eq!(checkpoint.get("visual.proj").unwrap().dtype, Dtype::F16);
}

#[test]
fn modules_that_hold_themselves_or_each_other_without_end_are_refused() {
    let module = b"c__torch__\nM\n)\x81".as_slice();
    let itself = [b"\x80\x02", module, b"q\0}X\x01\0\0\0ah\0sb."].concat();
    assert!(refused(&itself).contains("more often than"), "a module that holds itself");
    // Each module holds the next one twice: 2^40 ways to the last one.
    let mut pickle = b"\x80\x02".to_vec();
    pickle.extend([module, b"q\0"].concat());
    for level in 1..=40 {
        let twice =
            [b"}(X\x01\0\0\0ah", [level - 1].as_slice(), b"X\x01\0\0\0bh", &[level - 1], b"ub"].concat();
        pickle.extend([module, b"q", &[level], &twice].concat());
    }
    pickle.push(b'.');
    assert!(refused(&pickle).contains("more often than"), "modules that fan out");
    assert!(refused(&[b"\x80\x02", module, b"K\x01b."].concat()).contains("is no dict"));
    assert!(refused(&[b"\x80\x02", module, b"."].concat()).contains("hold no tensors"));
    let long = [b"\x80\x02", module, b"}X\x01\x08\0\0", &[b'k'; 2049], module, b"sb."].concat();
    assert!(refused(&long).contains("is longer than 1024"), "a name beyond reason");
}

#[test]
fn shards_of_pytorchs_format_are_read_as_one() {
    let checkpoint = open("shard.bin.index.json");
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(origin(&checkpoint), (None, None, Some("model.")));
    assert_eq!(checkpoint.provenance().format, Format::ShardedPytorch);
    assert_eq!(f32s(&checkpoint, "a"), (vec![2, 3], ramp(6)));
    assert_eq!(f32s(&checkpoint, "c"), (vec![1], ramp(1)));
    let half = |values: &[u8]| values.iter().map(|&value| f32::from(value) / 2.0).collect::<Vec<_>>();
    assert_eq!(f32s(&checkpoint, "b"), (vec![3, 2], half(&[0, 3, 1, 4, 2, 5])));
}

#[test]
fn an_index_and_its_pytorch_shards_must_agree() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("pytorch_model.bin.index.json");
    std::fs::copy(fixture("plain.pth"), dir.path().join("one.bin")).unwrap();
    for (weight_map, expected) in [
        (r#"{"weight": "one.bin", "bias": "one.bin", "x": "one.bin"}"#, "tensor `x`: the index places it in"),
        (r#"{"weight": "one.bin"}"#, "tensor `bias`: the index"),
        (r#"{"weight": "one.bin", "bias": "../one.bin"}"#, "shard name `../one.bin` is refused"),
        (r#"{"weight": "one.bin", "bias": "two.safetensors"}"#, "are of two formats"),
        (r#"{"weight": "gone.bin"}"#, "gone.bin: cannot open"),
    ] {
        std::fs::write(&index, format!(r#"{{"weight_map": {weight_map}}}"#)).unwrap();
        let message = Checkpoint::open(&index).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    // A shard may not send the reader to further files.
    std::fs::write(dir.path().join("two.bin"), r#"{"weight_map": {"a": "one.bin"}}"#).unwrap();
    std::fs::write(&index, r#"{"weight_map": {"a": "two.bin"}}"#).unwrap();
    assert!(Checkpoint::open(&index).is_err());
}

#[test]
fn element_types_keep_their_values() {
    let checkpoint = open("dtypes.pth");
    let dtype = |name| checkpoint.get(name).unwrap().dtype;
    assert_eq!([dtype("half"), dtype("brain"), dtype("double")], [Dtype::F16, Dtype::BF16, Dtype::F64]);
    assert_eq!(f32s(&checkpoint, "half"), (vec![2, 2], ramp(4)));
    assert_eq!(f32s(&checkpoint, "brain"), (vec![3], ramp(3)));
    assert_eq!(f32s(&checkpoint, "double"), (vec![2], ramp(2)));
    assert_eq!(f32s(&checkpoint, "scalar"), (vec![], vec![2.5]));
    assert_eq!(f32s(&checkpoint, "empty"), (vec![0, 4], vec![]));
    let long = checkpoint.get("long").unwrap();
    assert_eq!(long.bytes(), [(-1i64).to_le_bytes(), (1i64 << 40).to_le_bytes()].concat());
    assert!(long.to_f32().unwrap_err().to_string().contains("`long` holds I64"));
    assert_eq!(checkpoint.get("bool").unwrap().bytes(), [1, 0]);
}

#[test]
fn strided_views_become_contiguous() {
    let checkpoint = open("strided.pth");
    let half = |values: &[u8]| values.iter().map(|&value| f32::from(value) / 2.0).collect::<Vec<_>>();
    assert_eq!(f32s(&checkpoint, "base"), (vec![4, 6], ramp(24)));
    assert_eq!(f32s(&checkpoint, "slice"), (vec![2, 3], half(&[8, 9, 10, 14, 15, 16])));
    assert_eq!(f32s(&checkpoint, "rows"), (vec![2, 6], ramp(24)[12..].to_vec()));
    assert_eq!(f32s(&checkpoint, "expanded"), (vec![3, 2], half(&[0, 1, 0, 1, 0, 1])));
    let (shape, values) = f32s(&checkpoint, "transposed");
    assert_eq!(shape, [6, 4]);
    assert_eq!(values[..5], half(&[0, 6, 12, 18, 1]));
}

#[test]
fn a_parameter_is_its_tensor() {
    let checkpoint = open("parameter.pth");
    assert_eq!(f32s(&checkpoint, "weight"), (vec![2, 2], ramp(4)));
    assert_eq!(checkpoint.provenance().ignored, ["size"]);
}

#[test]
fn a_pickle_that_would_run_a_command_is_refused_by_name() {
    for name in ["malicious.pth", "malicious_protocol4.pth"] {
        let error = Checkpoint::open(fixture(name)).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::ForbiddenGlobal { global, .. } if global == "posix.system"),
            "{error}"
        );
        assert!(error.to_string().contains("was not run"), "{error}");
    }
    assert!(!Path::new("/tmp/tokmerge-pickle-was-executed").exists());
}

#[test]
fn older_and_foreign_layouts_say_the_way_out() {
    for (name, what) in [("legacy.pth", "non-zip"), ("big_endian.pth", "big-endian")] {
        let message = Checkpoint::open(fixture(name)).unwrap_err().to_string();
        assert!(
            message.contains(what) && message.contains("_use_new_zipfile_serialization=True"),
            "{message}"
        );
        assert!(message.contains("safetensors") && message.contains(name), "{message}");
    }
    let message = Checkpoint::open(fixture("no_tensors.pth")).unwrap_err().to_string();
    assert!(message.contains("no dict of tensors") && message.contains("`epoch`, `names`"), "{message}");
}

/// Pickles by hand: `}` empty dict, `(` mark, `X` string, `u` set items, `.` stop.
fn refused(pickle: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    let zip = StoredZip::default().entry("a/data.pkl", pickle).entry("a/data/0", &[0; 16]).finish();
    std::fs::write(&path, zip).unwrap();
    let message = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

/// A pickle of `{"w": tensor}` over storage 0 of four floats, with `view` pushing offset, shape and strides.
fn tensor_pickle(storage_len: u8, view: &[u8]) -> Vec<u8> {
    [
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
            .as_slice(),
        b"X\x01\0\0\x000X\x03\0\0\0cpuK",
        &[storage_len],
        b"tQ",
        view,
        b"\x89NtRs.",
    ]
    .concat()
}

#[test]
fn the_hand_made_tensor_is_valid_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    let pickle = tensor_pickle(4, b"K\0K\x02K\x02\x86K\x02K\x01\x86");
    let zip = || StoredZip::default().entry("a/data.pkl", &pickle).entry("a/data/0", &[0; 16]);
    for zip in [zip().finish(), zip().with_zip64().finish()] {
        std::fs::write(&path, zip).unwrap();
        assert_eq!(f32s(&Checkpoint::open(&path).unwrap(), "w"), (vec![2, 2], vec![0.0; 4]));
    }
}

#[test]
fn a_tensor_cannot_reach_outside_its_storage() {
    for (view, expected) in [
        (b"K\x01K\x02K\x02\x86K\x02K\x01\x86".as_slice(), "reach outside its storage of 4"),
        (b"K\0K\x02K\x02\x86K\x03K\x01\x86", "reach outside its storage"),
        (b"K\0K\x05\x85K\x01\x85", "reach outside its storage"),
        (b"K\0J\xff\xff\xff\xff\x85K\x01\x85", "a size of -1 is negative"),
        (b"K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x08\x86K\0K\0\x86", "too large for any file"),
        (b"K\0J\xff\xff\xff\x7f\x85K\0\x85", "call .contiguous()"),
        (b"K\0K\x04\x85K\x01K\x01\x86", "do not describe a tensor"),
        (b"K\0N\x85K\x01\x85", "a size is a scalar"),
        (b"K\0]K\x01\x85", "a shape is a list"),
    ] {
        let message = refused(&tensor_pickle(4, view));
        assert!(message.contains(expected), "{message}");
    }
    let message = refused(&tensor_pickle(5, b"K\0K\x05\x85K\x01\x85"));
    assert!(
        message.contains("tensor `w`: its storage is said to hold 5 elements of F32, but `data/0` has 16"),
        "{message}"
    );
}

#[test]
fn pickles_outside_the_rules_are_refused() {
    for (pickle, expected) in [
        (b"".as_slice(), "ends in the middle"),
        (b"\x80\x02.", "stack is empty"),
        (b"\x80\x01N.", "protocol 1 is not read"),
        (b"I1\n.", "opcode 0x49"),
        (b"\x80\x02(.", "stack is empty"),
        (b"\x80\x02N(0.", "stack is empty"),
        (b"\x80\x02t.", "no mark is open"),
        (b"\x80\x02h\x07.", "memo 7 was never set"),
        (b"\x80\x02X\xff\xff\xff\xffa.", "exceeds the limit"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.", "exceeds the limit"),
        (b"\x80\x02X\x09\0\0\0a.", "ends in the middle"),
        (b"\x80\x02X\x01\0\0\0\xff.", "not UTF-8"),
        (b"\x80\x02}(K\x01u.", "not pairs"),
        (b"\x80\x02NNs.", "stack is empty"),
        (b"\x80\x02K\x01K\x02a.", "not a list"),
        (b"\x80\x02K\x01)R.", "called like a function"),
        (b"\x80\x02ctorch\nSize\n)R.", "Size cannot be made from 0 arguments"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "cannot be made"),
        (b"\x80\x02ctorch\nFloatStorage\n)\x81.", "cannot be instantiated"),
        (b"\x80\x02K\x01}b.", "attributes are set on an int"),
        (b"\x80\x02)Q.", "five fields"),
        (b"\x80\x02K\x01.", "holds an int where a dict"),
        (b"\x80\x02cbuiltins\neval\n.", "asks for `builtins.eval`"),
        (b"\x80\x02ctorch\n_load_global_deps\n.", "asks for `torch._load_global_deps`"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "asks for `os.system`"),
        (b"\x80\x02cos\x1b[31m\nsystem\n.", r"asks for `os\u{1b}[31m.system`"),
        (b"\x80\x02cos", "has no end"),
    ] {
        let message = refused(pickle);
        assert!(message.contains(expected), "{pickle:?}: {message}");
    }
}

#[test]
fn pickle_bombs_are_bounded() {
    let marks = [b"\x80\x02".as_slice(), &[b'('; 10_000]].concat();
    assert!(refused(&marks).contains("nests"), "open marks are limited");
    let endless = [b"\x80\x02".as_slice(), &b"N0".repeat(1_500_000)].concat();
    assert!(refused(&endless).contains("opcodes"), "the number of opcodes is limited");
    let stack = [b"\x80\x02".as_slice(), &[b'N'; 1_500_000]].concat();
    assert!(refused(&stack).contains("nests or remembers"), "the stack is limited");
    // A list that contains itself, and one key used a million times: neither recursion nor copies.
    let cycle = b"\x80\x02]q\0h\0a.";
    assert!(refused(cycle).contains("no dict of tensors"));
    let long =
        [b"\x80\x02}X\0\0\x01\0".as_slice(), &[b'k'; 65536], b"q\0N", b"s", &b"h\0Ns".repeat(200_000), b"."]
            .concat();
    assert!(refused(&long).contains("no dict of tensors"));
}

#[test]
fn zips_outside_the_rules_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pth");
    let refused = |zip: Vec<u8>| {
        std::fs::write(&path, zip).unwrap();
        Checkpoint::open(&path).unwrap_err().to_string()
    };
    let valid = std::fs::read(fixture("plain.pth")).unwrap();
    assert!(refused(valid[..valid.len() / 2].to_vec()).contains("truncated download?"));
    assert!(refused(StoredZip::default().entry("a/readme", b"x").finish()).contains("no data.pkl"));
    assert!(
        refused(StoredZip::default().entry("a/data.pkl", b"x").entry("a/data.pkl", b"x").finish())
            .contains("two entries")
    );
    let deflated = StoredZip::default().entry("a/data.pkl", b"x").with_method(8).finish();
    assert!(refused(deflated).contains("is compressed"));
    let overlapping =
        StoredZip::default().entry("a/data.pkl", b"x").entry("a/data/0", b"y").with_offsets(0).finish();
    assert!(refused(overlapping).contains("disagrees with the directory"));
    let mut swallowing = StoredZip::default().entry("a/data.pkl", b"x").entry("a/data/0", b"y").finish();
    let directory = swallowing.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    for size_field in [20, 24] {
        swallowing[directory + size_field] = 40;
    }
    assert!(refused(swallowing).contains("`a/data.pkl` and `a/data/0` overlap"));
    let no_storage =
        StoredZip::default().entry("a/data.pkl", &tensor_pickle(4, b"K\0K\x04\x85K\x01\x85")).finish();
    assert!(refused(no_storage).contains("tensor `w`: its storage `data/0` is missing"));
}
