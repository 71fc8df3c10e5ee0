//! Packed weights, made once per weight tensor.
//!
//! The kernels want weights in panels. A pack is found by the address of the tensor's storage together with a
//! weak reference to it: while the weak reference lives, the allocation cannot be handed out again, and burn's
//! copy-on-write moves a tensor that is about to change to a new address. So an entry is either right or dead.

use burn::backend::TensorMetadata;
use burn::tensor::Bytes;
use burn_flex::FlexTensor;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use tokmerge_kernels::{Isa, PackedLinear, Precision};

type Key = (usize, Isa, Precision);

/// The storage that the pack was made from, and the pack.
type Entry = (Weak<Bytes>, Arc<PackedLinear>);

static PACKS: LazyLock<Mutex<HashMap<Key, Entry>>> = LazyLock::new(Mutex::default);

/// The pack of a weight `[N, K]` for the current instruction set.
pub(crate) fn packed(weight: &FlexTensor, precision: Precision) -> Arc<PackedLinear> {
    let isa = Isa::current();
    let [out_features, in_features] = weight.shape().dims();
    let pack = |weight: &FlexTensor| {
        Arc::new(PackedLinear::new(isa, precision, weight.storage::<f32>(), out_features, in_features))
    };
    let whole = weight.is_contiguous()
        && weight.layout().start_offset() == 0
        && weight.bytes().len() == out_features * in_features * size_of::<f32>();
    if !whole {
        return pack(&weight.to_contiguous());
    }
    let storage = weight.data_arc();
    let key = (Arc::as_ptr(&storage) as usize, isa, precision);
    let mut packs = PACKS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((alive, pack)) = packs.get(&key)
        && alive.strong_count() > 0
        && (pack.out_features(), pack.in_features()) == (out_features, in_features)
    {
        return pack.clone();
    }
    packs.retain(|_, (alive, _)| alive.strong_count() > 0);
    let made = pack(weight);
    packs.insert(key, (Arc::downgrade(&storage), made.clone()));
    made
}

#[cfg(test)]
mod tests {
    use super::packed;
    use crate::pool;
    use std::sync::Arc;
    use tokmerge_kernels::Precision;

    #[test]
    fn a_pack_is_reused_until_the_weights_change() {
        let mut weight = pool::tensor(vec![1.0; 6], [3, 2]);
        let first = packed(&weight, Precision::F32);
        assert!(Arc::ptr_eq(&first, &packed(&weight, Precision::F32)));
        assert!(!Arc::ptr_eq(&first, &packed(&weight, Precision::Bf16)));
        weight.storage_mut::<f32>()[0] = 2.0;
        assert!(
            !Arc::ptr_eq(&first, &packed(&weight, Precision::F32)),
            "changed weights must be packed again"
        );
    }
}
