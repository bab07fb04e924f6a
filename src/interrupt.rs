//! Ctrl-C, SIGTERM and SIGHUP: the first signal requests an orderly end, the second one ends the process at once.

use crate::output::INTERRUPTED;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Flag that is set by Ctrl-C, by the end of a job (SIGTERM), and by a closed terminal (SIGHUP, unless ignored through `nohup`).
pub fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in signals() {
        // The order matters: the first signal finds the flag unset. Without a handler a signal ends the process at once, which loses
        // no more than `kill -9` does.
        let at_once = register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&flag));
        drop(at_once.and_then(|_| register(signal, Arc::clone(&flag))));
    }
    flag
}

#[cfg(unix)]
fn signals() -> Vec<i32> {
    use signal_hook::consts::SIGHUP;
    let mut signals = vec![SIGINT, SIGTERM];
    if !ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    signals
}

#[cfg(not(unix))]
fn signals() -> Vec<i32> {
    vec![SIGINT, SIGTERM]
}

/// Whether a signal was ignored when this process began, if the system provides that.
#[cfg(unix)]
fn ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
