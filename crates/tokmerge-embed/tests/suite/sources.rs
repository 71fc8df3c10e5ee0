//! Images as people keep them: folders, lists, archives and tables become one list in order.

use crate::common::{all, loaded, open, png, put};
use std::path::{Path, PathBuf};
use tokmerge_embed::Sources;

fn refused(paths: &[PathBuf]) -> String {
    let sources = Sources { paths: paths.to_vec(), ..Sources::default() };
    sources.open().unwrap_err().to_string()
}

fn keys(found: &[(String, Result<u8, String>)]) -> Vec<&str> {
    found.iter().map(|(key, _)| key.as_str()).collect()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn folders_files_and_lists_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for (name, gray) in [("in/b.png", 2), ("in/a.png", 1), ("in/sub/c.png", 3), ("x.png", 9)] {
        put(dir.path(), name, &png(gray));
    }
    put(dir.path(), "in/.hidden.png", &png(0));
    put(dir.path(), "in/__MACOSX/y.png", &png(0));
    put(dir.path(), "in/notes.md", b"text");
    let list = put(dir.path(), "list", format!("{}\r\n\n  \n{}\n", at("x.png"), at("gone.png")).as_bytes());
    let sources = Sources {
        paths: vec![dir.path().join("in"), dir.path().join("x.png")],
        list: Some(list),
        ..Sources::default()
    };
    let inputs = sources.open().unwrap();
    let found = all(&inputs);
    let wanted = ["in/a.png", "in/b.png", "in/sub/c.png", "x.png", "x.png", "gone.png"];
    assert_eq!(keys(&found), wanted.map(at));
    let grays: Vec<_> = found.iter().filter_map(|(_, gray)| gray.clone().ok()).collect();
    assert_eq!(grays, [1, 2, 3, 9, 9]);
    let gone = found[5].1.clone().unwrap_err();
    assert!(gone.contains("gone.png: cannot be read"), "{gone}");
    assert!(
        inputs.notes()[0].contains("__MACOSX") && inputs.notes()[0].contains("1 .md"),
        "{:?}",
        inputs.notes()
    );
    for workers in [1, 3, 50] {
        assert_eq!(loaded(&inputs, &[0..4, 4..6], workers), found, "{workers} workers");
        let parts = [found[1..2].to_vec(), found[3..6].to_vec()].concat();
        assert_eq!(loaded(&inputs, &[1..2, 3..6], workers), parts);
    }
}

#[test]
fn members_of_an_archive_are_read_where_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("./{}/0003.png", "deep/".repeat(40));
    let [one, two, three] = [1, 2, 3].map(png);
    let members: [(&str, &[u8]); 8] = [
        ("./0001.png", &one),
        ("./0001.json", b"{}"),
        ("0002.cls", b"7"),
        ("0002.jfif.left", &two),
        (&long, &three),
        ("._0004.png", b"x"),
        ("__MACOSX/0005.png", b"x"),
        ("0006.png", b""),
    ];
    let path = put(dir.path(), "shard.TAR", &tar(&members));
    let found = all(&open(&[path]));
    let deep = format!("{}/0003", "deep/".repeat(40));
    let deep = Path::new(&deep).display().to_string();
    assert_eq!(keys(&found), ["0001", "0002.jfif", &deep, "0006"]);
    assert_eq!(found[..3].iter().map(|(_, gray)| gray.clone().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(found[3].1.as_ref().unwrap_err().contains("is empty"), "{found:?}");
}

#[test]
fn an_archive_that_ends_early_loses_nothing_silently() {
    let dir = tempfile::tempdir().unwrap();
    let images: Vec<Vec<u8>> = (0..4).map(png).collect();
    let names: Vec<String> = (0..4).map(|index| format!("{index}.png")).collect();
    let members: Vec<(&str, &[u8])> =
        names.iter().zip(&images).map(|(name, image)| (name.as_str(), image.as_slice())).collect();
    let whole = tar(&members);
    let of = |length: usize| {
        let path = put(dir.path(), "cut.tar", &whole[..length]);
        let found = all(&open(&[path]));
        let good = found.iter().filter(|(_, gray)| gray.is_ok()).count();
        let last = found.last().unwrap().1.clone();
        (good, found.len(), last.err().unwrap_or_default())
    };
    assert_eq!(of(whole.len()), (4, 4, String::new()));
    // Each member is a block of header and one of content.
    assert_eq!(images[0].len().div_ceil(512), 1);
    for (length, good, listed) in
        [(0, 0, 1), (300, 0, 1), (1024, 1, 2), (1024 + 200, 1, 2), (2 * 1024 + 512 + 20, 2, 4), (4096, 4, 5)]
    {
        let (found_good, found_listed, reason) = of(length);
        assert_eq!((found_good, found_listed), (good, listed), "{length} bytes: {reason}");
        assert!(reason.contains("cut.tar") && reason.contains("ends early"), "{length}: {reason}");
    }
    // The name of the member that is cut may hold anything.
    let bell = tar(&[("a\u{7}b.cls", images[0].as_slice())]);
    let path = put(dir.path(), "bell.tar", &bell[..520]);
    let reason = all(&open(&[path]))[0].1.clone().unwrap_err();
    assert!(reason.contains("is cut off") && !reason.contains(char::is_control), "{reason:?}");
}

#[test]
fn what_is_no_source_of_images_is_refused_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str| refused(&[dir.path().join(name)]);
    put(dir.path(), "words.txt", b"a cat\n");
    assert!(
        refused("words.txt").contains("is text, and the model takes images")
            && refused("words.txt").contains("`files`")
    );
    put(dir.path(), "a.tar.gz", b"x");
    assert!(refused("a.tar.gz").contains("unpack it"));
    assert!(refused("gone").contains("no such file or folder"));
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(refused("empty").contains("no images there"), "{}", refused("empty"));
    let list = Some(put(dir.path(), "list", b"\n\n"));
    let error = Sources { list, ..Sources::default() }.open().unwrap_err().to_string();
    assert!(error.contains("no images there"), "{error}");
}

#[test]
fn the_digest_is_that_of_the_list_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a.png", "b.png"].map(|name| put(dir.path(), name, &png(1)));
    let digest =
        |paths: &[&PathBuf]| open(&paths.iter().map(|path| (*path).clone()).collect::<Vec<_>>()).digest();
    assert_eq!(digest(&[&a, &b]), digest(&[&a, &b]));
    assert_ne!(digest(&[&a, &b]), digest(&[&b, &a]));
    assert_ne!(digest(&[&a, &b]), digest(&[&a]));
}
