//! The Hub client against a server on this machine and a cache in a temporary folder.

#[path = "common/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use server::{Answer, Request, Server, Then, answer};
use tokmerge_checkpoint::{Connectivity, Downloaded, Files, Hub, HubConfig, HubError, Token};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SECRET: &str = "hf_secret";
const CONFIG: &[u8] = br#"{"architecture": "vit_tiny_patch16_224"}"#;

/// What a Hub holds: file names with their content.
type Repo = &'static [(&'static str, &'static [u8])];
const TIMM: Repo = &[("config.json", CONFIG), ("model.safetensors", b"weights")];

/// Answers as the Hub does for small files: everything in one answer.
fn hub(repo: Repo) -> impl Fn(&Request) -> Option<Answer> + Send {
    move |request| {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        Some(match repo.iter().find(|(known, _)| *known == name) {
            Some((name, body)) => {
                let etag = format!("\"etag-of-{}\"", name.replace('.', "-"));
                answer(200, &[("ETag", &etag), ("X-Repo-Commit", COMMIT)], body)
            }
            None => answer(
                404,
                &[("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", COMMIT)],
                b"Entry not found",
            ),
        })
    }
}

fn config(cache: &Path, endpoint: &str) -> HubConfig {
    let mut config = HubConfig::new(cache);
    config.endpoint = endpoint.to_owned();
    config.token = Some(Token::new(SECRET).unwrap());
    config.connect_timeout = Duration::from_secs(5);
    config.read_timeout = Duration::from_secs(5);
    config
}

fn fetch(config: HubConfig, revision: &str) -> Result<Files, HubError> {
    let result = Hub::new(config)?.fetch(&"org/name".parse().unwrap(), &revision.parse().unwrap());
    if let Err(error) = &result {
        let texts = format!("{error} {error:?}");
        assert!(!texts.contains(SECRET) && !error.to_string().contains('\n'), "{texts}");
    }
    result
}

fn repo_dir(cache: &Path) -> PathBuf {
    cache.join("models--org--name")
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_download_leaves_the_layout_of_huggingface_hub() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(hub(TIMM));
    let files = fetch(config(cache.path(), &server.url), "main").unwrap();

    let repo = repo_dir(cache.path());
    let snapshot = repo.join("snapshots").join(COMMIT);
    assert_eq!(files.weights, snapshot.join("model.safetensors"));
    assert_eq!(
        (files.config.as_deref(), files.preprocessor),
        (Some(snapshot.join("config.json").as_path()), None)
    );
    assert_eq!(std::fs::read(&files.weights).unwrap(), b"weights");
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(names_in(&repo.join("blobs")), ["etag-of-config-json", "etag-of-model-safetensors"]);
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(&files.weights).unwrap(),
        Path::new("../../blobs/etag-of-model-safetensors")
    );
    assert!(repo.join(".no_exist").join(COMMIT).join("preprocessor_config.json").is_file());

    let asked: Vec<_> = server.requests().iter().map(|request| request.path.clone()).collect();
    // After the first answer the commit is asked for, so that all files belong together.
    assert_eq!(asked[0], "/org/name/resolve/main/config.json");
    assert_eq!(asked[3], format!("/org/name/resolve/{COMMIT}/model.safetensors"));
    let expected = format!("Bearer {SECRET}");
    assert!(server.requests().iter().all(|request| request.authorization.as_deref() == Some(&expected)));
}

#[test]
fn what_describes_open_clips_weights_comes_with_them() {
    for beside in [&["config.json"][..], &[]] {
        let cache = tempfile::tempdir().unwrap();
        let mut names = vec!["open_clip_config.json", "processor_config.json", "open_clip_pytorch_model.bin"];
        names.extend(beside);
        let held: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let server = Server::start(move |request| {
            let name = request.path.rsplit('/').next()?;
            let etag = format!("\"{}\"", name.replace('.', "-"));
            Some(match held.iter().any(|held| held == name) {
                true => answer(200, &[("ETag", etag.as_str()), ("X-Repo-Commit", COMMIT)], b"content"),
                false => answer(404, &[("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", COMMIT)], b""),
            })
        });
        let first = fetch(config(cache.path(), &server.url), "main").unwrap();
        let name = |path: &Option<PathBuf>| path.as_ref()?.file_name()?.to_str().map(str::to_owned);
        assert_eq!(name(&first.config).as_deref(), Some("open_clip_config.json"));
        assert_eq!(name(&first.preprocessor).as_deref(), Some("processor_config.json"));
        assert!(first.weights.ends_with("open_clip_pytorch_model.bin"));
        let asked = server.requests().len();
        assert_eq!(fetch(config(cache.path(), &server.url), "main").unwrap(), first);
        assert_eq!(server.requests().len(), asked, "nothing is asked twice");
    }
}

