//! Ctrl-C: the first one asks for an end in good order, the second one gets it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a shell reports for a process that was interrupted.
const INTERRUPTED: i32 = 130;

/// A flag that Ctrl-C (or SIGTERM, or a closed terminal) sets.
pub fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let installed = ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    });
    // Without a handler Ctrl-C ends the process at once, which loses no more than `kill -9` does.
    drop(installed);
    flag
}
