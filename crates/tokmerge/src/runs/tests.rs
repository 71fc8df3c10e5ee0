use super::*;
use tokmerge_viz::plot::{Mark, Tone};

const EVAL: &str = "\
model,top1,top1_err,param_count,merge,images,agreement,gmacs,mean_tokens,model_images_per_second,convention
vit_s.tag,80.000,20.0,22.05,none,200,100.000,4.0000,197.00,100.00,fvcore
vit_s.tag,79.000,21.0,22.05,tome:r=8,200,96.000,3.0000,101.00,130.00,fvcore
vit_s.tag,70.000,30.0,22.05,tome:r=13,200,90.000,2.0000,41.00,180.00,fvcore
vit_s.tag,78.000,22.0,22.05,evit:keep=70%,200,95.000,3.0000,100.00,120.00,fvcore
";

const BENCH: &str = "\
model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,infer_gmacs,merge,dtype,threads
vit_s,224,50.00,160.000,8,4.00,none,f32,2
vit_s,224,80.00,100.000,8,3.00,tome:r=8,f32,2
";

fn read(texts: &[(&str, &str)]) -> Results {
    let mut results = Results::default();
    for (name, text) in texts {
        results.read_from(None, name.as_ref(), text).unwrap();
    }
    results
}

const VIEW: View = View { x: Cost::Gmacs, y: None, lines: Lines::Each, front: Front::Overall };

fn report(texts: &[(&str, &str)], view: View) -> Report {
    Report::new(read(texts), view).unwrap()
}

fn fails(texts: &[(&str, &str)], view: View) -> String {
    Report::new(read(texts), view).unwrap_err().to_string()
}

/// Names and specs, the cheapest first, with a star for the front.
fn shown(report: &Report) -> Vec<String> {
    let star = |placed: &Placed| if placed.on_front { "*" } else { "" };
    report
        .placed
        .iter()
        .map(|placed| format!("{} {}{}", placed.name, placed.point.merge, star(placed)))
        .collect()
}

#[test]
fn results_of_eval_make_a_line_for_every_method_from_the_unmerged_model_on() {
    let report = report(&[("a.csv", EVAL)], VIEW);
    assert_eq!((report.y, report.convention.as_deref()), (Quality::Top1, Some("fvcore")));
    assert_eq!(report.lines, ["tome", "evit"]);
    assert_eq!(shown(&report), ["tome tome:r=13*", "evit evit:keep=70%", "tome tome:r=8*", "unmerged none*"]);
    assert_eq!(report.placed[3].lines, [0, 1]);
    // 158 of 200, by Wilson's formula: (0.79 + z²/400 ± z √(0.79·0.21/200 + z²/160000)) / (1 + z²/200).
    let (low, high) = report.placed[2].y.interval.unwrap();
    assert!((low - 72.83).abs() < 0.02 && (high - 84.08).abs() < 0.02, "{low} {high}");

    let chart = report.chart(None, false);
    assert_eq!(chart.title, "vit_s.tag: top-1 over GMACs");
    assert_eq!((chart.x.label.as_str(), chart.y.label.as_str()), ("GMACs (fvcore)", "top-1 %, 200 items"));
    let names: Vec<&str> = chart.series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names, ["Pareto front", "tome", "evit", "unmerged"]);
    assert_eq!((chart.series[0].mark, chart.series[0].tone), (Mark::Step, Tone::Muted));
    assert_eq!(chart.series[0].points, [(2.0, 70.0), (3.0, 79.0), (4.0, 80.0)]);
    assert_eq!(chart.series[1].points, [(2.0, 70.0), (3.0, 79.0), (4.0, 80.0)]);
    assert_eq!(chart.series[1].intervals.len(), 3);
    assert_eq!(chart.references[0].label, "unmerged 80.0");
}

