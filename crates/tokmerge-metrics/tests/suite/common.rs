//! What the tests share.

use std::path::{Path, PathBuf};

/// Test material beside the repository, or `None`, said loudly.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn material(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/material").join(name);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("TOKMERGE_REQUIRE").is_ok_and(|what| what == "material");
    assert!(!required, "{} is absent, and TOKMERGE_REQUIRE=material asks for it", path.display());
    eprintln!("SKIPPED: {} is absent", path.display());
    None
}
