//! Facts derived from a graph, kept with it.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

/// Facts that stages derive from a finished graph, one of each type, computed when they are first asked for. A copy of the graph starts
/// without them, so that it can be changed.
#[derive(Default)]
pub struct Derived(Mutex<Vec<Arc<dyn Any + Send + Sync>>>);

impl Derived {
    /// The fact of this type, from the cache or from `compute`. Two threads may both compute it; one result is kept.
    pub(crate) fn get<T: Any + Send + Sync>(&self, compute: impl FnOnce() -> T) -> Arc<T> {
        if let Some(known) = self.find() {
            return known;
        }
        let new = Arc::new(compute());
        self.find().unwrap_or_else(|| {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(new.clone());
            new
        })
    }

    fn find<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find_map(|fact| fact.clone().downcast().ok())
    }
}

impl Clone for Derived {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derived")
    }
}