#[test]
fn a_model_of_texts_comes_with_its_tokenizer() {
    comes_with_its_tokenizer(b"{\"model_type\": \"bert\", \"vocab_size\": 9}");
}

#[test]
fn so_does_a_model_of_images_and_texts() {
    comes_with_its_tokenizer(b"{\"model_type\": \"clip\", \"text_config\": {}}");
}

fn comes_with_its_tokenizer(configuration: &'static [u8]) {
    let held = [
        ("config.json", configuration),
        ("model.safetensors", &b"weights"[..]),
        ("tokenizer.json", b"{}"),
        ("modules.json", b"[]"),
        ("1_Pooling/config.json", b"{\"pooling\": 1}"),
    ];
    let server = Server::start(move |request| {
        let (_, name) = request.path.split_once("/resolve/")?.1.split_once('/')?;
        let etag = format!("\"{}\"", name.replace(['.', '/'], "-"));
        Some(match held.iter().find(|(held, _)| *held == name) {
            Some((_, body)) => answer(200, &[("ETag", etag.as_str()), ("X-Repo-Commit", COMMIT)], body),
            None => answer(404, &[("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", COMMIT)], b""),
        })
    });
    let cache = tempfile::tempdir().unwrap();
    let files = fetch(config(cache.path(), &server.url), "main").unwrap();
    let beside = |name: &str| std::fs::read(files.weights.with_file_name("").join(name)).unwrap();
    assert_eq!((beside("tokenizer.json"), beside("modules.json")), (b"{}".to_vec(), b"[]".to_vec()));
    assert_eq!(beside("1_Pooling/config.json"), b"{\"pooling\": 1}");
    let asked = server.requests().len();
    assert_eq!(fetch(config(cache.path(), &server.url), "main").unwrap(), files);
    assert_eq!(server.requests().len(), asked, "nothing is asked twice");
}

#[test]
fn the_second_time_nothing_is_asked() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(hub(TIMM));
    let first = fetch(config(cache.path(), &server.url), "main").unwrap();
    let asked = server.requests().len();
    for revision in ["main", COMMIT] {
        assert_eq!(fetch(config(cache.path(), &server.url), revision).unwrap(), first);
    }
    assert_eq!(server.requests().len(), asked);
}

/// As `huggingface_hub` would have left it.
fn existing_cache(cache: &Path, files: &[&str]) -> PathBuf {
    let repo = repo_dir(cache);
    let snapshot = repo.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repo.join("refs/refs/pr")).unwrap();
    std::fs::write(repo.join("refs/main"), COMMIT).unwrap();
    std::fs::write(repo.join("refs/refs/pr/1"), COMMIT).unwrap();
    for name in files {
        std::fs::write(snapshot.join(name), b"x").unwrap();
    }
    snapshot
}

#[test]
fn an_existing_cache_is_used_offline() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = existing_cache(cache.path(), &["pytorch_model.bin", "config.json"]);
    let mut offline = config(cache.path(), "http://127.0.0.1:1");
    offline.connectivity = Connectivity::Offline;
    for revision in ["main", "refs/pr/1", COMMIT] {
        let files = fetch(offline.clone(), revision).unwrap();
        assert_eq!(files.weights, snapshot.join("pytorch_model.bin"));
        assert_eq!(files.config, Some(snapshot.join("config.json")));
    }
}

#[test]
fn an_existing_cache_is_used_when_the_hub_is_out_of_reach() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = existing_cache(cache.path(), &["model.safetensors"]);
    let files = fetch(config(cache.path(), "http://127.0.0.1:1"), "main").unwrap();
    assert_eq!((files.weights, files.config), (snapshot.join("model.safetensors"), None));
}

#[test]
fn a_config_missing_beside_cached_weights_is_fetched() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = existing_cache(cache.path(), &["model.safetensors"]);
    let server = Server::start(hub(TIMM));
    let files = fetch(config(cache.path(), &server.url), "main").unwrap();
    assert_eq!(files.config, Some(snapshot.join("config.json")));
    assert_eq!(std::fs::read(files.weights).unwrap(), b"x", "the weights were there");
}

