//! The globals a checkpoint's pickle may name, and what stands in for them. Nothing here runs foreign code.

use crate::Dtype;

/// A class or function that a weights file may mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// `torch._utils._rebuild_tensor_v2`: a view of a storage.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`: its first argument, a tensor.
    RebuildParameter,
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `argparse.Namespace`, read as a dict.
    Namespace,
    /// `torch.Size`: a tuple.
    Size,
    /// `set` and `frozenset`, which protocol 2 spells as functions.
    Set,
    /// `torch.FloatStorage` and its siblings: element types.
    Storage(Dtype),
}

impl Global {
    /// `None` for everything that is not on the list.
    pub(super) fn lookup(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("argparse", "Namespace") => Some(Self::Namespace),
            ("torch", "Size") => Some(Self::Size),
            ("__builtin__" | "builtins", "set" | "frozenset") => Some(Self::Set),
            ("torch", storage) => storage_dtype(storage).map(Self::Storage),
            _ => None,
        }
    }
}

fn storage_dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        _ => return None,
    })
}
