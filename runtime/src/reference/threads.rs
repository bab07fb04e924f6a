//! One thread a session.

/// Keeps candle from spreading single ops over threads of its own. Call it first thing in `main`.
///
/// candle cuts element-wise ops of 64k numbers and more into pieces for a pool of threads that spin while they
/// wait, one caller at a time. Sessions that train side by side would then wait for each other, on cores that they
/// need themselves (measured: five times the time of a step). The only way to tell it is its environment variable,
/// which is read when the pool is first used.
///
/// Does nothing where it might not be sound (another thread is running already) or where the variable is set.
pub fn keep_to_one_thread() {
    const THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() && alone() {
        #[expect(unsafe_code, reason = "the environment cannot be changed in any other way")]
        // SAFETY: no other thread exists that could read the environment at the same time, as was just checked.
        unsafe {
            std::env::set_var(THREADS, "1");
        }
    }
}

/// Whether this is surely the only thread of the process (or the platform makes that irrelevant).
fn alone() -> bool {
    if cfg!(windows) {
        return true;
    }
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}
