//! What every test of the command line needs: the built binary in a folder and an environment of its own, and
//! what every failure must look like.

pub(crate) mod files;

use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A 1000-class model that needs no files.
pub(crate) const TINY: &str = "--model vit_tiny_patch16_224 --random-weights";

/// A temporary folder in which `tokmerge` runs; arguments may name files in it without their path.
pub(crate) struct Desk {
    dir: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        // Never the network, and never the cache of whoever runs the tests.
        let variables = vec![
            ("HF_HUB_OFFLINE", "1".to_owned()),
            ("HF_HOME", dir.path().join("hub").display().to_string()),
            ("RUST_BACKTRACE", "0".to_owned()),
        ];
        Self { dir, variables }
    }

    /// The same with an environment variable set.
    pub(crate) fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.variables.push((variable, value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, content).expect("a written file");
    }

    /// Rows of a CSV file, the heading first.
    pub(crate) fn csv(&self, name: &str) -> Vec<Vec<String>> {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).from_path(self.path(name)).expect("a CSV file");
        let row = |row: csv::StringRecord| row.iter().map(str::to_owned).collect();
        reader.records().map(|record| row(record.expect("as many cells as the heading"))).collect()
    }

    /// Runs `tokmerge` with arguments separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Run {
        self.run_with(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `tokmerge` with arguments that may hold spaces.
    pub(crate) fn run_with(&self, arguments: &[&str]) -> Run {
        self.run_from(arguments, None)
    }

    /// The same with a file of the desk as standard input.
    pub(crate) fn run_from(&self, arguments: &[&str], stdin: Option<&str>) -> Run {
        let mut command = assert_cmd::cargo::cargo_bin_cmd!("tokmerge");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let ours = name.starts_with("TOKMERGE_") && name != "TOKMERGE_ISA";
            if ours || name.starts_with("HF_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.dir.path()).envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(stdin) = stdin {
            command.pipe_stdin(self.path(stdin)).expect("a file for standard input");
        }
        let output = command.args(arguments).output().expect("tokmerge starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Run {
            command: arguments.join(" "),
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// What a run left behind.
pub(crate) struct Run {
    command: String,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        let Self { command, err, .. } = &self;
        assert_eq!(self.code, Some(code), "tokmerge {command}\n{err}");
        assert!(!err.contains("panicked at"), "tokmerge {command}\n{err}");
        self
    }

    /// Standard output as JSON: each line an object, and nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        let object = |line: &str| match serde_json::from_str(line) {
            Ok(Value::Object(object)) => Value::Object(object),
            other => panic!("tokmerge {}: {line:?} is no JSON object: {other:?}", self.command),
        };
        self.out.lines().map(object).collect()
    }

    /// The only object of standard output.
    #[track_caller]
    pub(crate) fn one_json(&self) -> Value {
        let mut objects = self.json();
        assert_eq!(objects.len(), 1, "tokmerge {}: {}", self.command, self.out);
        objects.remove(0)
    }

    /// Nothing on standard output, and one line on standard error that says each of `fragments`.
    #[track_caller]
    pub(crate) fn fails(self, fragments: &[&str]) -> Self {
        let run = self.code(1);
        let Self { command, out, err, .. } = &run;
        assert_eq!(out, "", "tokmerge {command}");
        assert_eq!(err.lines().count(), 1, "tokmerge {command}: more than one line\n{err}");
        assert_says(command, err, fragments);
        run
    }

    /// As [`fails`](Self::fails) for a command line that clap refuses, with its usage lines.
    #[track_caller]
    pub(crate) fn misused(self, fragments: &[&str]) -> Self {
        let run = self.code(2);
        assert_eq!(run.out, "", "tokmerge {}", run.command);
        assert_says(&run.command, &run.err, fragments);
        run
    }
}

#[track_caller]
fn assert_says(command: &str, err: &str, fragments: &[&str]) {
    assert!(err.starts_with("error: "), "tokmerge {command}\n{err}");
    for fragment in fragments {
        assert!(err.contains(fragment), "tokmerge {command}\nlacks {fragment:?} in: {err}");
    }
    // A cause that the error above it has told already is not told again.
    let mut parts: Vec<&str> = err.split(": ").map(str::trim).filter(|part| part.contains(' ')).collect();
    let count = parts.len();
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts.len(), count, "tokmerge {command}\nsays something twice: {err}");
}

/// Keys of a JSON object, sorted.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Fails unless a JSON object has these keys; it may have others.
#[track_caller]
pub(crate) fn assert_keys(value: &Value, wanted: &[&str]) {
    for key in wanted {
        assert!(value.get(key).is_some(), "{key} is missing in {value}");
    }
}

#[track_caller]
pub(crate) fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {value}"))
}

/// Real weights and images beside the repository, or `None`, loudly, where they are absent.
///
/// # Panics
/// When they are absent and `TOKMERGE_REQUIRE` is `material`.
pub(crate) fn material() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/material");
    let found = path.canonicalize().ok().filter(|path| path.join("imagenet1k_sample").is_dir());
    if found.is_none() {
        let required = std::env::var("TOKMERGE_REQUIRE").is_ok_and(|required| required == "material");
        assert!(!required, "TOKMERGE_REQUIRE is material, and it is absent at {}", path.display());
        // Past the test harness, which hides what a passing test prints.
        let _ = writeln!(io::stderr(), "SKIPPED: there is no real test material at {}", path.display());
    }
    found
}

/// The weights of `vit_tiny_patch16_224.augreg_in21k_ft_in1k` in the material.
pub(crate) fn real_weights(material: &Path) -> String {
    let name = "vit_tiny_augreg/vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors";
    material.join(name).display().to_string()
}
