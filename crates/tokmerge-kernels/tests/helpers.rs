//! What helper threads do first. A process of its own, because there is one team in a process.
#![cfg(not(miri))]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokmerge_kernels::{Isa, Norm, normalise, on_helper_start};

static SEEN: Mutex<BTreeMap<usize, Option<String>>> = Mutex::new(BTreeMap::new());

#[test]
fn every_helper_calls_the_hook_once_before_it_works_and_later_hooks_are_refused() {
    rayon::ThreadPoolBuilder::new().num_threads(4).build_global().expect("nothing has run yet");
    let hook = |index: usize| {
        let name = std::thread::current().name().map(str::to_owned);
        let before = SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(index, name);
        assert!(before.is_none(), "helper {index} began twice");
    };
    assert!(on_helper_start(hook));
    assert!(!on_helper_start(|_| ()), "there is a hook already");
    let (x, ones) = (vec![1.0; 4096 * 64], [1.0; 64]);
    let mut y = vec![0.0; x.len()];
    let norm = Norm::layer(&ones, &ones, 1e-6);
    for _ in 0..3 {
        normalise(Isa::current(), norm, &x, &mut y);
    }
    // Helpers that the system starts late were not needed; give them a moment.
    for _ in 0..500 {
        if SEEN.lock().unwrap_or_else(PoisonError::into_inner).len() == 3 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let expected = [1, 2, 3].map(|index| (index, Some(format!("tokmerge-{index}"))));
    assert_eq!(seen.clone().into_iter().collect::<Vec<_>>(), expected);
    assert!(!on_helper_start(|_| ()), "helpers run already");
}
