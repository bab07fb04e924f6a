//! The state that kernels share while they run, beside their operands: scratch memory, and the threads that may take a share of the work.

use super::memory::Bases;
use super::profile::Profile;
use archc_kernels::gemm::Band;
use std::cell::Cell;
use std::ops::Range;

/// The state of a run. None of it affects results.
pub(super) struct Context<'a> {
    /// Scratch memory of fused loops.
    pub registers: *mut f32,
    /// Seconds spent by kind of kernel, if the run is profiled.
    pub profile: Option<&'a Profile>,
    /// Number of enclosing loops and attends.
    pub depth: Cell<usize>,
    /// The band of an attend's tile, by column - row, in which pairs may be visible, if that is not the whole tile.
    pub band: Cell<Option<Band>>,
    /// Other threads that may take a share; none within a share.
    pub workers: Option<&'a Workers>,
}

impl<'a> Context<'a> {
    /// A context with one thread and without a profile.
    pub fn new(registers: *mut f32) -> Self {
        Self { registers, profile: None, depth: Cell::new(0), band: Cell::new(None), workers: None }
    }

    /// A context for a thread that takes a share.
    fn shared(&self, registers: *mut f32, depth: usize) -> Self {
        Self { profile: None, depth: Cell::new(depth), ..Self::new(registers) }
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.map_or(1, |w| w.rooms.len() + 1)
    }

    /// Runs f over shares of `count` indices, in multiples of `unit`, each on its own thread: f(indices, arena for bodies, bases, context).
    /// The caller's thread takes the first share, with the arena given.
    ///
    /// # Safety
    /// Shares write to disjoint memory, in any order.
    pub unsafe fn share(
        &self,
        count: usize,
        unit: usize,
        bases: &Bases,
        arena: *mut f32,
        f: impl Fn(Range<usize>, *mut f32, &Bases, &Context<'_>) + Sync,
    ) {
        let units = count.div_ceil(unit);
        let threads = self.threads().min(units);
        let Some(workers) = self.workers.filter(|_| threads > 1) else {
            return f(0..count, arena, bases, self);
        };
        let range = |n: usize| (units * n / threads * unit).min(count)..(units * (n + 1) / threads * unit).min(count);
        let everything = Everything(bases, self);
        workers.pool.in_place_scope(|scope| {
            for (n, room) in workers.rooms.iter().enumerate().take(threads - 1) {
                let (f, range, everything) = (&f, range(n + 1), &everything);
                scope.spawn(move |_| {
                    let Everything(bases, context) = everything;
                    f(range, room.arena, bases, &context.shared(room.registers, context.depth.get()));
                });
            }
            f(range(0), arena, bases, &self.shared(self.registers, self.depth.get()));
        });
    }
}

/// The part of a run that threads share.
struct Everything<'a, 'b>(&'a Bases, &'a Context<'b>);

// SAFETY: threads only read the bases and the data that the context refers to; of its cells they read only the depth, which is copied at
// the start of a share, while the caller's thread works on a context of its own
unsafe impl Sync for Everything<'_, '_> {}

/// Threads beside the caller's, each with its own memory.
#[derive(Debug)]
pub(super) struct Workers {
    pub pool: rayon::ThreadPool,
    pub rooms: Vec<Room>,
}

/// The memory of a thread: an arena for the body of a loop or attend, and the registers of fused loops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub arena: *mut f32,
    pub registers: *mut f32,
}

// SAFETY: each room is used by one thread at a time
unsafe impl Send for Room {}
// SAFETY: as above
unsafe impl Sync for Room {}

/// Number of operations from which on waking another thread pays off.
pub(super) const WORTH: usize = 1 << 19;
