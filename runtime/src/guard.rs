//! Threads for internal work that may have a bug: a large stack, and panics that are caught and kept off the terminal.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread::Builder;

/// Stack size of a worker in bytes: candle's backward pass recurses over the graph.
const STACK: usize = 256 << 20;

const WORKER: &str = "archc worker ";

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// A guard: while it lives, work of the cpu device on this thread ends soon after the flag is set, also inside of a step. It unwinds, and
/// [`caught`] returns an error. The values it worked on are then incomplete and must be dropped.
#[derive(Debug)]
pub struct Stoppable(());

/// Lets the work of this thread end when a flag is set.
pub fn stoppable(flag: Arc<AtomicBool>) -> Stoppable {
    STOP.with(|stop| *stop.borrow_mut() = Some(flag));
    Stoppable(())
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        STOP.with(|stop| *stop.borrow_mut() = None);
    }
}

/// Unwinds if the work of this thread is to end; called between two kernels. It costs about one memory read.
pub(crate) fn stop_here() {
    let stop = STOP.with(|stop| stop.borrow().as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)));
    if stop {
        // No panic: nothing is wrong, so no panic hook runs.
        panic::resume_unwind(Box::new("stopped"));
    }
}

/// A builder of a thread in which panics stay off the terminal; [`caught`] returns them with their place.
pub fn worker(name: &str) -> Builder {
    quiet_panics();
    Builder::new().name(format!("{WORKER}{name}")).stack_size(STACK)
}

/// Runs internal work that may have a bug.
///
/// # Errors
/// The panic's message and place.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // State that the closure could leave half-changed is dropped with it, or is a cache of whole entries.
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let at = PANIC.with(|p| p.borrow_mut().take());
        match at {
            Some(message) => message,
            None => payload_text(payload.as_ref()),
        }
    })
}

/// Runs work on a thread like a worker's, with a large stack and panics kept off the terminal, and waits for it.
///
/// # Errors
/// If the machine refuses the thread, or the work panicked.
pub fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = worker("aside").spawn_scoped(scope, || caught(work)).map_err(|e| e.to_string())?;
        thread.join().unwrap_or_else(|payload| Err(payload_text(payload.as_ref())))
    })
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
}

/// Installs a panic hook that in workers records message and place instead of printing them; elsewhere nothing changes.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some_and(|n| n.starts_with(WORKER)) {
                let place = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
                let text = format!("{}{place}", payload_text(info.payload()));
                PANIC.with(|p| *p.borrow_mut() = Some(text));
            } else {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_between_kernels_once_the_flag_is_set() {
        let flag = Arc::new(AtomicBool::new(false));
        stop_here();
        let guard = stoppable(Arc::clone(&flag));
        stop_here();
        flag.store(true, Ordering::Relaxed);
        assert_eq!(caught(stop_here), Err("stopped".to_owned()));
        // The flag is this thread's alone, and only while the guard lives.
        std::thread::scope(|scope| scope.spawn(stop_here).join().unwrap());
        drop(guard);
        stop_here();
    }
}
