//! A restricted unpickler: a stack machine over plain data that cannot call anything.
//!
//! Objects live in a [`Heap`] and refer to each other by index, so sharing and even cycles are harmless and nothing
//! here recurses. Opcodes are those of protocols 2 to 5 that `torch.save` produces; each makes at most one object,
//! and their number is limited, so memory stays within a small multiple of the pickle's size. Strings are borrowed
//! from the pickle. The semantics follow CPython's `pickle.py`; `REDUCE`, `NEWOBJ` and `BUILD` act on the allow-list
//! of `allowed.rs` only.

use std::collections::HashMap;

use super::allowed::Global;
use super::object::{Heap, Object, PickleError, Ref, Result, Storage, Tensor};

const MAX_OPCODES: usize = 2_000_000;
const MAX_STACK: usize = 1_000_000;
const MAX_MEMO: usize = 1_000_000;
const MAX_STRING: usize = 1 << 20;
const MAX_NESTING: usize = 256;

/// Interprets a whole pickle.
pub(super) fn load(pickle: &[u8]) -> Result<Heap<'_>> {
    let mut machine = Machine {
        pickle,
        at: 0,
        heap: Heap::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    for _ in 0..MAX_OPCODES {
        let position = machine.at;
        let [opcode] = machine.array()?;
        if opcode == STOP {
            let root = machine.pop()?;
            machine.heap.set_root(root);
            return Ok(machine.heap);
        }
        machine.step(opcode).map_err(|error| match error {
            PickleError::Malformed(reason) => format!("data.pkl, byte {position}: {reason}").into(),
            forbidden @ PickleError::Forbidden(_) => forbidden,
        })?;
        if machine.stack.len() > MAX_STACK
            || machine.marks.len() > MAX_NESTING
            || machine.memo.len() > MAX_MEMO
        {
            return Err("data.pkl nests or remembers more than any checkpoint does".into());
        }
    }
    Err(format!("data.pkl has more than {MAX_OPCODES} opcodes").into())
}

const STOP: u8 = b'.';

struct Machine<'p> {
    pickle: &'p [u8],
    at: usize,
    heap: Heap<'p>,
    stack: Vec<Ref>,
    /// Stack heights at the open marks; nothing below the last one can be popped.
    marks: Vec<usize>,
    memo: HashMap<u32, Ref>,
}

