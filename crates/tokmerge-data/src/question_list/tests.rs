use super::{Place, QuestionList, QuestionListError, QuestionListForm};
use std::path::{Path, PathBuf};

fn parse(text: impl AsRef<[u8]>, form: QuestionListForm) -> Result<QuestionList, String> {
    let path = Path::new("set").join("questions").with_extension(form.ending());
    QuestionList::parse(text.as_ref(), form, &path).map_err(|error| error.to_string())
}

fn json_lines(text: impl AsRef<[u8]>) -> Result<QuestionList, String> {
    parse(text, QuestionListForm::JsonLines)
}

fn csv(text: &str) -> Result<QuestionList, String> {
    parse(text, QuestionListForm::Csv)
}

/// Picture, question, answers, kind and place of every question.
type Row<'a> = (&'a Path, &'a str, Vec<&'a str>, Option<&'a str>, Place);

fn rows(list: &QuestionList) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for question in list.questions() {
        let answers = question.answers.iter().map(String::as_str).collect();
        let (picture, kind) = (list.picture_of(question), question.kind.as_deref());
        rows.push((picture, question.text.as_str(), answers, kind, question.place));
    }
    rows
}

#[test]
fn lines_of_json_have_one_answer_or_several() {
    let list = json_lines(
        "\u{feff}{\"image\": \"a/1.png\", \"question\": \"What is red?\", \"answer\": \"circle\", \"kind\": \"shape\"}\n\n\
         {\"question_id\": 7, \"answers\": [\"two\", \"2\"], \"image\": \"2.png\", \"question\": \"How many, \\u00fc?\"}\r\n\
         {\"image\": \"a/1.png\", \"question\": \"Is it?\", \"answer\": \"no\"}",
    )
    .unwrap();
    let (first, second) = (Path::new("set/a/1.png"), Path::new("set/2.png"));
    assert_eq!(
        rows(&list),
        [
            (first, "What is red?", vec!["circle"], Some("shape"), Place::Line(1)),
            (second, "How many, ü?", vec!["two", "2"], None, Place::Line(3)),
            (first, "Is it?", vec!["no"], None, Place::Line(4)),
        ]
    );
    assert_eq!(list.pictures(), [first, second], "each once");
    let limited = list.clone().limit(1);
    assert_eq!((limited.questions().len(), limited.pictures()), (1, &[first.to_owned()][..]));
    assert_eq!(list.clone().limit(9), list);
}

#[test]
fn tables_have_their_columns_in_any_order() {
    let list =
        csv("id,Answer,image,question,kind\n1,red;Red ,x.png,\"What, then?\",colour\n\n2,no,y.png,Is it?,\n")
            .unwrap();
    let [x, y] = ["set/x.png", "set/y.png"].map(Path::new);
    assert_eq!(
        rows(&list),
        [
            (x, "What, then?", vec!["red", "Red"], Some("colour"), Place::Line(2)),
            (y, "Is it?", vec!["no"], None, Place::Line(4)),
        ]
    );
}

#[test]
fn lists_of_easy_vqa_are_read() {
    let text =
        r#"[["what shape is in the image?", "circle", 7], ["is it red?", "no", 7], ["what?", "teal", 0]]"#;
    let list = parse(text, QuestionListForm::Json).unwrap();
    assert_eq!(list.pictures(), ["set/images/7.png", "set/images/0.png"].map(PathBuf::from));
    assert_eq!(rows(&list)[2], (Path::new("set/images/0.png"), "what?", vec!["teal"], None, Place::Entry(3)));
}

