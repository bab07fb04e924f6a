//! Working memory that a thread keeps from call to call, so that nothing is allocated once it is as large as it needs to be.

use std::cell::Cell;

/// Memory that starts at a cache line.
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

    /// Room for n numbers, with anything in it.
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

/// What the last decays of channels gave, and of which they are: the ops of a chunk have the same ones, one after the other.
#[derive(Default)]
pub(crate) struct Decays {
    pub room: Room,
    pub rows: usize,
    pub width: usize,
    /// Whether one middle does for all rows.
    pub whole: bool,
}

/// The last decays, to be given back by [`keep_decays`].
#[inline]
pub(crate) fn decays() -> Decays {
    DECAYS.take()
}

/// Takes them back.
#[inline]
pub(crate) fn keep_decays(decays: Decays) {
    DECAYS.set(decays);
}

/// The rooms of a product's panels, to be given back by [`keep_panels`]. (No closure: code in one would not be compiled for the
/// instruction set of the function around it.)
#[inline]
pub(crate) fn panels() -> (Room, Room) {
    PANELS.take()
}

/// Takes panels back for the next product.
#[inline]
pub(crate) fn keep_panels(panels: (Room, Room)) {
    PANELS.set(panels);
}

/// The room of a function that calls products; back by [`keep_work`].
#[inline]
pub(crate) fn work() -> Room {
    WORK.take()
}

/// Takes it back.
#[inline]
pub(crate) fn keep_work(room: Room) {
    WORK.set(room);
}
