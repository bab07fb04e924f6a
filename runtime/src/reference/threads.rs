//! One thread per session.

/// Keeps candle from splitting single ops over its own threads. Call it first in `main`.
///
/// candle splits element-wise ops of 64k elements and more over a pool of threads that spin while they wait, one caller at a time. Sessions
/// that train side by side would then wait for each other, on cores that they need themselves (measured: five times the time of a step).
/// Its large matrix products use rayon's pool. Both can only be configured by environment variables, which are read when the pools are
/// first used.
///
/// It does nothing where setting them might be unsound (another thread is running already), and keeps a variable that is set.
pub fn keep_to_one_thread() {
    if !alone() {
        return;
    }
    for name in ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"].into_iter().filter(|n| std::env::var_os(n).is_none()) {
        #[expect(unsafe_code, reason = "the environment cannot be changed in any other way")]
        // SAFETY: no other thread exists that could read the environment at the same time, as was just checked.
        unsafe {
            std::env::set_var(name, "1");
        }
    }
}

/// Whether this is certainly the only thread of the process (or the platform makes that irrelevant).
fn alone() -> bool {
    if cfg!(windows) {
        return true;
    }
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}
