//! In the steady state a forward pass allocates nothing large: buffers are reused from pass to pass.

use burn::tensor::{Device, Tensor, TensorData};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokmerge_merge::{Method, Reduction};
use tokmerge_models::{Config, FamilyConfig, Input, Network, Pass, Precision, VitConfig};

/// Counts allocations that matter: one of this size costs page faults, a small one costs nothing.
const LARGE: usize = 32 * 1024;

struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE && ON.load(Ordering::Relaxed) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_forward_pass_reuses_its_buffers() {
    let device = Device::flex();
    let config = VitConfig { depth: 4, num_classes: 10, ..VitConfig::new(16, 192, 4, 3) };
    let all = |model: &Network, images, reduction: &Reduction| {
        model.run(Input::Images(images), Pass::new(reduction)).into_logits().0
    };
    let read = |model: &Network, images, reduction: &Reduction| {
        model.run(Input::Images(images), Pass::head(reduction)).into_logits().0
    };
    let passes: [fn(&Network, Tensor<4>, &Reduction) -> Tensor<2>; 2] = [all, read];
    for (precision, pass) in
        [Precision::F32, Precision::Bf16, Precision::Int8].into_iter().flat_map(|p| passes.map(|f| (p, f)))
    {
        let model = Config::from(config.clone()).init(precision, &device);
        for spec in ["none", "tome:r=13", "tome:r=13,inflect=-1"] {
            let reduction = Reduction::bind(spec.parse::<Method>().unwrap(), &config.facts()).unwrap();
            let mut counts = Vec::new();
            for _ in 0..8 {
                let images = TensorData::new(vec![0.5_f32; 2 * 3 * 224 * 224], [2, 3, 224, 224]);
                let images = Tensor::<4>::from_data(images, &device);
                COUNT.store(0, Ordering::Relaxed);
                ON.store(true, Ordering::Relaxed);
                let logits = pass(&model, images, &reduction);
                ON.store(false, Ordering::Relaxed);
                drop(logits);
                counts.push(COUNT.load(Ordering::Relaxed));
            }
            // A thread may meet a size for the first time some passes late, on a busy machine any pass: what is
            // allocated in every pass is the mistake.
            let least = counts[4..].iter().min();
            assert_eq!(least, Some(&0), "{spec} {precision:?}: large allocations per pass {counts:?}");
        }
    }
}
