//! One thread a session.

/// Keeps candle from spreading single ops over threads of its own. Call it first thing in `main`.
///
/// candle cuts element-wise ops of 64k numbers and more into pieces for a pool of threads that spin while they
/// wait, one caller at a time. Sessions that train side by side would then wait for each other, on cores that they
/// need themselves (measured: five times the time of a step). Its large matrix products go by rayon's. The only way to tell
/// it are the environment variables, which are read when the pools are first used.
///
/// Does nothing where it might not be sound (another thread is running already) or to a variable that is set.
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

/// Whether this is surely the only thread of the process (or the platform makes that irrelevant).
fn alone() -> bool {
    if cfg!(windows) {
        return true;
    }
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}