#[test]
fn a_front_of_every_line_is_drawn_in_its_colour() {
    let second = EVAL
        .replace("vit_s.tag,80", "vit_b.tag,85")
        .replace("vit_s.tag", "vit_b.tag")
        .replace(",4.0000", ",8.0000");
    let view = View { lines: Lines::Method, front: Front::Line, ..VIEW };
    let report = report(&[("a.csv", EVAL), ("b.csv", &second)], view);
    assert_eq!(report.lines, ["unmerged", "tome", "evit"]);
    let unmerged: Vec<&Placed> = report.placed.iter().filter(|placed| placed.lines == [0]).collect();
    assert_eq!(unmerged.iter().map(|placed| placed.y.value).collect::<Vec<_>>(), [80.0, 85.0]);
    assert!(unmerged.iter().all(|placed| placed.on_front));
    let chart = report.chart(Some("Mine"), true);
    let kinds: Vec<_> = chart.series.iter().map(|series| (series.mark, series.tone)).collect();
    assert_eq!(kinds[..2], [(Mark::Markers, Tone::Color), (Mark::Step, Tone::Same)]);
    assert_eq!((chart.title.as_str(), chart.series[1].points.len()), ("Mine", 2));
}

#[test]
fn speeds_of_bench_take_the_place_of_those_of_eval() {
    let view = View { x: Cost::ImagesPerSecond, ..VIEW };
    let alone = report(&[("a.csv", EVAL)], view);
    assert_eq!((alone.placed.len(), alone.placed[3].x), (4, 180.0));
    let both = report(&[("a.csv", EVAL), ("s.csv", BENCH)], view);
    assert_eq!(shown(&both), ["unmerged none*", "tome tome:r=8*"]);
    assert_eq!((both.placed[0].x, both.placed[1].x), (50.0, 80.0));
    assert!(
        both.notes[0].starts_with("2 results are left out: the files of bench have no speed"),
        "{:?}",
        both.notes
    );
    let ms = report(&[("a.csv", EVAL), ("s.csv", BENCH)], View { x: Cost::Ms, ..VIEW });
    assert_eq!(ms.placed[1].x, 20.0);
    let speedup = report(&[("a.csv", EVAL), ("s.csv", BENCH)], View { x: Cost::Speedup, ..VIEW });
    assert_eq!(speedup.placed[1].x, 1.6);
    // Two settings of one model are two lines.
    let threads = BENCH.replace("f32,2", "f32,1").replace(",80.00", ",45.00");
    let four = report(&[("a.csv", EVAL), ("s.csv", BENCH), ("t.csv", &threads)], view);
    assert_eq!(four.lines, ["tome, 2 threads", "tome, 1 thread"]);
    let gmacs = report(&[("a.csv", EVAL), ("s.csv", BENCH)], VIEW);
    assert_eq!(gmacs.placed.len(), 4);
    assert!(gmacs.notes[0].starts_with("2 speeds say nothing of quality"), "{:?}", gmacs.notes);
}

#[test]
fn a_comparison_and_a_search_are_read_with_their_own_intervals_and_names() {
    let csv = "at,method,role,standing,merge,images,top1,top1_low,top1_high,gmacs,ms_per_image,speedup,left_out,model,convention\n\
               ,unmerged,unmerged,,none,400,69.0,64.0,73.0,1.25,5.0,1.0,,vit,fvcore\n\
               gmacs=0.7,tome,method,best,\"tome:r=[8,9]\",400,69.2,64.6,73.4,0.9,4.0,1.25,,vit,fvcore\n\
               gmacs=0.7,random merge,control,below,\"tome:r=8,matcher=random_merge\",400,50.0,45.0,55.0,0.9,4.0,1.25,,vit,fvcore\n\
               gmacs=0.7,stm,,,,,,,,,,,it has weights,vit,fvcore\n";
    let found = report(&[("c.csv", csv)], VIEW);
    assert_eq!(found.lines, ["tome", "random merge"]);
    assert_eq!(found.placed[1].y, Estimate { value: 69.2, interval: Some((64.6, 73.4)) });
    assert_eq!(found.notes, ["c.csv: 1 of its rows have no result and are left out"]);
    let json = r#"{"model": "vit", "convention": "fvcore", "held_out_images": 400,
        "unmerged": {"label": "unmerged", "merge": "none", "gmacs": 1.25, "cosine": {"value": 1.0, "low": 1.0, "high": 1.0}},
        "tables": [{"at": "gmacs=0.7", "rows": [{"label": "tome", "merge": "tome:r=8", "gmacs": 0.9, "tokens": 100.0,
            "cosine": {"value": 0.98, "low": 0.97, "high": 0.99}, "ms_per_image": {"min": 3.0, "median": 4.0, "max": 5.0}}]}]}"#;
    let cosine = report(&[("c.json", json)], VIEW);
    assert_eq!((cosine.y, cosine.placed[0].y.interval), (Quality::Cosine, Some((0.97, 0.99))));
    assert_eq!(cosine.placed[0].point.costs[&Cost::Ms], 4.0);
    let tune = "merge,family,images,gmacs,agreement,seconds,unmerged_seconds,front\n\
                none,unmerged,96,1.25,100.0,0.02,0.02,false\ntome:r=8,\"ToMe, constant\",96,0.9,95.0,0.01,0.02,true\n";
    let tune = report(&[("merge.csv", tune)], View { x: Cost::Speedup, ..VIEW });
    assert_eq!(shown(&tune), ["unmerged none*", "ToMe, constant tome:r=8*"]);
    assert_eq!((tune.placed[1].x, tune.placed[1].point.model.as_str()), (2.0, "merge"));
}

