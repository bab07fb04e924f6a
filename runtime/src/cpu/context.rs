//! What kernels share while they run beside their operands: scratch memory, and the threads that may take a share of the work.

use super::memory::Bases;
use super::profile::Profile;
use archc_kernels::gemm::Band;
use std::cell::Cell;
use std::ops::Range;

/// What the device knows of a run. Nothing in it changes a number.
pub(super) struct Context<'a> {
    /// Scratch memory of fused loops.
    pub registers: *mut f32,
    /// Seconds spent by kind of kernel, if someone asks.
    pub profile: Option<&'a Profile>,
    /// Loops and attends around.
    pub depth: Cell<usize>,
    /// In an attend: which pairs of its tile some row may see, by column - row, if not all.
    pub band: Cell<Option<Band>>,
    /// Other threads that may take a share; none inside of a share.
    pub workers: Option<&'a Workers>,
}

impl<'a> Context<'a> {
    /// One thread, and nobody who asks for a profile.
    pub fn new(registers: *mut f32) -> Self {
        Self { registers, profile: None, depth: Cell::new(0), band: Cell::new(None), workers: None }
    }

    /// The same for a thread that takes a share.
    fn shared(&self, registers: *mut f32, depth: usize) -> Self {
        Self { profile: None, depth: Cell::new(depth), ..Self::new(registers) }
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.workers.map_or(1, |w| w.rooms.len() + 1)
    }

    /// Runs f over shares of `count` indices, in multiples of `unit`, each on a thread of its own: f(indices, arena for bodies, context).
    /// The caller's thread takes the first share, with the arena given.
    ///
    /// # Safety
    /// Shares write to different places, whatever the order.
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

/// What threads see of a run.
struct Everything<'a, 'b>(&'a Bases, &'a Context<'b>);

// SAFETY: threads read the bases and what the context refers to; of its cells only the depth is read, by a copy at the start, while
// the caller's thread works on a context of its own
unsafe impl Sync for Everything<'_, '_> {}

/// Threads beside the caller's, each with memory of its own.
#[derive(Debug)]
pub(super) struct Workers {
    pub pool: rayon::ThreadPool,
    pub rooms: Vec<Room>,
}

/// Memory of a thread: an arena for the body of a loop or attend, and registers of fused loops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub arena: *mut f32,
    pub registers: *mut f32,
}

// SAFETY: each room is used by one thread at a time
unsafe impl Send for Room {}
// SAFETY: as above
unsafe impl Sync for Room {}

/// Operations that are worth waking another thread for.
pub(super) const WORTH: usize = 1 << 19;
