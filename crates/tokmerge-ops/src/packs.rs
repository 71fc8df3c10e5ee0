//! Packed weights, made once per weight tensor.
//!
//! The kernels want weights in panels. A pack is found by the address of the tensor's storage together with a
//! weak reference to it: while the weak reference lives, the allocation cannot be handed out again, and burn's
//! copy-on-write moves a tensor that is about to change to a new address. So an entry is either right or dead.

use crate::pool::values;
use burn::backend::TensorMetadata;
use burn::tensor::Bytes;
use burn_flex::FlexTensor;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use tokmerge_kernels::{Isa, PackedLinear, PackedWinograd, Precision};

/// Which rows of which storage, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    storage: usize,
    /// In values.
    start: usize,
    shape: [usize; 2],
    /// Neighbouring inputs that belong to one channel; 1 where the order of inputs is kept.
    pixels: usize,
    isa: Isa,
    precision: Precision,
}

/// The packs of one kind: the storage that each was made from, and the pack.
type Packs<P> = Mutex<HashMap<Key, (Weak<Bytes>, Arc<P>)>>;

static LINEAR: LazyLock<Packs<PackedLinear>> = LazyLock::new(Mutex::default);
static WINOGRAD: LazyLock<Packs<PackedWinograd>> = LazyLock::new(Mutex::default);

/// The pack of a weight `[N, K]`, which may be some rows of a larger one, for the current instruction set.
pub(crate) fn packed(weight: &FlexTensor, precision: Precision) -> Arc<PackedLinear> {
    packed_by_pixel(weight, 1, precision)
}

/// As [`packed`], of a convolution's weight `[N, C * pixels]`, its inputs in the order of maps in rows: `[N, pixels, C]`.
pub(crate) fn packed_by_pixel(weight: &FlexTensor, pixels: usize, precision: Precision) -> Arc<PackedLinear> {
    kept(&LINEAR, weight, pixels, precision, |isa, weight, [out_features, in_features]| {
        let by_pixel;
        let mut values = weight;
        if pixels > 1 {
            by_pixel = channels_last(values, in_features, pixels);
            values = &by_pixel;
        }
        PackedLinear::new(isa, precision, values, out_features, in_features)
    })
}

/// The pack of a weight `[N, C * 9]` of windows of 3x3.
pub(crate) fn winograd(weight: &FlexTensor, precision: Precision) -> Arc<PackedWinograd> {
    kept(&WINOGRAD, weight, 9, precision, |isa, weight, [outputs, inputs]| {
        PackedWinograd::new(isa, precision, weight, [outputs, inputs / 9])
    })
}

/// The pack of a weight, made now unless it was before.
fn kept<P>(
    packs: &Packs<P>,
    weight: &FlexTensor,
    pixels: usize,
    precision: Precision,
    pack: impl Fn(Isa, &[f32], [usize; 2]) -> P,
) -> Arc<P> {
    let isa = Isa::current();
    let shape = weight.shape().dims();
    let pack = |weight: &FlexTensor| Arc::new(pack(isa, values(weight), shape));
    if !weight.is_contiguous() {
        return pack(&weight.to_contiguous());
    }
    let storage = weight.data_arc();
    let start = weight.layout().start_offset();
    let key = Key { storage: Arc::as_ptr(&storage) as usize, start, shape, pixels, isa, precision };
    let mut packs = packs.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((alive, pack)) = packs.get(&key)
        && alive.strong_count() > 0
    {
        return pack.clone();
    }
    packs.retain(|_, (alive, _)| alive.strong_count() > 0);
    let made = pack(weight);
    packs.insert(key, (Arc::downgrade(&storage), made.clone()));
    made
}

/// Rows of `[channels, pixels]` as rows of `[pixels, channels]`.
fn channels_last(rows: &[f32], width: usize, pixels: usize) -> Vec<f32> {
    let channels = width / pixels;
    let mut turned = vec![0.0; rows.len()];
    for (to, from) in turned.chunks_exact_mut(width.max(1)).zip(rows.chunks_exact(width.max(1))) {
        for (channel, from) in from.chunks_exact(pixels).enumerate() {
            for (pixel, value) in from.iter().enumerate() {
                to[pixel * channels + channel] = *value;
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::packed;
    use crate::pool;
    use burn::tensor::{Device, Tensor, s};
    use burn_flex::Flex;
    use std::sync::Arc;
    use tokmerge_kernels::{Epilogue, Precision};

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

    #[test]
    fn some_rows_have_a_pack_of_their_own() {
        let weight = Tensor::<2>::from_data([[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::flex());
        let pack = |rows: std::ops::Range<usize>| {
            let view = weight.clone().slice(s![rows, ..]);
            packed(&view.try_into_primitive::<Flex>().expect("on Flex"), Precision::F32)
        };
        let (all, first, last) = (pack(0..3), pack(0..2), pack(1..3));
        assert_eq!([&all, &first, &last].map(|pack| pack.out_features()), [3, 2, 2]);
        for rows in [0..2, 1..3] {
            let again = pack(rows.clone());
            let before = if rows.start == 0 { &first } else { &last };
            assert!(Arc::ptr_eq(&again, before), "rows {rows:?} must not be packed again");
            let mut y = [0.0; 2];
            tokmerge_kernels::linear(&again, None, &[1.0, 10.0], Epilogue::Store, &mut y);
            let expected = rows.map(|row| 21.0 + 22.0 * row as f32).collect::<Vec<_>>();
            assert_eq!(y, expected[..]);
        }
    }
}