#[test]
fn offline_errors_say_what_is_missing_where_and_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let mut offline = config(cache.path(), "http://127.0.0.1:1");
    offline.connectivity = Connectivity::Offline;
    let message = fetch(offline.clone(), "main").unwrap_err().to_string();
    let cache_text = cache.path().display().to_string();
    for part in [
        "org/name@main: the revision main",
        &cache_text,
        "unset HF_HUB_OFFLINE",
        "huggingface-cli download org/name",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    existing_cache(cache.path(), &["config.json"]);
    let message = fetch(offline.clone(), "main").unwrap_err().to_string();
    assert!(message.contains("a weights file (model.safetensors, "), "{message}");

    let index = br#"{"weight_map": {"a": "s-1.safetensors", "b": "s-2.safetensors"}}"#;
    let snapshot = existing_cache(cache.path(), &["s-1.safetensors"]);
    std::fs::write(snapshot.join("model.safetensors.index.json"), index).unwrap();
    let message = fetch(offline, "main").unwrap_err().to_string();
    assert!(message.contains("org/name@main: s-2.safetensors is not in the cache"), "{message}");
}

#[test]
fn shards_are_downloaded_with_their_index() {
    const SHARDED: Repo = &[
        (
            "model.safetensors.index.json",
            br#"{"weight_map": {"a": "s-1.safetensors", "b": "s-2.safetensors"}}"#,
        ),
        ("s-1.safetensors", b"one"),
        ("s-2.safetensors", b"two"),
    ];
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(hub(SHARDED));
    let files = fetch(config(cache.path(), &server.url), "main").unwrap();
    assert!(files.weights.ends_with("model.safetensors.index.json"));
    assert_eq!(std::fs::read(files.weights.with_file_name("s-2.safetensors")).unwrap(), b"two");

    const HOSTILE: Repo =
        &[("model.safetensors.index.json", br#"{"weight_map": {"a": "../../x.safetensors"}}"#)];
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(hub(HOSTILE));
    let message = fetch(config(cache.path(), &server.url), "main").unwrap_err().to_string();
    assert!(message.contains("`../../x.safetensors` is refused"), "{message}");
}

#[test]
fn the_token_does_not_follow_a_redirect_to_another_host() {
    let storage = Server::start(|_| Some(answer(200, &[("ETag", "\"storage-etag\"")], b"weights")));
    let target = format!("{}/signed?secret=x", storage.url);
    let hub = Server::start(move |request| {
        Some(if request.path.ends_with("model.safetensors") {
            let headers = [
                ("Location", target.as_str()),
                ("X-Repo-Commit", COMMIT),
                ("X-Linked-Etag", "\"lfs-sha\""),
                ("X-Linked-Size", "7"),
                ("ETag", "\"other\""),
            ];
            answer(302, &headers, b"")
        } else if request.path.ends_with("config.json")
            && request.path.starts_with("/org/")
            && !request.path.contains("prep")
        {
            answer(307, &[("Location", "/api/cached/config.json"), ("X-Repo-Commit", COMMIT)], b"")
        } else if request.path == "/api/cached/config.json" {
            answer(200, &[("ETag", "W/\"git-sha\""), ("X-Repo-Commit", COMMIT)], CONFIG)
        } else {
            answer(404, &[("X-Error-Code", "EntryNotFound")], b"")
        })
    });
    let cache = tempfile::tempdir().unwrap();
    fetch(config(cache.path(), &hub.url), "main").unwrap();
    assert_eq!(names_in(&repo_dir(cache.path()).join("blobs")), ["git-sha", "lfs-sha"]);
    let expected = Request { path: "/signed?secret=x".to_owned(), authorization: None };
    assert_eq!(storage.requests(), [expected]);
    assert!(hub.requests().iter().all(|request| request.authorization.is_some()), "same host, same token");
}

#[test]
fn a_download_cut_short_or_grown_is_not_kept() {
    let chunked = ("Transfer-Encoding", "chunked");
    for (length, linked, body) in [
        (("Content-Length", "3"), "7", "weights"),
        (("Content-Length", "100"), "100", "weights"),
        (("Content-Length", "7"), "9", "weights"),
        (chunked, "9", "7\r\nweights\r\n0\r\n\r\n"),
        (chunked, "5", "7\r\nweights\r\n0\r\n\r\n"),
    ] {
        let server = Server::start(move |request| {
            let headers = [("ETag", "\"e\""), ("X-Repo-Commit", COMMIT), ("X-Linked-Size", linked), length];
            Some(if request.path.ends_with("model.safetensors") {
                answer(200, &headers, body.as_bytes())
            } else {
                answer(404, &[], b"")
            })
        });
        let cache = tempfile::tempdir().unwrap();
        assert!(fetch(config(cache.path(), &server.url), "main").is_err(), "{length:?} {linked}");
        let repo = repo_dir(cache.path());
        assert!(!repo.join("blobs").exists() || names_in(&repo.join("blobs")).is_empty());
        assert!(!repo.join("refs").exists(), "the revision must not point to half a model");
    }
}

#[test]
fn configs_of_absurd_size_are_refused() {
    let server = Server::start(|_| {
        Some(answer(
            200,
            &[("ETag", "\"e\""), ("X-Repo-Commit", COMMIT), ("Content-Length", "99999999999")],
            b"{",
        ))
    });
    let cache = tempfile::tempdir().unwrap();
    let message = fetch(config(cache.path(), &server.url), "main").unwrap_err().to_string();
    assert!(message.contains("it has 99999999999 bytes; at most 16777216"), "{message}");
}

#[test]
fn refusals_are_one_line_with_the_way_out() {
    for (status, code, expected) in [
        (401, "RepoNotFound", "401 for config.json: the repository does not exist, or it needs a token"),
        (403, "GatedRepo", "accept its terms at http://127.0.0.1"),
        (404, "RepoNotFound", "no such repository"),
        (404, "RevisionNotFound", "there is no revision main"),
        (404, "EntryNotFound", "org/name@main holds no weights; looked for model.safetensors, "),
        (429, "", "too many requests"),
        (503, "", "try again later"),
        (302, "", "a redirect without an address"),
    ] {
        let server = Server::start(move |_| Some(answer(status, &[("X-Error-Code", code)], b"<html>")));
        let cache = tempfile::tempdir().unwrap();
        let message = fetch(config(cache.path(), &server.url), "main").unwrap_err().to_string();
        assert!(message.contains(expected), "{status} {code}: {message}");
    }
}

#[test]
fn silence_and_absence_are_told_apart() {
    let silent = Server::start(|_| None);
    let cache = tempfile::tempdir().unwrap();
    let mut impatient = config(cache.path(), &silent.url);
    impatient.read_timeout = Duration::from_millis(200);
    let error = fetch(impatient.clone(), "main").unwrap_err();
    assert!(matches!(error, HubError::Timeout { .. }), "{error}");

    let stalling = Server::start(|_| {
        let headers = [("ETag", "\"e\""), ("X-Repo-Commit", COMMIT), ("Content-Length", "10")];
        Some(Answer { then: Then::Hold, ..answer(200, &headers, b"half") })
    });
    impatient.endpoint = stalling.url.clone();
    let error = fetch(impatient, "main").unwrap_err();
    assert!(matches!(error, HubError::Timeout { phase: "waiting for data", .. }), "{error}");

    let error = fetch(config(cache.path(), "http://127.0.0.1:1"), "main").unwrap_err();
    assert!(matches!(&error, HubError::Network { reason, .. } if reason.contains("refused")), "{error}");
}

#[test]
fn answers_that_would_leave_the_cache_are_refused() {
    for headers in [
        [("ETag", "\"../../evil\""), ("X-Repo-Commit", COMMIT)],
        [("ETag", "\"fine\""), ("X-Repo-Commit", "../../evil")],
        [("ETag", ""), ("X-Repo-Commit", COMMIT)],
    ] {
        let server = Server::start(move |_| Some(answer(200, &headers, b"{}")));
        let cache = tempfile::tempdir().unwrap();
        let error = fetch(config(cache.path(), &server.url), "main").unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{error}");
        assert!(names_in(cache.path()).is_empty());
    }
}

#[test]
fn endless_redirects_end() {
    let server = Server::start(|request| Some(answer(302, &[("Location", &request.path)], b"")));
    let cache = tempfile::tempdir().unwrap();
    let message = fetch(config(cache.path(), &server.url), "main").unwrap_err().to_string();
    assert!(message.contains("more than 5 redirects"), "{message}");
}

#[test]
fn endpoints_are_addresses() {
    for endpoint in
        ["", "huggingface.co", "ftp://x", "https://", "https://user:pw@x", "http://a b", "https://x?y"]
    {
        let error = fetch(config(Path::new("/nowhere"), endpoint), "main").unwrap_err().to_string();
        assert!(error.starts_with("HF_ENDPOINT must be an address") && !error.contains("pw"), "{error}");
    }
}

#[test]
fn progress_is_told() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(hub(TIMM));
    let hub = Hub::new(config(cache.path(), &server.url)).unwrap();
    let told = Mutex::new(Vec::new());
    let progress = |so_far: Downloaded<'_>| {
        told.lock().unwrap().push((so_far.file.to_owned(), so_far.received, so_far.total));
    };
    hub.fetch_with_progress(&"org/name".parse().unwrap(), &"main".parse().unwrap(), &progress).unwrap();
    assert_eq!(told.lock().unwrap().last(), Some(&("model.safetensors".to_owned(), 7, Some(7))));
}
