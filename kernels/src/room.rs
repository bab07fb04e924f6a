//! Working memory that a thread keeps from call to call, so that nothing is allocated once it is as large as it needs to be.

use std::cell::Cell;

/// Scratch memory, aligned to a cache line.
#[derive(Default)]
pub(crate) struct Room {
    data: Vec<Line>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Room {
    const fn new() -> Self {
        Self { data: Vec::new() }
    }

    /// Returns memory for n elements with arbitrary contents.
    pub fn of(&mut self, n: usize) -> *mut f32 {
        if self.data.len() * 16 < n {
            self.data.resize(n.div_ceil(16), Line([0.0; 16]));
        }
        self.data.as_mut_ptr().cast()
    }
}

thread_local! {
    static PANELS: Cell<(Room, Room)> = const { Cell::new((Room::new(), Room::new())) };
    static WORK: Cell<Room> = const { Cell::new(Room::new()) };
    static DECAYS: Cell<Decays> = const { Cell::new(Decays { room: Room::new(), rows: 0, width: 0, whole: false }) };
}

/// The cached sums and exponentials of the last per-channel decays, with these decays: successive ops of a chunk use the same ones.
#[derive(Default)]
pub(crate) struct Decays {
    pub room: Room,
    pub rows: usize,
    pub width: usize,
    /// Whether one middle serves all rows.
    pub whole: bool,
}

/// Takes the cached decays; [`keep_decays`] returns them.
#[inline]
pub(crate) fn decays() -> Decays {
    DECAYS.take()
}

/// Returns the decays to the cache.
#[inline]
pub(crate) fn keep_decays(decays: Decays) {
    DECAYS.set(decays);
}

/// Takes the memory of a product's panels; [`keep_panels`] returns it. (No closure: code in one would not be compiled for the instruction
/// set of the function around it.)
#[inline]
pub(crate) fn panels() -> (Room, Room) {
    PANELS.take()
}

/// Returns the panels for the next product.
#[inline]
pub(crate) fn keep_panels(panels: (Room, Room)) {
    PANELS.set(panels);
}

/// Takes the memory of a function that calls products; [`keep_work`] returns it.
#[inline]
pub(crate) fn work() -> Room {
    WORK.take()
}

/// Returns the memory for the next call.
#[inline]
pub(crate) fn keep_work(room: Room) {
    WORK.set(room);
}
