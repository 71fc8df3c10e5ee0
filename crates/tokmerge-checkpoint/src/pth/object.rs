//! The plain data a pickle may describe.

use super::allowed::Global;
use crate::Dtype;
use crate::safetensors_file::MAX_RANK;

/// Index of an object in its heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ref(u32);

/// Plain data, as far as a checkpoint needs it.
#[derive(Debug)]
pub(super) enum Object<'p> {
    Int(i64),
    Str(&'p str),
    /// None, booleans, floats, bytes, huge integers: accepted and never looked at.
    Scalar,
    List(Vec<Ref>),
    Tuple(Vec<Ref>),
    Set,
    /// `dict`, `OrderedDict` and `Namespace`; a later item wins over an earlier one of the same key.
    Dict(Vec<(Ref, Ref)>),
    /// A module of a TorchScript archive: its attributes, as in a dict.
    Module(Vec<(Ref, Ref)>),
    /// What an opaque class or function gave.
    Opaque,
    Global(Global),
    Storage(Storage<'p>),
    Tensor(Box<Tensor<'p>>),
}

/// A run of elements in the archive's `data/<key>`.
#[derive(Clone, Debug)]
pub(super) struct Storage<'p> {
    pub(super) dtype: Dtype,
    pub(super) key: &'p str,
    /// In elements.
    pub(super) len: usize,
}

/// A strided view of a storage; offset and strides in elements. Not yet checked against the storage.
#[derive(Debug)]
pub(super) struct Tensor<'p> {
    pub(super) storage: Storage<'p>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// Why a pickle was refused.
#[derive(Debug)]
pub(super) enum PickleError {
    /// It names a global outside the allow-list.
    Forbidden(String),
    /// It is damaged, or uses what `torch.save` never does.
    Malformed(String),
}

impl<T: Into<String>> From<T> for PickleError {
    fn from(reason: T) -> Self {
        Self::Malformed(reason.into())
    }
}

pub(super) type Result<T> = std::result::Result<T, PickleError>;

/// The objects of one pickle.
#[derive(Debug, Default)]
pub(super) struct Heap<'p> {
    objects: Vec<Object<'p>>,
    root: Option<Ref>,
}

impl<'p> Heap<'p> {
    pub(super) fn add(&mut self, object: Object<'p>) -> Ref {
        // The machine's limit on opcodes is far below u32::MAX, and each opcode adds at most one object.
        let at = u32::try_from(self.objects.len()).expect("fewer objects than opcodes");
        self.objects.push(object);
        Ref(at)
    }

    pub(super) fn set_root(&mut self, root: Ref) {
        self.root = Some(root);
    }

    /// The object that the pickle as a whole stands for.
    pub(super) fn root(&self) -> Ref {
        self.root.expect("load sets it before it returns")
    }

    pub(super) fn get(&self, at: Ref) -> &Object<'p> {
        &self.objects[at.0 as usize]
    }

    pub(super) fn get_mut(&mut self, at: Ref) -> &mut Object<'p> {
        &mut self.objects[at.0 as usize]
    }

    /// What kind of object it is, for error messages.
    pub(super) fn describe(&self, at: Ref) -> &'static str {
        match self.get(at) {
            Object::Int(_) => "an int",
            Object::Str(_) => "a string",
            Object::Scalar => "a scalar",
            Object::List(_) => "a list",
            Object::Tuple(_) => "a tuple",
            Object::Set => "a set",
            Object::Dict(_) => "a dict",
            Object::Module(_) => "a TorchScript module",
            Object::Opaque => "an object",
            Object::Global(_) => "a class",
            Object::Storage(_) => "a storage",
            Object::Tensor(_) => "a tensor",
        }
    }

    /// A non-negative integer.
    pub(super) fn size(&self, at: Ref) -> Result<usize> {
        match self.get(at) {
            Object::Int(value) => {
                usize::try_from(*value).map_err(|_| format!("a size of {value} is negative").into())
            }
            _ => Err(format!("a size is {}", self.describe(at)).into()),
        }
    }

    /// A tuple of few non-negative integers.
    pub(super) fn sizes(&self, at: Ref) -> Result<Vec<usize>> {
        match self.get(at) {
            Object::Tuple(items) if items.len() <= MAX_RANK => {
                items.iter().map(|item| self.size(*item)).collect()
            }
            Object::Tuple(items) => Err(format!("a tensor has {} axes", items.len()).into()),
            _ => Err(format!("a shape is {} instead of a tuple", self.describe(at)).into()),
        }
    }

    pub(super) fn tuple(&self, at: Ref) -> Result<&[Ref]> {
        match self.get(at) {
            Object::Tuple(items) => Ok(items),
            _ => Err(format!("{} stands where arguments are expected", self.describe(at)).into()),
        }
    }
}