#[test]
fn what_is_no_question_is_named_by_its_line() {
    let good = r#"{"image": "a", "question": "b", "answer": "c"}"#;
    let with = |line: &str| json_lines(format!("{good}\n{line}")).unwrap_err();
    for (line, expected) in [
        ("{", "line 2 is no question as JSON (EOF while parsing an object, column 1)"),
        (r#"{"image": "a", "question": "b"}"#, "line 2 has neither answer nor answers"),
        (r#"{"image": "a", "question": "b", "answer": "c", "answers": ["c"]}"#, "line 2 has both"),
        (r#"{"image": "a", "answer": "b"}"#, "missing field `question`"),
        (r#"{"image": "a", "question": "b", "answer": 3}"#, "invalid type: integer `3`, expected a string"),
        (r#"{"image": "a", "question": "b", "answers": []}"#, "line 2 has 0 answers"),
        (r#"{"image": " ", "question": "b", "answer": "c"}"#, "line 2 has an empty image"),
        (r#"{"image": "a", "question": "b", "answers": ["c", ""]}"#, "line 2 has an empty answer"),
        (
            r#"{"image": "a", "question": "b\u0007", "answer": "c"}"#,
            r"control characters in its question; remove them: b\u{7}",
        ),
        (r#"{"image": "a\u0000", "question": "b", "answer": "c"}"#, "control characters in its image"),
    ] {
        let error = with(line);
        assert!(error.contains(expected) && error.starts_with("set/questions.jsonl: line 2 "), "{error}");
        assert!(!error.contains(char::is_control));
    }
    let long = format!(r#"{{"image": "a", "question": "{}", "answer": "c"}}"#, "x".repeat(5000));
    assert!(with(&long).contains("line 2 has 5000 bytes as its question"));
    let many = format!(r#"{{"image": "a", "question": "b", "answers": [{}"c"]}}"#, "\"c\", ".repeat(100));
    assert!(with(&many).contains("line 2 has 101 answers"));
    let error = json_lines([good.as_bytes(), b"\n{\"image\": \"\xff"].concat()).unwrap_err();
    assert!(error.contains("line 2 is not UTF-8 (byte 12)"), "{error}");
}

#[test]
fn tables_without_their_columns_or_fields_are_refused() {
    assert!(csv("image,question\na,b\n").unwrap_err().contains("line 1 has no column answer"));
    assert!(csv("a.png,What?,red\n").unwrap_err().contains("line 1 has no column image"));
    let fields = csv("image,question,answer\na,b,c\na,What, then?,c\n").unwrap_err();
    assert!(fields.contains("line 3 has 4 fields, and the first line has 3"), "{fields}");
    assert!(csv("image,question,answer\na,\"b,c\n").unwrap_err().contains("line 2 has a quote"));
    assert!(csv("image,question,answer\na,b\tc,d\n").unwrap_err().contains("line 2 has control"));
}

#[test]
fn json_of_another_form_is_refused() {
    for text in ["", "[[1, 2, 3]]", r#"[["a", "b"]]"#, r#"[["a", "b", -1]]"#, "[[\"a\", \"b\", 1]] x"] {
        let error = parse(text, QuestionListForm::Json).unwrap_err();
        assert!(
            error.contains("is no list of [question, answer, image_id]") && error.contains("line 1"),
            "{error}"
        );
    }
    assert!(parse(r#"[["a", "", 1]]"#, QuestionListForm::Json).unwrap_err().contains("entry 1 has an empty"));
    assert!(parse("[]", QuestionListForm::Json).unwrap_err().contains("holds no questions"));
}

#[test]
fn lists_without_questions_are_refused() {
    assert!(json_lines("\n \n").unwrap_err().contains("holds no questions"));
    assert!(csv("image,question,answer\n").unwrap_err().contains("holds no questions"));
    assert!(csv("").unwrap_err().contains("holds no questions"));
}

#[test]
fn pictures_must_be_there_and_a_folder_stands_for_its_list() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path| QuestionList::open(path).unwrap_err();
    assert!(matches!(error(dir.path()), QuestionListError::Folder { .. }));
    assert!(matches!(error(&dir.path().join("questions.jsonl")), QuestionListError::Io { .. }));
    let text = dir.path().join("questions.txt");
    assert!(matches!(error(&text), QuestionListError::Io { .. }));
    std::fs::write(&text, "what?").unwrap();
    assert!(matches!(error(&text), QuestionListError::Form { .. }));
    let list = dir.path().join("questions.CSV");
    std::fs::write(&list, "image,question,answer\n1.png,a,b\n2.png,a,b\n3.png,a,b\n2.png,c,d\n").unwrap();
    std::fs::write(dir.path().join("1.png"), b"").unwrap();
    let missing = error(&list).to_string();
    assert!(missing.contains("2 of its 3 pictures are not there"), "{missing}");
    assert!(missing.contains("2.png of line 3"), "{missing}");
    for picture in ["2.png", "3.png"] {
        std::fs::write(dir.path().join(picture), b"").unwrap();
    }
    assert_eq!(QuestionList::open(&list).unwrap().questions().len(), 4);
    std::fs::rename(&list, dir.path().join("questions.csv")).unwrap();
    assert_eq!(QuestionList::open(dir.path()).unwrap().pictures().len(), 3);
}

/// VQA's two files, as they are written, with what is not read.
const VQA_QUESTIONS: &str = r#"{"info": {"version": "2.0"}, "task_type": "Open-Ended", "data_type": "mscoco", "data_subtype": "val2014",
    "questions": [{"image_id": 42, "question": "What is red?", "question_id": 42000}, {"image_id": 42, "question": "Is it?", "question_id": 42001}]}"#;
const VQA_ANNOTATIONS: &str = r#"{"annotations": [
    {"question_type": "is it", "multiple_choice_answer": "no", "image_id": 42, "answer_type": "yes/no", "question_id": 42001,
     "answers": [{"answer": "no", "answer_confidence": "yes", "answer_id": 1}]},
    {"answer_type": "other", "question_id": 42000, "answers": [{"answer": "ball"}, {"answer": "the ball"}]}]}"#;

#[test]
fn the_two_files_of_vqa_are_one_list() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let name = "v2_OpenEnded_mscoco_val2014_questions.json";
    write(name, VQA_QUESTIONS);
    let list = dir.path().join(name);
    let error = QuestionList::open(&list).unwrap_err().to_string();
    assert!(error.contains("no annotations") && error.contains("annotations for questions"), "{error}");

    write("v2_mscoco_val2014_annotations.json", VQA_ANNOTATIONS);
    let error = QuestionList::open(&list).unwrap_err().to_string();
    assert!(error.contains("val2014/COCO_val2014_000000000042.jpg of entry 1"), "{error}");

    std::fs::create_dir(dir.path().join("val2014")).unwrap();
    write("val2014/COCO_val2014_000000000042.jpg", "no picture, but there");
    let found = QuestionList::open(&list).unwrap();
    let picture = dir.path().join("val2014/COCO_val2014_000000000042.jpg");
    assert_eq!(
        rows(&found),
        [
            (picture.as_path(), "What is red?", vec!["ball", "the ball"], Some("other"), Place::Entry(1)),
            (picture.as_path(), "Is it?", vec!["no"], Some("yes/no"), Place::Entry(2)),
        ]
    );
    // Named plainly, and both in one file.
    write("questions.json", VQA_QUESTIONS);
    write("annotations.json", VQA_ANNOTATIONS);
    assert_eq!(QuestionList::open(dir.path()).unwrap().questions().len(), 2);
    let both =
        format!("{}, {}", VQA_QUESTIONS.trim_end_matches('}'), VQA_ANNOTATIONS.trim_start_matches('{'));
    assert_eq!(rows(&parse(both, QuestionListForm::Json).unwrap()).len(), 2);
}

#[test]
fn what_is_wrong_with_annotations_is_said_of_their_file_and_marks_in_front_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(dir.path().join(name), text).unwrap();
    let marked = |text: &str| format!("\u{feff}{text}").into_bytes();
    write("questions.json", &marked(VQA_QUESTIONS));
    let error = || QuestionList::open(dir.path()).unwrap_err().to_string();
    write("annotations.json", br#"{"annotations": 3}"#);
    assert!(error().contains("annotations.json: is not VQA's questions or annotations"), "{}", error());
    write("annotations.json", b"{\"annotations\": \"\xff\"}");
    assert!(error().contains("annotations.json: line 1 is not UTF-8"), "{}", error());
    write("annotations.json", &marked(VQA_ANNOTATIONS));
    // Read; the picture alone is missing.
    assert!(error().contains("COCO_val2014_000000000042.jpg of entry 1"), "{}", error());
}

#[test]
fn lists_that_are_too_long_are_refused_while_they_are_read() {
    let answers = r#"{"answer": "no"}, "#.repeat(101);
    let text = format!(
        r#"{{"questions": [], "annotations": [{{"question_id": 1, "answers": [{}]}}]}}"#,
        answers.trim_end_matches(", ")
    );
    let error = parse(text, QuestionListForm::Json).unwrap_err();
    assert!(error.contains("a list has more than 100 entries"), "{error}");
}

#[test]
fn what_is_wrong_with_vqas_files_is_said() {
    let error = |text: &str| parse(text, QuestionListForm::Json).unwrap_err();
    assert!(
        error(r#"{"questions": 3}"#).contains("is not VQA's questions"),
        "{}",
        error(r#"{"questions": 3}"#)
    );
    assert!(error("{}").contains("is not VQA's questions"));
    assert!(error(r#"{"questions": []}"#).contains("holds no questions"));
    let one = r#"{"questions": [{"question_id": 1, "image_id": 2, "question": "Is it?"}], "data_subtype": "../x",
        "annotations": [{"question_id": 9, "answers": [{"answer": "no"}]}]}"#;
    assert!(error(one).contains("entry 1 is question 1, which has no annotation"), "{}", error(one));
    let twice = VQA_QUESTIONS.replace("42001", "42000");
    let twice = format!("{}, {}", twice.trim_end_matches('}'), VQA_ANNOTATIONS.trim_start_matches('{'));
    assert!(error(&twice).contains("entry 2 is question 42000, which is there twice"), "{}", error(&twice));
    // A folder of another place is none.
    let outside =
        parse(one.replace("\"question_id\": 9", "\"question_id\": 1"), QuestionListForm::Json).unwrap();
    assert_eq!(outside.pictures(), [Path::new("set/images/COCO_images_000000000002.jpg")]);
}
