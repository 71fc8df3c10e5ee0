//! Threads that stay on a core each. A process of its own, because their number is settled once.

use tokmerge::{Affinity, ThreadsError, set_threads};

#[test]
fn pinned_threads_have_a_core_each_and_the_caller_is_free() {
    let Some(cores) = core_affinity::get_core_ids().filter(|cores| !cores.is_empty()) else {
        let refused = set_threads(1, Affinity::Pinned);
        assert!(matches!(refused, Err(ThreadsError::Unsupported)), "{refused:?}");
        return;
    };
    let refused = set_threads(1 << 20, Affinity::Free).unwrap_err().to_string();
    assert!(refused.contains("1048576 threads are more than") && refused.contains("at most"), "{refused}");
    let refused = set_threads(cores.len() + 1, Affinity::Pinned);
    let Err(refused @ ThreadsError::Cores { .. }) = refused else { panic!("{refused:?}") };
    let text = refused.to_string();
    for fragment in [format!("{} threads", cores.len() + 1), format!("at most {}", cores.len())] {
        assert!(text.contains(&fragment), "{text}");
    }

    set_threads(cores.len(), Affinity::Pinned).expect("a core for every thread");
    let again = set_threads(1, Affinity::Free);
    assert!(matches!(again, Err(ThreadsError::Started(_))), "{again:?}");
    let seen = rayon::broadcast(|_| core_affinity::get_core_ids());
    assert_eq!(seen.len(), cores.len());
    // Elsewhere a thread cannot be asked where it may run.
    if cfg!(target_os = "linux") {
        assert_eq!(seen, cores.iter().map(|&core| Some(vec![core])).collect::<Vec<_>>());
        assert_eq!(core_affinity::get_core_ids(), Some(cores));
    }
}
