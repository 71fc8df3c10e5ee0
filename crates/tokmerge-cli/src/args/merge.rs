//! Which tokens merge.

use crate::output;
use anyhow::{Context, Result};
use clap::Args;
use std::path::Path;
use tokmerge::{MergeSpec, Method, Model, Reduction, read_text};

/// `--merge` where several are compared.
#[derive(Args, Debug)]
pub(crate) struct MergeArgs {
    /// Merging method: none, tome:r=8, atm:theta=0.9, ... or a merge.toml; may be repeated
    #[arg(long = "merge", value_name = "SPEC", env = "TOKMERGE_MERGE")]
    pub(crate) merge: Vec<String>,
}

impl MergeArgs {
    /// The methods asked for; `fallback` if none is.
    pub(crate) fn methods(&self, fallback: &[&str]) -> Result<Vec<Method>> {
        if self.merge.is_empty() {
            return fallback.iter().map(|spec| method(spec)).collect();
        }
        self.merge.iter().map(|spec| method(spec)).collect()
    }
}

/// Methods bound to a model, with a note where a wish could not be followed.
pub(crate) fn bind(model: &Model, methods: &[Method]) -> Result<Vec<Reduction>> {
    let bound = methods.iter().map(|method| {
        let reduction = model.bind(method)?;
        output::note_kept_patches(&model.name(), &reduction);
        output::note_fresh_weights(model, method);
        Ok(reduction)
    });
    bound.collect()
}

/// A `merge.toml` has a few lines.
const MAX_SPEC: u64 = 1 << 20;

/// A method from a spec or from the path of a `merge.toml`.
pub(crate) fn method(spec: &str) -> Result<Method> {
    let path = Path::new(spec);
    let is_file = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    if !is_file {
        return Ok(spec.parse()?);
    }
    let text = read_text(path, MAX_SPEC).with_context(|| format!("cannot read --merge {spec}"))?;
    let read = || Method::from_spec(&MergeSpec::from_toml(&text)?);
    read().with_context(|| format!("--merge {spec}"))
}
