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
    /// A class of a TorchScript archive: its attributes are kept by name, its code is never looked at.
    ScriptClass,
    /// A value of arguments or counters (devices, element types, paths, NumPy's scalars): accepted, never looked at.
    Opaque,
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
            ("torch.jit._pickle", _) => Some(Self::Opaque),
            ("torch", "device" | "dtype") | ("pathlib", "PosixPath" | "PurePosixPath" | "WindowsPath") => {
                Some(Self::Opaque)
            }
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct")
            | ("numpy", "dtype" | "ndarray")
            | ("_codecs", "encode") => Some(Self::Opaque),
            (module, _) if is_script_class(module) => Some(Self::ScriptClass),
            (module, name) if is_harmless(module, name) => Some(Self::Opaque),
            ("torch", dtype) if DTYPES.contains(&dtype) => Some(Self::Opaque),
            ("torch", storage) => storage_dtype(storage).map(Self::Storage),
            _ => None,
        }
    }
}

/// Element types of `torch`, which arguments may hold.
const DTYPES: [&str; 7] = ["float32", "float16", "bfloat16", "float64", "int64", "int32", "bool"];

/// Whether a class is one of settings, counters, dates or random states, such as training leaves beside weights. Its
/// objects are never looked at, and nothing is called.
fn is_harmless(module: &str, name: &str) -> bool {
    /// Packages of settings, and the modules inside them.
    const PACKAGES: [&str; 9] = [
        "omegaconf",
        "yacs",
        "easydict",
        "addict",
        "ml_collections",
        "pytorch_lightning",
        "lightning",
        "lightning_fabric",
        "numpy",
    ];
    /// Types of plain values, which protocol 2 spells as functions.
    const BUILTINS: [&str; 13] = [
        "int",
        "float",
        "complex",
        "bool",
        "str",
        "bytes",
        "bytearray",
        "list",
        "tuple",
        "dict",
        "slice",
        "range",
        "object",
    ];
    let is_inside = |package: &str| {
        module.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match module {
        "collections" => matches!(name, "Counter" | "defaultdict" | "deque" | "ChainMap" | "UserDict"),
        "types" => name == "SimpleNamespace",
        "datetime" | "decimal" | "fractions" | "uuid" | "typing" | "enum" | "pathlib" => true,
        "copyreg" | "copy_reg" => name == "_reconstructor",
        "builtins" | "__builtin__" => BUILTINS.contains(&name),
        "torch" => name == "Generator",
        "torch.torch_version" => name == "TorchVersion",
        _ => PACKAGES.into_iter().any(is_inside),
    }
}

/// Whether a class was made by TorchScript: `__torch__.clip.model.VisionTransformer`.
fn is_script_class(module: &str) -> bool {
    module == "__torch__" || module.starts_with("__torch__.")
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
