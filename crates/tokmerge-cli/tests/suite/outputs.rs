//! Nothing is overwritten, nothing half written.

use crate::common::Desk;
use crate::common::files::tiny_tensors;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.model("tiny", &tiny_tensors());
    for name in ["ant", "bee", "cat", "dog", "eel"] {
        desk.draw(&format!("data/{name}/x.png"), 30, 30);
    }
    desk
}

fn read(desk: &Desk, name: &str) -> String {
    std::fs::read_to_string(desk.path(name)).expect("a file")
}

#[test]
fn a_run_that_fails_leaves_the_old_results() {
    let desk = desk();
    desk.write("broken/a.png", "no image");
    for (arguments, file) in [
        ("eval broken --model local-dir:tiny --predictions old.csv", "old.csv"),
        ("eval broken --model local-dir:tiny --results-file old.csv", "old.csv"),
        ("analyze layers broken --model local-dir:tiny -o old.svg", "old.svg"),
        ("analyze tokens broken --model local-dir:tiny --merge tome:r=2 -o old.svg --csv old.csv", "old.csv"),
    ] {
        desk.write(file, "old");
        desk.run(arguments).code(1);
        assert_eq!(read(&desk, file), "old", "{arguments}");
    }
    let left: Vec<String> = std::fs::read_dir(desk.path(""))
        .expect("the desk")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("incomplete"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn no_command_writes_over_what_it_reads() {
    let desk = desk();
    desk.draw("self.png", 40, 40);
    let before = std::fs::read(desk.path("self.png")).expect("a picture");
    desk.run("viz self.png --model local-dir:tiny --merge tome:r=2 -o self.png")
        .fails(&["--output self.png", "overwrite what is read"]);
    assert_eq!(std::fs::read(desk.path("self.png")).expect("a picture"), before);
    for file in ["tiny/model.safetensors", "tiny/config.json", "data/bee/x.png"] {
        let before = std::fs::read(desk.path(file)).expect("a file");
        for flag in ["--predictions", "--results-file"] {
            desk.run(&format!("eval data --model local-dir:tiny {flag} {file}")).fails(&[
                flag,
                file,
                "overwrite what is read",
            ]);
        }
        assert_eq!(std::fs::read(desk.path(file)).expect("a file"), before);
    }
    let config = read(&desk, "tiny/config.json");
    desk.run("tune data --model local-dir:tiny --gmacs 1 -o tiny/config.toml").code(1);
    assert_eq!(read(&desk, "tiny/config.json"), config);
}

#[cfg(target_os = "linux")]
#[test]
fn results_may_go_to_a_device() {
    let desk = desk();
    let run = desk.run("eval data --model local-dir:tiny --predictions /dev/stderr --json").ok();
    assert!(run.err.contains("path,label,index1"), "{}", run.err);
}
