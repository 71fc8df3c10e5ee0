use super::*;

const CLASSES: &str = "index,mid,display_name\n0,/m/09x0r,\"Speech\"\n1,/m/05zppz,\"Male speech, man speaking\"\n\
                       2,/m/068hy,Domestic animals\n3,/t/dd00003,Domestic animals\n";

struct Case {
    dir: tempfile::TempDir,
    classes: ClassNames,
}

impl Case {
    fn new(files: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        Self { dir, classes: ClassNames::parse(CLASSES).unwrap() }
    }

    fn open(&self, text: &str) -> Result<MultiLabelList, MultiLabelError> {
        let path = self.dir.path().join("list.csv");
        std::fs::write(&path, text).unwrap();
        MultiLabelList::open(path, &self.classes)
    }

    /// Names of files and their labels.
    fn samples(&self, text: &str) -> Vec<(String, Vec<usize>)> {
        let list = self.open(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let name = |path: &Path| path.strip_prefix(self.dir.path()).unwrap().to_str().unwrap().to_owned();
        list.samples().iter().map(|sample| (name(&sample.path), sample.labels.clone())).collect()
    }

    /// The error, which is one line and begins with the list.
    fn error(&self, text: &str) -> String {
        let error = self.open(text).unwrap_err().to_string();
        assert!(error.lines().count() == 1 && error.len() < 600, "{error}");
        let list = format!("{}: ", self.dir.path().join("list.csv").display());
        error.strip_prefix(&list).unwrap_or_else(|| panic!("{error}")).to_owned()
    }
}

#[test]
fn audiosets_segments_are_read_as_they_come() {
    let case = Case::new(&["--PJHxphWEs.wav", "-_1.wav"]);
    let text = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2, num_segs=2\n\
                # YTID, start_seconds, end_seconds, positive_labels\n\
                --PJHxphWEs, 30.000, 40.000, \"/t/dd00003,/m/09x0r,/m/09x0r\"\r\n\n\
                -_1, 0.000, 8.500, \"/m/05zppz\"\n";
    let expected = [("--PJHxphWEs.wav".to_owned(), vec![0, 3]), ("-_1.wav".to_owned(), vec![1])];
    assert_eq!(case.samples(text), expected);
    let heading = format!("\u{feff}YTID,start_seconds,end_seconds,positive_labels\n{text}");
    assert_eq!(case.samples(&heading), expected);
    assert_eq!(case.open(text).unwrap().missing(), None);
}

#[test]
fn files_are_found_by_all_names_that_downloaders_give_them() {
    for file in [
        "a-_9.wav",
        "a-_9.FLAC",
        "a-_9.oga",
        "Ya-_9.mp3",
        "a-_9_30_40.5.ogg",
        "a-_9_30.000_40.500.m4a",
        "a-_9_30000_40500.wav",
        "Ya-_9_30000_40500.wav",
    ] {
        let case = Case::new(&[file, "a-_9.txt", "b-_9.wav", "a-_9_0_10.wav"]);
        let text = "a-_9, 30.000, 40.500, \"/m/09x0r\"\n";
        assert_eq!(case.samples(text), [(file.to_owned(), vec![0])]);
    }
    let several = Case::new(&["a.mp3", "a.wav", "a.flac", "Ya.wav"]);
    assert_eq!(several.samples("a,0,10,/m/09x0r")[0].0, "a.wav");
    let folder = Case::new(&["a.wav/inside.txt", "Ya.wav"]);
    assert_eq!(folder.samples("a,0,10,/m/09x0r")[0].0, "Ya.wav");
}

#[test]
fn parts_of_a_video_are_files_of_their_own() {
    let case = Case::new(&["a_0_10.wav", "a_10_20.wav"]);
    let expected = [("a_0_10.wav".to_owned(), vec![0]), ("a_10_20.wav".to_owned(), vec![2])];
    assert_eq!(case.samples("a, 0, 10, /m/09x0r\na, 10, 20, /m/068hy\n"), expected);
}

#[test]
fn tables_have_ids_or_names_and_either_mark() {
    let case = Case::new(&["sub/a.wav", "b, c.wav", "d.wav", "e.wav", "f.wav"]);
    let text = "Path,Labels\nsub/a.wav,/m/05zppz;/m/09x0r\n\"b, c.wav\",\"/m/068hy,speech\"\n\
                d.wav,\"Male speech, man speaking\"\ne.wav,\"Male speech, man speaking; Speech\"\nf.wav,\n";
    let expected = [
        ("sub/a.wav", vec![0, 1]),
        ("b, c.wav", vec![0, 2]),
        ("d.wav", vec![1]),
        ("e.wav", vec![0, 1]),
        ("f.wav", vec![]),
    ];
    assert_eq!(case.samples(text), expected.map(|(name, labels)| (name.to_owned(), labels)));
}

#[test]
fn paths_may_be_absolute() {
    let elsewhere = Case::new(&["a.wav"]);
    let path = elsewhere.dir.path().join("a.wav");
    let list = Case::new(&[]).open(&format!("path,labels\n{},Speech\n", path.display())).unwrap();
    assert_eq!(list.samples(), [MultiLabelSample { path, labels: vec![0] }]);
}

#[test]
fn rows_without_a_file_are_counted_and_the_first_is_named() {
    let case = Case::new(&["a.wav"]);
    let list = case.open("# c\nx, 0, 10, /m/09x0r\na, 0, 10, /m/09x0r\ny, 0, 10, /m/09x0r\n").unwrap();
    assert_eq!(list.samples().len(), 1);
    let missing = list.missing().unwrap();
    assert_eq!(missing, &MissingFiles { count: 2, line: 2, name: "x".to_owned() });
    assert_eq!(
        missing.to_string(),
        "2 rows are left out because their files are not there, the first in line 2 (x)"
    );
    let list = case.open("path,labels\na.wav,Speech\nno/b.wav,Speech\n").unwrap();
    assert_eq!(list.missing(), Some(&MissingFiles { count: 1, line: 3, name: "no/b.wav".to_owned() }));
    let parts = case.open("a, 0, 10, /m/09x0r\nx, 0, 10, /m/09x0r\nx, 10, 20, /m/09x0r\n").unwrap();
    assert_eq!(parts.missing().map(|missing| missing.count), Some(2));
    let none = case.error("x, 0, 10, /m/09x0r\ny, 0, 10, /m/09x0r\n");
    assert_eq!(none, "none of its 2 files is there, the first is x of line 1; put the list beside its files");
}

#[test]
fn a_part_of_a_list_is_spread_over_it() {
    let names: Vec<String> = (0..5).map(|n| format!("{n}.wav")).collect();
    let case = Case::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let rows: String = names.iter().map(|name| format!("{name},Speech\n")).collect();
    let list = case.open(&format!("path,labels\n{rows}")).unwrap();
    for (count, expected) in [(1, vec![0]), (2, vec![0, 2]), (3, vec![0, 1, 3]), (9, vec![0, 1, 2, 3, 4])] {
        let expected: Vec<_> = expected.into_iter().map(|n: usize| list.samples()[n].clone()).collect();
        assert_eq!(list.clone().limit(count).samples(), expected, "{count}");
    }
}

#[test]
fn a_list_is_known_by_its_ending_and_is_no_folder() {
    let case = Case::new(&["a.wav"]);
    std::fs::create_dir(case.dir.path().join("folder.csv")).unwrap();
    assert!(MultiLabelList::is_list(&case.dir.path().join("none.CSV")));
    for name in ["folder.csv", "a.wav", "csv"] {
        assert!(!MultiLabelList::is_list(&case.dir.path().join(name)), "{name}");
    }
}

#[test]
fn errors_say_the_line_the_rule_and_the_value() {
    let case = Case::new(&["a.wav", "Ya.wav", "b.wav"]);
    for (text, expected) in [
        ("", "holds no rows"),
        ("# only\n\n", "holds no rows"),
        ("path,labels\n", "holds no rows"),
        ("a, 0, 10, /m/none", "line 1: '/m/none' is neither id nor name of a class; give the `labels`"),
        (
            "a, 0, 10, Domestic animals",
            "line 1: 'Domestic animals' is the name of classes 2 and 3; give the id",
        ),
        ("a, 0, 10, /m/09x0r\n#\na, 0, 10, /m/068hy", "line 3 names the same file as line 1: "),
        (
            "a, 0, 10, /m/09x0r\nYa, 0, 10, /m/09x0r\na, 10, 20, /m/068hy",
            "line 3 names the same file as line 1: ",
        ),
        ("x, 0, 10, /m/09x0r\nx, 0, 10, /m/068hy", "line 2 names the same file as line 1: x_0_10; write all"),
        ("path,labels\na.wav,Speech\na.wav,Speech", "line 3 names the same file as line 2: "),
        ("path,labels\na.wav,Speech,/m/068hy", "line 2 is not path,labels; put several labels into quotes"),
        ("path,labels\na.wav", "line 2 is not path,labels"),
        ("path,labels\n,Speech", "line 2 has no path"),
        (
            "a.wav,Speech\n",
            "line 1 is not YTID, start_seconds, end_seconds, \"label,label\", and no line path,labels",
        ),
        ("a, 0, 10", "line 1 is not YTID"),
        ("a, 0, 10, \"\"", "line 1 has no labels"),
        ("a, 0, 10, \"/m/09x0r", "line 1 has a quote that is not closed"),
        ("a, 0, 10, \"/m/09x0r\" x", "line 1 has text after a quoted field"),
        ("a, 0, ten, /m/09x0r", "line 1 has a time that is no number of seconds"),
        ("a, -1, 10, /m/09x0r", "line 1 has a time that is no number of seconds"),
        ("a, NaN, inf, /m/09x0r", "line 1 has a time that is no number of seconds"),
        ("a, 10, 10, /m/09x0r", "line 1 ends before it starts"),
        ("../a, 0, 10, /m/09x0r", "line 1 has an id of other characters than letters, digits, - and _: ../a"),
        ("path,labels\na\u{1b}[31m.wav,Speech", "line 2 has control characters: a\\u{1b}[31m.wav"),
        ("path,labels\na.wav,Spe\tech", "line 2 has control characters"),
    ] {
        let error = case.error(text);
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
    case.error(&format!("path,labels\n{},{}", "a".repeat(100_000), "b".repeat(100_000)));
    case.error(&format!("path,labels\na.wav,\"{}\"", "b".repeat(100_000)));
}

#[test]
fn what_is_no_text_file_is_refused() {
    let case = Case::new(&[]);
    let open = |path: &Path| MultiLabelList::open(path, &case.classes).unwrap_err().to_string();
    assert!(open(case.dir.path()).ends_with("cannot be read as a list of labels: not a regular file"));
    assert!(open(Path::new("/nowhere/list.csv")).starts_with("/nowhere/list.csv: cannot be read"));
    let bytes = case.dir.path().join("bytes.csv");
    std::fs::write(&bytes, [0xFF, 0xFE, 0x00]).unwrap();
    assert!(open(&bytes).contains("UTF-8"));
    let large = case.dir.path().join("large.csv");
    std::fs::File::create(&large).unwrap().set_len(MAX_BYTES + 1).unwrap();
    assert!(open(&large).contains("268435457 bytes are more than the 268435456 that are read"));
}
