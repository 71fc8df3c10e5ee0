//! safetensors files: round trips, shards, and headers that lie.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{ramp, safetensors};
use tokmerge_checkpoint::{
    Checkpoint, CheckpointError, Dtype, Format, OpenMode, TensorView, save_safetensors,
};

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn refused(bytes: impl AsRef<[u8]>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let message = Checkpoint::open(write(dir.path(), "x.safetensors", bytes)).unwrap_err().to_string();
    assert!(message.contains("x.safetensors: ") && !message.contains('\n'), "{message}");
    message
}

#[test]
fn what_was_saved_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let values = ramp(6);
    let metadata =
        BTreeMap::from([("format".to_owned(), "pt".to_owned()), ("a".to_owned(), "ä\n".to_owned())]);
    let tensors = [
        TensorView::new("mask", Dtype::Bool, &[3], &[1, 0, 1]).unwrap(),
        TensorView::from_f32("weight", &[2, 3], &values).unwrap(),
        TensorView::from_f32("empty", &[0, 3], &[]).unwrap(),
        TensorView::new("half", Dtype::F16, &[1], &[0, 0x38]).unwrap(),
    ];
    save_safetensors(&path, tensors, &metadata).unwrap();
    for mode in [OpenMode::Map, OpenMode::Read] {
        let checkpoint = Checkpoint::open_with(&path, mode).unwrap();
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["empty", "half", "mask", "weight"]);
        for tensor in tensors {
            assert_eq!(checkpoint.get(tensor.name), Some(tensor));
        }
        assert_eq!(*checkpoint.get("weight").unwrap().to_f32().unwrap(), values);
        assert_eq!(*checkpoint.get("half").unwrap().to_f32().unwrap(), [0.5]);
        assert_eq!(checkpoint.metadata(), &metadata);
        assert_eq!(checkpoint.provenance().format, Format::Safetensors);
        assert_eq!(checkpoint.get("absent"), None);
    }
    // Equal input gives equal bytes, whatever its order, and nothing is left beside the file.
    let first = std::fs::read(&path).unwrap();
    save_safetensors(&path, tensors.into_iter().rev(), &metadata).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn saving_does_not_disturb_a_mapped_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let save = |values: &[f32]| {
        let shape = [values.len()];
        save_safetensors(&path, [TensorView::from_f32("w", &shape, values).unwrap()], &BTreeMap::new())
            .unwrap();
    };
    save(&ramp(5000));
    let open = Checkpoint::open(&path).unwrap();
    save(&[1.0]);
    assert_eq!(*open.get("w").unwrap().to_f32().unwrap(), ramp(5000));
    assert_eq!(*Checkpoint::open(&path).unwrap().get("w").unwrap().to_f32().unwrap(), [1.0]);
}