#[test]
fn lines_of_json_are_read_whatever_was_measured() {
    let questions = r#"{"model": "vilt", "merge": "none", "questions": 50, "accuracy": 70.0, "interval": [60.0, 80.0], "gmacs": 9.0, "convention": "macs"}
        {"model": "vilt", "merge": "tome:r=8", "questions": 50, "accuracy": 68.0, "interval": [58.0, 78.0], "gmacs": 7.0, "convention": "macs"}"#;
    let found = report(&[("q.jsonl", questions)], VIEW);
    assert_eq!((found.y, found.placed[0].y.interval), (Quality::Accuracy, Some((58.0, 78.0))));
    let few = r#"[{"model": "v", "merge": "none", "shots": 5, "seeds": 3, "top1": 50.0, "gmacs": 1.0},
        {"model": "v", "merge": "none", "shots": 10, "seeds": 3, "top1": 60.0, "gmacs": 1.0}]"#;
    let few = report(&[("f.json", few)], VIEW);
    assert_eq!(few.lines, ["unmerged, 5-shot", "unmerged, 10-shot"]);
    assert_eq!(few.placed[0].y.interval, None);
}

#[test]
fn what_no_one_can_draw_is_refused_with_a_way_out() {
    let refused = |text: &str| read_text(text, "x.csv").map(|_| ()).unwrap_err().to_string();
    for (text, reason) in [
        ("", "x.csv: it is empty; give what eval, bench or few-shot write"),
        ("a,b\n1,2\n", "its first line names no column merge"),
        ("merge,top1\nnone,high\n", "x.csv, result 1: top1 is high, and must be a finite number"),
        ("merge,top1\nnone,NaN\n", "must be a finite number"),
        ("merge,top1\nnone,120\n", "top1 is 120.0, and must be a percentage"),
        ("merge,note\nnone,1\n", "result 1 has neither a quality nor a cost"),
        ("merge,top1\n,50\n", "result 1 does not say how it merges"),
        ("merge,top1\nnone,50,3\n", "CSV error"),
        ("{\"merge\": ", "EOF while parsing"),
        ("[1]", "it holds JSON that is no object"),
    ] {
        assert!(refused(text).contains(reason), "{text:?}: {}", refused(text));
    }
    assert!(
        fails(&[("s.csv", BENCH)], VIEW)
            .contains("none of the results has a quality, such as top1 or agreement; speeds alone")
    );
    let hours = fails(&[("a.csv", EVAL)], View { x: Cost::Hours, ..VIEW });
    assert_eq!(hours, "none of the results has hours of training; it is known of folders of training runs");
    let bleu = fails(&[("a.csv", EVAL)], View { y: Some(Quality::Bleu), ..VIEW });
    assert!(bleu.contains("none of the results has bleu; they have top1, agreement"), "{bleu}");
    let others = EVAL.replace("fvcore", "macs");
    let mixed = fails(&[("a.csv", EVAL), ("b.csv", &others)], VIEW);
    assert!(mixed.contains("counted as fvcore in one file and as macs in another"), "{mixed}");
    // Tokens are counted in one way.
    report(&[("a.csv", EVAL), ("b.csv", &others)], View { x: Cost::Tokens, ..VIEW });
    let missing = Results::default().read(None, "nowhere.csv".as_ref()).unwrap_err().to_string();
    assert!(missing.starts_with("nowhere.csv: "), "{missing}");
    let uncommon = "merge,gmacs,top1,bleu\nnone,1,50,\ntome:r=8,1,,20\n";
    assert!(fails(&[("u.csv", uncommon)], VIEW).contains("no quality in common (top1, bleu)"));
}

