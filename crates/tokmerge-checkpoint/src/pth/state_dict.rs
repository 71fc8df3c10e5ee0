//! Which of a pickle's tensors are the weights.

use std::borrow::Cow;
use std::collections::HashSet;

use super::object::{Heap, Object, Ref, Tensor};
use crate::error::quoted;

/// Keys under which training scripts put a state dict, the preferred first: averaged weights, which the reference
/// evaluates where it keeps them, beside the key of the raw ones.
const STATE_DICT_KEYS: [(&str, Option<&str>); 16] = [
    ("state_dict_ema", Some("state_dict")),
    ("model_ema", Some("model")),
    ("model_ema_state_dict", Some("model_state_dict")),
    ("ema_state_dict", Some("state_dict")),
    ("ema", Some("model")),
    ("teacher", Some("student")),
    ("target_encoder", Some("encoder")),
    ("state_dict", None),
    ("model", None),
    ("model_state_dict", None),
    ("model_state", None),
    ("module", None),
    ("net", None),
    ("student", None),
    ("encoder", None),
    ("backbone", None),
];
/// Modules inside modules, and the length of the names that this makes: far more than any model has.
const MAX_DEPTH: usize = 64;
const MAX_NAME: usize = 1024;
/// Modules and their attributes, counted each time they are reached: a few shared ones could otherwise be reached in
/// any number of ways.
const MAX_ATTRIBUTES: usize = 100_000;

/// The tensors to load, and what lay beside them.
pub(super) struct StateDict<'h, 'p> {
    pub(super) key: Option<&'static str>,
    /// The key of raw weights that lay beside the averaged ones.
    pub(super) raw_key: Option<&'static str>,
    pub(super) tensors: Vec<(Cow<'p, str>, &'h Tensor<'p>)>,
    pub(super) ignored: Vec<String>,
}

impl<'h, 'p> StateDict<'h, 'p> {
    pub(super) fn find(heap: &'h Heap<'p>) -> Result<Self, String> {
        let mut found = Self { key: None, raw_key: None, tensors: Vec::new(), ignored: Vec::new() };
        let top = match heap.get(heap.root()) {
            Object::Dict(top) => top,
            Object::Module(_) => {
                found.collect_modules(heap)?;
                return Ok(found);
            }
            _ => {
                let what = heap.describe(heap.root());
                return Err(format!("it holds {what} where a dict of tensors is expected"));
            }
        };
        let state_dict = |key: &str| match heap.get(last_of(heap, top, key)?) {
            Object::Dict(items) if has_tensor(heap, items) => Some(items),
            _ => None,
        };
        let nested = STATE_DICT_KEYS.into_iter().find_map(|(key, raw)| Some((key, raw, state_dict(key)?)));
        match nested {
            Some((key, raw, items)) => {
                found.key = Some(key);
                found.raw_key = raw.filter(|raw| state_dict(raw).is_some());
                let is_key = |name: Ref| matches!(heap.get(name), Object::Str(name) if *name == key);
                found.ignore(heap, top.iter().map(|(name, _)| *name).filter(|name| !is_key(*name)));
                found.collect(heap, items);
            }
            None => found.collect(heap, top),
        }
        if found.tensors.is_empty() {
            let keys: Vec<&str> = STATE_DICT_KEYS.iter().map(|(key, _)| *key).collect();
            return Err(format!(
                "no dict of tensors at top level nor under {}; keys: {}",
                keys.join(", "),
                shown(&found.ignored)
            ));
        }
        Ok(found)
    }

    fn collect(&mut self, heap: &'h Heap<'p>, items: &[(Ref, Ref)]) {
        let mut others = Vec::new();
        for (name, value) in items {
            match (heap.get(*name), heap.get(*value)) {
                (Object::Str(name), Object::Tensor(tensor)) => {
                    self.tensors.push((Cow::Borrowed(*name), tensor));
                }
                _ => others.push(*name),
            }
        }
        self.ignore(heap, others);
    }

    /// The tensors of a TorchScript module and of the modules in it, named by the way to them: `visual.proj`.
    fn collect_modules(&mut self, heap: &'h Heap<'p>) -> Result<(), String> {
        let mut pending = vec![(String::new(), heap.root(), 0)];
        let mut reached = 0;
        while let Some((place, module, depth)) = pending.pop() {
            let Object::Module(attributes) = heap.get(module) else { continue };
            reached += attributes.len() + 1;
            if reached > MAX_ATTRIBUTES || depth > MAX_DEPTH {
                return Err("its modules hold each other more often than those of any model do".to_owned());
            }
            for (name, value) in attributes {
                let Object::Str(name) = heap.get(*name) else { continue };
                let name = if place.is_empty() { (*name).to_owned() } else { format!("{place}.{name}") };
                if name.len() > MAX_NAME {
                    return Err(format!("the name {} is longer than {MAX_NAME} bytes", quoted(&name)));
                }
                match heap.get(*value) {
                    Object::Tensor(tensor) => self.tensors.push((Cow::Owned(name), tensor)),
                    Object::Module(_) => pending.push((name, *value, depth + 1)),
                    _ => {}
                }
            }
        }
        if self.tensors.is_empty() {
            return Err("its modules hold no tensors".to_owned());
        }
        Ok(())
    }

    fn ignore(&mut self, heap: &Heap<'_>, keys: impl IntoIterator<Item = Ref>) {
        // A hostile pickle may use one long string as a key a million times.
        let mut seen = HashSet::new();
        let keys = keys.into_iter().filter(|key| seen.insert(*key));
        self.ignored.extend(keys.map(|key| key_text(heap, key)));
    }
}

/// What a dict holds under a key: the last item of it, as in Python.
fn last_of(heap: &Heap<'_>, items: &[(Ref, Ref)], key: &str) -> Option<Ref> {
    let is_key = |name: Ref| matches!(heap.get(name), Object::Str(name) if *name == key);
    items.iter().rev().find(|(name, _)| is_key(*name)).map(|(_, value)| *value)
}

fn has_tensor(heap: &Heap<'_>, items: &[(Ref, Ref)]) -> bool {
    items.iter().any(|(_, value)| matches!(heap.get(*value), Object::Tensor(_)))
}

fn key_text(heap: &Heap<'_>, key: Ref) -> String {
    match heap.get(key) {
        Object::Str(text) => (*text).to_owned(),
        _ => format!("({})", heap.describe(key)),
    }
}

fn shown(keys: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut list: Vec<_> = keys.iter().take(SHOWN).map(|key| quoted(key)).collect();
    if keys.len() > SHOWN {
        list.push(format!("and {} more", keys.len() - SHOWN));
    }
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}
