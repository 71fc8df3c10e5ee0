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
    /// Where they lay: `model`, or `checkpoint.model` in a dict of a dict.
    pub(super) key: Option<String>,
    /// The key of raw weights that lay beside the averaged ones.
    pub(super) raw_key: Option<String>,
    pub(super) tensors: Vec<(Cow<'p, str>, &'h Tensor<'p>)>,
    pub(super) ignored: Vec<String>,
}

impl<'h, 'p> StateDict<'h, 'p> {
    /// The tensors below `chosen`, or where training scripts put them, or else where they are found by their content.
    pub(super) fn find(heap: &'h Heap<'p>, chosen: Option<&str>) -> Result<Self, String> {
        let mut found = Self { key: None, raw_key: None, tensors: Vec::new(), ignored: Vec::new() };
        let top = match heap.get(heap.root()) {
            Object::Dict(top) => &top[..],
            // Whatever lies in it is found by its content.
            Object::List(_) | Object::Tuple(_) => &[],
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
            Object::Dict(items) if has_tensor(heap, items) => Some(&items[..]),
            _ => None,
        };
        let known = STATE_DICT_KEYS.into_iter().find_map(|(key, raw)| Some((key, raw, state_dict(key)?)));
        let nested = match (chosen, known) {
            (Some(chosen), _) => {
                let StateDicts { places, dicts } = StateDicts::of(heap);
                match places.iter().position(|place| place == chosen) {
                    Some(at) => Some((chosen.to_owned(), dicts[at])),
                    None if has_prefix(heap, top, chosen) => None,
                    None => {
                        let found = match &places[..] {
                            [] => ", and its tensors lie at top level".to_owned(),
                            _ => format!("; there are: {}", shown(&places)),
                        };
                        return Err(format!("there is no `state_dict` {}{found}", quoted(chosen)));
                    }
                }
            }
            (None, Some((key, raw, items))) => {
                found.raw_key = raw.filter(|raw| state_dict(raw).is_some()).map(str::to_owned);
                Some((key.to_owned(), items))
            }
            (None, None) if has_tensor(heap, top) => None,
            (None, None) => {
                let StateDicts { mut places, mut dicts } = StateDicts::of(heap);
                match dicts.len() {
                    0 => None,
                    1 => Some((places.remove(0), dicts.remove(0))),
                    _ => {
                        return Err(format!(
                            "it holds several dicts of tensors: {}; choose one as `state_dict`",
                            shown(&places)
                        ));
                    }
                }
            }
        };
        match nested {
            Some((key, items)) => {
                let outer = key.split('.').next().unwrap_or_default();
                let is_key = |name: Ref| matches!(heap.get(name), Object::Str(name) if *name == outer);
                found.ignore(heap, top.iter().map(|(name, _)| *name).filter(|name| !is_key(*name)));
                found.key = Some(key);
                found.collect(heap, items);
            }
            None => found.collect(heap, top),
        }
        if found.tensors.is_empty() {
            let keys: Vec<&str> = STATE_DICT_KEYS.iter().map(|(key, _)| *key).collect();
            return Err(format!(
                "no dict of tensors at top level, under {} or any other key; keys: {}",
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

/// Dicts of tensors below the top, in dicts, lists and tuples, except for the state of optimisers and the like.
struct StateDicts<'h> {
    places: Vec<String>,
    dicts: Vec<&'h [(Ref, Ref)]>,
}

/// How the keys begin under which training keeps what is no weight.
const NOT_WEIGHTS: [&str; 8] =
    ["optim", "lr_sched", "sched", "scaler", "amp", "loss_scaler", "grad_scaler", "callbacks"];
/// Dicts in dicts, and how many of them are looked at.
const MAX_DICTS: usize = 10_000;
const MAX_DICT_DEPTH: usize = 6;

impl<'h> StateDicts<'h> {
    fn of<'p>(heap: &'h Heap<'p>) -> Self {
        let mut found = Self { places: Vec::new(), dicts: Vec::new() };
        let (mut pending, mut seen) = (vec![(String::new(), heap.root(), 0)], HashSet::new());
        while let Some((place, at, depth)) = pending.pop() {
            if !seen.insert(at) || seen.len() > MAX_DICTS || depth > MAX_DICT_DEPTH {
                continue;
            }
            let join =
                |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
            let items = match heap.get(at) {
                Object::Dict(items) => items,
                Object::List(items) | Object::Tuple(items) => {
                    // A place for each: one dict may stand in a list a million times.
                    let room = MAX_DICTS.saturating_sub(pending.len());
                    let items =
                        items.iter().enumerate().take(room).filter(|(_, item)| holds_more(heap, **item));
                    let items: Vec<_> =
                        items.map(|(at, item)| (join(&at.to_string()), *item, depth + 1)).collect();
                    pending.extend(items.into_iter().rev());
                    continue;
                }
                _ => continue,
            };
            if depth > 0 && has_named_tensor(heap, items) {
                found.places.push(place);
                found.dicts.push(items);
                continue;
            }
            for (name, value) in items.iter().rev() {
                let Object::Str(name) = heap.get(*name) else { continue };
                // One long name and one dict may stand in a dict a million times.
                let is_bounded = place.len() + name.len() < MAX_NAME && pending.len() < MAX_DICTS;
                if is_bounded
                    && holds_more(heap, *value)
                    && !NOT_WEIGHTS.iter().any(|other| name.starts_with(other))
                {
                    pending.push((join(name), *value, depth + 1));
                }
            }
        }
        found
    }
}

/// Whether dicts of tensors may lie in it.
fn holds_more(heap: &Heap<'_>, value: Ref) -> bool {
    matches!(heap.get(value), Object::Dict(_) | Object::List(_) | Object::Tuple(_))
}

/// Whether tensors at the top are named as those of a module.
fn has_prefix(heap: &Heap<'_>, items: &[(Ref, Ref)], module: &str) -> bool {
    let inside = |name: &str| name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'));
    items.iter().any(|(name, _)| matches!(heap.get(*name), Object::Str(name) if inside(name)))
}

/// Whether a dict holds a tensor that is named as parameters of modules are.
fn has_named_tensor(heap: &Heap<'_>, items: &[(Ref, Ref)]) -> bool {
    items.iter().any(|(name, value)| {
        matches!(heap.get(*name), Object::Str(name) if name.contains('.'))
            && matches!(heap.get(*value), Object::Tensor(_))
    })
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