#[test]
fn tables_hold_every_result_and_are_read_again() {
    let report = report(&[("a.csv", EVAL)], VIEW);
    let page = report.to_markdown(None, Some("my front.svg"), "tokmerge report a.csv");
    for fragment in [
        "# vit_s.tag: top-1 over GMACs",
        "](my%20front.svg)",
        "| line | merge | top-1 % (95 %) | agreement % | GMACs (fvcore) | tokens left | images per second | ms per image |",
        "| tome | `tome:r=8` | 79.0 (72.8 to 84.1) | 96.0 | 3.000 | 101.0 | 130.0 | 7.69 | 1.30x | yes |",
        "```sh\ntokmerge report a.csv\n```",
    ] {
        assert!(page.contains(fragment), "{fragment} in {page}");
    }
    let csv = String::from_utf8(report.to_csv().unwrap()).unwrap();
    assert!(is_page(&page) && is_csv(&csv) && !is_csv(EVAL), "{csv}");
    let again = self::report(&[("front.csv", &csv)], VIEW);
    assert_eq!(shown(&again), shown(&report));
    assert_eq!(again.placed[2].y, report.placed[2].y);
}

mod training {
    use super::*;
    use tokmerge_train::Recipe;

    const RECIPE: &str = "merge = \"tome:r=2\"\n[model]\npatch_size = 8\nimg_size = 32\nembed_dim = 24\ndepth = 2\nnum_heads = 3\n\
                          [data]\ntrain = \"scenes:64\"\nsplit = 0.25\n[schedule]\nlr = 3e-3\n[train]\nepochs = 2\nbatch_size = 8\n";

