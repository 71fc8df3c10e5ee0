use super::{chart, is_chart, is_csv, is_page, notes, setting_line, table, to_csv, to_json, to_markdown};
use crate::compare::outcome::rank;
use crate::compare::outcome::tests::row;
use crate::compare::{Comparison, Judge, LeftOut, Role, Row, Standing, Table, Target};
use crate::report::Setting;
use tokmerge_data::Media;
use tokmerge_models::Convention;
use tokmerge_viz::plot::Mark;

fn setting() -> Setting {
    Setting {
        model: "vit_tiny.test".to_owned(),
        weights: "w.safetensors".to_owned(),
        img_size: Some((224, 160)),
        dtype: "f32".to_owned(),
        convention: Convention::Fvcore,
        device: "cpu".to_owned(),
        threads: 2,
        isa: "avx2".to_owned(),
        seed: 7,
    }
}

fn comparison() -> Comparison {
    let of = |at: Target, gmacs: f64| {
        let mut rows = vec![
            row("random merge", "tome:r=8,matcher=random_merge", 50.0, gmacs, 1.4),
            row("tome", "tome:r=[8,9]", 80.0, gmacs, 1.5),
            Row { off_by: 0.031, ..row("evit", "evit:keep=70%", 78.0, 1.03 * gmacs, 1.6) },
        ];
        rank(&mut rows, Judge::Top1);
        let left_out =
            vec![LeftOut { label: "stm".to_owned(), reason: "it has weights of its own".to_owned() }];
        Table { at, cost: format!("{gmacs:.3} GMACs"), rows, left_out }
    };
    Comparison {
        media: Media::Image,
        judged_by: Judge::Top1,
        search_images: 100,
        held_out_images: 200,
        batch_size: 8,
        rounds: 7,
        unmerged: Row {
            role: Role::Unmerged,
            standing: Standing::Best,
            ..row("unmerged", "none", 83.0, 1.25, 1.0)
        },
        tables: vec![of(Target::Share(0.7), 0.875), of(Target::Gmacs(0.5), 0.5)],
    }
}

#[test]
fn a_table_begins_with_the_model_as_it_is_and_marks_what_is_as_good_as_the_best() {
    let comparison = comparison();
    let (header, rows) = table(&comparison, &comparison.tables[0], &setting());
    assert_eq!(header[..4], ["method", "", "top-1 % (95 %)", "agreement %"]);
    let firsts: Vec<_> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    assert_eq!(firsts, [("unmerged", ""), ("tome", "best"), ("evit", "~ best"), ("random merge", "")]);
    assert!(rows.iter().all(|row| row.len() == header.len()));
    assert!(rows[1][2].starts_with("80.0 (73.9 to 85.0)"), "{}", rows[1][2]);
    let notes = notes(&comparison.tables[0]);
    assert_eq!(notes[0], "evit: 3.1 % above the cost, the closest it could be brought");
    assert_eq!(notes[1], "stm: left out; it has weights of its own");
}

#[test]
fn the_page_has_setting_tables_reasons_noise_and_command() {
    let page = to_markdown(&comparison(), &setting(), "tokmerge compare 'my photos' --at gmacs=0.7");
    for fragment in [
        "# Methods at the same cost: vit_tiny.test\n",
        "f32; cpu, 2 threads, avx2, batch 8. Brought to the cost on 100 images, measured on 200 others; seed 7.",
        "## `gmacs=0.7`: 0.875 GMACs\n",
        "## `gmacs=0.5G`: 0.500 GMACs\n",
        "| tome | best | 80.0 (",
        "| `tome:r=[8,9]` |",
        "- stm: left out; it has weights",
        "varied by 20 %",
        "```sh\ntokmerge compare 'my photos' --at gmacs=0.7\n```\n",
    ] {
        assert!(page.contains(fragment), "{fragment} in {page}");
    }
    assert!(is_page(&page) && !is_page("# Diary\n"));
    assert!(
        setting_line(&comparison(), &setting())
            .starts_with("vit_tiny.test (weights: w.safetensors), 224x160")
    );
}

#[test]
fn csv_has_a_line_for_every_method_also_for_those_left_out() {
    let text = String::from_utf8(to_csv(&comparison(), &setting()).expect("CSV")).expect("UTF-8");
    assert!(is_csv(&text) && !is_csv("at,method\n"));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let at = |name: &str| header.iter().position(|column| column == name).expect("a column");
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 1 + 2 * 4);
    assert_eq!((&rows[0][at("role")], &rows[0][at("at")]), ("unmerged", ""));
    assert_eq!((&rows[1][at("method")], &rows[1][at("standing")]), ("tome", "best"));
    assert_eq!((&rows[3][at("role")], &rows[3][at("merge")]), ("control", "tome:r=8,matcher=random_merge"));
    assert_eq!((&rows[4][at("left_out")], &rows[4][at("gmacs")]), ("it has weights of its own", ""));
    for row in &rows {
        let set = [row.get(at("model")), row.get(at("dtype")), row.get(at("convention"))];
        assert_eq!(set, [Some("vit_tiny.test"), Some("f32"), Some("fvcore")]);
    }
}

#[test]
fn json_has_everything() {
    let json = to_json(&comparison(), &setting()).expect("JSON");
    assert_eq!((&json["model"], &json["judged_by"]), (&"vit_tiny.test".into(), &"top1".into()));
    let table = &json["tables"][0];
    assert_eq!((&table["at"], &table["rows"][0]["label"]), (&"gmacs=0.7".into(), &"tome".into()));
    assert_eq!(table["rows"][1]["standing"], "within-noise");
    assert!(table["rows"][0]["top1"]["low"].is_number() && table["rows"][0]["cosine"].is_null());
}

#[test]
fn the_chart_has_a_series_for_every_method_side_by_side_where_there_is_one_cost() {
    let drawn = chart(&comparison(), &setting());
    let names: Vec<_> = drawn.series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names, ["tome", "evit", "random merge", "unmerged"]);
    let [tome, evit, ..] = &drawn.series[..] else { panic!("series") };
    assert_eq!((tome.mark, tome.points.len(), tome.intervals.len()), (Mark::Line, 2, 2));
    assert!(tome.points[0].0 < tome.points[1].0, "cheapest first");
    assert_eq!((tome.points[0].0, evit.points[0].0), (0.5, 0.515), "where they are");
    assert_eq!(drawn.x.label, "GMACs per image (fvcore)");
    let mut one = Comparison { media: Media::Sound, ..comparison() };
    one.tables.truncate(1);
    let drawn = chart(&one, &setting());
    assert!(drawn.series[0].points[0].0 < 0.875, "side by side");
    assert_eq!(drawn.x.label, "GMACs per sound (fvcore); methods of one cost stand side by side");
    assert_eq!(drawn.y.label, "top-1 %, 200 sounds");
    assert!(is_chart(&drawn.to_svg()) && !is_chart("<svg></svg>"));
    let mut by_speed = comparison();
    by_speed.tables.truncate(1);
    by_speed.tables[0].at = Target::Speedup(1.5);
    let drawn = chart(&by_speed, &setting());
    assert!(drawn.x.label.starts_with("speed over unmerged") && drawn.series[0].mark == Mark::Markers);
    assert_eq!(drawn.series[0].points, [(1.5, 80.0)]);
    assert!(drawn.to_svg().contains("stroke-opacity"));
}
