//! How many threads compute, and where.

use thiserror::Error;

/// Where threads run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Wherever the system puts them.
    #[default]
    Free,
    /// Each on a core of its own, the first of those that the process may use left to the thread that calls: that one
    /// stays free, and so do those it starts for other work, such as decoding.
    Pinned,
}

/// Why threads were not started as asked.
#[derive(Debug, Error)]
pub enum ThreadsError {
    /// Their number is settled.
    #[error("the number of threads is settled once, before any work: call `set_threads` first")]
    Started(#[from] rayon::ThreadPoolBuildError),
    /// So many that they would only wait for each other.
    #[error("{threads} threads are more than {cores} cores can serve; ask for at most {most}")]
    TooMany {
        /// Asked for.
        threads: usize,
        /// That the process may use.
        cores: usize,
        /// The most that are started.
        most: usize,
    },
    /// More threads than cores to pin them to.
    #[error(
        "{threads} threads cannot be pinned: each needs a core of its own, and this process may use {cores}; ask for at \
         most {cores} threads, or leave them free"
    )]
    Cores {
        /// Asked for.
        threads: usize,
        /// That the process may use.
        cores: usize,
    },
    /// The system does not tell its cores.
    #[error(
        "threads cannot be pinned: this system does not say which cores the process may use; leave them free"
    )]
    Unsupported,
}

/// Threads for each core, at most: beyond, a pass that takes a second takes a minute.
const MOST_PER_CORE: usize = 32;

/// Runs the work of this process on `threads` threads.
///
/// # Errors
/// When it was called before, or work has started already; when they are more than 32 for each core; when threads are to be pinned and there are more of them
/// than cores that the process may use, or the system does not tell.
pub fn set_threads(threads: usize, affinity: Affinity) -> Result<(), ThreadsError> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
    if affinity == Affinity::Free {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = cores.saturating_mul(MOST_PER_CORE);
        if threads > most {
            return Err(ThreadsError::TooMany { threads, cores, most });
        }
        return Ok(builder.build_global()?);
    }
    let cores = core_affinity::get_core_ids().filter(|cores| !cores.is_empty());
    let cores = cores.ok_or(ThreadsError::Unsupported)?;
    if threads > cores.len() {
        return Err(ThreadsError::Cores { threads, cores: cores.len() });
    }
    // A thread that the system refuses to pin still computes.
    let pin = move |index: usize| {
        core_affinity::set_for_current(cores[index]);
    };
    builder.start_handler(pin.clone()).build_global()?;
    tokmerge_kernels::on_helper_start(pin);
    Ok(())
}