    /// The logs of a run of two epochs of three steps.
    fn run(dir: &std::path::Path, losses: [f64; 6]) {
        let recipe = Recipe::parse(RECIPE, "recipe", &[]).unwrap();
        let mut steps = "step,epoch,lr,loss,grad_norm,images_per_second,seconds\n".to_owned();
        for (index, loss) in losses.iter().enumerate() {
            steps += &format!("{},{},1e-3,{loss},,80.0,600.0\n", index + 1, index / 3 + 1);
        }
        let validation = "step,epoch,weights,merge,top1,top5,images,gmacs,mean_tokens\n\
                          3,1,model,none,40.0,80.0,100,1.0,17.0\n3,1,model,tome:r=2,38.0,80.0,100,0.8,13.0\n\
                          6,2,model,none,60.0,90.0,100,1.0,17.0\n6,2,model,tome:r=2,58.0,90.0,100,0.8,13.0\n";
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("recipe.toml"), recipe.to_toml()).unwrap();
        std::fs::write(dir.join("steps.csv"), steps).unwrap();
        std::fs::write(dir.join("validation.csv"), validation).unwrap();
    }

    fn results() -> Results {
        let dir = tempfile::tempdir().unwrap();
        run(&dir.path().join("a"), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
        run(&dir.path().join("b"), [9.0; 6]);
        let mut results = Results::default();
        results.read(None, &dir.path().join("a")).unwrap();
        results.read(Some("other"), &dir.path().join("b")).unwrap();
        results
    }

    #[test]
    fn the_last_validation_of_a_run_is_its_result() {
        let report = Report::new(results(), View { x: Cost::Hours, ..VIEW }).unwrap();
        assert_eq!(
            report.lines,
            [
                "a, tome",
                "other, tome",
                "a, unmerged, trained with tome:r=2",
                "other, unmerged, trained with tome:r=2"
            ]
        );
        assert_eq!((report.placed[0].x, report.placed[3].y.value), (1.0, 60.0));
        let gmacs = Report::new(results(), VIEW).unwrap();
        assert_eq!((gmacs.placed[0].x, gmacs.placed[0].point.items), (0.8, Some(100)));
    }

    #[test]
    fn losses_are_means_of_steps_or_of_epochs() {
        let runs = results().runs;
        let curves = |x, smooth| Curves::new(&runs, x, Curve::Loss, smooth, Seeds::Apart).unwrap();
        let epochs = curves(Progress::Epoch, None);
        assert_eq!(epochs.lines[0].points, [(3, 1.0, 5.0), (6, 2.0, 2.0)]);
        let pairs = curves(Progress::Step, Some(2));
        assert_eq!(pairs.lines[0].points, [(2, 1.0, 5.5), (4, 2.0, 3.5), (6, 2.0, 1.5)]);
        assert_eq!(pairs.lines[1].name, "other");
        let all = curves(Progress::Step, None);
        assert_eq!(all.lines[0].points.len(), 6);
        let chart = pairs.chart(None, true);
        assert_eq!(
            (chart.title.as_str(), chart.y.label.as_str()),
            ("Training loss", "training loss, means of 2 steps")
        );
        let page = pairs.to_markdown(None, None, "tokmerge report");
        assert!(page.contains("| a | 3 | 5.5000 | 1.5000 | 1.5000 | 6 |"), "{page}");
        let csv = String::from_utf8(pairs.to_csv().unwrap()).unwrap();
        assert!(is_csv(&csv) && csv.contains("a,4,2,loss,3.5"), "{csv}");
    }

    #[test]
    fn validations_are_curves_for_every_way_of_merging() {
        let runs = results().runs;
        let curves =
            Curves::new(&runs, Progress::Step, Curve::Quality(Quality::Top1), None, Seeds::Apart).unwrap();
        let names: Vec<&str> = curves.lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["a, none", "a, tome:r=2", "other, none", "other, tome:r=2"]);
        assert_eq!(curves.lines[1].points, [(3, 1.0, 38.0), (6, 2.0, 58.0)]);
        let error = Curves::new(&runs, Progress::Step, Curve::Quality(Quality::Bleu), None, Seeds::Apart)
            .unwrap_err();
        assert!(error.to_string().contains("none of the results has a curve of bleu"), "{error}");
    }

    /// Losses of 6 to 1 and of 9 six times; a third run has another recipe.
    #[test]
    fn runs_that_differ_in_their_seed_have_a_mean() {
        let mut runs = results().runs;
        runs[1].history.recipe.train.seed = 1;
        let mut third = runs[0].clone();
        (third.name, third.history.recipe.train.batch_size) = ("third".to_owned(), 7);
        runs.push(third);
        runs[1].history.steps.pop();
        let curves = |y| Curves::new(&runs, Progress::Step, y, None, Seeds::Mean).unwrap();
        let losses = curves(Curve::Loss);
        let values: Vec<f64> = losses.lines[0].points.iter().map(|point| point.2).collect();
        assert_eq!(values, [7.5, 7.0, 6.5, 6.0, 5.5], "as far as both go");
        let names: Vec<&str> = losses.lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["a, mean of 2 seeds", "third"]);
        let validations = curves(Curve::Quality(Quality::Top1));
        assert_eq!(validations.lines[1].name, "a, tome:r=2, mean of 2 seeds");
        assert_eq!(validations.lines.len(), 4);
    }

    #[test]
    fn a_folder_without_a_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Results::default().read(None, dir.path()).unwrap_err().to_string();
        assert!(error.contains("holds no run of training (steps.csv, recipe.toml) and no sweep"), "{error}");
    }

    #[test]
    fn a_sweep_has_a_row_for_each_combination_and_runs_for_curves() {
        let dir = tempfile::tempdir().unwrap();
        run(&dir.path().join("schedule.lr=0.1,seed=0"), [1.0; 6]);
        let sweep = "trained,merge,weights,runs,diverged,images,grid.schedule.lr,top1,top1_deviation,top1_low,top1_high,gmacs\n\
                     none,none,model,3,0,100,0.1,50.0,2.0,45.0,55.0,1.0\nnone,none,model,3,0,100,0.2,40.0,2.0,35.0,45.0,1.0\n\
                     none,,,0,3,0,9.0,,,,,\n";
        std::fs::write(dir.path().join("sweep.csv"), sweep).unwrap();
        let mut results = Results::default();
        results.read(Some("mine"), dir.path()).unwrap();
        assert_eq!(results.runs[0].name, "mine, schedule.lr=0.1,seed=0");
        let report = Report::new(results, VIEW).unwrap();
        assert_eq!(report.lines, ["unmerged, schedule.lr=0.1", "unmerged, schedule.lr=0.2"]);
        assert_eq!(report.placed[1].y.interval, Some((45.0, 55.0)));
    }
}
