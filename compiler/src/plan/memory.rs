//! Buffers of an arena: each alive from the kernel that first writes it to the last that touches it; buffers that are never
//! alive together share memory.
//!
//! While a scope is planned, the offset of a view into [`Base::Scratch`] is a buffer's number above [`SHIFT`] bits and a
//! distance below; [`place`] turns them into offsets in the arena.

use super::{Base, Copy, Kernel, Scope, View, Work};

/// Bits for the distance inside of a buffer.
const SHIFT: u32 = 40;

/// A buffer under planning.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    /// Numbers.
    pub len: usize,
    /// Alive throughout: a leaf, or read after the scope has run.
    pub pinned: bool,
}

/// The offset that stands for the start of a buffer.
pub(super) fn start(buffer: usize) -> usize {
    buffer << SHIFT
}

/// The buffer of an offset.
pub(super) fn buffer_of(offset: usize) -> usize {
    offset >> SHIFT
}

/// Calls f with (base, offset) of everything that a kernel touches in its own scope.
pub(super) fn touch(kernel: &mut Kernel, f: &mut dyn FnMut(&mut Base, &mut usize)) {
    let mut view = |v: &mut View| f(&mut v.base, &mut v.offset);
    match &mut kernel.work {
        Work::Gemm(g) => {
            for m in [&mut g.a, &mut g.b, &mut g.c] {
                f(&mut m.base, &mut m.offset);
            }
        }
        Work::Fused(k) => {
            k.inputs.iter_mut().for_each(&mut view);
            k.outputs.iter_mut().for_each(|(_, v)| view(v));
        }
        Work::Copy(Copy { from, to, fill }) => {
            view(from);
            view(to);
            fill.iter_mut().for_each(|(v, _)| view(v));
        }
        Work::Conv(c) => {
            view(&mut c.x);
            view(&mut c.filter);
            view(&mut c.pos);
            [&mut c.dy, &mut c.y, &mut c.carried].into_iter().flatten().for_each(&mut view);
        }
        Work::Single(s) => {
            s.inputs.iter_mut().for_each(&mut view);
            view(&mut s.output);
        }
        Work::Loop(l) => {
            l.ports.iter_mut().flatten().for_each(|p| view(&mut p.outer));
            for s in &mut l.states {
                view(&mut s.initial.outer);
                s.last.iter_mut().for_each(|p| view(&mut p.outer));
            }
            f(&mut l.arena.base, &mut l.arena.offset);
        }
        Work::Attend(a) => {
            view(&mut a.pos);
            a.ports.iter_mut().for_each(|p| view(&mut p.outer));
            a.emits.iter_mut().for_each(|e| view(&mut e.sum.outer));
            a.normal.iter_mut().flatten().for_each(|p| view(&mut p.outer));
            if let Some(g) = &mut a.grad {
                g.delta.iter_mut().for_each(|p| view(&mut p.outer));
                g.sums.iter_mut().for_each(|s| view(&mut s.port.outer));
            }
            f(&mut a.arena.base, &mut a.arena.offset);
        }
    }
}

/// Gives every buffer its place, at a multiple of `align`. `others` are views outside of the kernels (leaves, results) to be translated too.
pub(super) fn place(mut kernels: Vec<Kernel>, buffers: &[Buffer], others: &mut [&mut View], align: usize) -> Scope {
    let end = kernels.len();
    let mut alive: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
    for (i, kernel) in kernels.iter_mut().enumerate() {
        touch(kernel, &mut |base, offset| {
            if *base == Base::Scratch {
                let span = alive[buffer_of(*offset)].get_or_insert((i, i));
                span.1 = i;
            }
        });
    }
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    for &b in &order {
        if buffers[b].pinned {
            alive[b] = Some((0, end));
        }
    }
    order.retain(|&b| alive[b].is_some() && buffers[b].len > 0);
    // large ones first, each at the lowest place that is free all its life
    order.sort_by_key(|&b| (usize::MAX - buffers[b].len, b));
    let mut at = vec![0usize; buffers.len()];
    let mut placed: Vec<(usize, usize, usize, usize)> = Vec::new(); // start, end, first, last; in order
    let mut arena = 0;
    for b in order {
        let (first, last) = alive[b].unwrap_or((0, end));
        let len = buffers[b].len.next_multiple_of(align);
        crate::work::spend(placed.len());
        let mut start = 0;
        for (s, e, ..) in placed.iter().filter(|p| p.2 <= last && first <= p.3) {
            if start + len <= *s {
                break;
            }
            start = start.max(*e);
        }
        at[b] = start;
        let this = (start, start + len, first, last);
        placed.insert(placed.partition_point(|p| *p < this), this);
        arena = arena.max(start + len);
    }
    let mut translate = |base: &mut Base, offset: &mut usize| {
        if *base == Base::Scratch {
            let b = buffer_of(*offset);
            *offset = at[b] + (*offset - start(b));
        }
    };
    kernels.iter_mut().for_each(|k| touch(k, &mut translate));
    others.iter_mut().for_each(|v| translate(&mut v.base, &mut v.offset));
    Scope { kernels, arena }
}
