//! Buffers of an arena: each alive from the kernel that first writes it to the last that accesses it; buffers that are never alive together
//! share memory.

use super::{Base, Element, Scope, Start};

/// A view while its scope is planned.
pub(super) type View = super::View<Place>;
/// A kernel while its scope is planned.
pub(super) type Kernel = super::Kernel<Place>;

/// Location of an operand while its scope is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its buffer.
    pub home: Home,
    /// Offset from the buffer's start, in elements.
    pub offset: usize,
}

/// A buffer while a scope is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// A buffer of the scope ([`Buffer`], by number), which [`Layout`] assigns an address.
    Own(usize),
    /// A buffer that exists already, other than the scope's arena.
    There(Base),
}

impl Place {
    /// An element of a buffer that exists already.
    pub fn there(base: Base, offset: usize) -> Self {
        Self { home: Home::There(base), offset }
    }

    /// The start of a port.
    pub fn port(port: usize) -> Self {
        Self::there(Base::Port(port), 0)
    }

    /// Number of the scope's own buffer in which it is, if it is in one.
    pub fn buffer(&self) -> Option<usize> {
        match self.home {
            Home::Own(buffer) => Some(buffer),
            Home::There(_) => None,
        }
    }
}

/// A buffer under planning.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    /// Size in bytes.
    pub bytes: usize,
    /// Whether it is alive throughout: a leaf, or read after the scope has run.
    pub pinned: bool,
}

/// Start of each buffer of a scope in the arena.
pub(super) struct Layout {
    at: Vec<usize>,
    /// Size of the arena in bytes.
    pub arena: usize,
}

impl Layout {
    /// Gives every buffer its address, at a multiple of `align` bytes.
    pub fn new(kernels: &[Kernel], buffers: &[Buffer], align: usize) -> Self {
        let end = kernels.len();
        let mut alive: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
        for (i, kernel) in kernels.iter().enumerate() {
            kernel.each_start(&mut |place| {
                if let Some(buffer) = place.buffer() {
                    alive[buffer].get_or_insert((i, i)).1 = i;
                }
            });
        }
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        for &b in &order {
            if buffers[b].pinned {
                alive[b] = Some((0, end));
            }
        }
        order.retain(|&b| alive[b].is_some() && buffers[b].bytes > 0);
        // large buffers first, each at the lowest address that is free during its whole life
        order.sort_by_key(|&b| (usize::MAX - buffers[b].bytes, b));
        let mut at = vec![0usize; buffers.len()];
        let mut placed: Vec<(usize, usize, usize, usize)> = Vec::new(); // start, end, first, last; in order
        let mut arena = 0;
        for b in order {
            let (first, last) = alive[b].unwrap_or((0, end));
            let bytes = buffers[b].bytes.next_multiple_of(align);
            crate::work::spend(placed.len());
            let mut start = 0;
            for (s, e, ..) in placed.iter().filter(|p| p.2 <= last && first <= p.3) {
                if start + bytes <= *s {
                    break;
                }
                start = start.max(*e);
            }
            at[b] = start;
            let this = (start, start + bytes, first, last);
            placed.insert(placed.partition_point(|p| *p < this), this);
            arena = arena.max(start + bytes);
        }
        Self { at, arena }
    }

    /// The address of a place.
    pub fn start(&self, place: Place, element: Element) -> Start {
        let distance = place.offset * element.bytes();
        match place.home {
            Home::Own(buffer) => Start { base: Base::Scratch, bytes: self.at[buffer] + distance },
            Home::There(base) => Start { base, bytes: distance },
        }
    }

    /// A scope whose kernels' operands are where the layout has them.
    pub fn scope(&self, kernels: Vec<Kernel>) -> Scope {
        let addressed = |k: Kernel| k.relocate(&mut |place, element| self.start(place, element));
        Scope { kernels: kernels.into_iter().map(addressed).collect(), arena: self.arena }
    }
}