impl<'p> Machine<'p> {
    /// One opcode, named as in CPython's `pickletools`.
    #[rustfmt::skip] // A table.
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => self.proto()?,                                                                           // PROTO
            0x95 => drop(self.array::<8>()?),                                                                // FRAME
            b'(' => self.marks.push(self.stack.len()),                                                       // MARK
            b'0' => drop(self.pop()?),                                                                       // POP
            b'1' => drop(self.pop_mark()?),                                                                  // POP_MARK
            b'2' => { let top = self.top()?; self.stack.push(top) }                                          // DUP
            b'N' | 0x88 | 0x89 => self.push(Object::Scalar),                                                 // NONE NEWTRUE NEWFALSE
            b'G' => { self.array::<8>()?; self.push(Object::Scalar) }                                        // BINFLOAT
            b'K' => { let [value] = self.array()?; self.push(Object::Int(value.into())) }                    // BININT1
            b'M' => { let value = self.array()?; self.push(Object::Int(u16::from_le_bytes(value).into())) }  // BININT2
            b'J' => { let value = self.array()?; self.push(Object::Int(i32::from_le_bytes(value).into())) }  // BININT
            0x8a => self.long()?,                                                                            // LONG1
            b'X' => { let len = self.u32()?; self.string(len.into())? }                                      // BINUNICODE
            0x8c => { let [len] = self.array()?; self.string(len.into())? }                                  // SHORT_BINUNICODE
            0x8d => { let len = self.u64()?; self.string(len)? }                                             // BINUNICODE8
            b'C' => { let [len] = self.array()?; self.opaque(len.into())? }                                  // SHORT_BINBYTES
            b'B' => { let len = self.u32()?; self.opaque(len.into())? }                                      // BINBYTES
            0x8e | 0x96 => { let len = self.u64()?; self.opaque(len)? }                                      // BINBYTES8 BYTEARRAY8
            b']' => self.push(Object::List(Vec::new())),                                                     // EMPTY_LIST
            b'}' => self.push(Object::Dict(Vec::new())),                                                     // EMPTY_DICT
            b')' => self.push(Object::Tuple(Vec::new())),                                                    // EMPTY_TUPLE
            0x8f => self.push(Object::Set),                                                                  // EMPTY_SET
            b'l' => { let items = self.pop_mark()?; self.push(Object::List(items)) }                         // LIST
            b'd' => { let items = self.pop_mark()?; let items = pairs(&items)?; self.push(Object::Dict(items)) } // DICT
            b't' => { let items = self.pop_mark()?; self.push(Object::Tuple(items)) }                        // TUPLE
            0x85..=0x87 => self.short_tuple(usize::from(opcode - 0x84))?,                                    // TUPLE1 TUPLE2 TUPLE3
            0x91 => { self.pop_mark()?; self.push(Object::Set) }                                             // FROZENSET
            b'a' => { let item = self.pop()?; self.append(&[item])? }                                        // APPEND
            b'e' => { let items = self.pop_mark()?; self.append(&items)? }                                   // APPENDS
            b's' => { let value = self.pop()?; let key = self.pop()?; self.set_items(&[key, value])? }       // SETITEM
            b'u' => { let items = self.pop_mark()?; self.set_items(&items)? }                                // SETITEMS
            0x90 => self.add_items()?,                                                                       // ADDITEMS
            b'q' => { let [key] = self.array()?; self.remember(key.into())? }                                // BINPUT
            b'r' => { let key = self.u32()?; self.remember(key)? }                                           // LONG_BINPUT
            0x94 => { let key = u32::try_from(self.memo.len()).map_err(|e| e.to_string())?; self.remember(key)? } // MEMOIZE
            b'h' => { let [key] = self.array()?; self.recall(key.into())? }                                  // BINGET
            b'j' => { let key = self.u32()?; self.recall(key)? }                                             // LONG_BINGET
            b'c' => { let module = self.line()?; let name = self.line()?; self.global(module, name)? }       // GLOBAL
            0x93 => self.stack_global()?,                                                                    // STACK_GLOBAL
            b'Q' => self.persistent_load()?,                                                                 // BINPERSID
            b'R' => self.reduce()?,                                                                          // REDUCE
            0x81 => self.new_object()?,                                                                      // NEWOBJ
            b'b' => self.build()?,                                                                           // BUILD
            _ => return Err(format!("opcode 0x{opcode:02x} is not among those torch.save writes").into()),
        }
        Ok(())
    }

    fn proto(&mut self) -> Result<()> {
        match self.array()? {
            [2..=5] => Ok(()),
            [version] => Err(format!("pickle protocol {version} is not read; 2 to 5 are").into()),
        }
    }

    /// An integer of any length; those beyond 64 bits are nobody's shape.
    fn long(&mut self) -> Result<()> {
        let [len] = self.array()?;
        let digits = self.take(len.into())?;
        if digits.len() > 8 {
            self.push(Object::Scalar);
            return Ok(());
        }
        let sign = if digits.last().is_some_and(|last| last & 0x80 != 0) { 0xFF } else { 0 };
        let mut wide = [sign; 8];
        wide[..digits.len()].copy_from_slice(digits);
        self.push(Object::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn string(&mut self, len: u64) -> Result<()> {
        let bytes = self.limited(len)?;
        let text = str::from_utf8(bytes).map_err(|_| "a string is not UTF-8")?;
        self.push(Object::Str(text));
        Ok(())
    }

    fn opaque(&mut self, len: u64) -> Result<()> {
        self.limited(len)?;
        self.push(Object::Scalar);
        Ok(())
    }

    fn short_tuple(&mut self, len: usize) -> Result<()> {
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Object::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: &[Ref]) -> Result<()> {
        let list = self.top()?;
        match self.heap.get_mut(list) {
            Object::List(existing) => existing.extend_from_slice(items),
            Object::Opaque => {}
            _ => return Err("an item is appended to what is not a list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Ref]) -> Result<()> {
        let items = pairs(items)?;
        let dict = self.top()?;
        match self.heap.get_mut(dict) {
            Object::Dict(existing) => existing.extend(items),
            Object::Opaque => {}
            _ => return Err("an item is set in what is not a dict".into()),
        }
        Ok(())
    }

    fn add_items(&mut self) -> Result<()> {
        self.pop_mark()?;
        let set = self.top()?;
        match self.heap.get(set) {
            Object::Set | Object::Opaque => Ok(()),
            _ => Err("an item is added to what is not a set".into()),
        }
    }

    fn remember(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<()> {
        let known = self.memo.get(&key).ok_or_else(|| format!("memo {key} was never set"))?;
        self.stack.push(*known);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        match Global::lookup(module, name) {
            Some(global) => {
                self.push(Object::Global(global));
                Ok(())
            }
            None => Err(PickleError::Forbidden(format!("{module}.{name}"))),
        }
    }

    fn stack_global(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.heap.get(module), self.heap.get(name)) {
            (Object::Str(module), Object::Str(name)) => {
                let (module, name) = (*module, *name);
                self.global(module, name)
            }
            _ => Err("a global is not named by strings".into()),
        }
    }

    /// `("storage", torch.FloatStorage, key, location, number of elements)`.
    fn persistent_load(&mut self) -> Result<()> {
        let id = self.pop()?;
        let &[tag, class, key, _location, len] = self.heap.tuple(id)? else {
            return Err("a persistent id is not a storage's five fields".into());
        };
        match (self.heap.get(tag), self.heap.get(class), self.heap.get(key)) {
            (Object::Str("storage"), Object::Global(Global::Storage(dtype)), Object::Str(key)) => {
                let storage = Storage { dtype: *dtype, key, len: self.heap.size(len)? };
                self.push(Object::Storage(storage));
                Ok(())
            }
            _ => Err("a persistent id does not describe a storage".into()),
        }
    }

    fn reduce(&mut self) -> Result<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let arguments = self.heap.tuple(arguments)?;
        let result = match (self.heap.get(callable), arguments) {
            (Object::Global(Global::RebuildTensor), &[storage, offset, shape, strides, _, _, ..]) => {
                self.rebuild_tensor(storage, offset, shape, strides)?
            }
            (Object::Global(Global::RebuildParameter), &[tensor, _, _]) => {
                self.stack.push(tensor);
                return Ok(());
            }
            (Object::Global(Global::OrderedDict | Global::Namespace), []) => Object::Dict(Vec::new()),
            (Object::Global(Global::Size), &[sizes]) => {
                self.heap.tuple(sizes)?;
                self.stack.push(sizes);
                return Ok(());
            }
            (Object::Global(Global::Set), [_]) => Object::Set,
            (Object::Global(Global::Opaque), _) => Object::Opaque,
            (Object::Global(global), arguments) => {
                return Err(format!("{global:?} cannot be made from {} arguments", arguments.len()).into());
            }
            _ => return Err(format!("{} is called like a function", self.heap.describe(callable)).into()),
        };
        self.push(result);
        Ok(())
    }

    fn rebuild_tensor(&self, storage: Ref, offset: Ref, shape: Ref, strides: Ref) -> Result<Object<'p>> {
        let Object::Storage(storage) = self.heap.get(storage) else {
            return Err(format!("a tensor is rebuilt from {}", self.heap.describe(storage)).into());
        };
        let (offset, shape) = (self.heap.size(offset)?, self.heap.sizes(shape)?);
        let strides = self.heap.sizes(strides)?;
        Ok(Object::Tensor(Box::new(Tensor { storage: storage.clone(), offset, shape, strides })))
    }

    fn new_object(&mut self) -> Result<()> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        match (self.heap.get(class), self.heap.tuple(arguments)?) {
            (Object::Global(Global::OrderedDict | Global::Namespace), []) => {
                self.push(Object::Dict(Vec::new()));
                Ok(())
            }
            (Object::Global(Global::ScriptClass), []) => {
                self.push(Object::Module(Vec::new()));
                Ok(())
            }
            (Object::Global(Global::Opaque), _) => {
                self.push(Object::Opaque);
                Ok(())
            }
            _ => Err(format!("{} cannot be instantiated", self.heap.describe(class)).into()),
        }
    }

    /// Keeps the attributes of a TorchScript module. Drops any other state: a Namespace's attributes, a state dict's
    /// `_metadata`. None of it is a weight.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let object = self.top()?;
        match self.heap.get(object) {
            Object::Module(_) => {
                // Taken, not copied: a state that many modules share would be copied for each.
                let Object::Dict(attributes) = self.heap.get_mut(state) else {
                    return Err("the state of a TorchScript module is no dict".into());
                };
                let attributes = std::mem::take(attributes);
                *self.heap.get_mut(object) = Object::Module(attributes);
                Ok(())
            }
            Object::Dict(_) | Object::Opaque => Ok(()),
            _ => Err(format!("attributes are set on {}", self.heap.describe(object)).into()),
        }
    }

    fn push(&mut self, object: Object<'p>) {
        let at = self.heap.add(object);
        self.stack.push(at);
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Ref> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<Ref> {
        match self.stack.last() {
            Some(top) if self.stack.len() > self.floor() => Ok(*top),
            _ => Err("the stack is empty".into()),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Ref>> {
        let mark = self.marks.pop().ok_or("no mark is open")?;
        Ok(self.stack.split_off(mark))
    }

    fn take(&mut self, len: usize) -> Result<&'p [u8]> {
        let rest = &self.pickle[self.at..];
        let taken = rest.get(..len).ok_or("the pickle ends in the middle of an opcode")?;
        self.at += len;
        Ok(taken)
    }

    fn limited(&mut self, len: u64) -> Result<&'p [u8]> {
        match usize::try_from(len) {
            Ok(len) if len <= MAX_STRING => self.take(len),
            _ => Err(format!("a string of {len} bytes exceeds the limit of {MAX_STRING}").into()),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take returns exactly N bytes"))
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Text up to a newline.
    fn line(&mut self) -> Result<&'p str> {
        let rest = &self.pickle[self.at..];
        let end = rest
            .iter()
            .take(MAX_STRING)
            .position(|byte| *byte == b'\n')
            .ok_or("a global's name has no end")?;
        let line = self.take(end + 1)?;
        Ok(str::from_utf8(&line[..end]).map_err(|_| "a global's name is not UTF-8")?)
    }
}

fn pairs(items: &[Ref]) -> Result<Vec<(Ref, Ref)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a dict's items are not pairs".into());
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}