#[test]
fn a_failed_save_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let tensor = TensorView::from_f32("w", &[1], &[1.0]).unwrap();
    let twice = save_safetensors(&path, [tensor, tensor], &BTreeMap::new()).unwrap_err().to_string();
    assert!(twice.contains("tensor `w`: the name is taken"), "{twice}");
    let reserved = TensorView::from_f32("__metadata__", &[1], &[1.0]).unwrap();
    assert!(save_safetensors(&path, [reserved], &BTreeMap::new()).is_err());
    std::fs::create_dir(&path).unwrap();
    assert!(save_safetensors(&path, [tensor], &BTreeMap::new()).is_err(), "a folder is in the way");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn lying_headers_are_refused_with_the_tensor_and_the_numbers() {
    let one = |tensor: &str| safetensors(&format!(r#"{{"w":{tensor}}}"#), &[0; 16]);
    for (file, expected) in [
        (
            one(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,16]}"#),
            "tensor `w`: its shape [3] of F32 takes 12 bytes, but its offsets span 16",
        ),
        (one(r#"{"dtype":"F16","shape":[4],"data_offsets":[0,16]}"#), "takes 8 bytes"),
        (
            one(r#"{"dtype":"F32","shape":[4],"data_offsets":[0,17]}"#),
            "leave the 16 bytes of data; truncated file?",
        ),
        (one(r#"{"dtype":"F32","shape":[4],"data_offsets":[16,0]}"#), "tensor `w`: its bytes 16..0 leave"),
        (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#), "leaves a gap after"),
        (
            one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#),
            "the tensors end at byte 8 of the data, but the file has 16",
        ),
        (
            one(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}"#),
            "tensor `w`: the product of its shape",
        ),
        (
            one(r#"{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,0]}"#),
            "too large for any file",
        ),
        (one(r#"{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,16]}"#), "tensor `w`: "),
        (
            one(r#"{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}"#),
            "tensor `w`: invalid value: integer `-4`",
        ),
        (
            one(r#"{"dtype":"F32","shape":[4],"data_offsets":[18446744073709551608,18446744073709551615]}"#),
            "leave the 16 bytes",
        ),
        (one(r#"{"dtype":"F4","shape":[32],"data_offsets":[0,16]}"#), "dtype `F4` is not supported"),
        (
            one(r#"{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,4],"data_offsets":[0,16]}"#),
            "17 axes",
        ),
        (one(r#"{"dtype":"F32","shape":[4]}"#), "missing field `data_offsets`"),
        (one("7"), "tensor `w`: invalid type"),
        (
            safetensors(
                r#"{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]},"b\n":{"dtype":"U8","shape":[9],"data_offsets":[7,16]}}"#,
                &[0; 16],
            ),
            r"tensor `b\n`: it starts at 7 and overlaps the tensor before it, which ends at 9",
        ),
        (
            safetensors(
                r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#,
                &[],
            ),
            "`a` appears twice",
        ),
        (safetensors(r#"{"__metadata__":{"a":1}}"#, &[]), "not valid JSON of this format"),
        (safetensors("{", &[]), "not valid JSON"),
        (safetensors(&format!("{{\"w\":{}", "[".repeat(100_000)), &[]), "tensor `w`: "),
    ] {
        let message = refused(&file);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let lying_length = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(refused(lying_length).contains("header of 18446744073709551615 bytes"));
    let bomb = [&(1u64 << 30).to_le_bytes()[..], b"{}"].concat();
    assert!(refused(bomb).contains("at most 16777216 are read"));
    let short = [&1000u64.to_le_bytes()[..], b"{}"].concat();
    assert!(refused(short).contains("only 2 follow; truncated?"));
    assert!(refused(b"\x05\0\0").contains("header length alone takes 8"));
    assert!(refused(b"").contains("0 bytes"));
    let lfs = refused("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    assert!(lfs.contains("run `git lfs pull`"), "{lfs}");
}

#[test]
fn content_decides_not_the_ending() {
    let dir = tempfile::tempdir().unwrap();
    let file = safetensors(r#"{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, &[1, 2]);
    let checkpoint = Checkpoint::open(write(dir.path(), "model.bin", &file)).unwrap();
    assert_eq!(checkpoint.get("w").unwrap().bytes(), [1, 2]);
    let html = Checkpoint::open(write(dir.path(), "model.pth", "<html>\n")).unwrap_err();
    assert!(html.to_string().contains(r#"it begins with "<html>\n""#), "{html}");
    assert!(matches!(
        Checkpoint::open(write(dir.path(), "e.pth", "")),
        Err(CheckpointError::Unrecognised { .. })
    ));
    assert!(Checkpoint::open(dir.path()).unwrap_err().to_string().contains("not a regular file"));
    assert!(Checkpoint::open(dir.path().join("absent")).unwrap_err().to_string().contains("cannot open"));
}

#[test]
fn a_prefix_of_all_names_is_dropped_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let open = |names: [&str; 2]| {
        let path = dir.path().join("x.safetensors");
        let tensors = names.map(|name| TensorView::from_f32(name, &[1], &[0.5]).unwrap());
        save_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
        (names.join(" "), checkpoint.provenance().stripped_prefix.clone())
    };
    let dropped = |prefix: &str| ("a b".to_owned(), Some(prefix.to_owned()));
    assert_eq!(open(["module.a", "module.b"]), dropped("module."));
    assert_eq!(open(["_orig_mod.model.a", "_orig_mod.model.b"]), dropped("_orig_mod.model."));
    assert_eq!(open(["model.a", "b"]), ("b model.a".to_owned(), None));
    assert_eq!(open(["model.a", "model."]), ("model. model.a".to_owned(), None), "no name becomes empty");
}

#[test]
fn shards_are_joined_and_checked_against_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let shard = |name: &str, tensor: &str, byte: u8| {
        let header = format!(r#"{{"{tensor}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
        write(dir.path(), name, safetensors(&header, &[byte]));
    };
    shard("s-1.safetensors", "a", 1);
    shard("s-2.safetensors", "b", 2);
    let open = |weight_map: &str| {
        let index = format!(r#"{{"metadata": {{"total_size": 2}}, "weight_map": {weight_map}}}"#);
        Checkpoint::open(write(dir.path(), "model.safetensors.index.json", index))
    };
    let checkpoint = open(r#"{"b": "s-2.safetensors", "a": "s-1.safetensors"}"#).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(checkpoint.get("b").unwrap().bytes(), [2]);
    assert_eq!(checkpoint.provenance().format, Format::ShardedSafetensors);

    for (weight_map, expected) in [
        (r#"{"a": "../s-1.safetensors"}"#, "`../s-1.safetensors` is refused"),
        (r#"{"a": "/etc/passwd"}"#, "is refused"),
        (r#"{"a": "s-1.pth"}"#, "is refused"),
        (r#"{"a": "s-9.safetensors"}"#, "s-9.safetensors: cannot open"),
        (
            r#"{"a": "s-1.safetensors", "c": "s-1.safetensors"}"#,
            "tensor `c`: the index places it in `s-1.safetensors`",
        ),
        (r#"{"b": "s-1.safetensors"}"#, "tensor `a`: the index"),
        ("{}", "weight_map is empty"),
        (r#"{"a": 1}"#, "no usable weight_map"),
    ] {
        let message = open(weight_map).unwrap_err().to_string();
        assert!(message.contains(expected), "{weight_map}: {message}");
    }
}

#[test]
fn bytes_in_memory_open_as_a_file_does_and_an_index_alone_is_refused() {
    let header = r#"{"module.a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
    let checkpoint = Checkpoint::from_bytes("a.safetensors", safetensors(header, &[1, 2])).unwrap();
    assert_eq!(checkpoint.get("a").unwrap().bytes(), [1, 2]);
    assert_eq!(checkpoint.path(), Path::new("a.safetensors"));
    let index = r#"{"weight_map": {"a": "s-1.safetensors"}}"#;
    let message = Checkpoint::from_bytes("index.json", index.into()).unwrap_err().to_string();
    assert!(message.contains("index.json: not a weights file: an index of 1 shards"), "{message}");
    let message = Checkpoint::from_bytes("x", vec![]).unwrap_err().to_string();
    assert!(message.contains("the file is empty"), "{message}");
}

#[test]
fn words_from_a_header_are_cut_and_escaped_in_messages() {
    let long = "\\u001b".repeat(100_000);
    for header in [
        format!(r#"{{"a":"{long}"}}"#),
        format!(r#"{{"a":{{"dtype":"{long}","shape":[0],"data_offsets":[0,0]}}}}"#),
        format!(r#"{{"{long}":{{"dtype":"U8","shape":[1],"data_offsets":[0,0]}}}}"#),
        format!(r#"{{"__metadata__":{{"a":["{long}"]}}}}"#),
    ] {
        let message = refused(safetensors(&header, &[]));
        assert!(message.len() < 1500 && !message.contains(char::is_control), "{message}");
    }
    let shards = format!(r#"{{"weight_map": {{"a": {{"{long}": 1}}}}}}"#);
    let message = Checkpoint::from_bytes("index.json", shards.into_bytes()).unwrap_err().to_string();
    assert!(message.len() < 1500 && !message.contains(char::is_control), "{message}");
}
