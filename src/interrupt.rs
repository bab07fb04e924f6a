//! Ctrl-C, SIGTERM and SIGHUP: the first one asks for an end in good order, the second one gets it at once.

use crate::output::INTERRUPTED;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that Ctrl-C sets, as well as the end of a job (SIGTERM) and a closed terminal (SIGHUP).
pub fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let installed = ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    });
    // Without a handler they end the process at once, which loses no more than `kill -9` does.
    drop(installed);
    flag
}
