//! What the allocator does with memory that is free for the moment.

use std::ffi::{c_int, c_long};

/// `mi_option_purge_delay` of `mimalloc.h`: milliseconds after which free memory goes back to the system, -1 for never.
const PURGE_DELAY: c_int = 15;

// SAFETY: the functions have these types in `mimalloc.h`, and are linked with the allocator of this program. They take
// numbers alone, refuse numbers of options that there are not, and may be called at any time, so calling them is safe.
unsafe extern "C" {
    /// Sets an option, unless the environment did.
    safe fn mi_option_set_default(option: c_int, value: c_long);
}

/// From now on, free memory stays with this process. A step of training needs again what the last one freed, and with
/// the allocator's own delay of a second gets it from the system page by page. `MIMALLOC_PURGE_DELAY`, where it is set,
/// decides instead.
pub(crate) fn keep() {
    mi_option_set_default(PURGE_DELAY, -1);
}

#[cfg(test)]
mod tests {
    use super::{PURGE_DELAY, keep};
    use std::ffi::{c_int, c_long};
    use std::process::Command;

    // SAFETY: as above.
    unsafe extern "C" {
        safe fn mi_option_get(option: c_int) -> c_long;
    }

    const NAME: &str = "MIMALLOC_PURGE_DELAY";

    /// The number means the option of that name, and who sets it is heard.
    #[test]
    fn memory_is_kept_unless_the_environment_decides() {
        if let Some(set) = std::env::var_os(NAME) {
            keep();
            assert_eq!(mi_option_get(PURGE_DELAY).to_string(), set.to_string_lossy());
            return;
        }
        assert!(mi_option_get(PURGE_DELAY) > 0);
        keep();
        assert_eq!(mi_option_get(PURGE_DELAY), -1);
        let program = std::env::current_exe().expect("a program");
        let again =
            Command::new(program).args(["memory_is_kept", "--test-threads=1"]).env(NAME, "77").output();
        let again = again.expect("runs");
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains("1 passed"), "{said}");
    }
}
